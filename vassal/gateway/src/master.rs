//! The line to the master: what it says is done, and what it should know is said. When it dies, a gateway that stands
//! under an emperor serves on and looks for its successor; alone it finishes what it has and leaves.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use empery_control::{
    gateway::{FromGateway, GatewayBoot, ToGateway},
    worker::Introduction,
};
use empery_sys::{channel::Channel, inherited, seqpacket};
use empery_wire::forwarded::Trusted;
use tokio::time::Instant;

use crate::{
    certificates::{Certificates, Looked},
    connection::Manners,
    deadlines::Waits,
    door::{Door, House},
    files::Files,
    floor::Floor,
    limits::{CALL_AGAIN_AFTER, CALL_AGAIN_AFTER_MAX, CERTIFICATES_EVERY, LINK_MISSING_MAX},
    log,
    workers::Workers,
};

/// Does what the master at the other end of this line says.
pub(crate) async fn serve(line: OwnedFd) -> ExitCode {
    let line = match Channel::new(line) {
        Ok(line) => line,
        Err(error) => {
            log::say(&format!("*** the gateway's line to its master cannot be used: {error} ***"));
            return ExitCode::FAILURE;
        }
    };
    let (boot, files) = match line.receive::<ToGateway>().await {
        Ok(Some((ToGateway::Boot(boot), files))) => (*boot, files),
        // Without a first word there is nothing to do, and nobody to tell.
        Ok(_) | Err(_) => return ExitCode::FAILURE,
    };
    let (mercy, link_path) = (Duration::from_millis(boot.plan.mercy_ms), boot.link_path.clone());
    match prepare(boot, files) {
        Ok((doors, sockets, house)) => {
            let attendant = Attendant { line: Some(line), link_path, doors, sockets, house, mercy };
            attendant.attend().await;
            ExitCode::SUCCESS
        }
        Err(sentence) => {
            // A master that is gone does not want to know.
            let _ = line.send(&FromGateway::Refused { sentence }, &[]).await;
            ExitCode::FAILURE
        }
    }
}

/// The sockets under their addresses, for a successor of the master that has none.
type Sockets = Vec<(String, OwnedFd)>;

fn prepare(boot: GatewayBoot, opened: Vec<OwnedFd>) -> Result<(Vec<Door>, Sockets, Arc<House>), String> {
    let GatewayBoot { plan, sockets, files, workers, uwsgi_workers, .. } = boot;
    let take = |number: i32| {
        inherited::take(number)
            .map_err(|error| format!("descriptor {number} of the gateway was not inherited: {error}"))
    };
    let files = files.into_iter().zip(opened).collect();
    let (mut doors, mut copies) = (Vec::new(), Vec::new());
    let mut tls_doors = 0;
    for (door, socket) in plan.doors.iter().zip(sockets) {
        let socket = take(socket)?;
        let failed = |why: &dyn std::fmt::Display| format!("{}: {why}", door.key);
        copies.push((door.key.clone(), socket.try_clone().map_err(|error| failed(&error))?));
        doors.push(Door::new(socket, door, tls_doors).map_err(|why| failed(&why))?);
        tls_doors += usize::from(door.kind.certificate().is_some());
    }
    let certificates = Arc::new(Certificates::load(&plan, Files::new(files))?);
    if let Some(title) = &plan.title {
        empery_sys::process::set_title(title);
    }
    let idle = Duration::from_millis(plan.keepalive_timeout_ms);
    let head_max_bytes = plan.head_max_bytes;
    let house = House {
        certificates,
        workers: Arc::new(Workers::new(&workers, idle)),
        floor: Arc::new(Floor::new()),
        manners: Manners {
            waits: Waits {
                client: Duration::from_millis(plan.client_timeout_ms),
                head: Duration::from_millis(plan.head_timeout_ms.unwrap_or(plan.client_timeout_ms)),
                idle,
            },
            head_max_bytes,
        },
        export_certificate: plan.export_certificate,
        uwsgi_workers: uwsgi_workers.unwrap_or_default(),
        trusted: Trusted::new(
            plan.trusted_proxies
                .map(|networks| networks.iter().map(|network| (network.address, network.prefix_bits)).collect()),
        ),
    };
    Ok((doors, copies, Arc::new(house)))
}

/// Attends to the master.
struct Attendant {
    /// None while there is no master.
    line: Option<Channel>,
    link_path: Option<PathBuf>,
    /// Those that are not open yet.
    doors: Vec<Door>,
    sockets: Sockets,
    house: Arc<House>,
    mercy: Duration,
}

