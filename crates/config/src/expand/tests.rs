//! `$(NAME)`, `%(key)`, arithmetic, and texts that do not come to an end.

use super::*;
use crate::facts::NoFiles;
use crate::{gather::Given, problem::Origin};

fn directive(key: &str, value: &str) -> Directive {
    let (key_at, value_at) = (Origin::default(), Origin::default());
    Directive { key: key.into(), value: Some(value.into()), key_at, value_at, given: Given::Option }
}

/// One pass over all of them, without files.
fn expand(directives: &mut [Directive], facts: &Facts) -> Expanded {
    expand_with(directives, facts, &NoFiles)
}

fn expand_with(directives: &mut [Directive], facts: &Facts, files: &dyn Files) -> Expanded {
    let mut expander = Expander::default();
    expander.expand(directives, 0, &Machine { facts, files, early: BTreeMap::new() });
    expander.finish()
}

fn expanded(pairs: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
    let facts = Facts { environment: [("HOME".into(), "/home/foo".into())].into(), ..Facts::default() };
    let mut directives: Vec<Directive> = pairs.iter().map(|(key, value)| directive(key, value)).collect();
    let codes = expand(&mut directives, &facts).problems.into_iter().map(|problem| problem.code).collect();
    (directives.into_iter().filter_map(|directive| directive.value).collect(), codes)
}

fn last(pairs: &[(&str, &str)]) -> String {
    expanded(pairs).0.pop().unwrap()
}

#[test]
fn b32_an_environment_variable_is_replaced_and_an_unset_one_stays_with_a_warning() {
    let (values, codes) = expanded(&[("chdir", "$(HOME)/app"), ("home", "$(NOPE)/venv"), ("x", "$HOME $() $(")]);
    assert_eq!(values, ["/home/foo/app", "$(NOPE)/venv", "$HOME $() $("]);
    assert_eq!(codes, ["unset-variable"]);
}

#[test]
fn b32_a_placeholder_is_the_first_option_of_that_name_anywhere() {
    assert_eq!(last(&[("base", "/srv"), ("base", "/other"), ("chdir", "%(base)/app")]), "/srv/app");
    assert_eq!(expanded(&[("chdir", "%(base)/app"), ("base", "/srv")]).0[0], "/srv/app");
}

#[test]
fn an_unknown_placeholder_stays_as_text() {
    assert_eq!(last(&[("log-format", "%(addr) - %(user) [%(ltime)]")]), "%(addr) - %(user) [%(ltime)]");
}

#[test]
fn placeholders_in_placeholders_are_followed_in_either_direction() {
    assert_eq!(last(&[("c", "5"), ("b", "%(c) x"), ("a", "%(b)")]), "5 x");
    assert_eq!(expanded(&[("a", "%(b)"), ("b", "%(c) x"), ("c", "5")]).0[0], "5 x");
}

#[test]
fn the_innermost_placeholder_comes_first_and_what_was_left_open_is_looked_at_again() {
    let x = ("x", "n");
    assert_eq!(last(&[x, ("a", "%(%(x")]), "%(%(x");
    assert_eq!(last(&[x, ("a", "%(%(x)")]), "%(n");
    assert_eq!(last(&[x, ("n", "v"), ("a", "%(%(x))")]), "v");
    assert_eq!(last(&[x, ("nn", "v"), ("a", "-%(%(x)%(x))-")]), "-v-");
    assert_eq!(last(&[x, ("a", "%(a %b %(x))")]), "%(a %b n)", "the outer one was given up at %b");
    assert_eq!(last(&[("p", "(x)"), x, ("a", "%%(p)")]), "n");
    assert_eq!(last(&[x, ("a", "%(none %(none) %(x))")]), "%(none %(none) n)");
}

#[test]
fn an_environment_variable_may_name_a_placeholder_but_not_the_other_way_round() {
    let facts = Facts { environment: [("A".into(), "%(b)".into())].into(), ..Facts::default() };
    let mut directives =
        [directive("x", "$(A)"), directive("b", "1"), directive("y", "%(z)"), directive("z", "$(A) $(C)")];
    expand(&mut directives, &facts);
    assert_eq!(directives.map(|directive| directive.value.unwrap()), ["1", "1", "1 $(C)", "1 $(C)"]);
}

#[test]
fn words_are_put_together_and_computed() {
    let numbers = [("processes", "2"), ("cores", "8"), ("num", "4")];
    let result = |formula: &str| last(&[numbers.as_slice(), &[("x", formula)]].concat());
    assert_eq!(result("%(num + 3)"), "7");
    assert_eq!(result("%(processes cores + 2)"), "30");
    assert_eq!(result("%(cores * num)"), "32");
    assert_eq!(result("%(cores - num)"), "4");
    assert_eq!(result("%(cores / 3)"), "2");
    assert_eq!(result("%(cores / 0)"), "0");
    assert_eq!(result("%(num ++)"), "5");
    assert_eq!(result("%(num --)"), "3");
    assert_eq!(result("%(nothing + 1)"), "1");
}

#[test]
fn numbers_at_the_end_of_their_range_do_not_overflow() {
    assert_eq!(last(&[("big", "9223372036854775807"), ("x", "%(big + 1)")]), i64::MIN.to_string());
    assert_eq!(last(&[("low", "-9223372036854775807"), ("one", "-1"), ("x", "%(low / one)")]), "9223372036854775807");
}

#[test]
fn a_placeholder_of_itself_is_a_problem_and_stays_as_written() {
    let (values, codes) = expanded(&[("a", "%(a)")]);
    assert_eq!((values, codes), (vec!["%(a)".to_owned()], vec!["placeholder-loop".to_owned()]));
    assert_eq!(expanded(&[("a", "x%(b)"), ("b", "y%(a)")]).1, ["placeholder-loop", "placeholder-loop"]);
}

