//! The gateway, seen from the master: what it is to do, and how it is started. What it does is its own binary's,
//! `vassal-gateway`; when it is started, drained and started again is [`crate::supervise`]'s.

use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd, RawFd},
        unix::fs::OpenOptionsExt,
    },
    path::{Path, PathBuf},
};

use empery_config::{
    address::Address,
    vassal::{Certificate, Door, HostName, Protocol, Titles, VassalConfig},
};
use empery_control::{
    gateway::{
        CertificateDirectory, CertificateFiles, DoorKind, GATEWAY_FD, GatewayBoot, GatewayDoor, GatewayName,
        GatewayPlan,
    },
    keeper::ListenAddress,
};
use empery_sys::{
    listen,
    spawn::{Child, Spawn, spawn},
};
use nix::fcntl::OFlag;

use crate::{
    extension,
    listeners::Listeners,
    zygote::{self, millis},
};

/// The binary's name; it is installed beside this one.
const PROGRAM: &str = "vassal-gateway";

/// Certificate and key files that were opened with more rights than this process has now. They are passed on to the
/// gateway and read by nobody else.
#[derive(Debug, Default)]
pub(crate) struct TlsFiles(BTreeMap<PathBuf, OwnedFd>);

impl TlsFiles {
    /// Opens what this configuration names. What cannot be opened is not there: the gateway tries again and says why.
    pub(crate) fn open(config: &VassalConfig) -> Self {
        let mut files = Self::default();
        for path in config.tls_files() {
            // A FIFO would be waited for without end.
            let flags = (OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits();
            if let Ok(file) = OpenOptions::new().read(true).custom_flags(flags).open(path) {
                files.0.insert(path.to_owned(), file.into());
            }
        }
        files
    }

    /// Says which of them this process may read no more: a renewed one is not found before the next start. Nobody here keeps
    /// root's rights to open it again, since whoever did could be made to open something else in its place.
    pub(crate) fn tell_of_those_not_renewed(&self) {
        let denied = |path: &&PathBuf| {
            std::fs::File::open(path).is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
        };
        for path in self.0.keys().filter(denied) {
            crate::log::say(&format!(
                "*** {} was opened before privileges were dropped: a renewed one is found at the next start; let this \
                 user's group read it, or run under an emperor, to have it found at once ***",
                path.display()
            ));
        }
    }

    /// Takes what an emperor has opened. The app's user must not get at it by way of this process (ptrace(2),
    /// PTRACE_MODE_ATTACH; prctl(2), PR_SET_DUMPABLE).
    pub(crate) fn take_all(&mut self, files: impl IntoIterator<Item = (PathBuf, OwnedFd)>) {
        self.0.extend(files);
        if !self.0.is_empty()
            && let Err(error) = nix::sys::prctl::set_dumpable(false)
        {
            crate::log::say(&format!("*** private keys are not kept from the app's user: {error} ***"));
        }
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Their paths.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.0.keys().cloned().collect()
    }

    /// Copies of the descriptors, in the order of the paths.
    pub(crate) fn copies(&self) -> std::io::Result<Vec<OwnedFd>> {
        self.0.values().map(OwnedFd::try_clone).collect()
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Path, &OwnedFd)> {
        self.0.iter().map(|(path, file)| (path.as_path(), file))
    }
}

/// What a configuration wants of a gateway; None when it wants none.
pub(crate) fn plan(config: &VassalConfig) -> Option<GatewayPlan> {
    let door = |listener: &empery_config::vassal::Listener| {
        let kind = match &listener.door {
            Door::Workers | Door::FromGateway => return None,
            Door::Tls(certificate) => DoorKind::Tls(files(certificate)),
            Door::TlsUwsgi(certificate) => DoorKind::TlsUwsgi(files(certificate)),
            Door::ToHttps(port) => DoorKind::ToHttps(*port),
        };
        Some(GatewayDoor { key: listener.address.to_string(), kind, proxy_protocol: listener.proxy_protocol })
    };
    let doors: Vec<GatewayDoor> = config.listeners.iter().filter_map(door).collect();
    let name = |named: &empery_config::vassal::NamedCertificate| {
        let (name, is_pattern) = match &named.name {
            HostName::Exact(name) => (name, false),
            HostName::Pattern(pattern) => (pattern, true),
        };
        GatewayName { name: name.clone(), is_pattern, files: files(&named.certificate) }
    };
    (!doors.is_empty()).then(|| GatewayPlan {
        doors,
        names: config.sni.iter().map(name).collect(),
        directory: config
            .sni_directory
            .as_ref()
            .map(|directory| CertificateDirectory { path: directory.path.clone(), ciphers: directory.ciphers.clone() }),
        trusted_proxies: zygote::trusted_proxies(&config.request),
        export_certificate: config.https_export_cert,
        head_max_bytes: config.request.head_max_bytes,
        client_timeout_ms: millis(config.request.client_timeout),
        head_timeout_ms: config
            .listeners
            .iter()
            .find(|listener| listener.door == Door::FromGateway)
            .and_then(|listener| listener.http.head_timeout_ms),
        keepalive_timeout_ms: millis(config.request.keepalive_timeout),
        mercy_ms: millis(config.mercy),
        outlives_master: !config.no_orphans,
        title: title(&config.titles),
    })
}

fn files(certificate: &Certificate) -> CertificateFiles {
    CertificateFiles {
        chain: certificate.chain.clone(),
        key: certificate.key.clone(),
        ciphers: certificate.ciphers.clone(),
        client_ca: certificate.client_ca.as_ref().map(|ca| ca.path.clone()),
        client_required: certificate.client_ca.as_ref().is_some_and(|ca| ca.required),
    }
}

/// uWSGI names its router after the protocol.
fn title(titles: &Titles) -> Option<String> {
    let name = match &titles.all {
        Some(name) => name.as_str(),
        None if titles.auto => "uWSGI http 1",
        None => return None,
    };
    Some(format!("{}{name}{}", titles.prefix, titles.append))
}

/// What the gateway is told first, with descriptors that are inherited under these numbers.
///
/// # Errors
/// One sentence that names the socket that is missing.
pub(crate) fn boot(
    plan: GatewayPlan,
    listeners: &Listeners,
    tls_files: &TlsFiles,
    link_path: Option<&Path>,
) -> Result<GatewayBoot, String> {
    let held = |key: &str| listeners.get(key).ok_or_else(|| format!("the listening socket {key} is gone"));
    let sockets =
        plan.doors.iter().map(|door| Ok(held(&door.key)?.socket.as_raw_fd())).collect::<Result<_, String>>()?;
    let private = |protocol| {
        let socket = held(&Address::Private(protocol).to_string())?;
        match listen::address(socket.socket.as_fd()) {
            Ok(ListenAddress::Abstract(name)) => Ok(name),
            Ok(other) => Err(format!("the gateway's socket to the workers is bound to {other:?}")),
            Err(error) => Err(format!("the gateway's socket to the workers is not there: {error}")),
        }
    };
    let workers = private(Protocol::Http)?;
    let has_uwsgi = plan.doors.iter().any(|door| matches!(door.kind, DoorKind::TlsUwsgi(_)));
    let uwsgi_workers = has_uwsgi.then(|| private(Protocol::Uwsgi)).transpose()?;
    let link_path = link_path.filter(|_| plan.outlives_master).map(Path::to_owned);
    Ok(GatewayBoot { plan, sockets, files: tls_files.paths(), workers, uwsgi_workers, link_path })
}

/// Starts the program; it hears the boot as the first word over the channel.
///
/// # Errors
/// One sentence that names what is missing.
pub(crate) fn start(channel: &OwnedFd, boot: &GatewayBoot, log: &OwnedFd) -> Result<Child, String> {
    let binary = extension::binary().map_err(|error| format!("/proc/self/exe cannot be read: {error}"))?;
    let program = binary.with_file_name(PROGRAM);
    if !program.is_file() {
        return Err(format!("`https` and `http-to-https` need {}, which is not there", program.display()));
    }
    let out_of_descriptors = |error: std::io::Error| format!("no descriptor is left: {error}");
    let mut inherit: Vec<RawFd> = boot.sockets.clone();
    inherit.push(channel.as_raw_fd());
    inherit.sort_unstable();
    inherit.dedup();
    let shown = program.display().to_string();
    spawn(Spawn {
        args: vec![PROGRAM.into()],
        program,
        // Nothing of the app's environment is of use to it.
        env: vec![(GATEWAY_FD.into(), channel.as_raw_fd().to_string().into())],
        directory: None,
        stdio: [
            None,
            Some(log.try_clone().map_err(out_of_descriptors)?),
            Some(log.try_clone().map_err(out_of_descriptors)?),
        ],
        inherit,
        identity: None,
        // A terminal's Ctrl-C is for the master, which drains.
        new_session: true,
    })
    .map_err(|error| format!("{shown} cannot be started: {error}"))
}
