//! The vassal's listening sockets, kept by canonical address across revisions. Alone, the master binds them; under an
//! emperor it is given them. Either way a revision gets all of its sockets or none, and the old ones stay.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::Permissions,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    },
    path::PathBuf,
};

use empery_config::{
    address::Address,
    vassal::{Door, Listener},
};
use empery_control::keeper::{ListenAddress, ListenSpec};
use nix::{fcntl::OFlag, sys::socket::Backlog};

/// See the module.
pub(crate) struct Listeners {
    held: BTreeMap<String, Held>,
    source: Source,
}

/// Where a socket that is not held comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// This process binds it.
    Bind,
    /// The emperor passes it along with the order.
    Emperor,
}

/// One socket.
pub(crate) struct Held {
    /// The socket.
    pub(crate) socket: OwnedFd,
    /// Where it is bound, with the port the kernel chose; None when it was given and nobody has asked yet.
    pub(crate) bound: Option<ListenAddress>,
    /// Device and inode of its path, so that a path somebody else has taken is never removed.
    pub(crate) path: Option<(PathBuf, u64, u64)>,
}

impl Listeners {
    /// None yet.
    pub(crate) fn new(source: Source) -> Self {
        Self { held: BTreeMap::new(), source }
    }

    /// Takes a socket that exists; one held under the same address stays.
    pub(crate) fn take(&mut self, key: String, socket: OwnedFd) {
        self.held.entry(key).or_insert(Held { socket, bound: None, path: None });
    }

    /// Takes a socket that an earlier image of this master held.
    pub(crate) fn take_over(&mut self, key: String, held: Held) {
        self.held.insert(key, held);
    }

    /// Makes sure that every listener of a revision is held.
    ///
    /// # Errors
    /// One sentence that names the address; what was bound by this call is closed again.
    pub(crate) fn provide(&mut self, wanted: &[Listener]) -> Result<(), String> {
        let mut fresh: Vec<String> = Vec::new();
        for listener in wanted {
            let key = listener.address.to_string();
            if let Some(held) = self.held.get(&key) {
                adjust(held, &key, listener);
                continue;
            }
            match self.obtain(&key, listener) {
                Ok(held) => {
                    self.held.insert(key.clone(), held);
                    fresh.push(key);
                }
                Err(sentence) => {
                    self.close(&fresh);
                    return Err(sentence);
                }
            }
        }
        Ok(())
    }

    /// Says where the sockets of a configuration are bound, in uWSGI's words.
    pub(crate) fn say_bound(&self, listeners: &[Listener]) {
        for (number, listener) in listeners.iter().enumerate() {
            let held = self.get(&listener.address.to_string());
            let bound = held.and_then(|held| held.bound.as_ref());
            let how = if bound.is_some() { "bound to" } else { "inherited" };
            let place = match (bound, &listener.address) {
                (Some(ListenAddress::Tcp(address)), Address::Tcp(asked)) => {
                    let auto = if asked.port() == 0 { " (port auto-assigned)" } else { "" };
                    format!("TCP address {address}{auto}")
                }
                (_, Address::Private(_)) => continue,
                (_, Address::Tcp(address)) => format!("TCP address {address}"),
                (_, address) => format!("UNIX address {address}"),
            };
            let spoken = match (&listener.door, listener.protocol) {
                (Door::Tls(_), _) => "https",
                (Door::TlsUwsgi(_), _) => "suwsgi",
                (_, protocol) => protocol.as_str(),
            };
            crate::log::say(&format!("{spoken} socket {number} {how} {place}"));
        }
    }

    /// The socket of an address.
    pub(crate) fn get(&self, key: &str) -> Option<&Held> {
        self.held.get(key)
    }