/// A word with its descriptors.
type Heard = (ToGateway, Vec<OwnedFd>);

/// What a turn comes to.
enum Turn {
    Again,
    Drain,
}

impl Attendant {
    async fn attend(mut self) {
        self.say(FromGateway::Ready).await;
        let mut look = tokio::time::interval(CERTIFICATES_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut call = Call::now();
        loop {
            let turn = tokio::select! {
                word = heard(self.line.as_ref()) => self.obey(word, &mut call),
                () = tokio::time::sleep_until(call.at), if self.line.is_none() => self.call(&mut call).await,
                _ = look.tick() => {
                    self.look().await;
                    Turn::Again
                }
            };
            if let Turn::Drain = turn {
                break;
            }
        }
        self.drain().await;
    }

    fn obey(&mut self, word: Option<Heard>, call: &mut Call) -> Turn {
        match word {
            Some((ToGateway::Open, _)) => {
                for door in self.doors.drain(..) {
                    tokio::spawn(door.serve(Arc::clone(&self.house)));
                }
                Turn::Again
            }
            Some((ToGateway::Files { paths }, files)) => {
                self.house.certificates.take_files(paths.into_iter().zip(files));
                Turn::Again
            }
            Some((ToGateway::Drain, _)) => Turn::Drain,
            // It has been heard already: a second one is a slip of the master's.
            Some((ToGateway::Boot(_), _)) => Turn::Again,
            None => {
                self.line = None;
                // One that does not serve yet is nothing to a successor.
                if self.link_path.is_none() || !self.doors.is_empty() {
                    return Turn::Drain;
                }
                *call = Call::now();
                Turn::Again
            }
        }
    }

    /// Calls on the link. Nobody may be there yet: the next call is due later. A link that is gone was taken away with the vassal.
    async fn call(&mut self, call: &mut Call) -> Turn {
        call.at = Instant::now() + call.pause;
        call.pause = (call.pause * 2).min(CALL_AGAIN_AFTER_MAX);
        let Some(path) = &self.link_path else { return Turn::Again };
        match seqpacket::connect(path).and_then(Channel::new) {
            Ok(line) => {
                call.missing_since = None;
                let listeners = self.sockets.iter().map(|(key, _)| key.clone()).collect();
                let sockets: Vec<_> = self.sockets.iter().map(|(_, socket)| socket.as_fd()).collect();
                if line.send(&Introduction::OrphanedGateway { listeners }, &sockets).await.is_ok() {
                    self.line = Some(line);
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if call.missing_since.get_or_insert_with(Instant::now).elapsed() >= LINK_MISSING_MAX {
                    return Turn::Drain;
                }
            }
            Err(_) => call.missing_since = None,
        }
        Turn::Again
    }

    async fn look(&self) {
        for (chain, looked) in self.house.certificates.look() {
            let chain = chain.display();
            match looked {
                Looked::Same => {}
                Looked::Replaced => log::say(&format!("*** the certificate {chain} has been replaced ***")),
                Looked::Kept(why) => {
                    let sentence =
                        format!("the certificate {chain} has changed and is no good, the old one stays: {why}");
                    log::say(&format!("*** {sentence} ***"));
                    self.say(FromGateway::Notice { code: "certificate-kept".to_owned(), sentence }).await;
                }
            }
        }
    }

    /// Accepts no more and finishes what there is, as long as mercy lasts.
    async fn drain(mut self) {
        // Clients are refused by then, unless the master has them wait.
        self.sockets.clear();
        let floor = &self.house.floor;
        floor.close();
        let finish = async {
            floor.quiet().await;
            self.say(FromGateway::Quiet).await;
            floor.empty().await;
        };
        // What is cut now had its time.
        let _ = tokio::time::timeout(self.mercy, finish).await;
    }

    async fn say(&self, word: FromGateway) {
        if let Some(line) = &self.line {
            // A master that is gone is noticed by its silence.
            let _ = line.send(&word, &[]).await;
        }
    }
}

/// When the link is called next.
struct Call {
    at: Instant,
    pause: Duration,
    /// Since when there is no link.
    missing_since: Option<Instant>,
}

impl Call {
    fn now() -> Call {
        Call { at: Instant::now(), pause: CALL_AGAIN_AFTER, missing_since: None }
    }
}

/// The next word; None when there will be none. Never, while there is no master.
async fn heard(line: Option<&Channel>) -> Option<Heard> {
    match line {
        None => std::future::pending().await,
        Some(line) => line.receive().await.ok().flatten(),
    }
}
