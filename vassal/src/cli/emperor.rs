//! `--emperor DIR`, or a file with `emperor = DIR`: the `emperor` beside this binary takes over, in this process.

use std::{
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Command, ExitCode},
};

use empery_config::vassal::VassalConfig;

/// Options that go with it, and what `emperor run` calls them.
const PASSED_ON: [(&str, &str); 14] = [
    ("emperor-on-demand-ext", "emperor-on-demand-extension"),
    ("emperor-on-demand-extension", "emperor-on-demand-extension"),
    ("emperor-on-demand-dir", "emperor-on-demand-directory"),
    ("emperor-on-demand-directory", "emperor-on-demand-directory"),
    ("emperor-on-demand-exec", "emperor-on-demand-exec"),
    ("emperor-stats", "emperor-stats"),
    ("emperor-stats-server", "emperor-stats"),
    ("emperor-pidfile", "emperor-pidfile"),
    ("vassal-set", "vassal-set"),
    ("vassals-set", "vassal-set"),
    ("vassals-include", "vassals-include"),
    ("vassals-include-before", "vassals-include-before"),
    ("vassals-inherit", "vassals-inherit"),
    ("vassals-inherit-before", "vassals-inherit-before"),
];

/// Becomes the emperor. Returns only when that failed.
pub(super) fn run(vassals: &str, config: &VassalConfig) -> ExitCode {
    let program = beside().unwrap_or_else(|| PathBuf::from("emperor"));
    let passed_on = config.effective.iter().filter_map(|option| {
        let (_, name) = PASSED_ON.iter().find(|(given, _)| *given == option.key)?;
        Some(format!("--{name}={}", option.value.as_deref()?))
    });
    let error = Command::new(&program).args(["run", "--vassals", vassals]).args(passed_on).exec();
    eprintln!("vassal: {} cannot be run: {error}", program.display());
    ExitCode::FAILURE
}

fn beside() -> Option<PathBuf> {
    let path = crate::extension::binary().ok()?.parent()?.join("emperor");
    path.is_file().then_some(path)
}
