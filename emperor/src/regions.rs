//! Which of the memory that a master's workers share is kept for its next master. A vassal is a stranger: what it hands over may be
//! anything, so that the brain looks before it passes something on, and the keeper, which may not be held up, looks again.

use std::os::fd::{AsFd, OwnedFd};

use empery_control::keeper::{REGION_NAME_MAX_BYTES, REGIONS_MAX, REGIONS_MAX_BYTES};
use empery_sys::memfd;

/// What was handed over.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    /// What can be kept.
    pub(crate) good: Vec<(String, OwnedFd)>,
    /// What cannot. To close some of it may take long: a socket that lingers (socket(7), SO_LINGER).
    pub(crate) bad: Vec<OwnedFd>,
    /// Why the first of these cannot.
    pub(crate) why: Option<String>,
}

/// Looks at every descriptor with its name.
pub(crate) fn look(names: Vec<String>, fds: Vec<OwnedFd>) -> Looked {
    if names.len() != fds.len() {
        let why = format!("{} names came with {} descriptors", names.len(), fds.len());
        return Looked { bad: fds, why: Some(why), ..Looked::default() };
    }
    let mut looked = Looked::default();
    let mut bytes = 0_u64;
    for (name, fd) in names.into_iter().zip(fds) {
        let together = memfd::fixed_length(fd.as_fd()).map(|length| bytes.saturating_add(length));
        let why = match together {
            None => "it is no memory of a fixed length (memfd_create(2), F_SEAL_GROW and F_SEAL_SHRINK)".to_owned(),
            Some(together) if together > REGIONS_MAX_BYTES => {
                format!("all of it together would have more than {REGIONS_MAX_BYTES} bytes")
            }
            Some(_) if looked.good.len() == REGIONS_MAX => format!("there are more than {REGIONS_MAX}"),
            Some(_) if name.len() > REGION_NAME_MAX_BYTES => {
                format!("its name is longer than {REGION_NAME_MAX_BYTES} bytes")
            }
            Some(together) => {
                bytes = together;
                looked.good.push((name, fd));
                continue;
            }
        };
        looked.bad.push(fd);
        looked.why.get_or_insert(why);
    }
    looked
}

#[cfg(test)]
mod tests {
    use super::*;
    use empery_sys::region::{Again, Region};

    fn memory(bytes: usize) -> OwnedFd {
        Region::create("region", bytes, Again::IsAnError).unwrap().1
    }

    fn names(number: usize) -> Vec<String> {
        (0..number).map(|number| number.to_string()).collect()
    }

    #[test]
    fn only_memory_of_a_fixed_length_is_kept() {
        let (read, write) = empery_sys::pipe::cloexec_pipe().unwrap();
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let growing = memfd::growing("grows").unwrap();
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        let looked = look(names(7), vec![memory(4096), read, write, socket.into(), growing, file.into(), memory(8192)]);
        assert_eq!(looked.good.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["0", "6"]);
        assert_eq!(looked.bad.len(), 5);
        assert!(looked.why.unwrap().contains("fixed length"));
    }

    #[test]
    fn as_much_is_kept_as_the_limits_say() {
        let half = usize::try_from(REGIONS_MAX_BYTES / 2).unwrap();
        let looked = look(names(4), vec![memory(half), memory(half + 4096), memory(half - 4096), memory(4096)]);
        assert_eq!(looked.good.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["0", "2", "3"]);
        assert!(looked.why.unwrap().contains("bytes"));

        let looked = look(names(REGIONS_MAX + 1), (0..=REGIONS_MAX).map(|_| memory(4096)).collect());
        assert_eq!((looked.good.len(), looked.bad.len()), (REGIONS_MAX, 1));
        let looked = look(vec!["x".repeat(REGION_NAME_MAX_BYTES + 1)], vec![memory(4096)]);
        assert_eq!((looked.good.len(), looked.bad.len()), (0, 1));
        let looked = look(names(2), vec![memory(4096)]);
        assert_eq!((looked.good.len(), looked.bad.len()), (0, 1));
    }
}
