//! The cache against a model, and killed between any two stores.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::memory::torn::Torn;

const PLAIN: Shape = Shape { items: 4, block_bytes: 24, blocks: 4, hashes: 3, key_max_bytes: 10, bitmap: false };
const BITMAP: Shape = Shape { items: 6, block_bytes: 8, blocks: 9, hashes: 3, key_max_bytes: 10, bitmap: true };

fn rules() -> Rules {
    Rules {
        expiry: Expiry::Swept { every_s: 3 },
        purge_lru: false,
        clear_on_full: false,
        math_initial: 0,
        last_modified: true,
    }
}

/// A cache in memory that a test can tear.
struct Ground {
    memory: Torn,
    layout: Layout,
    rules: Rules,
    now_s: u64,
}

impl Ground {
    fn new(shape: Shape, rules: Rules) -> Ground {
        let layout = shape.layout().unwrap();
        let mut memory = Torn::new(layout.length());
        Cache::create(&mut memory, &layout, 0x1234_5678_9abc_def1);
        Ground { memory, layout, rules, now_s: 1_000 }
    }

    fn open(&mut self) -> Cache<'_, Torn> {
        Cache::open(&mut self.memory, &self.layout, &self.rules, self.now_s)
    }

    fn counts(&self) -> Counts {
        Counts::of(|at| self.memory.load(at))
    }

    fn store(&mut self, key: &[u8], value: &[u8], expires_s: u64) -> Stored {
        self.open().store(key, value, expires_s, Present::Replaced)
    }

    fn content(&mut self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let keys = self.open().keys();
        let pairs = keys.into_iter().map(|key| {
            let value = self.open().get(&key).unwrap_or_default();
            (key, value)
        });
        pairs.collect()
    }
}

#[test]
fn what_is_stored_is_found_until_it_is_removed() {
    let mut ground = Ground::new(PLAIN, rules());
    assert_eq!(ground.open().store(b"k", b"one", 0, Present::Stays), Stored::Yes);
    assert_eq!(ground.open().store(b"k", b"two", 0, Present::Stays), Stored::Exists);
    assert_eq!(ground.open().get(b"k").as_deref(), Some(b"one".as_slice()));
    assert_eq!(ground.store(b"k", b"two", 0), Stored::Yes);
    assert_eq!(ground.open().get(b"k").as_deref(), Some(b"two".as_slice()));
    assert!(ground.open().delete(b"k") && !ground.open().delete(b"k") && !ground.open().exists(b"k"));
    assert_eq!(ground.open().get(b"k"), None);
    let counts = ground.counts();
    assert_eq!((counts.items, counts.hits, counts.misses, counts.last_modified_s), (0, 2, 1, 1_000));
}

#[test]
fn empty_and_too_long_is_refused() {
    let mut ground = Ground::new(PLAIN, rules());
    for (key, value) in [(&b""[..], &b"v"[..]), (b"k", b""), (b"12345678901", b"v"), (b"k", &[1; 25])] {
        assert_eq!(ground.store(key, value, 0), Stored::Unfit);
    }
    assert_eq!(ground.store(b"1234567890", &[1; 24], 0), Stored::Yes);
}

#[test]
fn a_full_cache_refuses_new_keys_and_takes_updates() {
    let mut ground = Ground::new(PLAIN, rules());
    for key in [b"a", b"b", b"c", b"d"] {
        assert_eq!(ground.store(key, b"v", 0), Stored::Yes);
    }
    let mut cache = ground.open();
    assert_eq!(cache.store(b"e", b"v", 0, Present::Replaced), Stored::Full);
    assert!(cache.noticed.full);
    assert_eq!(ground.store(b"d", b"new", 0), Stored::Yes);
    assert_eq!((ground.content().len(), ground.counts().full), (4, 1));
}

#[test]
fn the_least_lately_used_item_makes_room_where_it_shall() {
    let mut ground = Ground::new(PLAIN, Rules { purge_lru: true, ..rules() });
    for key in [b"a", b"b", b"c", b"d"] {
        ground.store(key, b"v", 0);
    }
    ground.open().get(b"a");
    ground.store(b"b", b"new", 0);
    assert_eq!(ground.store(b"e", b"v", 0), Stored::Yes);
    let keys: Vec<Vec<u8>> = ground.content().into_keys().collect();
    assert_eq!(keys, [b"a", b"b", b"d", b"e"]);
}

