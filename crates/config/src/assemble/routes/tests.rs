//! What routes come to, and what is refused.

use empery_rules::routes::{
    Action, Arithmetic, Comparison, Condition, Known, Rule, Step, When,
    template::{Piece, Template},
};

use crate::assemble::tests::{config, error, outcome};

fn rules(lines: &str) -> Vec<Rule> {
    let steps = config(lines).routes.request.into_iter();
    steps
        .map(|step| match step {
            Step::Rule(rule) => *rule,
            Step::Label(label) => panic!("{label}"),
        })
        .collect()
}

fn action(text: &str) -> Action {
    rules(&format!("route-run = {text}")).remove(0).action
}

fn text(text: &str) -> Piece {
    Piece::Text(text.to_owned())
}

fn variable(name: &str) -> Piece {
    Piece::Variable(name.to_owned())
}

#[test]
fn each_option_looks_at_its_variable() {
    for (option, name) in super::SUBJECTS {
        let rule = rules(&format!("{option} = ^/a|b last:")).remove(0);
        assert_eq!(rule.when, When::Found { variable: (*name).to_owned(), pattern: "^/a|b".to_owned() }, "{option}");
        assert_eq!(rule.action, Action::Continue);
    }
    assert_eq!(rules("route-run = donotlog:")[0].when, When::Always);
    let last = config("final-route-status = 404 log:lost\nfinal-route-label = end").routes.last;
    assert_eq!(last[1], Step::Label("end".to_owned()));
    assert!(matches!(&last[0], Step::Rule(rule) if rule.when == When::Status(404)));
}

#[test]
fn the_route_that_sends_people_to_https_is_understood() {
    let line = "route-if = equal:${HTTP_X_FORWARDED_PROTO};http redirect-permanent:https://${HTTP_HOST}${REQUEST_URI}";
    let rule = rules(line).remove(0);
    let compare = Condition::Compare {
        left: Template(vec![variable("HTTP_X_FORWARDED_PROTO")]),
        how: Comparison::Equal,
        right: Template(vec![text("http")]),
    };
    assert_eq!(rule.when, When::If(compare));
    let to = Template(vec![text("https://"), variable("HTTP_HOST"), variable("REQUEST_URI")]);
    assert_eq!(rule.action, Action::Redirect { to, is_permanent: true });
}

#[test]
fn templates_are_cut_at_their_places() {
    let log = |template: &str| match action(&format!("log:{template}")) {
        Action::Log(Template(pieces)) => pieces,
        other => panic!("{other:?}"),
    };
    assert_eq!(log("a$1b$$x"), [text("a"), Piece::Group(1), text("b$$x")]);
    assert_eq!(log("${A}${cookie[b]}"), [variable("A"), Piece::Cookie("b".to_owned())]);
    assert_eq!(log("100$"), [text("100$")]);
    assert_eq!(log("${open"), [text("${open")]);
    assert!(outcome("route-run = log:${nope[x]}").problems[0].message.contains("left out"));
}

#[test]
fn metrics_signals_and_alarms_are_within_reach_of_routes() {
    let words = |words: &str| Template(vec![text(words)]);
    let by_one = Action::Metric { name: words("hits"), how: Some(Arithmetic::Plus), by: words("1") };
    assert_eq!(action("metricinc:hits"), by_one);
    let name = Template(vec![text("hits."), Piece::Group(1)]);
    let to = Template(vec![Piece::Metric("m".to_owned())]);
    assert_eq!(action("metricset:hits.$1,${metric[m]}"), Action::Metric { name, how: None, by: to });
    assert_eq!(action("signal:17"), Action::Signal(17));
    let message = Template(vec![variable("REQUEST_URI"), text(" is slow")]);
    assert_eq!(action("alarm:mail ${REQUEST_URI} is slow"), Action::Alarm { name: words("mail"), message });
}

