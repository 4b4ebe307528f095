//! What the options of static files come to.

use crate::{
    assemble::tests::{config, error, outcome},
    static_files::{
        ExpiresFrom::{Change, Request},
        ExpiresOf::{File, PathInfo, Type, Uri},
        Rule, Sender,
    },
};

#[test]
fn static_files_are_looked_for_in_uwsgi_s_order_and_from_chdir() {
    let files = config(
        "check-static-docroot\nstatic-map2 = /m=two\nstatic-map = /static=st/=x\nstatic-map = /a=/abs\ncheck-static = pub\nchdir = /srv",
    )
    .static_files;
    let below = |prefix: &str, target: &str| Rule::Below { prefix: prefix.into(), target: target.into() };
    assert_eq!(
        files.rules,
        [
            Rule::Everything { directory: "/srv/pub".into() },
            below("/static", "/srv/st/=x"),
            below("/a", "/abs"),
            Rule::BelowWhole { prefix: "/m".into(), target: "/srv/two".into() },
            Rule::DocumentRoot,
        ]
    );
    assert!(config("").static_files.rules.is_empty());
}

#[test]
fn a_static_map_without_a_directory_is_an_error_and_one_without_a_slash_never_fits() {
    assert!(error("static-map = /static").contains("PREFIX=DIRECTORY"));
    assert!(error("static-map = /static=").contains("PREFIX=DIRECTORY"));
    let outcome = outcome("static-map = static=/srv");
    assert!(outcome.config.is_some());
    assert!(outcome.problems[0].message.contains("begin with a slash"), "{:?}", outcome.problems);
}

#[test]
fn expires_rules_are_checked_and_come_in_the_order_of_looking() {
    let lines = "static-expires-type = text/css=10\nstatic-expires-uri-mtime = ^/a 20\nstatic-expires-mtime = \\.js$ 30\n\
                 static-expires = \\.css$ 40\nstatic-expires-path-info = ^/b 50";
    let expires = config(lines).static_files.expires;
    let found: Vec<_> = expires.into_iter().map(|rule| (rule.of, rule.from, rule.seconds)).collect();
    assert_eq!(
        found,
        [
            (File("\\.css$".into()), Request, 40),
            (File("\\.js$".into()), Change, 30),
            (PathInfo("^/b".into()), Request, 50),
            (Uri("^/a".into()), Change, 20),
            (Type("text/css".into()), Request, 10),
        ]
    );
    assert!(error("static-expires = \\.css$").contains("a number of seconds"));
    assert!(error("static-expires-type = text/css").contains("TYPE=SECONDS"));
}

#[test]
fn a_pattern_that_could_take_for_ever_is_refused() {
    assert!(error("static-gzip = (a").contains("a regular expression: unclosed group"));
    assert!(error("static-expires = (?=x)y 10").contains("look-around"));
    assert!(error("static-gzip = (a)\\1").contains("backreferences"));
}

#[test]
fn who_sends_the_file_is_named_as_in_uwsgi() {
    let sender = |lines| config(lines).static_files.sender;
    assert_eq!(sender(""), Sender::Worker);
    assert_eq!(sender("file-serve-mode = nginx"), Sender::Nginx);
    assert_eq!(sender("fileserve-mode = X-Sendfile"), Sender::XSendfile);
    assert!(error("file-serve-mode = sendfile").contains("x-sendfile"));
}
