//! Has the keeper bind what a revision listens on. All of it or nothing: what was bound for a boot that cannot be is
//! given up again.

use std::{collections::BTreeSet, os::fd::OwnedFd};

use empery_config::{address::Address, vassal::Listener};
use empery_control::keeper::{Answer, Ask, ListenAddress, ListenSpec};
use empery_lifecycle::{generations::FailureReason, ids::VassalName};

use super::{Boot, Input, Tools, setup};
use crate::brain::{keeper_line::KeeperError, scan::reading::RunPlan};

/// A bound socket.
pub(super) struct Socket {
    pub(super) key: String,
    pub(super) fd: OwnedFd,
}

/// What was bound for a boot.
pub(super) struct Bound {
    /// Each socket asked for, in the order of the file.
    pub(super) sockets: Vec<Socket>,
    /// Keys the keeper did not keep before.
    pub(super) fresh: Vec<String>,
}

impl Tools {
    /// Binds every listener of the plan but those `held` already.
    pub(super) async fn bind(
        &self,
        boot: &Boot,
        plan: &RunPlan,
        held: &BTreeSet<String>,
    ) -> Result<Bound, FailureReason> {
        let vassal = &boot.master.vassal;
        let mut bound = Bound { sockets: Vec::new(), fresh: Vec::new() };
        let mut addresses = Vec::new();
        let mut asked = held.clone();
        for listener in &plan.config.listeners {
            let key = listener.address.to_string();
            if !asked.insert(key.clone()) {
                continue;
            }
            let answer = match listen_spec(listener) {
                Ok(listener) => {
                    let ask = Ask::Bind { vassal: vassal.clone(), identity: plan.identity, listener };
                    self.keeper.ask(ask, Vec::new()).await.map_err(|error| self.explained(vassal, &key, &error))
                }
                Err(reason) => Err(reason),
            };
            let socket = answer.and_then(|(answer, fds)| match (answer, fds.into_iter().next()) {
                (Answer::Bound { bound }, Some(fd)) => Ok((bound, fd)),
                (_, _) => Err(setup(format!("the keeper answered without the socket for {key}"))),
            });
            match socket {
                Ok((address, fd)) => {
                    self.holders.take(vassal, &key);
                    if !boot.kept.contains(&key) {
                        bound.fresh.push(key.clone());
                    }
                    addresses.push((key.clone(), shown(&address)));
                    bound.sockets.push(Socket { key, fd });
                }
                Err(reason) => {
                    self.give_up(vassal, bound.fresh);
                    return Err(reason);
                }
            }
        }
        self.inbox.tell(Input::Bound { name: vassal.clone(), addresses });
        Ok(bound)
    }

    /// The keeper knows that an address is taken; which vassal has it is known here.
    fn explained(&self, vassal: &VassalName, key: &str, error: &KeeperError) -> FailureReason {
        match self.holders.of(key) {
            Some(other) if error.is("address-in-use") && other != *vassal => {
                setup(format!("cannot listen on {key}: the vassal {other} listens there"))
            }
            Some(_) | None => setup(error),
        }
    }
}

fn listen_spec(listener: &Listener) -> Result<ListenSpec, FailureReason> {
    let owner = listener.owner.as_ref().map(|(user, group)| {
        let user = Some(user.as_str()).filter(|user| !user.is_empty());
        let uid = user.map(empery_sys::identity::user).transpose().map_err(setup)?.map(|user| user.uid);
        let gid = group.as_deref().map(empery_sys::identity::group).transpose().map_err(setup)?;
        Ok::<_, FailureReason>((uid, gid))
    });
    Ok(ListenSpec {
        key: listener.address.to_string(),
        address: match &listener.address {
            Address::Tcp(address) => ListenAddress::Tcp(*address),
            Address::Unix(path) => ListenAddress::Unix(path.clone()),
            Address::Abstract(name) => ListenAddress::Abstract(name.clone()),
            Address::Private(_) => ListenAddress::Abstract(String::new()),
        },
        backlog: listener.backlog,
        mode: listener.mode,
        owner: owner.transpose()?,
        reuse_port: listener.reuse_port,
    })
}

/// As a person writes it.
fn shown(address: &ListenAddress) -> String {
    match address {
        ListenAddress::Tcp(address) => address.to_string(),
        ListenAddress::Unix(path) => path.display().to_string(),
        ListenAddress::Abstract(name) => format!("@{name}"),
    }
}
