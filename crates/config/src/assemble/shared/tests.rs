//! What the options of shared memory come to.

use crate::{
    assemble::tests::{config, error, outcome},
    shared::{Area, Cache, CacheFile, Metric, Queue},
};

#[test]
fn a_cache_has_the_sizes_of_uwsgi_where_nothing_is_said() {
    let caches =
        config("cache2 = name=a,items=100\ncache = 20\ncache-blocksize = 1000\ncache-store = c.store").shared.caches;
    let first = Cache { block_bytes: 1000, store: Some("/v/c.store".into()), ..super::plain("default".into(), 20) };
    let expected = [first, super::plain("a".into(), 100)].map(|cache| Cache { store_sync_s: 1, ..cache });
    assert_eq!(caches, expected);
    let default = &caches[1];
    assert_eq!(
        (default.block_bytes, default.blocks, default.hashes, default.key_max_bytes),
        (65_535, 100, 65_535, 2048)
    );
}

#[test]
fn every_key_of_a_cache_counts_by_all_its_names() {
    let text = "name=x,max_items=10,blocksize=64,blocks=40,hash_size=7,key_size=99,bitmap=1,store=/s,store_sync=5,\
                store_delete=1,lazy=1,no_expire=1,lru=1,clear_on_full=1,ignore_full=1,math_initial=-3,lastmod=1,\
                sweep_on_full=2,hash=murmur2";
    let caches = config(&format!("cache2 = {text}\ncache-expire-freq = 9")).shared.caches;
    let expected = Cache {
        name: "x".into(),
        items: 10,
        block_bytes: 64,
        blocks: 40,
        hashes: 7,
        key_max_bytes: 99,
        bitmap: true,
        store: Some("/s".into()),
        store_sync_s: 5,
        store_delete: true,
        lazy: true,
        no_expire: true,
        sweep_every_s: 9,
        purge_lru: true,
        clear_on_full: true,
        ignore_full: true,
        math_initial: -3,
        last_modified: true,
    };
    assert_eq!(caches, [expected]);
    assert!(!config("cache2 = name=x,items=1,purge_lru=0").shared.caches[0].purge_lru);
}

#[test]
fn a_cache_that_cannot_be_made_is_an_error_with_its_reason() {
    for (value, said) in [
        ("items=5", "name=NAME,items=N"),
        ("name=a", "name=NAME,items=N"),
        ("name=a,items=0", "numbers from 1 on"),
        ("name=a,items=5,keysize=65535", "below 65535"),
        ("name=a,items=5,blocks=4", "as many `blocks`"),
        ("name=a,items=5,nodes=10.0.0.1:1717", "without `nodes`"),
        ("name=a,items=5,sync=10.0.0.1:1717", "without `sync`"),
    ] {
        let message = error(&format!("cache2 = {value}"));
        assert!(message.contains(said), "{value}: {message}");
    }
    let unknown = outcome("cache2 = name=a,items=5,colour=red");
    assert!(unknown.config.is_some() && unknown.problems[0].message.contains("`colour`"), "{:?}", unknown.problems);
}

#[test]
fn what_a_cache_begins_with_may_name_one() {
    let shared = config(
        "cache2 = name=a,items=9\nadd-cache-item = a key=va=lue\nadd-cache-item = k=v\nload-file-in-cache-gzip = g\n\
         load-file-in-cache = a /x y\ncheck-cache = a",
    )
    .shared;
    let items: Vec<_> = shared.items.iter().map(|item| (item.cache.as_deref(), &*item.key, &*item.value)).collect();
    assert_eq!(items, [(Some("a"), "key", "va=lue"), (None, "k", "v")]);
    let file =
        |cache: Option<&str>, path: &str, gzip| CacheFile { cache: cache.map(Into::into), path: path.into(), gzip };
    assert_eq!(shared.files, [file(Some("a"), "/x y", false), file(None, "g", true)]);
    assert_eq!(shared.check.as_deref(), Some("a"));
    assert!(error("cache2 = name=a,items=9\ncheck-cache = b").contains("there is no such cache"));
    assert!(error("add-cache-item = k").contains("KEY=VALUE"));
}

#[test]
fn locks_queue_areas_and_metrics_are_read() {
    let shared = config(
        "locks = 4\nqueue = 10\nqueue-store = q\npy-sharedarea = 100\nsharedarea = 2\nsharedarea = size=5000\nsharedarea = file=f,size=0x20\n\
         metric = hits\nmetric = name=load,type=gauge,initial_value=-7\nenable-metrics = true",
    )
    .shared;
    let queue = Queue { slots: 10, slot_bytes: 8192, store: Some("/v/q".into()), store_sync_s: 1 };
    assert_eq!((shared.locks, shared.queue, shared.vassal_metrics), (4, Some(queue), true));
    let memory = |bytes| Area { bytes, file: None };
    assert_eq!(shared.areas, [memory(8192), memory(8192), Area { bytes: 32, file: Some("/v/f".into()) }, memory(4096)]);
    let metric = |name: &str, initial| Metric { name: name.into(), initial };
    assert_eq!(shared.metrics, [metric("hits", 0), metric("load", -7)]);
    for (line, said) in [
        ("sharedarea = 0", "number of pages"),
        ("py-sharedarea = 0", "number of bytes"),
        ("sharedarea = fd=3,size=1", "without `fd`"),
        ("sharedarea = file=x", "size=BYTES"),
        ("metric = name=x,collector=file", "without `collector`"),
        ("metric = type=gauge", "name=NAME"),
    ] {
        let message = error(line);
        assert!(message.contains(said), "{line}: {message}");
    }
}
