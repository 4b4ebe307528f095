//! What the keeper tells the brain on its command line. Written by `emperor run`, read by `emperor brain`.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf};

/// Where everything is, and where to listen.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub(crate) struct BrainSettings {
    /// The watched directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) vassals: PathBuf,
    /// Where the database, the token and logs are kept.
    #[arg(long, value_name = "DIR")]
    pub(crate) state: PathBuf,
    /// Where sockets and locks are.
    #[arg(long, value_name = "DIR")]
    pub(crate) runtime: PathBuf,
    /// Where the dashboard and the API are served.
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: SocketAddr,
}

impl BrainSettings {
    /// The arguments after the program's name, so that [`clap`] reads the same settings back.
    pub(crate) fn to_args(&self) -> Vec<OsString> {
        let mut args = vec![OsString::from("brain")];
        for (flag, value) in [("--vassals", &self.vassals), ("--state", &self.state), ("--runtime", &self.runtime)] {
            args.push(flag.into());
            args.push(value.into());
        }
        args.push("--listen".into());
        args.push(self.listen.to_string().into());
        args
    }
}
