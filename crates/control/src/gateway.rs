//! Between a master and its gateway, the process that ends TLS in front of the workers. They speak over a
//! `SOCK_SEQPACKET` socketpair; whoever sees the end of file on it knows that the other is gone. A gateway that lost its
//! master finds the next one over the link ([`crate::worker::Introduction::OrphanedGateway`]).

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::boot::{FdNumber, Network};

/// The environment variable that tells the gateway the number of its end of the socketpair.
pub const GATEWAY_FD: &str = "EMPERY_GATEWAY_FD";

/// What a gateway does. Two that are equal need only one gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayPlan {
    /// The addresses it serves.
    pub doors: Vec<GatewayDoor>,
    /// Certificates for names that clients ask for (`sni`, `sni-regexp`), in the order of looking.
    pub names: Vec<GatewayName>,
    /// Where certificates for other names are looked for (`sni-dir`).
    #[serde(default)]
    pub directory: Option<CertificateDirectory>,
    /// `trusted-proxies`: from whom a PROXY protocol header is taken; None is everybody.
    #[serde(default)]
    pub trusted_proxies: Option<Vec<Network>>,
    /// `https-export-cert`: the app sees the client's certificate as PEM.
    pub export_certificate: bool,
    /// `buffer-size`: longest request head, in bytes.
    pub head_max_bytes: u32,
    /// `socket-timeout`: longest wait for a whole request head, and for a client to take what is written, in ms.
    pub client_timeout_ms: u64,
    /// `http-headers-timeout`: longest wait for a whole request head, where it is another, in ms.
    #[serde(default)]
    pub head_timeout_ms: Option<u64>,
    /// `http-keepalive`: how long an idle connection is kept, in ms.
    pub keepalive_timeout_ms: u64,
    /// `worker-reload-mercy`: how long a drained gateway may finish what it has, in ms.
    pub mercy_ms: u64,
    /// Whether it serves on when its master dies, where there can be a successor (`no-orphans` says no).
    pub outlives_master: bool,
    /// What `ps` shows; None leaves it.
    pub title: Option<String>,
}

/// A listening socket of the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayDoor {
    /// Its canonical address.
    pub key: String,
    /// What happens there.
    pub kind: DoorKind,
    /// Whether every connection begins with a PROXY protocol header, before TLS.
    #[serde(default)]
    pub proxy_protocol: bool,
}

/// What happens to the clients of a door.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DoorKind {
    /// TLS, and then HTTP.
    Tls(CertificateFiles),
    /// TLS, and then the uwsgi protocol.
    TlsUwsgi(CertificateFiles),
    /// HTTP without TLS: every request is sent to https, on this port when it is not 443.
    ToHttps(Option<u16>),
}

impl DoorKind {
    /// The certificate of a door with TLS.
    #[must_use]
    pub fn certificate(&self) -> Option<&CertificateFiles> {
        match self {
            DoorKind::Tls(files) | DoorKind::TlsUwsgi(files) => Some(files),
            DoorKind::ToHttps(_) => None,
        }
    }
}

/// A certificate for a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayName {
    /// The host name, in lower case; or what must be found in it.
    pub name: String,
    /// Whether `name` is a regular expression.
    #[serde(default)]
    pub is_pattern: bool,
    /// Its certificate.
    pub files: CertificateFiles,
}

/// Where a certificate is, all in PEM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateFiles {
    /// The chain.
    pub chain: PathBuf,
    /// The private key.
    pub key: PathBuf,
    /// OpenSSL's list of ciphers.
    pub ciphers: Option<String>,
    /// Authorities whose client certificates are believed.
    pub client_ca: Option<PathBuf>,
    /// Whether a client without a certificate is turned away.
    pub client_required: bool,
}

/// A directory with NAME.crt, NAME.key and perhaps NAME.ca for each host name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateDirectory {
    /// It.
    pub path: PathBuf,
    /// OpenSSL's list of ciphers, for all of them.
    pub ciphers: Option<String>,
}

/// What a gateway is started with. Sockets are inherited under these numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayBoot {
    /// What it does.
    pub plan: GatewayPlan,
    /// The listening socket of each door, in order.
    pub sockets: Vec<FdNumber>,
    /// Files that were opened with more rights than the gateway has; they come as descriptors of the message, in order, so
    /// that nobody can reach them in a process that is just being started.
    pub files: Vec<PathBuf>,
    /// The abstract name of the socket where the workers take its connections.
    pub workers: String,
    /// The same for what comes from a door with the uwsgi protocol; None when there is no such door.
    pub uwsgi_workers: Option<String>,
    /// Where it finds its next master when this one dies; None when it is to finish and leave then.
    pub link_path: Option<PathBuf>,
}

/// Master to gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum ToGateway {
    /// The first message: read the certificates.
    Boot(Box<GatewayBoot>),
    /// Files that were opened again with more rights than the gateway has: descriptors, in order.
    Files {
        /// Which.
        paths: Vec<PathBuf>,
    },
    /// Accept from now on.
    Open,
    /// Accept no more, finish what is in flight (GOAWAY, `Connection: close`) and exit 0.
    Drain,
}

/// Gateway to master.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum FromGateway {
    /// The certificates are good.
    Ready,
    /// They are not, or something else is missing. The gateway exits after this.
    Refused {
        /// One sentence.
        sentence: String,
    },
    /// Something an operator should know.
    Notice {
        /// A stable word, such as `certificate-kept`.
        code: String,
        /// One sentence.
        sentence: String,
    },
    /// After [`ToGateway::Drain`]: every request that is left is with a worker already.
    Quiet,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::{decode, encode};

    #[test]
    fn a_plan_is_read_back_as_it_was_said() {
        let files = CertificateFiles {
            chain: "/c".into(),
            key: "/k".into(),
            ciphers: None,
            client_ca: Some("/ca".into()),
            client_required: true,
        };
        let boot = GatewayBoot {
            plan: GatewayPlan {
                doors: vec![
                    GatewayDoor { key: "0.0.0.0:443".into(), kind: DoorKind::Tls(files.clone()), proxy_protocol: true },
                    GatewayDoor {
                        key: "0.0.0.0:80".into(),
                        kind: DoorKind::ToHttps(Some(8443)),
                        proxy_protocol: false,
                    },
                ],
                names: vec![GatewayName { name: "a.example".into(), is_pattern: false, files }],
                directory: Some(CertificateDirectory { path: "/certificates".into(), ciphers: None }),
                trusted_proxies: None,
                export_certificate: false,
                head_max_bytes: 65_536,
                client_timeout_ms: 30_000,
                head_timeout_ms: None,
                keepalive_timeout_ms: 75_000,
                mercy_ms: 60_000,
                outlives_master: true,
                title: None,
            },
            sockets: vec![5, 6],
            files: vec!["/k".into()],
            workers: "0001a".into(),
            uwsgi_workers: None,
            link_path: None,
        };
        let word = ToGateway::Boot(Box::new(boot));
        assert_eq!(decode::<ToGateway>(&encode(&word).unwrap()).unwrap(), word);
    }
}
