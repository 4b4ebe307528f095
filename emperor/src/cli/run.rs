//! `emperor run`: settles what was typed, what the configuration file says and what is usual, and becomes the keeper.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};
use serde::Deserialize;

use super::places as defaults;
use crate::{
    brain::{
        around::AroundOptions,
        common::CommonOptions,
        hosts,
        scan::on_demand::OnDemand,
        settings::{BrainSettings, MassRemoval},
    },
    keeper,
    sources::Sources,
    tyrant::TyrantOptions,
};

/// Longest configuration file, in bytes.
const CONFIG_MAX_BYTES: u64 = 1 << 20;

/// What was typed. Each wins over the configuration file.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Options {
    /// The directory of vassal files, or a pattern such as '/srv/*/app.ini'; may be given several times [default: /etc/vassals; without root $XDG_CONFIG_HOME/empery/vassals]
    #[arg(long, value_name = "DIR")]
    pub(super) vassals: Vec<String>,
    /// Where history, logs and the token are kept [default: /var/lib/empery; without root $XDG_STATE_HOME/empery]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Where sockets and locks are [default: /run/empery; without root $XDG_RUNTIME_DIR/empery]
    #[arg(long, value_name = "DIR")]
    runtime: Option<PathBuf>,
    /// Where the dashboard and the API are served [default: 127.0.0.1:7070]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Allow --listen to name an address that other hosts can reach: the dashboard has no TLS of its own
    #[arg(long)]
    listen_beyond_loopback: bool,
    /// A name that browsers and pipelines may call the dashboard by, beside localhost and addresses; may be given several times. As an URL (`https://panel.example`) where a proxy has TLS: login links begin with the first
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
    /// The user the brain runs as when the emperor is started as root
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Whether a root emperor may start vassals as root [default: true]
    #[arg(long, value_name = "BOOL")]
    allow_root: Option<bool>,
    /// The smallest uid, besides root's, that a vassal may have [default: 0]
    #[arg(long, value_name = "UID")]
    min_uid: Option<u32>,
    /// When more than this share of the vassals lose their files at once, none is stopped until it is confirmed; 100 never asks [default: 50]
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(0..=100))]
    mass_removal_above_percent: Option<u32>,
    /// Fewer vassals than this are stopped without a question [default: 10]
    #[arg(long, value_name = "N")]
    mass_removal_from_vassals: Option<u32>,
    /// How many vassals may boot at once; the others wait for their turn [default: 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    parallel_boots: Option<u32>,
    #[command(flatten)]
    on_demand: OnDemand,
    /// Where uWSGI's statistics of an emperor are served, JSON on connect: HOST:PORT, or the path of a socket that the brain may make
    #[arg(long, value_name = "ADDR")]
    emperor_stats: Option<String>,
    /// A file that gets the pid of the emperor
    #[arg(long, value_name = "FILE")]
    emperor_pidfile: Option<PathBuf>,
    #[command(flatten)]
    pub(super) tyrant: TyrantOptions,
    #[command(flatten)]
    pub(super) common: CommonOptions,
    #[command(flatten)]
    around: AroundOptions,
    /// Files whose names end so are vassals' too; they are read as INI
    #[arg(long, value_name = "EXT")]
    pub(super) emperor_extra_extension: Vec<String>,
    /// A YAML file with any of the above as keys; those that begin with uid-, mass-removal-, emperor-on-demand- and emperor-tyrant- stand below uid-policy, mass-removal, on-demand and tyrant (`enabled` is --emperor-tyrant)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// The configuration file.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct ConfigFile {
    vassals: OneOrMany,
    state: Option<PathBuf>,
    runtime: Option<PathBuf>,
    listen: Option<SocketAddr>,
    #[serde(alias = "listen_beyond_loopback")]
    listen_beyond_loopback: bool,
    host: OneOrMany,
    user: Option<String>,
    uid_policy: UidPolicy,
    mass_removal: MassRemovalPolicy,
    parallel_boots: Option<u32>,
    on_demand: OnDemandSockets,
    tyrant: TyrantOptions,
    emperor_stats: Option<String>,
    emperor_pidfile: Option<PathBuf>,
    vassal_set: Vec<String>,
    vassals_include: Vec<String>,
    vassals_include_before: Vec<String>,
    vassals_inherit: Vec<String>,
    vassals_inherit_before: Vec<String>,
    vassals_start_hook: Option<String>,
    vassals_stop_hook: Option<String>,
    exec_as_emperor: Vec<String>,
    emperor_extra_extension: Vec<String>,
}