#[test]
fn a_full_cache_is_emptied_where_it_shall() {
    let mut ground = Ground::new(PLAIN, Rules { clear_on_full: true, ..rules() });
    for key in [b"a", b"b", b"c", b"d", b"e"] {
        assert_eq!(ground.store(key, b"v", 0), Stored::Yes);
    }
    assert_eq!(ground.content().into_keys().collect::<Vec<_>>(), [b"e"]);
}

#[test]
fn expired_items_are_not_found_and_make_room() {
    for (expiry, found) in [(Expiry::Swept { every_s: 3 }, false), (Expiry::Lazy, false), (Expiry::Never, true)] {
        let mut ground = Ground::new(PLAIN, Rules { expiry, ..rules() });
        for key in [b"a", b"b", b"c", b"d"] {
            ground.store(key, b"v", 1_005);
        }
        ground.now_s = 1_004;
        assert!(ground.open().exists(b"a"));
        ground.now_s = 1_005;
        assert_eq!(ground.open().exists(b"a"), found, "{expiry:?}");
        assert_eq!(ground.open().keys().len(), if found { 4 } else { 0 });
        assert_eq!(ground.store(b"e", b"v", 0), if found { Stored::Full } else { Stored::Yes });
    }
}

#[test]
fn expired_items_are_swept_by_the_next_call_when_it_is_time() {
    let mut ground = Ground::new(PLAIN, rules());
    ground.store(b"a", b"v", 1_001);
    ground.store(b"b", b"v", 1_010);
    ground.now_s = 1_002;
    assert_eq!(ground.open().noticed.freed, 1);
    ground.now_s = 1_010;
    assert_eq!(ground.open().noticed.freed, 1);
    assert_eq!(ground.counts().items, 0);
}

#[test]
fn in_the_middle_of_a_sweep_all_expired_items_make_room_before_anything_else_goes() {
    let items = 1000;
    let shape = Shape { items, block_bytes: 8, blocks: items, hashes: 97, key_max_bytes: 10, bitmap: false };
    let mut ground = Ground::new(shape, Rules { clear_on_full: true, ..rules() });
    for number in 0..items {
        let expires_s = if number < SWEPT_AT_ONCE { 0 } else { 1_001 };
        assert_eq!(ground.store(number.to_string().as_bytes(), b"v", expires_s), Stored::Yes);
    }
    ground.now_s = 1_010;
    assert_eq!(ground.open().noticed.freed, 0, "the first part has nothing that expires");
    // Nobody has opened it since: this call itself is in the middle.
    let layout = ground.layout;
    let mut cache = Cache {
        memory: &mut ground.memory,
        layout: &layout,
        rules: &ground.rules,
        now_s: 1_010,
        noticed: Noticed::default(),
    };
    assert_eq!(cache.store(b"new", b"v", 0, Present::Replaced), Stored::Yes);
    assert_eq!((ground.counts().items, ground.counts().full), (SWEPT_AT_ONCE + 1, 0));
}

#[test]
fn an_update_that_cannot_fit_leaves_everything_where_it_is() {
    let mut ground = Ground::new(BITMAP, Rules { purge_lru: true, ..rules() });
    for key in [b"a", b"b", b"c"] {
        assert_eq!(ground.store(key, &[1; 24], 0), Stored::Yes);
    }
    // It has the three blocks in the middle: seven in a row are nowhere beside it, and three are.
    assert_eq!(ground.store(b"b", &[2; 56], 0), Stored::Full);
    assert_eq!((ground.content().len(), ground.open().get(b"b")), (3, Some(vec![1; 24])));
    assert_eq!(ground.store(b"b", &[2; 24], 0), Stored::Yes);
    assert_eq!((ground.content().len(), ground.open().get(b"b")), (2, Some(vec![2; 24])));
}

#[test]
fn numbers_are_counted_from_their_beginning_and_keep_their_end() {
    let mut ground = Ground::new(PLAIN, Rules { math_initial: 10, ..rules() });
    let number = |ground: &mut Ground| i64::from_ne_bytes(ground.open().get(b"n").unwrap().try_into().unwrap());
    assert_eq!(ground.open().math(b"n", Math::Inc, 5, 1_003), Stored::Yes);
    assert_eq!(number(&mut ground), 15);
    for (math, by, then) in
        [(Math::Dec, 1, 14), (Math::Mul, 3, 42), (Math::Div, 4, 10), (Math::Div, 0, 0), (Math::Dec, 1, -1)]
    {
        ground.open().math(b"n", math, by, 0);
        assert_eq!(number(&mut ground), then);
    }
    ground.open().math(b"n", Math::Mul, i64::MIN, 0);
    ground.open().math(b"n", Math::Div, -1, 0);
    ground.now_s = 1_003;
    assert!(!ground.open().exists(b"n"));
}

