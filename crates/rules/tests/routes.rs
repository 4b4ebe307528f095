//! Routes followed on requests that are a table of variables.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use empery_rules::routes::{
    Action, Answer, Arithmetic, BasicAuth, Comparison, Condition, Effect, Fact, Host, Known, Outcome, PathIs, Prepared,
    Rule, Step, When,
    template::{Piece, Template},
};
use proptest::prelude::*;

#[derive(Default)]
struct Request {
    vars: BTreeMap<Vec<u8>, Vec<u8>>,
    added: BTreeMap<Vec<u8>, Vec<u8>>,
    effects: Vec<Effect>,
    status: u16,
    /// The only metric there is, `hits`.
    hits: i64,
}

impl Host for Request {
    fn variable(&self, name: &[u8]) -> Option<Vec<u8>> {
        self.added.get(name).or(self.vars.get(name)).cloned()
    }

    fn own(&self, name: &[u8]) -> Option<Vec<u8>> {
        self.vars.get(name).cloned()
    }

    fn set(&mut self, name: &[u8], value: Vec<u8>) {
        self.vars.insert(name.to_vec(), value);
    }

    fn add(&mut self, name: &[u8], value: Vec<u8>) {
        self.added.insert(name.to_vec(), value);
    }

    fn status(&self) -> u16 {
        self.status
    }

    fn fact(&self, fact: Fact) -> Vec<u8> {
        format!("{fact:?}").into_bytes()
    }

    fn http_time(&self, in_s: u64) -> Vec<u8> {
        format!("in {in_s}").into_bytes()
    }

    fn mime(&self, _path: &[u8]) -> Vec<u8> {
        b"text/css".to_vec()
    }

    fn is_path(&self, path: &[u8], is: PathIs) -> bool {
        path == b"/there" && matches!(is, PathIs::There | PathIs::File)
    }

    fn knows(&self, file: &str, user: &[u8], password: &[u8]) -> bool {
        (file, user, password) == ("/htpasswd", b"u", b"p:w")
    }

    fn metric(&self, name: &str) -> i64 {
        if name == "hits" { self.hits } else { 0 }
    }

    fn change_metric(&mut self, name: &[u8], how: Option<Arithmetic>, by: i64) -> bool {
        match how {
            None => self.hits = by,
            Some(Arithmetic::Plus) => self.hits += by,
            Some(other) => panic!("{other:?}"),
        }
        name == b"hits"
    }

    fn carry_out(&mut self, effect: Effect) {
        self.effects.push(effect);
    }
}

fn request(vars: &[(&str, &str)]) -> Request {
    let vars = vars.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect();
    Request { vars, ..Request::default() }
}

fn text(text: &str) -> Template {
    Template(vec![Piece::Text(text.to_owned())])
}

fn always(action: Action) -> Step {
    Step::Rule(Box::new(Rule { when: When::Always, action }))
}

fn found(variable: &str, pattern: &str, action: Action) -> Step {
    Step::Rule(Box::new(Rule { when: When::Found { variable: variable.into(), pattern: pattern.into() }, action }))
}

fn log(text_: &str) -> Action {
    Action::Log(text(text_))
}

fn follow(steps: &[Step], request: &mut Request) -> Outcome {
    Prepared::new(steps).unwrap().follow(request)
}

fn logged(request: &Request) -> Vec<String> {
    let texts = request.effects.iter().filter_map(|effect| match effect {
        Effect::Log(text) => Some(String::from_utf8_lossy(text).into_owned()),
        _ => None,
    });
    texts.collect()
}

fn answer(outcome: Outcome) -> Answer {
    match outcome {
        Outcome::Answer(answer) => answer,
        other => panic!("{other:?}"),
    }
}

#[test]
fn rules_hold_in_order_until_one_ends_the_routes() {
    let steps = [
        found("PATH_INFO", "^/a", log("one")),
        found("PATH_INFO", "^/b", log("two")),
        always(log("three")),
        always(Action::Continue),
        always(log("four")),
    ];
    let mut request = request(&[("PATH_INFO", "/a/b")]);
    assert_eq!(follow(&steps, &mut request), Outcome::GoOn);
    assert_eq!(logged(&request), ["one", "three"]);
}

#[test]
fn metrics_are_counted_and_one_that_is_not_there_ends_the_request() {
    let metric = |name: &str, how, by: &str| always(Action::Metric { name: text(name), how, by: text(by) });
    let alarm = Action::Alarm { name: text("mail"), message: Template(vec![Piece::Metric("hits".into())]) };
    let steps = [
        metric("hits", None, "40"),
        metric("hits", Some(Arithmetic::Plus), "2x"),
        always(Action::Signal(17)),
        always(alarm),
        metric("misses", Some(Arithmetic::Plus), "1"),
        always(log("not reached")),
    ];
    let mut request = request(&[]);
    assert_eq!(follow(&steps, &mut request), Outcome::Close);
    let alarm = Effect::Alarm { name: b"mail".to_vec(), message: b"42".to_vec() };
    assert_eq!(request.effects[..2], [Effect::Signal(17), alarm]);
    assert_eq!(logged(&request), ["[route] the metric `misses` cannot be changed: the request ends"]);
}

