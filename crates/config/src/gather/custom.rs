//! Options of one's own: `declare-option = NAME=TEMPLATE;TEMPLATE`, each template an option with `$1`, `$2`, … for the
//! words of the value (core/config.c: `uwsgi_opt_custom`).

use super::{Directive, Gatherer, Given};
use crate::{
    problem::{Origin, Problem},
    registry::{self, Argument},
};

/// Deepest use of such options in one another.
const DEPTH_MAX: usize = 8;
/// Most uses of them in one entry.
const USES_MAX: usize = 10_000;
/// Most words of a value.
const WORDS_MAX: usize = 64;

/// One that was declared.
#[derive(Debug, Clone)]
pub(super) struct Custom {
    name: String,
    template: String,
}

/// All of them, and how much they have been used: an option that uses itself does not end.
#[derive(Debug, Default)]
pub(super) struct Customs {
    declared: Vec<Custom>,
    depth: usize,
    uses: usize,
}

impl Gatherer<'_> {
    pub(super) fn declare(&mut self, option: &str, text: &str, at: &Origin) {
        let Some((name, template)) = text.split_once('=') else {
            let message = format!("`{option} = {text}`: expected `newoption=template`");
            return self.problem(
                Problem::error("bad-value", at.clone(), message).hint(format!("write `{option} = app=module=$1`")),
            );
        };
        if registry::lookup(name).is_some() {
            let message = format!("`{name}` is an option already; what is declared here is never used");
            return self.problem(Problem::warning("option-exists", at.clone(), message).hint("take another name"));
        }
        self.custom.declared.push(Custom { name: name.to_owned(), template: template.to_owned() });
        // uWSGI applies what stood before the declaration when it comes to it.
        let all = &self.gathered.directives;
        let earlier: Vec<usize> =
            (0..all.len()).filter(|at| all[*at].key == name && all[*at].given == Given::Option).collect();
        let mut put = Vec::new();
        for at in earlier {
            self.gathered.directives[at].given = Given::Done;
            let directive = self.gathered.directives[at].clone();
            let end = self.gathered.directives.len();
            self.stand_for(&directive, Given::InPlace);
            put.push((at, self.gathered.directives.split_off(end)));
        }
        self.put_in_place(put);
    }

    /// Puts directives behind those of these places.
    fn put_in_place(&mut self, put: Vec<(usize, Vec<Directive>)>) {
        // After `inherit` the order is settled: what it declares for what stood before comes last.
        if self.inherits {
            return self.gathered.directives.extend(put.into_iter().flat_map(|(_, new)| new));
        }
        let mut put = put.into_iter().peekable();
        for (at, directive) in std::mem::take(&mut self.gathered.directives).into_iter().enumerate() {
            self.gathered.directives.push(directive);
            if let Some((_, new)) = put.next_if(|(place, _)| *place == at) {
                self.gathered.directives.extend(new);
            }
        }
    }

    /// Whether an option of one's own has a value on the command line: one that its template uses.
    pub(crate) fn argument_of_custom(&self, name: &str) -> Option<Argument> {
        let template = &self.custom.declared[self.custom_of(name)?].template;
        let uses = ["$1", "$2", "$3"].iter().any(|word| template.contains(word));
        Some(if uses { Argument::Required } else { Argument::No })
    }

    /// The place of the option of that name; uWSGI's own win.
    pub(super) fn custom_of(&self, name: &str) -> Option<usize> {
        self.custom.declared.iter().position(|custom| custom.name == name)
    }

    /// Takes what such an option stands for, if the directive is one.
    pub(super) fn apply_custom(&mut self, directive: &Directive) {
        self.stand_for(directive, Given::Early);
    }

    fn stand_for(&mut self, directive: &Directive, given: Given) {
        let Some(at) = self.custom_of(&directive.key) else { return };
        self.custom.uses += 1;
        if self.custom.depth >= DEPTH_MAX || self.custom.uses > USES_MAX {
            let message = format!("`{}` stands for itself without end", directive.key);
            return self.problem(Problem::error("endless-option", directive.key_at.clone(), message));
        }
        self.custom.depth += 1;
        let template = self.custom.declared[at].template.clone();
        let text = directive.value.as_deref().unwrap_or_default();
        let mut words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).take(WORDS_MAX).collect();
        if words.is_empty() {
            words.push("");
        }
        let fill = |part: &str| {
            words
                .iter()
                .enumerate()
                .fold(part.to_owned(), |text, (index, word)| text.replace(&format!("${}", index + 1), word))
        };
        for (key, value) in template.split(';').filter_map(|part| part.split_once('=')) {
            let (key_at, value_at) = (directive.key_at.clone(), directive.value_at.clone());
            self.take(Directive { key: fill(key), value: Some(fill(value)), key_at, value_at, given });
        }
        self.custom.depth -= 1;
    }
}
