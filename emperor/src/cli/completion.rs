//! `emperor completion`: what bash, zsh and fish need to complete `emperor` and `vassal`. The verbs come from the command
//! line itself, the options of `vassal` from the registry: those that do something.

use std::fmt::Write;

use clap::{CommandFactory, ValueEnum};
use empery_config::registry::{self, Status};

use super::{
    exit::{Exit, Failure},
    print,
};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// For which shell
    shell: Shell,
}

/// A shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// A word to complete, with what it does.
struct Word {
    name: String,
    about: String,
}

/// A verb of `emperor` with its options.
struct Verb {
    word: Word,
    options: Vec<Word>,
}

pub(super) fn run(options: &Options) -> Result<Exit, Failure> {
    let script = match options.shell {
        Shell::Bash => bash(&verbs(), &vassal_options()),
        Shell::Zsh => zsh(&verbs(), &vassal_options()),
        Shell::Fish => fish(&verbs(), &vassal_options()),
    };
    print::document(&script);
    Ok(Exit::Done)
}

fn verbs() -> Vec<Verb> {
    let line = super::Line::command();
    let shown = line.get_subcommands().filter(|verb| !verb.is_hide_set());
    let about = |text: Option<&clap::builder::StyledStr>| text.map(ToString::to_string).unwrap_or_default();
    let options_of = |verb: &clap::Command| {
        let long = verb.get_arguments().filter_map(|argument| {
            Some(Word { name: format!("--{}", argument.get_long()?), about: about(argument.get_help()) })
        });
        long.collect()
    };
    let verb = |verb: &clap::Command| Verb {
        word: Word { name: verb.get_name().to_owned(), about: about(verb.get_about()) },
        options: options_of(verb),
    };
    shown.map(verb).collect()
}

fn vassal_options() -> Vec<Word> {
    let works = registry::all().iter().filter_map(|entry| match entry.status {
        Status::Supported { meaning } => Some(Word { name: format!("--{}", entry.name), about: meaning.to_owned() }),
        Status::Accepted { .. } | Status::Refused { .. } => None,
    });
    works.collect()
}

fn names(words: &[Word]) -> String {
    words.iter().map(|word| word.name.as_str()).collect::<Vec<_>>().join(" ")
}

fn verb_names(verbs: &[Verb]) -> String {
    verbs.iter().map(|verb| verb.word.name.as_str()).collect::<Vec<_>>().join(" ")
}

fn bash(verbs: &[Verb], vassal: &[Word]) -> String {
    let mut cases = String::new();
    for verb in verbs {
        line(&mut cases, &format!("    {}) words='{}' ;;", verb.word.name, names(&verb.options)));
    }
    format!(
        "# bash completion of emperor and vassal: source this file\n\
         _empery_words() {{ COMPREPLY=($(compgen -W \"$1\" -- \"$cur\")); [[ $cur == -* ]] || COMPREPLY+=($(compgen -f -- \"$cur\")); }}\n\
         _emperor() {{\n  local cur=${{COMP_WORDS[COMP_CWORD]}} words=''\n  \
         if ((COMP_CWORD == 1)); then COMPREPLY=($(compgen -W '{}' -- \"$cur\")); return; fi\n  \
         case ${{COMP_WORDS[1]}} in\n{cases}  esac\n  _empery_words \"$words\"\n}}\n\
         _vassal() {{ local cur=${{COMP_WORDS[COMP_CWORD]}}; _empery_words '{}'; }}\n\
         complete -o filenames -F _emperor emperor\ncomplete -o filenames -F _vassal vassal\n",
        verb_names(verbs),
        names(vassal)
    )
}

fn zsh(verbs: &[Verb], vassal: &[Word]) -> String {
    let described = |words: &[Word]| words.iter().map(zsh_word).collect::<Vec<_>>().join(" ");
    let mut cases = String::new();
    for verb in verbs {
        line(&mut cases, &format!("      {}) words=({}) ;;", verb.word.name, described(&verb.options)));
    }
    let all: Vec<String> = verbs.iter().map(|verb| zsh_word(&verb.word)).collect();
    format!(
        "#compdef emperor vassal\n# zsh completion of emperor and vassal: put this file as _emperor into a directory of $fpath\n\
         local -a words\ncase $service in\n  vassal) words=({}) ;;\n  emperor)\n    \
         if ((CURRENT == 2)); then words=({})\n    else case $words[2] in\n{cases}    esac; fi ;;\nesac\n\
         _describe 'option' words\n_files\n",
        described(vassal),
        all.join(" ")
    )
}

/// `'--name:what it does'`, quoted for zsh.
fn zsh_word(word: &Word) -> String {
    format!("'{}:{}'", word.name, short(&word.about).replace('\'', "'\\''").replace(':', "\\:"))
}

fn fish(verbs: &[Verb], vassal: &[Word]) -> String {
    let quoted = |text: &str| short(text).replace('\\', "\\\\").replace('\'', "\\'");
    let mut script = String::from(
        "# fish completion of emperor and vassal: put this file into ~/.config/fish/completions as emperor.fish, and a link\n\
         # to it as vassal.fish\n",
    );
    for verb in verbs {
        let Word { name, about } = &verb.word;
        line(&mut script, &format!("complete -c emperor -n __fish_use_subcommand -a {name} -d '{}'", quoted(about)));
        for option in &verb.options {
            let long = option.name.trim_start_matches("--");
            line(
                &mut script,
                &format!(
                    "complete -c emperor -n '__fish_seen_subcommand_from {name}' -l {long} -d '{}'",
                    quoted(&option.about)
                ),
            );
        }
    }
    for option in vassal {
        let long = option.name.trim_start_matches("--");
        line(&mut script, &format!("complete -c vassal -l {long} -d '{}'", quoted(&option.about)));
    }
    script
}

/// The first sentence, on one line.
fn short(text: &str) -> String {
    text.lines().next().unwrap_or_default().replace('`', "")
}

fn line(script: &mut String, text: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(script, "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_knows_the_verbs_and_the_options_that_work() {
        for script in
            [bash(&verbs(), &vassal_options()), zsh(&verbs(), &vassal_options()), fish(&verbs(), &vassal_options())]
        {
            for word in ["migrate", "confirm-removal", "effective", "http-socket", "if-env"] {
                assert!(script.contains(word), "{word}");
            }
            assert!(!script.contains("legion-mcast"), "refused words");
        }
        assert!(!verb_names(&verbs()).contains("brain"), "a hidden verb");
    }

    #[test]
    fn what_an_option_does_is_quoted() {
        let word = Word { name: "--x".into(), about: "it's `a: b`\nmore".into() };
        assert_eq!(zsh_word(&word), "'--x:it'\\''s a\\: b'");
        {}
    }
}
