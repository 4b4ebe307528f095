//! One content of a vassal file and what it means: the config, its problems, and who its processes are to be.
//! Parses as the brain's user and runs nothing. Called by the scanner, and for an older content by the performer.

use std::{path::PathBuf, sync::Arc};

use empery_config::{
    facts::{self, Facts},
    problem::{Origin, Problem, Severity},
    read::{Entry, Outcome, read},
    vassal::VassalConfig,
};
use empery_control::{boot::Common, fleet::ProblemView};
use empery_lifecycle::{
    fleet::{Identity, Verdict},
    ids::{RevisionId, VassalName},
};
use sha2::{Digest, Sha256};

use super::beside::BesideVassals;
use crate::{
    brain::common::FOR_VASSALS,
    sources::Sources,
    tyrant::{self, Tyrant},
};

/// Longest vassal file, in bytes.
pub(crate) const FILE_MAX_BYTES: u64 = 1 << 20;

/// No user: what setresuid(2) takes for "leave it".
const NOBODY: Identity = Identity { uid: u32::MAX, gid: u32::MAX };

/// A content, read.
#[derive(Debug)]
pub(crate) struct Reading {
    /// Its number.
    pub(crate) revision: RevisionId,
    /// Of the content, in hex.
    pub(crate) sha256: String,
    /// Byte for byte.
    pub(crate) content: Vec<u8>,
    /// Where the emperor holds a socket for it, when it is to run only from its first client on.
    pub(crate) on_demand: Option<String>,
    /// How to run it; None when it is refused.
    pub(crate) plan: Option<RunPlan>,
    /// Errors first.
    pub(crate) problems: Vec<ProblemView>,
}

/// A content that can be run.
#[derive(Debug)]
pub(crate) struct RunPlan {
    /// What it says.
    pub(crate) config: VassalConfig,
    /// Who its processes are.
    pub(crate) identity: Identity,
    /// The user's name, when the file names a user that has one.
    pub(crate) user: Option<String>,
    /// `add-gid`, as numbers.
    pub(crate) groups: Vec<u32>,
}

impl Reading {
    /// What the fleet machine is told of it.
    pub(crate) fn verdict(&self) -> Verdict {
        match &self.plan {
            Some(plan) => Verdict::Runs {
                identity: plan.identity,
                mercy: plan.config.stops_within(),
                on_demand: self.on_demand.is_some(),
            },
            None => Verdict::Refused,
        }
    }

    /// The first error, as `FILE:LINE:COLUMN: sentence`.
    pub(crate) fn first_error(&self) -> Option<String> {
        self.problems.iter().find(|problem| problem.severity == "error").map(one_line)
    }
}

/// A problem as one line of a log.
pub(crate) fn one_line(problem: &ProblemView) -> String {
    match (problem.line, problem.column) {
        (0, _) => format!("{}: {}", problem.file, problem.message),
        (line, 0) => format!("{}:{line}: {}", problem.file, problem.message),
        (line, column) => format!("{}:{line}:{column}: {}", problem.file, problem.message),
    }
}