#[test]
fn a_value_of_several_blocks_takes_free_ones_in_a_row() {
    let mut ground = Ground::new(BITMAP, rules());
    assert_eq!(ground.store(b"a", &[1; 24], 0), Stored::Yes);
    assert_eq!(ground.store(b"b", &[2; 24], 0), Stored::Yes);
    assert_eq!(ground.store(b"c", &[3; 17], 0), Stored::Yes);
    assert_eq!(ground.store(b"d", &[4; 1], 0), Stored::Full);
    ground.open().delete(b"b");
    assert_eq!(ground.store(b"d", &[4; 16], 0), Stored::Yes);
    assert_eq!(ground.store(b"e", &[5; 16], 0), Stored::Full);
    assert_eq!(ground.store(b"e", &[5; 8], 0), Stored::Yes);
    assert_eq!(ground.content().into_values().map(|value| value[0]).collect::<Vec<_>>(), [1, 3, 4, 5]);
    assert_eq!(ground.store(b"a", &[9; 73], 0), Stored::Unfit);
}

#[test]
fn the_whole_of_a_big_bitmap_can_be_used() {
    let shape = Shape { items: 4, block_bytes: 1, blocks: 200, hashes: 1, key_max_bytes: 8, bitmap: true };
    let mut ground = Ground::new(shape, Rules { purge_lru: true, ..rules() });
    for length in [200, 63, 64, 65, 129, 7, 200, 100, 100] {
        assert_eq!(ground.store(b"a", &vec![1; length], 0), Stored::Yes, "{length}");
        ground.open().clear();
    }
    assert_eq!(ground.store(b"a", &[1; 150], 0), Stored::Yes);
    assert_eq!(ground.store(b"b", &[2; 150], 0), Stored::Yes, "the older one goes");
    assert_eq!(ground.content().into_keys().collect::<Vec<_>>(), [b"b"]);
}

#[test]
fn a_cache_of_another_shape_or_with_garbage_is_not_believed() {
    let mut ground = Ground::new(PLAIN, rules());
    assert!(Cache::is_there(&ground.memory, &ground.layout));
    assert!(!Cache::is_there(&ground.memory, &BITMAP.layout().unwrap()));
    ground.store(b"a", b"v", 0);
    for seed in 0..300_u64 {
        // Whatever stands there behind the head, every call comes back.
        let mut word = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        for at in (ground.layout.table as usize..ground.memory.bytes.len()).step_by(8) {
            word = word.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31);
            let small = if seed % 2 == 0 { word % 7 } else { word };
            ground.memory.store(at, small);
        }
        ground.open().get(b"a");
        ground.store(b"b", b"v", 0);
        ground.open().keys();
        ground.open().delete(b"a");
        ground.open().clear();
        assert_eq!(ground.open().keys().len(), 0);
    }
}

#[derive(Debug, Clone)]
enum Call {
    Store(u8, usize, u64, bool),
    Delete(u8),
    Get(u8),
    Math(u8, i64),
    Clear,
    Later(u64),
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        6 => (0..7_u8, 1..30_usize, 0..6_u64, any::<bool>()).prop_map(|(k, l, e, r)| Call::Store(k, l, e, r)),
        2 => (0..7_u8).prop_map(Call::Delete),
        2 => (0..7_u8).prop_map(Call::Get),
        2 => (0..7_u8, -3..3_i64).prop_map(|(key, by)| Call::Math(key, by)),
        1 => Just(Call::Clear),
        2 => (1..4_u64).prop_map(Call::Later),
    ]
}

fn perform(ground: &mut Ground, call: &Call, number: u8) -> Option<Stored> {
    let end = |ground: &Ground, expires: u64| if expires == 0 { 0 } else { ground.now_s + expires };
    match call {
        Call::Store(key, length, expires, replace) => {
            let expires_s = end(ground, *expires);
            let present = if *replace { Present::Replaced } else { Present::Stays };
            return Some(ground.open().store(&[*key], &vec![number; *length], expires_s, present));
        }
        Call::Math(key, by) => return Some(ground.open().math(&[*key], Math::Inc, *by, 0)),
        Call::Delete(key) => drop(ground.open().delete(&[*key])),
        Call::Get(key) => drop(ground.open().get(&[*key])),
        Call::Clear => ground.open().clear(),
        Call::Later(seconds) => ground.now_s += seconds,
    }
    None
}

/// What a cache without limits would hold.
#[derive(Debug, Default, Clone)]
struct Model {
    items: BTreeMap<Vec<u8>, (Vec<u8>, u64)>,
}

