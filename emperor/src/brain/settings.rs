//! What the keeper tells the brain on its command line. Written by `emperor run`, read by `emperor brain`.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf};

use anyhow::Context;
use empery_config::address::Address;
use empery_lifecycle::fleet::Policy;

use super::{around::AroundOptions, common::CommonOptions, scan::on_demand::OnDemand};
use crate::{sources::Sources, tyrant::TyrantOptions};

/// Where everything is, and where to listen.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub(crate) struct BrainSettings {
    /// What is watched: the words of [`Sources`].
    #[arg(long, value_name = "DIR")]
    pub(crate) vassals: Vec<String>,
    /// Where the database, the token and logs are kept.
    #[arg(long, value_name = "DIR")]
    pub(crate) state: PathBuf,
    /// Where sockets and locks are.
    #[arg(long, value_name = "DIR")]
    pub(crate) runtime: PathBuf,
    /// Where the dashboard and the API are served.
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: SocketAddr,
    /// What it may be called there, beside loopback names and addresses.
    #[arg(long, value_name = "NAME")]
    pub(crate) host: Vec<String>,
    /// When a removal of many vassals is doubted.
    #[command(flatten)]
    pub(crate) mass_removal: MassRemoval,
    /// How many vassals may boot at once.
    #[arg(long, value_name = "N")]
    pub(crate) parallel_boots: u32,
    /// Which vassals wait for their first client.
    #[command(flatten)]
    pub(crate) on_demand: OnDemand,
    /// Whether vassals run as the owners of their files.
    #[command(flatten)]
    pub(crate) tyrant: TyrantOptions,
    /// Where uWSGI's statistics of an emperor are served.
    #[arg(long, value_name = "ADDR")]
    pub(crate) emperor_stats: Option<String>,
    /// What is said for all vassals.
    #[command(flatten)]
    pub(crate) common: CommonOptions,
    /// What is done around vassals.
    #[command(flatten)]
    pub(crate) around: AroundOptions,
    /// Another ending of names that count.
    #[arg(long, value_name = "EXT")]
    pub(crate) emperor_extra_extension: Vec<String>,
    /// What an earlier brain began: see [`super::fleet_task`]'s upgrade.
    #[arg(long, hide = true)]
    pub(crate) upgrade: Option<String>,
}

/// When files that are gone are not believed to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
pub(crate) struct MassRemoval {
    /// More than this share of all vassals, in percent.
    #[arg(id = "mass-removal-above-percent", long, value_name = "PERCENT")]
    pub(crate) above_percent: u32,
    /// And at least so many.
    #[arg(id = "mass-removal-from-vassals", long, value_name = "N")]
    pub(crate) from_vassals: u32,
}

impl Default for MassRemoval {
    fn default() -> Self {
        let Policy { doubted_above_percent, doubted_from_vassals, .. } = Policy::default();
        MassRemoval { above_percent: doubted_above_percent, from_vassals: doubted_from_vassals }
    }
}

impl BrainSettings {
    /// The fleet's policy.
    pub(crate) fn policy(&self) -> Policy {
        let MassRemoval { above_percent, from_vassals } = self.mass_removal;
        Policy {
            doubted_above_percent: above_percent,
            doubted_from_vassals: from_vassals,
            boots_at_once: self.parallel_boots,
            ..Policy::default()
        }
    }

    /// What is watched. Vassals that a pattern finds start where the emperor did.
    ///
    /// # Errors
    /// When it cannot be.
    pub(crate) fn sources(&self) -> anyhow::Result<Sources> {
        let sources = Sources::new(&self.vassals, &std::env::current_dir().context("the working directory")?)?;
        Ok(sources.with_endings(self.emperor_extra_extension.clone()))
    }

    /// `emperor-stats`, understood.
    ///
    /// # Errors
    /// When it is no address.
    pub(crate) fn stats_address(&self) -> anyhow::Result<Option<Address>> {
        let Some(text) = &self.emperor_stats else { return Ok(None) };
        let address = Address::parse(text, self.sources()?.base()).with_context(|| format!("emperor-stats: {text}"))?;
        Ok(Some(address))
    }

    /// The arguments after the program's name, so that [`clap`] reads the same settings back.
    pub(crate) fn to_args(&self) -> Vec<OsString> {
        let mut args = vec![OsString::from("brain")];
        args.extend(self.vassals.iter().map(|watched| format!("--vassals={watched}").into()));
        for (flag, value) in [("--state", &self.state), ("--runtime", &self.runtime)] {
            args.push(flag.into());
            args.push(value.into());
        }
        args.push("--listen".into());
        args.push(self.listen.to_string().into());
        args.extend(self.host.iter().map(|name| format!("--host={name}").into()));
        let MassRemoval { above_percent, from_vassals } = self.mass_removal;
        for (flag, value) in [
            ("--mass-removal-above-percent", above_percent),
            ("--mass-removal-from-vassals", from_vassals),
            ("--parallel-boots", self.parallel_boots),
        ] {
            args.push(flag.into());
            args.push(value.to_string().into());
        }
        let OnDemand { extension, directory, exec } = &self.on_demand;
        for (flag, value) in [
            ("--emperor-on-demand-extension", extension.as_ref().map(OsString::from)),
            ("--emperor-on-demand-directory", directory.as_ref().map(OsString::from)),
            ("--emperor-on-demand-exec", exec.as_ref().map(OsString::from)),
        ] {
            // With `=`: a value may begin with a dash.
            args.extend(value.map(|value| [OsString::from(flag), "=".into(), value].into_iter().collect::<OsString>()));
        }
        args.extend(self.emperor_stats.iter().map(|address| format!("--emperor-stats={address}").into()));
        args.extend(self.tyrant.to_args());
        args.extend(self.common.to_args());
        args.extend(self.around.to_args());
        let extra = self.emperor_extra_extension.iter();
        args.extend(extra.map(|ending| format!("--emperor-extra-extension={ending}").into()));
        args
    }
}
