//! Has the keeper bind what a revision listens on. All of it or nothing: what was bound for a boot that cannot be is
//! given up again.

use std::{collections::BTreeSet, os::fd::OwnedFd, sync::Arc};

use empery_config::{address::Address, vassal::Listener};
use empery_control::{
    boot::AwaitedListener,
    keeper::{Answer, Ask, ListenAddress, ListenSpec},
};
use empery_lifecycle::{generations::FailureReason, ids::VassalName};

use super::{Input, Tools, runnable, setup};
use crate::brain::{
    keeper_line::{KeeperError, KeeperWord},
    scan::reading::{Reading, RunPlan},
};

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
    /// Those that only workers or a gateway of a master that is gone can have.
    pub(super) left: Vec<AwaitedListener>,
}

impl Tools {
    /// Binds every listener of the plan but those `held` already.
    pub(super) async fn bind(
        &self,
        vassal: &VassalName,
        plan: &RunPlan,
        kept: &BTreeSet<String>,
        held: &BTreeSet<String>,
    ) -> Result<Bound, FailureReason> {
        let mut bound = Bound { sockets: Vec::new(), fresh: Vec::new(), left: Vec::new() };
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
                    match self.keeper.ask(ask, Vec::new()).await {
                        Err(error) if error.is("left-in-use") && self.other_holder(vassal, &key).is_none() => {
                            bound.left.push(AwaitedListener { key, why: Some(error.to_string()) });
                            continue;
                        }
                        answer => answer.map_err(|error| self.explained(vassal, &key, &error)),
                    }
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
                    if !kept.contains(&key) {
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
        if !bound.left.is_empty() {
            self.leave_private(vassal, plan, &mut bound);
            addresses.retain(|(key, _)| bound.sockets.iter().any(|socket| socket.key == *key));
        }
        self.inbox.tell(Input::Bound { name: vassal.clone(), addresses });
        Ok(bound)
    }

    /// Whoever has the other sockets of an earlier master has those, too, that its gateway reaches its workers by: requests are
    /// on their way there.
    fn leave_private(&self, vassal: &VassalName, plan: &RunPlan, bound: &mut Bound) {
        let private = plan.config.listeners.iter().filter(|listener| matches!(listener.address, Address::Private(_)));
        let private: BTreeSet<String> = private.map(|listener| listener.address.to_string()).collect();
        let given_up: Vec<String> = bound.fresh.extract_if(.., |key| private.contains(key)).collect();
        bound.sockets.retain(|socket| !given_up.contains(&socket.key));
        bound.left.extend(given_up.iter().map(|key| AwaitedListener { key: key.clone(), why: None }));
        self.give_up(vassal, given_up);
    }

    /// Binds every listener of a vassal on demand and has the keeper watch them. What is kept from before and named no more
    /// is closed.
    pub(super) async fn wait_for_client(
        &self,
        vassal: &VassalName,
        reading: Option<Arc<Reading>>,
        kept: BTreeSet<String>,
    ) -> Result<(), FailureReason> {
        let reading = reading.ok_or_else(|| setup("what its file says is no longer known: save it again"))?;
        let plan = runnable(&reading)?;
        let bound = self.bind(vassal, plan, &kept, &BTreeSet::new()).await?;
        if !bound.left.is_empty() {
            // Workers serve there whose master is gone: the next one takes them over, before there is anything to wait for.
            self.give_up(vassal, bound.fresh);
            self.inbox.tell(Input::Keeper(KeeperWord::Knocked { vassal: vassal.clone() }));
            return Ok(());
        }
        let keys: Vec<String> = bound.sockets.iter().map(|socket| socket.key.clone()).collect();
        let unused: Vec<String> = kept.into_iter().filter(|key| !keys.contains(key)).collect();
        self.give_up(vassal, unused);
        let watched = self.keeper.ask(Ask::Watch { vassal: vassal.clone(), keys }, Vec::new()).await;
        watched.map(drop).map_err(setup)
    }

    /// The keeper knows that an address is taken; which vassal has it is known here.
    fn explained(&self, vassal: &VassalName, key: &str, error: &KeeperError) -> FailureReason {
        match self.other_holder(vassal, key) {
            Some(other) if error.is("address-in-use") || error.is("left-in-use") => {
                setup(format!("cannot listen on {key}: the vassal {other} listens there"))
            }
            Some(_) | None => setup(error),
        }
    }

    /// Another vassal that has this address.
    fn other_holder(&self, vassal: &VassalName, key: &str) -> Option<VassalName> {
        self.holders.of(key).filter(|holder| holder != vassal)
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
        freebind: listener.freebind,
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