#[test]
fn groups_and_variables_are_put_in_once() {
    let to = Template(vec![
        Piece::Text("https://".into()),
        Piece::Variable("HTTP_HOST".into()),
        Piece::Text("/".into()),
        Piece::Group(1),
        Piece::Group(7),
    ]);
    let steps = [found("PATH_INFO", "^/old/(.*)", Action::Redirect { to, is_permanent: true })];
    let vars =
        [("PATH_INFO", "/old/${HTTP_COOKIE}\r\nSet-Cookie: a"), ("HTTP_HOST", "$1.example"), ("HTTP_COOKIE", "secret")];
    let answer = answer(follow(&steps, &mut request(&vars)));
    assert_eq!(answer.status, b"301 Moved Permanently");
    let location = String::from_utf8(answer.headers[0].1.clone()).unwrap();
    assert_eq!(location, "https://$1.example/${HTTP_COOKIE}", "the first line only, and nothing put in twice");
}

#[test]
fn goto_leads_forward_only() {
    let goto = |label: &str| always(Action::Goto(text(label)));
    let label = |label: &str| Step::Label(label.to_owned());
    let mut forward = request(&[]);
    follow(&[goto("end"), always(log("skipped")), label("end"), always(log("there"))], &mut forward);
    assert_eq!(logged(&forward), ["there"]);
    let mut back = request(&[]);
    assert_eq!(follow(&[label("start"), always(log("once")), goto("start")], &mut back), Outcome::Close);
    assert_eq!(logged(&back)[0], "once");
    assert!(logged(&back)[1].contains("leads to nothing"));
    let mut by_number = request(&[]);
    follow(&[goto("2"), always(log("skipped")), always(log("there"))], &mut by_number);
    assert_eq!(logged(&by_number), ["there"]);
}

#[test]
fn conditions_look_at_variables_paths_and_addresses() {
    let variable = |name: &str| Template(vec![Piece::Variable(name.into())]);
    let holds = |condition: Condition| {
        let step = |when| Step::Rule(Box::new(Rule { when, action: Action::Return(403) }));
        let vars = [("HOST", "a.example"), ("ADDR", "10.1.2.3")];
        let yes = follow(&[step(When::If(condition.clone()))], &mut request(&vars)) != Outcome::GoOn;
        let no = follow(&[step(When::IfNot(condition))], &mut request(&vars)) != Outcome::GoOn;
        assert_ne!(yes, no);
        yes
    };
    let compare = |how, right: &str| Condition::Compare { left: variable("HOST"), how, right: text(right) };
    assert!(holds(compare(Comparison::Equal, "a.example")) && !holds(compare(Comparison::Equal, "a")));
    assert!(holds(compare(Comparison::StartsWith, "a.")) && !holds(compare(Comparison::EndsWith, "a.")));
    assert!(holds(Condition::Empty(variable("NONE"))) && !holds(Condition::Empty(variable("HOST"))));
    let path = |path: &str, is| Condition::Path { path: text(path), is };
    assert!(holds(path("/there", PathIs::File)) && !holds(path("/there", PathIs::Directory)));
    let within = |network: &str| Condition::Within { address: variable("ADDR"), network: text(network) };
    assert!(holds(within("10.0.0.0/8")) && !holds(within("192.168.0.0/16")) && !holds(within("nonsense")));
    assert!(holds(Condition::Regexp { text: variable("HOST"), pattern: "^a".into() }));
}

#[test]
fn what_a_regexp_has_found_is_for_its_action() {
    let condition =
        Condition::Regexp { text: Template(vec![Piece::Variable("HOST".into())]), pattern: "^([a-z]+)\\.(.*)$".into() };
    let to = Template(vec![Piece::Group(2), Piece::Text("/".into()), Piece::Group(1)]);
    let steps = [Step::Rule(Box::new(Rule { when: When::If(condition), action: Action::Log(to) }))];
    let mut request = request(&[("HOST", "shop.example")]);
    follow(&steps, &mut request);
    assert_eq!(logged(&request), ["example/shop"]);
}

