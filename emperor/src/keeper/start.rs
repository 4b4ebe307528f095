//! Starts a master: its places, its lock, its link, its log, its boot spec, and then the process itself. The lock's text
//! is written before the process becomes the master: at no moment is there a master that a new keeper could not find.

use std::{
    fs::{DirBuilder, Permissions},
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{DirBuilderExt, PermissionsExt},
    },
    path::Path,
};

use empery_control::{
    boot::{KeptListener, KeptRegion, MasterBoot},
    keeper::{LockText, StartMaster},
    places::{self, BerthPlaces},
};
use empery_failpoint::{point, step};
use empery_lifecycle::{
    fleet::{Berth, Identity, MasterKey},
    ids::VassalName,
};
use empery_sys::{
    identity, memfd, process, seqpacket,
    spawn::{DropTo, Held, Spawn, hold},
};

use super::{
    desk::{Desk, Refusal, is_content},
    environment,
    locks::{self, TakenLock},
    masters::Master,
    rooms, tls_files,
};

/// How many orphaned workers may wait for a successor master without being refused.
const LINK_BACKLOG: i32 = 256;

impl Desk {
    /// Starts the master of the order; its pid.
    ///
    /// # Errors
    /// What is missing, not allowed, or failed. Nothing runs then.
    pub(super) fn start_master(&mut self, mut order: StartMaster, content: &OwnedFd) -> Result<i32, Refusal> {
        order.user = self.user_for_groups(&order)?;
        let MasterKey { vassal, berth, .. } = &order.master;
        self.may_be(vassal, order.identity)?;
        self.may_have(vassal, &order.groups)?;
        if !is_content(content) {
            return Err(Refusal::new("io", format!("the content of {vassal} must come as a regular file")));
        }
        let listeners = self.kept_for(&order)?;
        let regions = self.store.regions(vassal, order.identity);
        let regions = regions.iter().map(|(name, fd)| KeptRegion { name: name.clone(), fd: fd.as_raw_fd() }).collect();
        // Who comes from now on is the master's to accept.
        self.store.unwatch(vassal);
        let places = places::berth(&self.runtime, vassal, *berth);
        let failed = |attempted: &'static str| {
            let vassal = vassal.clone();
            move |error: io::Error| Refusal::io(format_args!("{attempted} {vassal}"), &error)
        };
        make_berth(&places).map_err(failed("making the places of"))?;
        let former_uids = self.former_uids(vassal, order.identity);
        let lock = if self.masters.lives_in(vassal, *berth) {
            None
        } else {
            TakenLock::take(&places.lock).map_err(failed("locking the berth of"))?
        };
        let Some(mut lock) = lock else {
            return Err(Refusal::new("spawn", format!("{vassal} has a living master in berth {}", berth.as_str())));
        };
        let logs = places::logs(&self.state, vassal);
        let log_directory = rooms::log_directory(&logs, order.identity.uid, self.brain.gid)
            .map_err(failed("making the log directory of"))?;
        let log = self.store.log(vassal, order.identity).map_err(failed("making the log pipe of"))?;
        let (log_read_fd, log_write_fd) = (log.read.as_raw_fd(), log.write.as_raw_fd());
        let link =
            self.store.link(vassal, *berth, || bind_link(&places.link)).map_err(failed("binding the link of"))?;
        let tls_files = tls_files::open(&self.directory, vassal, &order.tls_files)?;
        let boot = MasterBoot {
            master: order.master.clone(),
            config_path: self.directory.sources().path_of(vassal),
            working_directory: self.directory.sources().working_directory(vassal).to_owned(),
            started_by: Some(match self.tyrant {
                // There the owner has started it.
                Some(_) => (order.identity.uid, order.identity.gid),
                None => (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw()),
            }),
            config_fd: content.as_raw_fd(),
            revision: order.revision,
            operation: order.operation,
            first_generation: order.first_generation,
            listeners,
            awaited_listeners: order.awaited_listeners.clone(),
            regions,
            tls_files: tls_files.iter().map(|(path, file)| (path.clone(), file.as_raw_fd())).collect(),
            link_fd: link.as_raw_fd(),
            link_path: places.link,
            lock_fd: lock.held.as_raw_fd(),
            log_read_fd,
            log_write_fd,
            log_directory,
            brain_uid: self.brain.uid,
            brain_uid_path: places::brain_uid(&self.runtime),
            former_uids: former_uids.clone(),
            frozen: order.frozen,
            on_demand: order.on_demand.clone(),
            common: order.common.clone(),
            uid: order.identity.uid,
            gid: order.identity.gid,
        };
        let spec =
            serde_json::to_vec(&boot).map_err(io::Error::from).and_then(|text| memfd::sealed("empery-boot", &text));
        let spec = spec.map_err(failed("writing the boot spec of"))?;
        point!("keeper.start").map_err(failed("starting the master of"))?;
        let held = hold(self.plan(&order, &boot, &spec)).map_err(failed("starting the master of"))?;
        point!("keeper.forked").map_err(failed("writing the lock of"))?;
        name_holder(&mut lock, &order, &held).map_err(failed("writing the lock of"))?;
        let child = point!("keeper.named")
            .and_then(|()| held.release())
            .map_err(|error| Refusal::new("spawn", format!("starting the master of {vassal}: {error}")))?;
        step!("keeper.started");
        tracing::info!(%vassal, pid = child.pid, serial = order.master.serial.0, "master started");
        let pid = child.pid;
        let (vassal, berth) = (vassal.clone(), *berth);
        self.masters.add(order.master, Master::new(pid, child.pidfd, order.identity, former_uids));
        self.lead_on(&vassal, berth.other());
        Ok(pid)
    }

    /// Who else masters of this vassal were since it was stopped last. A tyrant's vassal that has another owner now is another's:
    /// what the earlier one has left is not to be trusted.
    fn former_uids(&self, vassal: &VassalName, identity: Identity) -> Vec<u32> {
        if self.tyrant.is_some() {
            return Vec::new();
        }
        let text = |berth| locks::text_at(&places::berth(&self.runtime, vassal, berth).lock).ok();
        let uids = [Berth::A, Berth::B].into_iter().filter_map(text).map(|text| text.identity.uid);
        uids.filter(|uid| *uid != identity.uid).collect()
    }

    /// The user whose supplementary groups the master gets.
    ///
    /// # Errors
    /// `policy`: another than the one it is to run as is not believed.
    fn user_for_groups(&self, order: &StartMaster) -> Result<Option<String>, Refusal> {
        let vassal = &order.master.vassal;
        let wants_none = self.tyrant.is_some_and(|tyrant| !tyrant.initgroups);
        let Some(user) = order.user.as_ref().filter(|_| !wants_none) else { return Ok(None) };
        let failed = |error: io::Error| Refusal::io(format_args!("looking up {user} for {vassal}"), &error);
        let found = identity::user(user).map_err(failed)?;
        if found.name.as_ref() != Some(user) || found.uid != order.identity.uid {
            return Err(Refusal::new(
                "policy",
                format!("{vassal}: the groups of {user} are not for a master of uid {}", order.identity.uid),
            ));
        }
        if order.groups.is_empty() {
            let groups = identity::groups_of(&found).map_err(failed)?;
            let refused = |why: String| Refusal::new("policy", format!("{vassal}: {why}"));
            self.uid_policy.check_groups(&groups).map_err(refused)?;
        }
        Ok(Some(user.clone()))
    }

    fn kept_for(&self, order: &StartMaster) -> Result<Vec<KeptListener>, Refusal> {
        let vassal = &order.master.vassal;
        let kept = |key: &String| match self.store.listener(vassal, key) {
            Some(kept) => Ok(KeptListener { key: key.clone(), fd: kept.socket.as_raw_fd() }),
            None => {
                Err(Refusal::new("not-found", format!("no listening socket {key} is kept for {vassal}: bind it first")))
            }
        };
        order.listeners.iter().map(kept).collect()
    }

    fn plan(&self, order: &StartMaster, boot: &MasterBoot, spec: &OwnedFd) -> Spawn {
        let mut inherit: Vec<_> = boot.listeners.iter().map(|kept| kept.fd).collect();
        inherit.extend(boot.regions.iter().map(|kept| kept.fd));
        inherit.extend(boot.tls_files.iter().map(|(_, number)| *number));
        inherit.extend([
            boot.config_fd,
            boot.link_fd,
            boot.lock_fd,
            boot.log_read_fd,
            boot.log_write_fd,
            spec.as_raw_fd(),
        ]);
        let is_root = nix::unistd::geteuid().is_root();
        let drop_to = DropTo {
            uid: order.identity.uid,
            gid: order.identity.gid,
            user: order.user.clone(),
            groups: order.groups.clone(),
        };
        Spawn {
            program: self.vassal_program.clone(),
            // The path is for `ps` only: the master reads what is in the boot spec.
            args: vec!["vassal".into(), boot.config_path.clone().into()],
            env: environment::of_master(std::env::vars_os(), spec.as_raw_fd()),
            directory: Some(self.directory.sources().working_directory(&order.master.vassal).to_owned()),
            stdio: [None, None, None],
            inherit,
            identity: is_root.then_some(drop_to),
            new_session: true,
        }
    }
}

/// Says in the lock who holds it, while the process cannot do anything yet.
fn name_holder(lock: &mut TakenLock, order: &StartMaster, held: &Held) -> io::Result<()> {
    let pid = held.pid();
    let start_time_ticks = process::start_time_ticks(pid).ok_or(io::ErrorKind::NotFound)?;
    lock.write(&LockText { master: order.master.clone(), pid, start_time_ticks, identity: order.identity })
}

/// The vassal's own directory and the berth's. Workers of the vassal's uid pass through them to the link.
fn make_berth(places: &BerthPlaces) -> io::Result<()> {
    for directory in places.directory.parent().into_iter().chain([places.directory.as_path()]) {
        match DirBuilder::new().mode(0o700).create(directory) {
            Ok(()) => std::fs::set_permissions(directory, Permissions::from_mode(rooms::PASSAGE))?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Everybody may connect; the master looks at who it is (SO_PEERCRED).
fn bind_link(path: &Path) -> io::Result<OwnedFd> {
    // What an earlier keeper bound here is held by nobody who could serve it: the berth's lock is ours.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let link = seqpacket::listen(path, LINK_BACKLOG)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o666))?;
    Ok(link)
}