/// The hash by which contents are told apart, in hex.
pub(crate) fn sha256_hex(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is known of a file beside its content.
#[derive(Debug, Clone, Default)]
pub(crate) struct Circumstances {
    /// Where the emperor holds a socket for it.
    pub(crate) on_demand: Option<String>,
    /// Who owns it.
    pub(crate) owner: Option<Identity>,
}

/// Reads contents: knows where files lie and who the emperor is.
#[derive(Debug, Clone)]
pub(crate) struct Reader {
    sources: Arc<Sources>,
    /// The keeper's: what a vassal is that names no user.
    keeper: Identity,
    facts: Arc<Facts>,
    /// What is said for all vassals.
    common: Arc<Common>,
    /// Whether owners of files decide who vassals are.
    tyrant: Option<Tyrant>,
}

impl Reader {
    /// For vassals of these sources under a keeper with these ids.
    pub(crate) fn new(sources: Arc<Sources>, keeper: Identity) -> Reader {
        let facts = Arc::new(machine_facts(keeper));
        Reader { sources, keeper, facts, common: Arc::default(), tyrant: None }
    }

    /// The same where something is said for all vassals.
    pub(crate) fn with_common(self, common: Common) -> Reader {
        let Common { before, after } = common.clone();
        let facts = Facts { common: facts::Common { before, after }, ..(*self.facts).clone() };
        Reader { facts: Arc::new(facts), common: Arc::new(common), ..self }
    }

    /// The same where owners of files decide who vassals are.
    pub(crate) fn with_tyrant(self, tyrant: Option<Tyrant>) -> Reader {
        Reader { tyrant, ..self }
    }

    /// Whether they do.
    pub(crate) fn has_tyrant(&self) -> bool {
        self.tyrant.is_some()
    }

    /// What is said for all vassals.
    pub(crate) fn common(&self) -> &Common {
        &self.common
    }

    /// Where the file of this name is.
    pub(crate) fn path_of(&self, name: &VassalName) -> PathBuf {
        self.sources.path_of(name)
    }

    /// What the content means. Reads included files, so not for the owning task.
    pub(crate) fn read(
        &self,
        name: &VassalName,
        revision: RevisionId,
        content: Vec<u8>,
        Circumstances { on_demand, owner }: Circumstances,
    ) -> Reading {
        let sha256 = sha256_hex(&content);
        let path = self.path_of(name).to_string_lossy().into_owned();
        let directory = self.sources.working_directory(name);
        let facts = Facts {
            now_unix_us: super::super::clock::unix_ms().saturating_mul(1_000),
            on_demand: on_demand.clone(),
            working_directory: directory.to_string_lossy().into_owned(),
            ..self.facts_for(owner)
        };
        // Under a tyrant nothing beside is read for a file that nobody may own.
        let reads_for = self.tyrant.map(|_| owner.unwrap_or(NOBODY));
        let files = BesideVassals { directory, reads_for };
        let Outcome { config, mut problems, .. } =
            read(&Entry::File { path: path.clone(), content: content.clone() }, &facts, &files);
        let plan = config.and_then(|config| match self.tyrant {
            Some(tyrant) => plan_of_owner(config, &path, tyrant, owner, &mut problems),
            None => self.plan(config, &path, &mut problems),
        });
        problems.sort_by_key(|problem| problem.severity);
        Reading { revision, sha256, content, on_demand, plan, problems: problems.into_iter().map(shown).collect() }
    }

    /// What a file of this owner's is read with: under a tyrant the app is the owner from the start.
    fn facts_for(&self, owner: Option<Identity>) -> Facts {
        let Some(owner) = owner.filter(|_| self.tyrant.is_some()) else { return (*self.facts).clone() };
        let Facts { uid, user, gid, group, .. } = machine_facts(owner);
        Facts { uid, user, gid, group, ..(*self.facts).clone() }
    }

    /// A name that cannot be read at all, as a row of its own.
    pub(crate) fn unreadable(
        &self,
        name: &VassalName,
        revision: RevisionId,
        code: &str,
        message: String,
        hint: &str,
    ) -> Reading {
        let file = self.path_of(name).to_string_lossy().into_owned();
        let problem = error(code, &file, message, hint);
        Reading {
            revision,
            sha256: sha256_hex(b""),
            content: Vec::new(),
            on_demand: None,
            plan: None,
            problems: vec![shown(problem)],
        }
    }

    /// Who its processes are. uWSGI leaves the group alone when only a user is named, which under root means group
    /// root; here it is the user's own group.
    fn plan(&self, config: VassalConfig, file: &str, problems: &mut Vec<Problem>) -> Option<RunPlan> {
        let user = config.uid.as_deref().map(empery_sys::identity::user).transpose();
        let group = config.gid.as_deref().map(empery_sys::identity::group).transpose();
        let groups: std::io::Result<Vec<u32>> =
            config.add_gids.iter().map(|name| empery_sys::identity::group(name)).collect();
        let (user, group, groups) = match (user, group, groups) {
            (Ok(user), Ok(group), Ok(groups)) => (user, group, groups),
            (user, group, groups) => {
                let at = |key: &str| origin_of(&config, key, file);
                let hint = "create it, or name one that `getent passwd` or `getent group` shows";
                if let Err(cause) = user {
                    problems
                        .push(Problem { origin: at("uid"), ..error("unknown-user", file, cause.to_string(), hint) });
                }
                for (key, cause) in [("gid", group.err()), ("add-gid", groups.err())] {
                    let problem = |cause: std::io::Error| error("unknown-group", file, cause.to_string(), hint);
                    problems.extend(cause.map(|cause| Problem { origin: at(key), ..problem(cause) }));
                }
                return None;
            }
        };
        let wanted = Identity {
            uid: user.as_ref().map_or(self.keeper.uid, |user| user.uid),
            gid: group.or(user.as_ref().map(|user| user.gid)).unwrap_or(self.keeper.gid),
        };
        if self.keeper.uid != 0 {
            // As uWSGI: without root the ids of the file are not applied.
            if wanted != self.keeper {
                let message = format!(
                    "the emperor does not run as root: the app runs as uid {}, not as the file says",
                    self.keeper.uid
                );
                problems.push(warning(
                    "identity-ignored",
                    origin_of(&config, "uid", file),
                    message,
                    "start the emperor as root",
                ));
            }
            return Some(RunPlan { config, identity: self.keeper, user: None, groups: Vec::new() });
        }
        if wanted.uid == 0 {
            let why = if config.uid.is_some() { "" } else { "no `uid` is named, so " };
            let message = format!("{why}the app runs as root: whoever breaks into it owns the machine");
            problems.push(warning(
                "runs-as-root",
                origin_of(&config, "uid", file),
                message,
                "name a user with `uid = ...`",
            ));
        }
        let user = user.and_then(|user| user.name).filter(|_| !config.no_initgroups);
        Some(RunPlan { config, identity: wanted, user, groups })
    }
}

/// Under a tyrant.
fn plan_of_owner(
    config: VassalConfig,
    file: &str,
    tyrant: Tyrant,
    owner: Option<Identity>,
    problems: &mut Vec<Problem>,
) -> Option<RunPlan> {
    let allowed = owner.ok_or_else(|| "nobody knows whose its file is: it is gone".to_owned());
    let allowed = allowed.and_then(|owner| tyrant::may_run(owner).map(|()| owner));
    let owner = match allowed {
        Ok(owner) => owner,
        Err(why) => {
            let hint = "give the file to the user that the app is to run as: `chown USER:GROUP FILE`";
            problems.push(error("owner-is-root", file, why, hint));
            return None;
        }
    };
    for key in ["uid", "gid", "add-gid"] {
        if config.effective.iter().any(|option| option.key == key) {
            let message =
                format!("`{key}` counts for nothing: the app runs as the owner of its file, uid {}", owner.uid);
            let hint = "this emperor is a tyrant (emperor-tyrant)";
            problems.push(warning("identity-ignored", origin_of(&config, key, file), message, hint));
        }
    }
    let user = nix::unistd::User::from_uid(owner.uid.into()).ok().flatten().filter(|_| tyrant.initgroups);
    Some(RunPlan { config, identity: owner, user: user.map(|user| user.name), groups: Vec::new() })
}

fn machine_facts(keeper: Identity) -> Facts {
    let user = nix::unistd::User::from_uid(keeper.uid.into()).ok().flatten();
    let group = nix::unistd::Group::from_gid(keeper.gid.into()).ok().flatten();
    Facts {
        working_directory: String::new(),
        hostname: nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        cpu_cores: std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1)),
        uid: keeper.uid,
        user: user.map_or_else(|| keeper.uid.to_string(), |user| user.name),
        gid: keeper.gid,
        group: group.map_or_else(|| keeper.gid.to_string(), |group| group.name),
        now_unix_us: 0,
        environment: std::env::vars_os()
            .filter_map(|(name, value)| {
                Some((seen_by_vassals(&name.to_string_lossy())?, value.to_string_lossy().into()))
            })
            .collect(),
        environment_order: Vec::new(),
        // A vassal's reading of its own file is never one, either: both must come to the same sockets.
        is_a_reload: false,
        common: facts::Common::default(),
        inherited: Vec::new(),
        on_demand: None,
    }
}