#[test]
fn a_rewrite_keeps_the_query_and_decodes_the_path() {
    for (to, query, expected) in [
        ("/new%20path", "a=b", ("/new path", "a=b")),
        ("/new?x=y", "a=b", ("/new", "x=y&a=b")),
        ("/new?x=y", "", ("/new", "x=y")),
        ("/100%", "", ("/100%", "")),
    ] {
        let steps = [always(Action::Rewrite { to: text(to), is_last: true }), always(log("not reached"))];
        let mut request = request(&[("PATH_INFO", "/old"), ("QUERY_STRING", query)]);
        assert_eq!(follow(&steps, &mut request), Outcome::GoOn);
        let now = |name: &str| String::from_utf8(request.variable(name.as_bytes()).unwrap()).unwrap();
        assert_eq!((now("PATH_INFO").as_str(), now("QUERY_STRING").as_str()), expected, "{to}");
        assert!(request.effects.is_empty());
    }
}

#[test]
fn answers_are_made_of_pieces() {
    let sent = follow(
        &[
            always(Action::Begin(text("404 Not There"))),
            always(Action::Send { text: text("one"), with_line_end: true }),
            always(Action::Send { text: text("two"), with_line_end: false }),
            always(Action::Break),
        ],
        &mut request(&[]),
    );
    let sent = answer(sent);
    assert_eq!((&sent.status[..], &sent.body[..]), (&b"404 Not There"[..], &b"one\r\ntwo"[..]));
    // Without a head of its own what is sent gets one, and is the answer also when no route says `break`.
    let sent = answer(follow(&[always(Action::Send { text: text("x"), with_line_end: false })], &mut request(&[])));
    assert_eq!(sent.status, b"200 OK");
    let returned = answer(follow(&[always(Action::Return(403))], &mut request(&[])));
    assert_eq!((&returned.status[..], &returned.body[..]), (&b"403 Forbidden"[..], &b"Forbidden"[..]));
    assert_eq!(follow(&[always(Action::Break)], &mut request(&[])), Outcome::Close);
    let file = Action::Static { path: text("/there"), or_next: true };
    assert_eq!(follow(&[always(file)], &mut request(&[])), Outcome::Static(b"/there".to_vec()));
    let file = Action::Static { path: text("/gone"), or_next: true };
    assert_eq!(follow(&[always(file)], &mut request(&[])), Outcome::GoOn);
}

#[test]
fn a_password_is_asked_for_until_it_is_right() {
    let auth = |known: Known, or_next| always(Action::BasicAuth(BasicAuth { realm: "Staff".into(), known, or_next }));
    let one = || Known::One("foo:bar".into());
    let try_ = |steps: &[Step], header: Option<&str>| {
        let mut request = request(&[]);
        if let Some(header) = header {
            request.set(b"HTTP_AUTHORIZATION", header.into());
        }
        let outcome = follow(steps, &mut request);
        (outcome, request.variable(b"REMOTE_USER").map(|user| String::from_utf8(user).unwrap()))
    };
    let is_asked = |(outcome, user): (Outcome, Option<String>)| {
        let answer = answer(outcome);
        assert_eq!((answer.status.as_slice(), user), (&b"401 Authorization Required"[..], None));
        assert_eq!(answer.headers[0], ("WWW-Authenticate", b"Basic realm=\"Staff\"".to_vec()));
    };
    // foo:bar, foo:baz, u:p:w
    let (right, wrong, in_file) = ("Basic Zm9vOmJhcg==", "Basic Zm9vOmJheg==", "Basic dTpwOnc=");
    assert_eq!(try_(&[auth(one(), false)], Some(right)), (Outcome::GoOn, Some("foo".to_owned())));
    for header in [None, Some(wrong), Some("Bearer Zm9vOmJhcg=="), Some("Basic *"), Some("Basic ")] {
        is_asked(try_(&[auth(one(), false)], header));
    }
    let file = || Known::File("/htpasswd".into());
    assert_eq!(try_(&[auth(file(), false)], Some(in_file)).1, Some("u".to_owned()));
    is_asked(try_(&[auth(file(), false)], Some(right)));
    // A wrong one may be right for the next, and nobody is let in by nothing.
    let both = [auth(one(), true), auth(file(), true), auth(Known::One(String::new()), false)];
    assert_eq!(try_(&both, Some(in_file)).1, Some("u".to_owned()));
    assert_eq!(try_(&both, Some(right)).1, Some("foo".to_owned()));
    is_asked(try_(&both, Some(wrong)));
}