/// One word, or a list of them.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl Default for OneOrMany {
    fn default() -> Self {
        OneOrMany::Many(Vec::new())
    }
}

impl From<OneOrMany> for Vec<String> {
    fn from(named: OneOrMany) -> Self {
        match named {
            OneOrMany::One(one) => vec![one],
            OneOrMany::Many(many) => many,
        }
    }
}

/// Which vassals wait for their first client.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct OnDemandSockets {
    extension: Option<String>,
    directory: Option<PathBuf>,
    exec: Option<String>,
}

/// When files that are gone are not believed to be.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct MassRemovalPolicy {
    above_percent: Option<u32>,
    from_vassals: Option<u32>,
}

/// Who vassals may be.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct UidPolicy {
    allow_root: Option<bool>,
    min_uid: Option<u32>,
}

pub(super) fn run(options: Options) -> anyhow::Result<ExitCode> {
    let file = options.config.as_deref().map(read_config).transpose()?.unwrap_or_default();
    let listen = options.listen.or(file.listen).unwrap_or(defaults::LISTEN);
    if !is_loopback(listen.ip()) && !options.listen_beyond_loopback && !file.listen_beyond_loopback {
        bail!(
            "{listen} can be reached from other hosts, and the dashboard has no TLS of its own: listen on 127.0.0.1 behind a \
             proxy with TLS, or say --listen-beyond-loopback (in the configuration file: listen-beyond-loopback: true)"
        );
    }
    let sources = sources(if options.vassals.is_empty() { file.vassals.into() } else { options.vassals })?;
    let usual_removal = MassRemoval::default();
    let mass_removal = MassRemoval {
        above_percent: options
            .mass_removal_above_percent
            .or(file.mass_removal.above_percent)
            .unwrap_or(usual_removal.above_percent),
        from_vassals: options
            .mass_removal_from_vassals
            .or(file.mass_removal.from_vassals)
            .unwrap_or(usual_removal.from_vassals),
    };
    if mass_removal.above_percent > 100 {
        bail!("mass-removal: above-percent is {}: a share has at most 100 percent", mass_removal.above_percent);
    }
    let parallel_boots = options
        .parallel_boots
        .or(file.parallel_boots)
        .unwrap_or(empery_lifecycle::fleet::Policy::default().boots_at_once);
    if parallel_boots == 0 {
        bail!("parallel-boots is 0: at least one vassal must be able to boot");
    }
    let directory = options.on_demand.directory.or(file.on_demand.directory).map(absolute).transpose()?;
    let on_demand = OnDemand {
        extension: options.on_demand.extension.or(file.on_demand.extension),
        directory,
        exec: options.on_demand.exec.or(file.on_demand.exec),
    };
    if on_demand.extension.as_deref().is_some_and(|extension| extension.is_empty() || extension.contains('/')) {
        bail!("on-demand: the extension is what follows a vassal file's name, such as `.socket`; it has no slash");
    }
    let tyrant = options.tyrant.or(file.tyrant);
    if tyrant.tyrant().is_some() && !nix::unistd::geteuid().is_root() {
        bail!("emperor-tyrant: only an emperor that root starts can run vassals as the owners of their files");
    }
    let endings = options.emperor_extra_extension;
    let endings = if endings.is_empty() { file.emperor_extra_extension } else { endings };
    if let Some(bad) = endings.iter().find(|ending| ending.is_empty() || ending.contains('/')) {
        bail!("emperor-extra-extension: `{bad}` is no ending of a file's name: write one such as `.conf`");
    }
    let brain = BrainSettings {
        vassals: sources.words().collect(),
        state: absolute(options.state.or(file.state).unwrap_or_else(defaults::state))?,
        runtime: absolute(options.runtime.or(file.runtime).unwrap_or_else(defaults::runtime))?,
        listen,
        host: if options.host.is_empty() { file.host.into() } else { options.host },
        mass_removal,
        parallel_boots,
        on_demand,
        tyrant,
        common: options.common.or(CommonOptions {
            set: file.vassal_set,
            include: file.vassals_include,
            include_before: file.vassals_include_before,
            inherit: file.vassals_inherit,
            inherit_before: file.vassals_inherit_before,
        }),
        emperor_stats: options.emperor_stats.or(file.emperor_stats),
        around: options.around.or(AroundOptions {
            start: file.vassals_start_hook,
            stop: file.vassals_stop_hook,
            exec: file.exec_as_emperor,
        }),
        emperor_extra_extension: endings.clone(),
        upgrade: None,
    };
    brain.stats_address()?;
    hosts::names(&brain.host)?;
    let usual = keeper::UidPolicy::default();
    keeper::run(keeper::Settings {
        brain_args: brain.to_args(),
        on_demand_extension: brain.on_demand.extension,
        sources: sources.with_endings(endings),
        state: brain.state,
        runtime: brain.runtime,
        tyrant: tyrant.tyrant(),
        pidfile: options.emperor_pidfile.or(file.emperor_pidfile),
        brain_user: options.user.or(file.user),
        uid_policy: keeper::UidPolicy {
            allow_root: options.allow_root.or(file.uid_policy.allow_root).unwrap_or(usual.allow_root),
            min_uid: options.min_uid.or(file.uid_policy.min_uid).unwrap_or(usual.min_uid),
        },
    })
}

