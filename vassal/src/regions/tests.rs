//! What is made again, what is kept, and what is refused.

use empery_config::{
    facts::{Facts, NoFiles},
    read::{Entry, read},
};

use super::*;

fn shared(lines: &str) -> configured::Shared {
    let content = format!("[uwsgi]\nmodule = app\nhttp-socket = 127.0.0.1:8000\n{lines}\n");
    let entry = Entry::File { path: "/v/app.ini".into(), content: content.into_bytes() };
    read(&entry, &Facts::default(), &NoFiles).config.unwrap().shared
}

const SMALL: &str = "cache2 = name=a,items=5,blocksize=64,keysize=16,hashsize=7";

fn store(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("empery-regions-{}-{name}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

#[test]
fn the_next_generation_gets_the_same_region_and_one_of_another_size_a_new_one() {
    let mut regions = Regions::default();
    let first = regions.provide(&shared(SMALL)).unwrap();
    assert_eq!(regions.provide(&shared(&format!("{SMALL},purge_lru=1"))).unwrap().caches[0].fd, first.caches[0].fd);
    let larger = regions.provide(&shared(&SMALL.replace("items=5", "items=6"))).unwrap();
    assert_ne!(larger.caches[0].fd, first.caches[0].fd);
    assert_eq!(larger.locks, first.locks);
    let used: Vec<RawFd> = larger.descriptors().collect();
    regions.keep_only(|fd| used.contains(&fd));
    assert_eq!(regions.held.len(), 2);
}

#[test]
fn p3_what_the_last_master_left_is_taken_over_and_what_is_something_else_begins_anew() {
    let config = shared(&format!("{SMALL}\nqueue = 4\nsharedarea = 1\nmetric = m"));
    let mut first = Regions::default();
    first.provide(&config).unwrap();
    let kept = |regions: &Regions| -> Vec<(String, OwnedFd)> {
        let all = regions.to_be_kept().into_iter();
        all.map(|(name, fd)| (name, fd.try_clone_to_owned().unwrap())).collect()
    };
    assert_eq!(kept(&first).len(), 5);
    let metric = Purpose::Metrics(vec![("m".to_owned(), 0)]);
    let length = Metrics::length(1);
    let region = Region::map(first.held[&metric].fd.as_fd(), length).unwrap();
    region.lock().unwrap().store(words::metric_at(0), 42);
    let mut next = Regions::default();
    next.take_kept(kept(&first));
    next.provide(&config).unwrap();
    assert_eq!(next.counted(&config), [("m".to_owned(), 42)]);

    // Names and memory that do not fit each other, and names that mean nothing.
    let mut mixed = kept(&first);
    let names: Vec<String> = mixed.iter().map(|(name, _)| name.clone()).collect();
    for ((name, _), other) in mixed.iter_mut().zip(names.into_iter().cycle().skip(1)) {
        *name = other;
    }
    mixed.push(("nonsense".to_owned(), first.held[&metric].fd.try_clone().unwrap()));
    let mut wrong = Regions::default();
    wrong.take_kept(mixed);
    assert!(wrong.held.is_empty(), "{:?}", wrong.held.keys());
    wrong.provide(&config).unwrap();
    assert_eq!(wrong.counted(&config), [("m".to_owned(), 0)]);
}

#[test]
fn memory_whose_lock_nobody_gives_back_begins_anew_and_holds_nobody_up() {
    let config = shared(&format!("{SMALL}\nqueue = 4"));
    let mut first = Regions::default();
    first.provide(&config).unwrap();
    let all = first.to_be_kept();
    let kept: Vec<_> = all.iter().map(|(name, fd)| (name.clone(), fd.try_clone_to_owned().unwrap())).collect();
    assert_eq!(kept.len(), 3);
    let (taken, is_taken) = std::sync::mpsc::channel();
    let (done, is_done) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let length =
                |fd: &BorrowedFd<'_>| std::fs::File::from(fd.try_clone_to_owned().unwrap()).metadata().unwrap().len();
            let regions: Vec<_> =
                all.iter().map(|(_, fd)| Region::map(*fd, usize::try_from(length(fd)).unwrap()).unwrap()).collect();
            let _locked: Vec<_> = regions.iter().map(|region| region.lock().unwrap()).collect();
            taken.send(()).unwrap();
            // Whoever waits for the locks without an end gets them at last.
            let _ = is_done.recv_timeout(Duration::from_secs(10));
        });
        is_taken.recv().unwrap();
        let mut next = Regions::default();
        next.take_kept(kept);
        drop(done);
        assert!(next.held.keys().eq([&Purpose::Locks(1)]), "{:?}", next.held.keys());
        next.provide(&config).unwrap();
    });
}