    /// All, in the order of their addresses.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Held)> {
        self.held.iter().map(|(key, held)| (key.as_str(), held))
    }

    /// Closes every socket that is not in use, and answers with their addresses.
    pub(crate) fn release_all_but(&mut self, used: &BTreeSet<String>) -> Vec<String> {
        let released: Vec<_> = self.held.keys().filter(|key| !used.contains(*key)).cloned().collect();
        self.close(&released);
        released
    }

    /// `vacuum`: removes the paths of the unix sockets this process bound, and closes everything.
    pub(crate) fn vacuum(&mut self) {
        for (path, device, inode) in self.held.values().filter_map(|held| held.path.as_ref()) {
            let shown = path.display();
            match remove_own_path(path, *device, *inode) {
                Ok(true) => crate::log::say(&format!("VACUUM: unix socket {shown} removed.")),
                Ok(false) => {}
                Err(error) => crate::log::say(&format!("VACUUM: the unix socket {shown} cannot be removed: {error}")),
            }
        }
        self.held.clear();
    }

    fn close(&mut self, keys: &[String]) {
        for held in keys.iter().filter_map(|key| self.held.remove(key)) {
            if let Some((path, device, inode)) = held.path {
                // A path that stays is found stale and replaced by whoever binds there next.
                drop(remove_own_path(&path, device, inode));
            }
        }
    }

    fn obtain(&self, key: &str, listener: &Listener) -> Result<Held, String> {
        // A name that the kernel chooses is nobody else's: a master that gets none of an earlier one makes it.
        if self.source == Source::Emperor && !matches!(listener.address, Address::Private(_)) {
            return Err(format!("the emperor did not pass the listening socket {key} along"));
        }
        let spec = spec(key, listener)?;
        warn_of_clamp(key, listener.backlog);
        let (socket, bound) = empery_sys::listen::bind(&spec).map_err(|error| self.why_not(listener, &error))?;
        let path = match &bound {
            ListenAddress::Unix(path) => {
                std::fs::symlink_metadata(path).ok().map(|facts| (path.clone(), facts.dev(), facts.ino()))
            }
            ListenAddress::Tcp(_) | ListenAddress::Abstract(_) => None,
        };
        Ok(Held { socket, bound: Some(bound), path })
    }

    /// Why a socket cannot be bound. The process that has the port may be this one: an edit from `127.0.0.1:8000` to
    /// `:8000` asks for both at once, since the old socket is kept until the new generation serves.
    fn why_not(&self, listener: &Listener, error: &empery_sys::listen::BindError) -> String {
        let own = match &listener.address {
            Address::Tcp(wanted) => self.held.iter().find(|(_, held)| {
                matches!(held.bound, Some(ListenAddress::Tcp(own)) if own.port() == wanted.port() && wanted.port() != 0)
            }),
            Address::Unix(_) | Address::Abstract(_) | Address::Private(_) => None,
        };
        match own {
            Some((own, _)) => format!(
                "{error}; this vassal itself listens on {own} of that port: keep that address, or stop the vassal and \
                 start it again"
            ),
            None => error.to_string(),
        }
    }
}

/// What an edit may change of a socket that is bound already: the mode of its path and the length of its queue.
fn adjust(held: &Held, key: &str, listener: &Listener) {
    let Some(bound) = &held.bound else { return };
    let length = i32::try_from(listener.backlog).ok().and_then(|length| Backlog::new(length).ok());
    if let Some(length) = length
        && let Err(error) = nix::sys::socket::listen(&held.socket, length)
    {
        crate::log::say(&format!("*** the listen queue of {key} keeps its length: {} ***", error.desc()));
    }
    if let (ListenAddress::Unix(_), Some(mode), Some(path)) = (bound, listener.mode, &held.path)
        && let Err(error) = change_mode(path, mode)
    {
        crate::log::say(&format!("*** chmod-socket = {mode:o} does not take effect on {key}: {error} ***"));
    }
}

/// Changes the mode of a path that is still the socket this process bound; a path somebody else has taken is left alone.
fn change_mode((path, device, inode): &(PathBuf, u64, u64), mode: u32) -> std::io::Result<()> {
    let flags = (OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC).bits();
    let socket = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let facts = socket.metadata()?;
    if (facts.dev(), facts.ino()) != (*device, *inode) || facts.mode() & 0o7777 == mode {
        return Ok(());
    }
    // chmod(2) by descriptor does not take one that was opened with O_PATH; its name in /proc does (proc(5)).
    let name = format!("/proc/self/fd/{}", socket.as_raw_fd());
    std::fs::set_permissions(name, Permissions::from_mode(mode))
}

