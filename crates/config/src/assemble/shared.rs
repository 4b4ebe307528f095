//! `cache2`, `locks`, `queue`, `sharedarea`, `metric` and their relatives while they come in.

mod keys;

use std::path::Path;

use crate::{
    problem::{Origin, Problem},
    shared::{Area, Cache, CacheFile, CacheItem, Metric, Queue, Shared},
};

use self::keys::Keys;
use super::values::Value;

/// What uWSGI takes where nothing is said: the highest number of 16 bits.
const BLOCK_BYTES: u64 = 65_535;
const HASHES: u64 = 65_535;
const KEY_MAX_BYTES: u64 = 2048;
const QUEUE_SLOT_BYTES: u64 = 8192;
const SWEEP_EVERY_S: u64 = 3;
const STORE_SYNC_S: u64 = 1;
const PAGE_BYTES: u64 = 4096;
/// Most locks and metrics.
const MANY: u32 = 65_535;

/// What has been said so far; paths as written.
#[derive(Default)]
pub(super) struct SharedDraft {
    shared: Shared,
    /// `py-sharedarea`: their numbers come behind those of the others, as in uWSGI.
    python_areas: Vec<Area>,
    files: Vec<CacheFile>,
    compressed: Vec<CacheFile>,
    /// `cache`, with how many items.
    first: Option<(u64, Origin)>,
    first_block_bytes: u64,
    first_store: Option<String>,
    store_sync_s: Option<u64>,
    sweep_every_s: u64,
    no_expire: bool,
    last_modified: bool,
    queue: u64,
    queue_slot_bytes: u64,
    queue_store: Option<String>,
    queue_sync_s: Option<u64>,
    check_at: Option<Origin>,
}

impl SharedDraft {
    /// Applies one directive if it is one of these.
    pub(super) fn take(&mut self, value: &mut Value<'_>) -> bool {
        self.take_cache(value) || self.take_memory(value)
    }

    fn take_cache(&mut self, value: &mut Value<'_>) -> bool {
        let shared = &mut self.shared;
        match value.directive.key.as_str() {
            "cache" => {
                let at = value.directive.value_at.clone();
                self.first = value.number().filter(|items| *items > 0).map(|items| (items, at));
            }
            "cache2" => shared.caches.extend(cache(value)),
            "cache-blocksize" => self.first_block_bytes = value.number().unwrap_or(0),
            "cache-store" => self.first_store = value.required(),
            "cache-store-sync" => self.store_sync_s = value.number(),
            "cache-expire-freq" => self.sweep_every_s = value.number().unwrap_or(0),
            "cache-no-expire" => self.no_expire = value.boolean(),
            "cache-report-freed-items" => shared.report_freed = value.boolean(),
            "cache-use-last-modified" => self.last_modified = value.boolean(),
            "add-cache-item" => shared.items.extend(item(value)),
            "load-file-in-cache" => self.files.extend(file(value)),
            "load-file-in-cache-gzip" => {
                self.compressed.extend(file(value).map(|file| CacheFile { gzip: true, ..file }));
            }
            "check-cache" => {
                shared.check = Some(value.text());
                self.check_at = Some(value.directive.value_at.clone());
            }
            _ => return false,
        }
        true
    }

    fn take_memory(&mut self, value: &mut Value<'_>) -> bool {
        let shared = &mut self.shared;
        match value.directive.key.as_str() {
            "locks" => shared.locks = value.number_up_to(MANY).unwrap_or(0),
            "queue" => self.queue = value.number().unwrap_or(0),
            "queue-blocksize" => self.queue_slot_bytes = value.number().unwrap_or(0),
            "queue-store" => self.queue_store = value.required(),
            "queue-store-sync" => self.queue_sync_s = value.number(),
            "sharedarea" => shared.areas.extend(area(value)),
            "py-sharedarea" => self.python_areas.extend(area_of_bytes(value)),
            "enable-metrics" => shared.vassal_metrics |= value.boolean(),
            "metric-dir" | "metrics-dir" => {
                shared.metric_directory = value.required().map(Into::into);
                // It switches uWSGI's metrics on (UWSGI_OPT_METRICS).
                shared.vassal_metrics |= shared.metric_directory.is_some();
            }
            "metric-dir-restore" | "metrics-dir-restore" => shared.restores_metrics = value.boolean(),
            "metric" => shared.metrics.extend(metric(value)),
            _ => return false,
        }
        true
    }