#[test]
fn a_variable_that_is_added_lets_nobody_in_and_leads_no_route() {
    let added = |name: &str| always(Action::Add { name: name.into(), value: text("guest") });
    let known = Known::One("foo:bar".into());
    let auth = always(Action::BasicAuth(BasicAuth { realm: "Staff".into(), known, or_next: false }));
    let asked = answer(follow(&[added("REMOTE_USER"), auth.clone()], &mut request(&[])));
    assert_eq!(asked.status, b"401 Authorization Required");
    let set = always(Action::SetUser(text("guest")));
    assert_eq!(follow(&[set, auth.clone()], &mut request(&[])), Outcome::GoOn);
    assert_eq!(follow(&[auth], &mut request(&[("REMOTE_USER", "joe")])), Outcome::GoOn);
    let by_regexp = found("HTTP_HOST", "guest", log("by its subject"));
    let variable = Template(vec![Piece::Variable("HTTP_HOST".into())]);
    let equal = Condition::Compare { left: variable, how: Comparison::Equal, right: text("guest") };
    let by_variable = Step::Rule(Box::new(Rule { when: When::If(equal), action: log("by its variable") }));
    let mut request = request(&[("HTTP_HOST", "shop.example")]);
    follow(&[added("HTTP_HOST"), by_regexp, by_variable], &mut request);
    assert_eq!(logged(&request), ["by its variable"]);
}

#[test]
fn a_client_climbs_no_path_and_the_configuration_may() {
    let outcome = |pieces: &[Piece], path: &str| {
        let action = Action::Static { path: Template(pieces.to_vec()), or_next: false };
        follow(&[found("PATH_INFO", "^/(.*)$", action)], &mut request(&[("PATH_INFO", path)]))
    };
    let text = |text: &str| Piece::Text(text.into());
    let there = |path: &str| Outcome::Static(path.into());
    assert_eq!(outcome(&[text("/srv/../www/"), Piece::Group(1)], "/a..b/c"), there("/srv/../www/a..b/c"));
    assert_eq!(outcome(&[text("..")], "/"), there(".."));
    for (pieces, path) in [
        (vec![text("/srv/"), Piece::Group(1)], "/../etc/passwd"),
        (vec![text("/srv/"), Piece::Group(1)], "/a/.."),
        (vec![text("/srv/."), Piece::Group(1)], "/./etc"),
        (vec![text("/srv/"), Piece::Group(1), text("./x")], "/."),
        (vec![text("/srv/a"), Piece::Group(1), text("../x")], "//"),
        (vec![text("/srv/.."), Piece::Group(1)], "//x"),
        (vec![Piece::Group(1), text("/x")], "/.."),
        (vec![text("/srv/"), Piece::Group(1)], "/a\0"),
    ] {
        assert_eq!(outcome(&pieces, path), Outcome::Climbs, "{pieces:?} {path:?}");
    }
}

#[test]
fn a_broken_pattern_is_said_to_be_one() {
    assert!(Prepared::new(&[found("PATH_INFO", "(", Action::Continue)]).is_err());
}

proptest! {
    /// Whatever a client sends, routes come to an end, and a header stays one line.
    #[test]
    fn whatever_comes_routes_end_and_headers_are_lines(
        path in proptest::collection::vec(any::<u8>(), 0..64),
        authorization in proptest::collection::vec(any::<u8>(), 0..64),
        cookie in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let all = Template(vec![
            Piece::Group(0), Piece::Group(1), Piece::Variable("PATH_INFO".into()), Piece::Cookie("a".into()),
            Piece::Query("a".into()), Piece::Base64("PATH_INFO".into()), Piece::Hex("PATH_INFO".into()),
            Piece::Upper("PATH_INFO".into()), Piece::Lower("PATH_INFO".into()),
        ]);
        let known = Known::File("/htpasswd".into());
        let steps = [
            found("PATH_INFO", "^(.)(.*)", Action::AddHeader(all.clone())),
            always(Action::BasicAuth(BasicAuth { realm: "r".into(), known, or_next: true })),
            always(Action::Goto(all.clone())),
            always(Action::Rewrite { to: all.clone(), is_last: false }),
            always(Action::FixPathInfo),
            always(Action::SetUser(all.clone())),
            always(Action::Count { name: "PATH_INFO".into(), how: Arithmetic::Divided, by: Some(all.clone()) }),
            always(Action::Redirect { to: all, is_permanent: false }),
        ];
        for first in 0..steps.len() {
            let mut request = Request::default();
            request.set(b"PATH_INFO", path.clone());
            request.set(b"HTTP_AUTHORIZATION", [b"Basic ", &authorization[..]].concat());
            request.set(b"HTTP_COOKIE", cookie.clone());
            let outcome = follow(&steps[first..], &mut request);
            let headers = match outcome {
                Outcome::Answer(answer) => answer.headers,
                _ => Vec::new(),
            };
            let added = request.effects.into_iter().filter_map(|effect| match effect {
                Effect::AddHeader(header) => Some(header),
                _ => None,
            });
            for value in headers.into_iter().map(|(_, value)| value).chain(added) {
                prop_assert!(!value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | b'\0')));
            }
        }
    }
}