#[test]
fn p3_locks_that_workers_of_a_killed_master_have_are_taken_for_its_successor_too() {
    let file = store("area");
    std::fs::write(&file, [7; 4096]).unwrap();
    let config = shared(&format!("locks = 1\nsharedarea = file={},size=4096", file.display()));
    let mut first = Regions::default();
    let before = first.provide(&config).unwrap();
    let fd_in = |regions: &Regions, wanted: RawFd| {
        let held = regions.held.values().find(|held| held.fd.as_raw_fd() == wanted).unwrap();
        held.fd.try_clone().unwrap()
    };
    let count = before.locks.as_ref().unwrap().count;
    let theirs = Locks::map(fd_in(&first, before.locks.unwrap().fd).as_fd(), count).unwrap();
    let area = Region::map(fd_in(&first, before.areas[0].fd).as_fd(), AREA_AT).unwrap();
    let kept = first.to_be_kept().into_iter().map(|(name, fd)| (name, fd.try_clone_to_owned().unwrap())).collect();
    theirs.lock_within(1, Duration::from_secs(1)).unwrap().unwrap();
    area.take().unwrap();

    let mut next = Regions::default();
    next.take_kept(kept);
    let after = next.provide(&config).unwrap();
    let locks = Locks::map(fd_in(&next, after.locks.unwrap().fd).as_fd(), count).unwrap();
    let same = Region::map(fd_in(&next, after.areas[0].fd).as_fd(), AREA_AT).unwrap();
    assert!(after.areas[0].file_fd.is_some(), "the file is opened again");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!((locks.is_locked(0).unwrap(), locks.is_locked(1).unwrap()), (false, true));
            assert!(same.lock_within(Duration::from_millis(1)).unwrap().is_none());
        });
    });
    std::fs::remove_file(file).unwrap();
}

#[test]
fn everything_that_is_asked_for_is_there_and_can_be_mapped() {
    let mut regions = Regions::default();
    let config = shared(&format!(
        "{SMALL}\ncheck-cache = a\nlocks = 2\nqueue = 4\nsharedarea = 1\nmetric = name=m,initial_value=-3\n\
         add-cache-item = a k=v\nload-file-in-cache = /etc/hostname"
    ));
    let words = regions.provide(&config).unwrap();
    let fd_of = |wanted: RawFd| regions.held.values().find(|held| held.fd.as_raw_fd() == wanted).unwrap().fd.as_fd();
    let layout = words.caches[0].shape.layout().unwrap();
    let cache = Region::map(fd_of(words.caches[0].fd), layout.length()).unwrap();
    assert!(Cache::is_there(&cache.lock().unwrap(), &layout));
    let queue = words.queue.as_ref().unwrap();
    let region = Region::map(fd_of(queue.fd), queue.shape.length().unwrap()).unwrap();
    assert!(Queue::is_there(&region.lock().unwrap(), queue.shape));
    assert!(Locks::map(fd_of(words.locks.as_ref().unwrap().fd), 3).is_ok());
    let metrics = words.metrics.as_ref().unwrap();
    let region = Region::map(fd_of(metrics.fd), Metrics::length(1)).unwrap();
    assert_eq!(region.glance().word(words::metric_at(0)).cast_signed(), -3);
    assert!(Region::map(fd_of(words.areas[0].fd), AREA_AT + 4096).is_ok());
    assert_eq!((words.check, words.fillings.len(), words.descriptors().count()), (Some(0), 2, 5));
}

#[test]
fn a_store_is_found_again_and_one_of_another_size_is_refused_or_replaced() {
    let path = store("cache");
    let with_store = format!("{SMALL},store={}", path.display());
    let write = |regions: &mut Regions| {
        let words = regions.provide(&shared(&with_store)).unwrap();
        let layout = words.caches[0].shape.layout().unwrap();
        let held = regions.held.values().find(|held| held.fd.as_raw_fd() == words.caches[0].fd).unwrap();
        (Region::map(held.fd.as_fd(), layout.length()).unwrap(), layout, words.caches[0].rules.clone())
    };
    let mut regions = Regions::default();
    let (region, layout, rules) = write(&mut regions);
    Cache::open(&mut region.lock().unwrap(), &layout, &rules, 1).store(
        b"k",
        b"v",
        0,
        empery_shared::cache::Present::Replaced,
    );
    drop((region, regions));
    let mut regions = Regions::default();
    let (region, layout, rules) = write(&mut regions);
    assert_eq!(Cache::open(&mut region.lock().unwrap(), &layout, &rules, 1).get(b"k").as_deref(), Some(&b"v"[..]));
    drop((region, regions));
    let other = with_store.replace("items=5", "items=6");
    let error = Regions::default().provide(&shared(&other)).unwrap_err();
    assert!(error.contains("the cache \"a\"") && error.contains("remove the file"), "{error}");
    assert!(Regions::default().provide(&shared(&format!("{other},store_delete=1"))).is_ok());
    std::fs::write(&path, "not a cache at all").unwrap();
    assert!(Regions::default().provide(&shared(&with_store)).is_err());
    std::fs::remove_file(path).unwrap();
}

#[test]
fn an_area_of_a_file_must_be_as_long_as_it_says() {
    let path = store("area");
    std::fs::write(&path, "12345678").unwrap();
    let area = |bytes: u32| shared(&format!("sharedarea = file={},size={bytes}", path.display()));
    assert!(Regions::default().provide(&area(8)).unwrap().areas[0].file_fd.is_some());
    let error = Regions::default().provide(&area(9)).unwrap_err();
    assert!(error.contains("has 8 bytes, and the area 9"), "{error}");
    std::fs::remove_file(path).unwrap();
}