#[test]
fn passwords_stand_in_the_line_or_in_a_file() {
    let known = |text: &str| match action(text) {
        Action::BasicAuth(auth) => (auth.realm, auth.known, auth.or_next),
        other => panic!("{other:?}"),
    };
    let one = |text: &str| Known::One(text.to_owned());
    assert_eq!(known("basicauth:Staff only,foo:bar"), ("Staff only".to_owned(), one("foo:bar"), false));
    assert_eq!(known("basicauth-next:S,/etc/h"), ("S".to_owned(), Known::File("/etc/h".to_owned()), true));
    assert_eq!(known("basicauth:S,"), ("S".to_owned(), one(""), false));
}

#[test]
fn what_is_no_route_is_an_error_that_says_what_was_expected() {
    for (line, said) in [
        ("route = ^/a", "a blank and an action"),
        ("route = ( last:", "a regular expression"),
        ("route-run = last", "`NAME:ARGUMENT`"),
        ("route-run = fly:away", "`fly` is none"),
        ("route-run = cache:key=a", "`cache` is not"),
        ("route-run = http:127.0.0.1:80", "`http` is not"),
        ("route-run = uwsgi:127.0.0.1:80,0,0", "`uwsgi` is not"),
        ("route-run = disableheaders:", "`disableheaders` is not"),
        ("route-if = equal:a last:", "apart by a semicolon"),
        ("route-if = nope:a;b last:", "`nope` is none"),
        ("route-if = equal last:", "a condition"),
        ("route-if = regexp:a;( last:", "a regular expression"),
        ("route-run = return:999", "a status of HTTP"),
        ("route-run = return:101", "a status of HTTP"),
        ("route-run = break:nothing", "a status line"),
        ("route-run = addheader:nothing", "NAME: VALUE"),
        ("route-run = addvar:nothing", "`NAME=VALUE`"),
        ("route-run = file:status=200 OK", "`filename=PATH`"),
        ("route-run = basicauth:realm", "REALM"),
        ("route-run = harakiri:soon", "seconds"),
        ("route-run = signal:256", "0 to 255"),
        ("route-run = alarm:mail", "`NAME MESSAGE`"),
        ("final-route-status = many last:", "a status such as 404"),
    ] {
        let message = error(line);
        assert!(message.contains(said), "{line}: {message}");
    }
    let outcome = outcome("route-run = fly:away");
    assert_eq!((outcome.problems[0].origin.file.as_str(), outcome.problems[0].origin.line), ("app.ini", 4));
}

#[test]
fn every_action_that_people_use_is_one() {
    for text in [
        "continue:",
        "last:",
        "break:",
        "break:403 Forbidden",
        "break:404",
        "return:403",
        "break-with-status:403",
        "goto:end",
        "log:x",
        "donotlog:",
        "donotoffload:",
        "logvar:a=b",
        "addvar:A=b",
        "setscriptname:/a",
        "setmethod:GET",
        "seturi:/a",
        "setremoteaddr:1.2.3.4",
        "setpathinfo:/a",
        "setdocroot:/a",
        "setscheme:https",
        "setuser:u:p",
        "fixpathinfo:",
        "setprocname:x",
        "+:A,5",
        "-:A",
        "*:A,${B}",
        "/:A,2",
        "harakiri:5",
        "addheader:X-A: b",
        "delheader:X",
        "remheader:X",
        "clearheaders:200 OK",
        "resetheaders:200 OK",
        "send:x",
        "send-crnl:x",
        "redirect:/a",
        "redirect-302:/a",
        "redirect-permanent:/a",
        "redirect-301:/a",
        "rewrite:/a?b=$1",
        "rewrite-last:/a",
        "static:/a",
        "static-next:/a",
        "file:filename=/a,status=503 Down,content_type=text/plain,mime=1",
        "sendfile:filename=/a",
        "fastfile-next:filename=/a",
        "basicauth:R,u:p",
        "metricset:m,${A}",
        "metricdec:m",
        "metricmul:m,2",
        "metricdiv:m,2",
    ] {
        action(text);
    }
}