/// Whether it was still ours, and so was removed.
fn remove_own_path(path: &PathBuf, device: u64, inode: u64) -> std::io::Result<bool> {
    if !std::fs::symlink_metadata(path).is_ok_and(|facts| (facts.dev(), facts.ino()) == (device, inode)) {
        return Ok(false);
    }
    std::fs::remove_file(path).map(|()| true)
}

fn spec(key: &str, listener: &Listener) -> Result<ListenSpec, String> {
    let owner = match &listener.owner {
        None => None,
        Some((user, group)) => Some(owner(key, user, group.as_deref())?),
    };
    Ok(ListenSpec {
        key: key.to_owned(),
        address: where_to(&listener.address),
        backlog: listener.backlog,
        mode: listener.mode,
        owner,
        reuse_port: listener.reuse_port,
        freebind: listener.freebind,
    })
}

fn owner(key: &str, user: &str, group: Option<&str>) -> Result<(Option<u32>, Option<u32>), String> {
    let uid = match user {
        "" => None,
        user => Some(empery_sys::identity::user(user).map_err(|error| format!("chown-socket of {key}: {error}"))?.uid),
    };
    let gid = match group {
        None | Some("") => None,
        Some(group) => {
            Some(empery_sys::identity::group(group).map_err(|error| format!("chown-socket of {key}: {error}"))?)
        }
    };
    Ok((uid, gid))
}

/// The address in the words of the keeper.
pub(crate) fn where_to(address: &Address) -> ListenAddress {
    match address {
        Address::Tcp(address) => ListenAddress::Tcp(*address),
        Address::Unix(path) => ListenAddress::Unix(path.clone()),
        Address::Abstract(name) => ListenAddress::Abstract(name.clone()),
        Address::Private(_) => ListenAddress::Abstract(String::new()),
    }
}

/// uWSGI refuses to start with a `listen` above the kernel's limit; here it is cut to it, and said.
fn warn_of_clamp(key: &str, backlog: u32) {
    let limit =
        std::fs::read_to_string("/proc/sys/net/core/somaxconn").ok().and_then(|text| text.trim().parse::<u32>().ok());
    if let Some(limit) = limit.filter(|limit| backlog > *limit) {
        crate::log::say(&format!(
            "*** WARNING: the listen queue of {key} is {limit}, not {backlog}: net.core.somaxconn allows no more ***"
        ));
    }
}

#[cfg(test)]
mod tests {
    use empery_config::vassal::Protocol;

    use super::*;

    fn listener(address: Address) -> Listener {
        Listener {
            address,
            protocol: Protocol::Http,
            backlog: 10,
            mode: None,
            owner: None,
            reuse_port: false,
            freebind: false,
            workers: Vec::new(),
            proxy_protocol: false,
            door: Door::Workers,
            nph: false,
            defer_accept: true,
            http: Default::default(),
        }
    }

    #[test]
    fn when_one_socket_cannot_be_bound_all_old_ones_stay_and_no_new_one_does() {
        let place = std::env::temp_dir().join(format!("empery-listeners-{}", std::process::id()));
        std::fs::create_dir_all(&place).unwrap();
        let (old, new) = (place.join("old.sock"), place.join("new.sock"));
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut listeners = Listeners::new(Source::Bind);
        listeners.provide(&[listener(Address::Unix(old.clone()))]).unwrap();
        let wanted = [Address::Unix(new.clone()), Address::Tcp(taken.local_addr().unwrap())].map(listener);
        let sentence = listeners.provide(&wanted).unwrap_err();
        assert!(sentence.contains(&taken.local_addr().unwrap().to_string()), "{sentence}");
        assert_eq!(listeners.iter().map(|(key, _)| key).collect::<Vec<_>>(), [old.to_str().unwrap()]);
        assert!(old.exists() && !new.exists());
        let _ = std::fs::remove_dir_all(place);
    }

    #[test]
    fn a_path_that_somebody_else_has_taken_is_left_alone() {
        let place = std::env::temp_dir().join(format!("empery-taken-{}", std::process::id()));
        std::fs::create_dir_all(&place).unwrap();
        let path = place.join("app.sock");
        let mut listeners = Listeners::new(Source::Bind);
        listeners.provide(&[listener(Address::Unix(path.clone()))]).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "another's").unwrap();
        listeners.vacuum();
        assert!(path.exists());
        let _ = std::fs::remove_dir_all(place);
    }
}