    /// All of it, with paths from `base`.
    pub(super) fn finish(self, base: &Path, problems: &mut Vec<Problem>) -> Shared {
        let mut shared = self.shared;
        shared.areas.extend(self.python_areas);
        if let Some((items, _)) = self.first {
            let block_bytes = if self.first_block_bytes == 0 { BLOCK_BYTES } else { self.first_block_bytes };
            let first = Cache {
                block_bytes,
                store: self.first_store.map(Into::into),
                last_modified: self.last_modified,
                ..plain("default".to_owned(), items)
            };
            shared.caches.insert(0, first);
        }
        for cache in &mut shared.caches {
            cache.store = cache.store.take().map(|path| base.join(path));
            cache.no_expire |= self.no_expire;
            if self.sweep_every_s > 0 {
                cache.sweep_every_s = self.sweep_every_s;
            }
            if cache.store_sync_s == u64::MAX {
                cache.store_sync_s = self.store_sync_s.unwrap_or(STORE_SYNC_S);
            }
        }
        shared.metric_directory = shared.metric_directory.map(|path| base.join(path));
        for area in &mut shared.areas {
            area.file = area.file.take().map(|path| base.join(path));
        }
        if self.queue > 0 {
            shared.queue = Some(Queue {
                slots: self.queue,
                slot_bytes: if self.queue_slot_bytes == 0 { QUEUE_SLOT_BYTES } else { self.queue_slot_bytes },
                store: self.queue_store.map(|path| base.join(path)),
                store_sync_s: self.queue_sync_s.unwrap_or(STORE_SYNC_S),
            });
        }
        shared.files = self.files.into_iter().chain(self.compressed).collect();
        if let (Some(name), Some(at)) = (&shared.check, self.check_at) {
            let is_there = shared.caches.iter().any(|cache| name.is_empty() || cache.name == *name);
            if !is_there {
                let message = format!("`check-cache = {name}`: there is no such cache");
                let hint = "make one with `cache2 = name=NAME,items=N`";
                problems.push(Problem::error("bad-value", at, message).hint(hint));
            }
        }
        shared
    }
}

/// A cache of which nothing else is said. How often its file is synced is filled in at the end.
fn plain(name: String, items: u64) -> Cache {
    Cache {
        name,
        items,
        block_bytes: BLOCK_BYTES,
        blocks: items,
        hashes: HASHES,
        key_max_bytes: KEY_MAX_BYTES,
        bitmap: false,
        store: None,
        store_sync_s: u64::MAX,
        store_delete: false,
        lazy: false,
        no_expire: false,
        sweep_every_s: SWEEP_EVERY_S,
        purge_lru: false,
        clear_on_full: false,
        ignore_full: false,
        math_initial: 0,
        last_modified: false,
    }
}

/// `name=…,items=…` and so on.
fn cache(value: &mut Value<'_>) -> Option<Cache> {
    let mut keys = Keys::of(value);
    if let Some(key) =
        keys.any(&["node", "nodes", "sync", "udp", "udp_servers", "udp_server", "udpservers", "udpserver"])
    {
        let expected = format!("a cache of this vassal alone, without `{key}`");
        value.bad(&expected, "caches of several hosts are not kept alike: use Redis or memcached");
        return None;
    }
    let (Some(name), Some(items)) = (keys.text(&["name"]), keys.number(&["items", "max_items", "maxitems"])) else {
        value.bad("`name=NAME,items=N`", "name the cache and say how many items it holds at most");
        return None;
    };
    let cache = plain(name, items);
    let cache = Cache {
        block_bytes: keys.number(&["blocksize"]).unwrap_or(cache.block_bytes),
        blocks: keys.number(&["blocks"]).unwrap_or(cache.blocks),
        hashes: keys.number(&["hashsize", "hash_size"]).unwrap_or(cache.hashes),
        key_max_bytes: keys.number(&["keysize", "key_size"]).unwrap_or(cache.key_max_bytes),
        bitmap: keys.is_set(&["bitmap"]),
        store: keys.text(&["store"]).map(Into::into),
        store_sync_s: keys.number(&["store_sync", "storesync"]).unwrap_or(cache.store_sync_s),
        store_delete: keys.is_set(&["store_delete", "storedelete"]),
        lazy: keys.is_set(&["lazy", "lazy_expire"]),
        no_expire: keys.is_set(&["no_expire"]),
        purge_lru: keys.is_set(&["purge_lru", "lru"]),
        clear_on_full: keys.is_set(&["clear_on_full"]),
        ignore_full: keys.is_set(&["ignore_full"]),
        math_initial: keys.text(&["math_initial"]).and_then(|text| text.parse().ok()).unwrap_or(0),
        last_modified: keys.is_set(&["lastmod"]),
        ..cache
    };
    // Expired items always make room, and one hash serves all: what these ask for is so or changes nothing to see.
    keys.any(&["sweep_on_full", "hash"]);
    keys.tell_unknown(value);
    let numbers = [cache.items, cache.block_bytes, cache.blocks, cache.hashes, cache.key_max_bytes];
    if numbers.contains(&0) || cache.key_max_bytes >= BLOCK_BYTES {
        value.bad("numbers from 1 on, and a `keysize` below 65535", "correct the number, or leave the key out");
        return None;
    }
    if cache.blocks < cache.items {
        value.bad("at least as many `blocks` as `items`", "raise `blocks`, or leave it out");
        return None;
    }
    Some(cache)
}