/// Under which name a vassal's master sees a variable of the emperor's, if at all: the keeper's word (its `environment.rs`).
fn seen_by_vassals(name: &str) -> Option<String> {
    let withheld = ["UWSGI_", "LISTEN_", "NOTIFY_SOCKET", "EMPERY_"];
    match name.strip_prefix(FOR_VASSALS) {
        Some(rest) => Some(format!("UWSGI_{rest}")),
        None => (!withheld.iter().any(|withheld| name.starts_with(withheld))).then(|| name.to_owned()),
    }
}

fn origin_of(config: &VassalConfig, key: &str, file: &str) -> Origin {
    let named = config.effective.iter().rev().find(|option| option.key == key);
    named.map_or_else(|| Origin { file: file.to_owned(), ..Origin::default() }, |option| option.origin.clone())
}

fn error(code: &str, file: &str, message: String, hint: &str) -> Problem {
    Problem {
        severity: Severity::Error,
        code: code.to_owned(),
        origin: Origin { file: file.to_owned(), ..Origin::default() },
        source: None,
        message,
        hint: Some(hint.to_owned()),
    }
}

fn warning(code: &str, origin: Origin, message: String, hint: &str) -> Problem {
    Problem {
        severity: Severity::Warning,
        code: code.to_owned(),
        origin,
        source: None,
        message,
        hint: Some(hint.to_owned()),
    }
}

/// As the API shows it.
pub(crate) fn shown(problem: Problem) -> ProblemView {
    ProblemView {
        severity: match problem.severity {
            Severity::Error => "error".to_owned(),
            Severity::Warning => "warning".to_owned(),
        },
        code: problem.code,
        file: problem.origin.file,
        line: problem.origin.line,
        column: problem.origin.column,
        source: problem.source,
        message: problem.message,
        hint: problem.hint,
    }
}
