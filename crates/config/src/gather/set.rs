//! Placeholders and the environment while reading: `set`, `set-ph`, `resolve`, `early-envdir`.

use super::{Directive, Gatherer, Given};
use crate::{
    environment_files,
    problem::{Origin, Problem},
    registry::{self, Since},
};

impl Gatherer<'_> {
    pub(super) fn set(&mut self, text: &str, at: &Origin) {
        match text.split_once('=') {
            Some((key, value)) => {
                self.add(key.trim().to_owned(), Some(value.trim_start().to_owned()), at.clone(), at.clone());
            }
            None => self.problem(bad_set("set", at)),
        }
    }

    pub(super) fn set_placeholder(&mut self, option: &str, text: &str, at: &Origin) {
        let Some((key, value)) = text.split_once('=') else { return self.problem(bad_set(option, at)) };
        let key = key.trim();
        let entry = registry::lookup(key);
        let is_uwsgi_s = |entry: &registry::Entry| entry.since == Since::Uwsgi20 && entry.is_in_every_build();
        if let Some(entry) = entry.filter(|entry| !is_uwsgi_s(entry)) {
            let message = format!("`{}` is an option here and a placeholder only: the option is not set", entry.name);
            let problem = Problem::warning("placeholder-is-option", at.clone(), message);
            self.problem(problem.hint(format!("write `{key} = {}` if the option is meant", value.trim_start())));
        } else if entry.is_some() {
            let message = format!("you cannot use `{key}` as a placeholder, it is already available as an option");
            return self.problem(
                Problem::error("placeholder-is-option", at.clone(), message)
                    .hint(format!("write `{key} = {value}`, or use another name")),
            );
        }
        let value = Some(value.trim_start().to_owned());
        self.firsts.entry(key.to_owned()).or_insert_with(|| value.clone());
        self.gathered.directives.push(Directive {
            key: key.to_owned(),
            value,
            key_at: at.clone(),
            value_at: at.clone(),
            given: Given::Placeholder,
        });
    }

    /// `resolve = placeholder=host`: its IPv4 address.
    pub(super) fn resolve(&mut self, text: &str, at: &Origin) {
        let Some((key, host)) = text.split_once('=') else {
            let message = "invalid resolve syntax, must be placeholder=domain";
            return self.problem(
                Problem::error("bad-value", at.clone(), message).hint("write `resolve = db=database.example.org`"),
            );
        };
        match self.files.resolve(host) {
            Ok(address) => self.set_placeholder("resolve", &format!("{key}={address}"), at),
            Err(error) => {
                let message = format!("unable to resolve name {host}: {error}");
                self.problem(
                    Problem::error("not-resolved", at.clone(), message).hint("write the address, or check the name"),
                );
            }
        }
    }

    pub(super) fn early_envdir(&mut self, directory: &str, at: &Origin) {
        let found = environment_files::read(directory, &self.facts.working_directory, self.files, at);
        self.gathered.early_environment.extend(found.variables);
        self.gathered.problems.extend(found.problems);
    }

    /// `ienv = NAME=value`; a name alone removes the variable, as putenv(3) does.
    pub(super) fn early_variable(&mut self, text: &str) {
        let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value.to_owned())));
        self.gathered.early_environment.push((name.to_owned(), value));
    }

    /// A variable of the environment, with what `early-envdir` made of it.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        let early = self.gathered.early_environment.iter().rev().find(|(set, _)| set == name);
        early.map_or_else(|| self.facts.environment.get(name).cloned(), |(_, value)| value.clone())
    }
}

fn bad_set(option: &str, at: &Origin) -> Problem {
    Problem::error("bad-value", at.clone(), format!("`{option}` expects `key=value`"))
        .hint(format!("write `{option} = key=value`"))
}