#[test]
fn a_chain_that_doubles_at_every_step_is_given_up() {
    let names: Vec<String> = (0..40).map(|n| format!("p{n}")).collect();
    let values: Vec<String> =
        (0..40).map(|n| if n == 0 { "xx".to_owned() } else { format!("%(p{0})%(p{0})", n - 1) }).collect();
    let pairs: Vec<(&str, &str)> = names.iter().map(String::as_str).zip(values.iter().map(String::as_str)).collect();
    assert!(expanded(&pairs).1.iter().all(|code| code == "placeholder-loop"));
    assert!(!expanded(&pairs).1.is_empty());
}

#[test]
fn keys_that_values_asked_for_are_known_afterwards() {
    let mut directives = [directive("chdir", "%(base)/%(a b + 1)")];
    let asked = expand(&mut directives, &Facts::default()).asked;
    assert_eq!(asked.into_iter().collect::<Vec<_>>(), ["a", "b", "base"]);
}

/// Files by path; a command prints itself.
struct Shelf(BTreeMap<&'static str, &'static [u8]>, Reader);

impl Files for Shelf {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        self.0.get(path).map(|content| content.to_vec()).ok_or(FileError::NotFound)
    }

    fn run(&self, command: &str) -> Result<Vec<u8>, FileError> {
        Ok(command.as_bytes().to_vec())
    }

    fn read_descriptor(&self, number: i32) -> Result<Vec<u8>, FileError> {
        Ok(format!("{number}\n").into_bytes())
    }

    fn reader(&self) -> Reader {
        self.1
    }
}

fn with_files(key: &str, value: &str, reader: Reader) -> (String, Vec<(String, Severity)>) {
    let facts = Facts { working_directory: "/v".into(), ..Facts::default() };
    let shelf = Shelf([("/v/secret", &b"s3\n\n"[..]), ("/v/self", b"@(self)"), ("/v/bytes", b"\xff")].into(), reader);
    let mut directives = vec![Directive {
        key: key.into(),
        value: Some(value.into()),
        key_at: Origin::default(),
        value_at: Origin::default(),
        given: Given::Option,
    }];
    let found = expand_with(&mut directives, &facts, &shelf);
    let problems = found.problems.into_iter().map(|problem| (problem.code, problem.severity)).collect();
    (directives.remove(0).value.unwrap_or_default(), problems)
}

#[test]
fn b32_the_content_of_a_file_stands_for_its_name_without_its_last_line_break() {
    assert_eq!(with_files("env", "P=@(secret)!", Reader::Runner), ("P=s3\n!".to_owned(), vec![]));
    assert_eq!(with_files("env", "P=@(exec://echo 1)", Reader::Runner), ("P=echo 1".to_owned(), vec![]));
    assert_eq!(with_files("env", "P=@(fd://3)@(-)", Reader::Runner), ("P=30".to_owned(), vec![]));
    assert_eq!(with_files("env", "mail@example.org @()", Reader::Runner), ("mail@example.org @()".to_owned(), vec![]));
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_and_a_warning_to_the_emperor_when_it_is_the_app_s() {
    let code = |code: &str, severity| vec![(code.to_owned(), severity)];
    assert_eq!(with_files("env", "P=@(none)", Reader::Runner).1, code("file-not-read", Severity::Error));
    assert_eq!(with_files("env", "P=@(none)", Reader::Planner).1, code("file-not-read", Severity::Warning));
    assert_eq!(with_files("home", "@(none)", Reader::Planner).1, code("file-not-read", Severity::Warning));
    let run = with_files("home", "@(exec://which python)", Reader::Planner);
    assert_eq!(run, ("@(exec://which python)".to_owned(), code("run-by-the-vassal", Severity::Warning)));
    assert_eq!(with_files("socket", "@(exec://echo :80)", Reader::Planner).0, "echo :80", "where the caller runs it");
    assert_eq!(with_files("socket", "@(none)", Reader::Planner).1, code("file-not-read", Severity::Error));
    assert_eq!(with_files("env", "P=@(bytes)", Reader::Runner).1, code("file-not-read", Severity::Error));
    assert_eq!(with_files("env", "P=@(http://h/x)", Reader::Runner).1, code("scheme-refused", Severity::Error));
    assert_eq!(with_files("env", "P=@(self)", Reader::Runner).1, code("placeholder-loop", Severity::Error));
}

#[test]
fn what_an_emperor_must_know_cannot_hang_on_what_is_left_to_the_master() {
    let of = |key: &str, value: &str| Directive {
        key: key.into(),
        value: Some(value.into()),
        key_at: Origin::default(),
        value_at: Origin::default(),
        given: Given::Option,
    };
    let mut directives =
        vec![of("home", "@(exec://where)"), of("env", "H=%(home)"), of("socket", "%(home)/x"), of("pp", "%(home)")];
    let shelf = Shelf(BTreeMap::new(), Reader::Planner);
    let found = expand_with(&mut directives, &Facts::default(), &shelf);
    let told: Vec<_> = found.problems.iter().map(|problem| (problem.code.as_str(), problem.severity)).collect();
    assert_eq!(told, [("run-by-the-vassal", Severity::Warning), ("file-not-read", Severity::Error)]);
    assert!(found.problems[1].message.contains("`socket`"), "{:?}", found.problems[1]);
}

#[test]
fn parentheses_in_a_calculation_are_done_first_and_told() {
    let (values, codes) = expanded(&[("n", "3"), ("x", "%(2 * (%(n) + (4 - 3)))"), ("y", "%(a(b) + 1)")]);
    assert_eq!((values[1].as_str(), values[2].as_str()), ("8", "1"));
    assert_eq!(codes, ["nested-arithmetic"]);
}