/// `[CACHE ]KEY=VALUE`
fn item(value: &mut Value<'_>) -> Option<CacheItem> {
    let text = value.required()?;
    let (cache, rest) = in_cache(&text);
    let Some((key, content)) = rest.split_once('=').filter(|(key, content)| !key.is_empty() && !content.is_empty())
    else {
        value.bad("`KEY=VALUE` or `CACHE KEY=VALUE`", "write for example `add-cache-item = routes a=b`");
        return None;
    };
    Some(CacheItem { cache, key: key.to_owned(), value: content.to_owned() })
}

/// `[CACHE ]PATH`
fn file(value: &mut Value<'_>) -> Option<CacheFile> {
    let text = value.required()?;
    let (cache, path) = in_cache(&text);
    Some(CacheFile { cache, path: path.to_owned(), gzip: false })
}

fn in_cache(text: &str) -> (Option<String>, &str) {
    text.split_once(' ').map_or((None, text), |(cache, rest)| (Some(cache.to_owned()), rest))
}

/// A number of pages, or `pages=…`, `size=…`, `file=…`.
fn area(value: &mut Value<'_>) -> Option<Area> {
    if !value.text().contains('=') {
        let pages = value.number().filter(|pages| *pages > 0);
        if pages.is_none() {
            value.bad("a number of pages, or `size=BYTES`", "a page has 4096 bytes");
        }
        return pages.map(|pages| Area { bytes: pages.saturating_mul(PAGE_BYTES), file: None });
    }
    let mut keys = Keys::of(value);
    if let Some(key) = keys.any(&["fd", "ptr", "offset"]) {
        let expected = format!("an area without `{key}`");
        value.bad(&expected, "an area is memory of its own, or a whole file with `file=PATH,size=BYTES`");
        return None;
    }
    let pages = keys.number(&["pages"]).map(|pages| pages.saturating_mul(PAGE_BYTES));
    let bytes = keys.number(&["size"]).or(pages).filter(|bytes| *bytes > 0);
    let file = keys.text(&["file"]).map(Into::into);
    keys.tell_unknown(value);
    let Some(bytes) = bytes else {
        value.bad("`size=BYTES` or `pages=N`", "say how long the area is");
        return None;
    };
    // Memory comes in pages.
    let bytes = if file.is_none() { bytes.next_multiple_of(PAGE_BYTES) } else { bytes };
    Some(Area { bytes, file })
}

/// `py-sharedarea`: of a bytearray in uWSGI, which no other process sees change. Memory comes in pages.
fn area_of_bytes(value: &mut Value<'_>) -> Option<Area> {
    let bytes = value.number().filter(|bytes| *bytes > 0);
    if bytes.is_none() {
        value.bad("a number of bytes", "say how long the area is");
    }
    bytes.map(|bytes| Area { bytes: bytes.next_multiple_of(PAGE_BYTES), file: None })
}

/// A name, or `name=…,type=…,initial_value=…`.
fn metric(value: &mut Value<'_>) -> Option<Metric> {
    let text = value.required()?;
    if !text.contains('=') {
        return Some(Metric { name: text, initial: 0 });
    }
    let mut keys = Keys::of(value);
    if let Some(key) = keys.any(&["collector", "children", "alias", "arg1", "arg2", "arg3", "arg1n", "arg2n", "arg3n"])
    {
        let expected = format!("a metric that the app counts, without `{key}`");
        value.bad(&expected, "numbers are not collected from elsewhere; read them in the app and set the metric");
        return None;
    }
    let name = keys.text(&["name"]);
    let initial = keys.text(&["initial_value"]).and_then(|text| text.parse().ok()).unwrap_or(0);
    keys.any(&["type", "oid", "freq", "reset_after_push"]);
    keys.tell_unknown(value);
    if name.is_none() {
        value.bad("a name, or `name=NAME`", "name the metric");
    }
    name.map(|name| Metric { name, initial })
}

#[cfg(test)]
mod tests;
