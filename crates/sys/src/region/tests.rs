//! One region in two mappings, in a file, and locks by number.

use super::*;

#[test]
fn what_one_mapping_writes_the_other_reads() {
    let (one, fd) = Region::create("x", 4096, Again::IsAnError).unwrap();
    let other = Region::map(fd.as_fd(), 4096).unwrap();
    one.lock().unwrap().write(100, b"abc");
    one.lock().unwrap().store(64, 7);
    let locked = other.lock().unwrap();
    assert!(locked.holds(100, b"abc") && !locked.holds(100, b"abd"));
    assert_eq!((locked.load(64), other.glance().word(64)), (7, 7));
}

#[test]
fn what_lies_beyond_the_end_is_zero_and_not_written() {
    let (region, _fd) = Region::create("x", 4096, Again::IsAnError).unwrap();
    let mut locked = region.lock().unwrap();
    locked.store(4096, 1);
    locked.write(4090, b"too long");
    let mut bytes = [9; 6];
    locked.read(4090, &mut bytes);
    assert_eq!((locked.load(4096), locked.load(usize::MAX - 7), bytes), (0, 0, [0; 6]));
    assert!(!locked.holds(4095, b"ab") && region.glance().counter(4096).is_none());
}

#[test]
fn one_of_another_length_or_another_library_is_refused() {
    let (region, fd) = Region::create("x", 4096, Again::IsAnError).unwrap();
    assert_eq!(Region::map(fd.as_fd(), 8192).unwrap_err().kind(), io::ErrorKind::InvalidData);
    region.word(robust::BYTES).store(1, Ordering::Relaxed);
    assert_eq!(Region::map(fd.as_fd(), 4096).unwrap_err().kind(), io::ErrorKind::InvalidData);
}

#[test]
fn a_file_keeps_its_content_and_knows_whether_it_is_in_use() {
    let directory = std::env::temp_dir().join(format!("empery-region-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("store");
    let (region, fd, found) = Region::in_file(&path, 4096).unwrap();
    assert_eq!(found, Found::New);
    region.lock().unwrap().store(64, 7);
    let (second, second_fd, found) = Region::in_file(&path, 4096).unwrap();
    assert_eq!((found, second.lock().unwrap().load(64)), (Found::InUse, 7));
    drop((region, fd, second, second_fd));
    let (region, fd, found) = Region::in_file(&path, 4096).unwrap();
    assert_eq!((found, region.lock().unwrap().load(64)), (Found::Left, 7));
    drop((region, fd));
    assert_eq!(Region::in_file(&path, 8192).unwrap_err().kind(), io::ErrorKind::InvalidData);
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_file_has_all_of_its_room_and_one_that_was_not_made_to_the_end_is_new() {
    use std::os::unix::fs::MetadataExt;
    const LENGTH: usize = 1 << 20;
    let path = std::env::temp_dir().join(format!("empery-region-room-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let (region, fd, found) = Region::in_file(&path, LENGTH).unwrap();
    assert_eq!(found, Found::New);
    assert!(std::fs::metadata(&path).unwrap().blocks() * 512 >= LENGTH as u64, "a hole is no room");
    region.lock().unwrap().store(LOCK_BYTES + 8, 1);
    drop((region, fd));
    let (region, fd, found) = Region::in_file(&path, LENGTH).unwrap();
    assert_eq!((found, region.lock().unwrap().load(LOCK_BYTES + 8)), (Found::New, 0));
    region.lock().unwrap().store(LOCK_BYTES, 1);
    drop((region, fd));
    assert_eq!(Region::in_file(&path, LENGTH).unwrap().2, Found::Left);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_lock_is_somebodys_until_it_is_given_back() {
    let (locks, fd) = Locks::create(2).unwrap();
    let others = Locks::map(fd.as_fd(), 2).unwrap();
    let soon = std::time::Duration::from_millis(1);
    assert_eq!(locks.lock_within(1, soon).unwrap(), Some(Before::Free));
    assert_eq!((locks.is_locked(0).unwrap(), locks.is_locked(1).unwrap()), (false, true));
    assert_eq!(locks.lock_within(1, soon).unwrap_err().raw_os_error(), Some(libc::EDEADLK));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!(others.lock_within(1, soon).unwrap(), None);
            assert_eq!(others.unlock(1).unwrap_err().raw_os_error(), Some(libc::EPERM));
        });
    });
    locks.unlock(1).unwrap();
    assert!(!others.is_locked(1).unwrap());
    assert_eq!(locks.lock_within(2, soon).unwrap_err().kind(), io::ErrorKind::NotFound);
}