/// What is to be watched; the usual directory is made when nothing is named.
fn sources(mut named: Vec<String>) -> anyhow::Result<Sources> {
    if named.is_empty() {
        let usual = defaults::vassals();
        std::fs::create_dir_all(&usual).with_context(|| format!("making the vassals directory {}", usual.display()))?;
        named.push(format!("{}/", usual.display()));
    }
    let sources = Sources::new(&named, &std::env::current_dir().context("the working directory")?)?;
    if let Some(missing) = sources.roots().into_iter().find(|root| !root.is_dir()) {
        bail!("there is no directory {} to watch: make it, or name another with --vassals", missing.display());
    }
    Ok(sources)
}

fn read_config(path: &Path) -> anyhow::Result<ConfigFile> {
    use std::io::Read;
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(CONFIG_MAX_BYTES).read_to_string(&mut text));
    read.with_context(|| format!("reading {}", path.display()))?;
    parse_config(&text).with_context(|| format!("in {}", path.display()))
}

fn parse_config(text: &str) -> anyhow::Result<ConfigFile> {
    // An empty document is no mapping for serde.
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(ConfigFile::default());
    }
    Ok(serde_yaml::from_str(text)?)
}

fn absolute(path: PathBuf) -> anyhow::Result<PathBuf> {
    std::path::absolute(&path).with_context(|| format!("{} as an absolute path", path.display()))
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_file_is_read_and_a_misspelt_key_is_named() {
        let file = parse_config("# mine\nvassals: /srv/vassals\nlisten: 127.0.0.1:7171\n").unwrap();
        assert_eq!(Vec::from(file.vassals), ["/srv/vassals"]);
        let several = parse_config("vassals: [/srv/vassals, '/home/*/app.ini']\n").unwrap().vassals;
        assert_eq!(Vec::from(several), ["/srv/vassals", "/home/*/app.ini"]);
        assert_eq!(file.listen, Some("127.0.0.1:7171".parse().unwrap()));
        assert_eq!(parse_config("# nothing\n").unwrap(), ConfigFile::default());
        let file =
            parse_config("uid-policy: {allow-root: false, min-uid: 1000}\nlisten-beyond-loopback: true\n").unwrap();
        let removal = parse_config("mass-removal: {above-percent: 80, from-vassals: 3}\n").unwrap().mass_removal;
        assert_eq!(removal, MassRemovalPolicy { above_percent: Some(80), from_vassals: Some(3) });
        assert_eq!(file.uid_policy, UidPolicy { allow_root: Some(false), min_uid: Some(1000) });
        assert!(file.listen_beyond_loopback);
        let error = parse_config("vasals: /srv\n").unwrap_err().to_string();
        assert!(error.contains("vasals") && error.contains("vassals"), "{error}");
    }

    #[test]
    fn what_other_hosts_can_reach_is_refused_unless_asked_for() {
        let options = || Options {
            listen: Some("0.0.0.0:7171".parse().unwrap()),
            vassals: vec!["/nowhere-to-be-found".into()],
            ..Options::default()
        };
        let refused = run(options()).unwrap_err().to_string();
        assert!(refused.contains("--listen-beyond-loopback"), "{refused}");
        let allowed = run(Options { listen_beyond_loopback: true, ..options() }).unwrap_err().to_string();
        assert!(allowed.contains("no directory"), "{allowed}");
        assert!(is_loopback("::ffff:127.0.0.1".parse().unwrap()));
    }
}