impl Model {
    fn perform(&mut self, ground: &Ground, call: &Call, number: u8, stored: Option<Stored>) {
        self.expire(ground.now_s);
        match call {
            Call::Store(key, length, expires, _) if stored == Some(Stored::Yes) => {
                let expires_s = if *expires == 0 { 0 } else { ground.now_s + expires };
                self.items.insert(vec![*key], (vec![number; *length], expires_s));
            }
            Call::Math(key, by) if stored == Some(Stored::Yes) => {
                let (mut bytes, expires_s) = self.items.remove(&vec![*key]).unwrap_or((vec![0; 8], 0));
                bytes.resize(8, 0);
                let number = i64::from_ne_bytes(bytes.try_into().unwrap()).wrapping_add(*by);
                self.items.insert(vec![*key], (number.to_ne_bytes().to_vec(), expires_s));
            }
            Call::Store(..) | Call::Math(..) | Call::Get(_) | Call::Later(_) => {}
            Call::Delete(key) => drop(self.items.remove(&vec![*key])),
            Call::Clear => self.items.clear(),
        }
    }

    fn expire(&mut self, now_s: u64) {
        self.items.retain(|_, (_, expires_s)| *expires_s == 0 || *expires_s > now_s);
    }

    fn content(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        self.items.iter().map(|(key, (value, _))| (key.clone(), value.clone())).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_cache_holds_what_a_model_holds(bitmap in any::<bool>(), calls in prop::collection::vec(call(), 1..60)) {
        let mut ground = Ground::new(if bitmap { BITMAP } else { PLAIN }, rules());
        let mut model = Model::default();
        for (number, call) in calls.iter().enumerate() {
            let number = number as u8 | 1;
            let stored = perform(&mut ground, call, number);
            if stored == Some(Stored::Full) {
                model.expire(ground.now_s);
                let items = ground.layout.shape.items as usize;
                prop_assert!(bitmap || model.items.len() >= items, "full with {}", model.items.len());
            }
            model.perform(&ground, call, number, stored);
            model.expire(ground.now_s);
            prop_assert_eq!(ground.content(), model.content(), "after {:?}", call);
        }
    }

    #[test]
    fn least_used_items_go_and_nothing_else_does(bitmap in any::<bool>(), calls in prop::collection::vec(call(), 1..60)) {
        let mut ground = Ground::new(if bitmap { BITMAP } else { PLAIN }, Rules { purge_lru: true, ..rules() });
        let mut model = Model::default();
        for (number, call) in calls.iter().enumerate() {
            let number = number as u8 | 1;
            let stored = perform(&mut ground, call, number);
            model.perform(&ground, call, number, stored);
            model.expire(ground.now_s);
            let (content, known) = (ground.content(), model.content());
            prop_assert!(stored != Some(Stored::Full) || bitmap);
            for (key, value) in &content {
                prop_assert_eq!(Some(value), known.get(key), "after {:?}", call);
            }
            model.items.retain(|key, _| content.contains_key(key));
        }
    }

    /// The process is killed after any number of writes of the last call: what was there before is there, or what the
    /// call would have made; never anything else.
    #[test]
    fn a_process_killed_anywhere_leaves_the_state_before_or_after(
        bitmap in any::<bool>(), calls in prop::collection::vec(call(), 1..25), last in call()
    ) {
        let mut ground = Ground::new(if bitmap { BITMAP } else { PLAIN }, rules());
        for (number, call) in calls.iter().enumerate() {
            perform(&mut ground, call, number as u8 | 1);
        }
        let before = ground.content();
        let (bytes, now_s) = (ground.memory.bytes.clone(), ground.now_s);
        perform(&mut ground, &last, 255);
        let after = ground.content();
        for left in 0.. {
            ground.memory.bytes.clone_from(&bytes);
            ground.memory.left = Some(left);
            ground.now_s = now_s;
            perform(&mut ground, &last, 255);
            let is_done = ground.memory.left != Some(0);
            ground.memory.left = None;
            let torn = ground.content();
            let each_is_known = torn.iter().all(|(key, value)| before.get(key) == Some(value) || after.get(key) == Some(value));
            prop_assert!(each_is_known, "{:?} after {left} writes: {:?}", last, torn);
            let none_is_missing = before.keys().all(|key| torn.contains_key(key) || !after.contains_key(key));
            prop_assert!(none_is_missing, "{:?} after {left} writes lost {:?}", last, torn);
            // It goes on.
            ground.open().clear();
            prop_assert_eq!(ground.store(b"x", b"y", 0), Stored::Yes);
            if is_done {
                break;
            }
        }
    }
}
