//! What the emperor says for all its vassals, as uWSGI's puts it on the command line around each vassal's file.

use std::ffi::OsString;

use empery_control::boot::Common;

/// An option for vassals only: `UWSGI_VASSAL_X` of the emperor's environment reaches them as `UWSGI_X` (core/emperor.c).
pub(crate) const FOR_VASSALS: &str = "UWSGI_VASSAL_";

/// Options of `emperor run`, each as often as wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub(crate) struct CommonOptions {
    /// An option that every vassal gets, before its file
    #[arg(id = "vassal-set", long, value_name = "OPTION=VALUE")]
    pub(crate) set: Vec<String>,
    /// A file that every vassal includes behind its own; `%n` and the like are the vassal's there
    #[arg(id = "vassals-include", long, value_name = "FILE")]
    pub(crate) include: Vec<String>,
    /// The same before its own
    #[arg(id = "vassals-include-before", long, value_name = "FILE")]
    pub(crate) include_before: Vec<String>,
    /// A file that every vassal inherits: its options come last
    #[arg(id = "vassals-inherit", long, value_name = "FILE")]
    pub(crate) inherit: Vec<String>,
    /// The same, before the other inherited files
    #[arg(id = "vassals-inherit-before", long, value_name = "FILE")]
    pub(crate) inherit_before: Vec<String>,
}

impl CommonOptions {
    /// In the order in which a vassal reads them (core/emperor.c).
    pub(crate) fn common(&self) -> Common {
        let as_option = |key: &'static str, values: &[String]| -> Vec<(String, String)> {
            values.iter().map(|value| (key.to_owned(), value.clone())).collect()
        };
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| as_set(&name.to_string_lossy(), &value.to_string_lossy()))
            .collect::<Vec<_>>();
        Common {
            before: [
                environment,
                as_option("inherit", &self.inherit_before),
                as_option("include", &self.include_before),
                as_option("set", &self.set),
            ]
            .concat(),
            after: [as_option("inherit", &self.inherit), as_option("include", &self.include)].concat(),
        }
    }

    /// Those typed, or where none was typed those of the configuration file.
    pub(crate) fn or(self, file: CommonOptions) -> CommonOptions {
        let or = |typed: Vec<String>, written: Vec<String>| if typed.is_empty() { written } else { typed };
        CommonOptions {
            set: or(self.set, file.set),
            include: or(self.include, file.include),
            include_before: or(self.include_before, file.include_before),
            inherit: or(self.inherit, file.inherit),
            inherit_before: or(self.inherit_before, file.inherit_before),
        }
    }

    /// As arguments that clap reads back; with `=`, since a value may begin with a dash.
    pub(crate) fn to_args(&self) -> impl Iterator<Item = OsString> {
        let all = [
            ("vassal-set", &self.set),
            ("vassals-include", &self.include),
            ("vassals-include-before", &self.include_before),
            ("vassals-inherit", &self.inherit),
            ("vassals-inherit-before", &self.inherit_before),
        ];
        all.into_iter().flat_map(|(name, values)| values.iter().map(move |value| format!("--{name}={value}").into()))
    }
}

/// What `UWSGI_VASSAL_THREADS=4` asks of every vassal: `set = threads=4`.
fn as_set(name: &str, value: &str) -> Option<(String, String)> {
    let option = name.strip_prefix(FOR_VASSALS)?.to_lowercase().replace('_', "-");
    Some(("set".to_owned(), format!("{option}={value}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_for_vassals_is_an_option_of_each() {
        let set = |option: &str| Some(("set".to_owned(), option.to_owned()));
        assert_eq!(as_set("UWSGI_VASSAL_HTTP_SOCKET", ":80"), set("http-socket=:80"));
        assert_eq!(as_set("UWSGI_HTTP", ":80"), None);
    }
}
