//! The same texts through a real uWSGI, when one is named in EMPERY_UWSGI or lies in the test environment: both must come
//! to the same configuration. First a list of texts, then random ones over tokenizer, placeholders, logic and includes.
//!
//! Keys are unknown to uWSGI on purpose: it keeps them as placeholders, does nothing with them, and shows them with
//! `--show-config` after all its passes. Without a uWSGI the tests say that they skip. EMPERY_LONG=1 takes 5,000 texts,
//! EMPERY_CONFIGURATIONS=N takes N.
//!
//! What the generator leaves out, because it is different on purpose (docs/from-uwsgi.md): `%` before a letter that is no
//! variable or at the end of a line, a placeholder at the start of a value whose value is one itself, blanks around the
//! `=` of `set`, placeholders in inherited files, placeholders of themselves, `else`, blocks in blocks (uWSGI ends), a glob that ends with a slash (glibc doubles it).

// Tests may do I/O; the crate may not.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros, clippy::disallowed_types, clippy::unwrap_used)]

mod against;

use against::random::Random;
use against::{Disk, Pair, compare, uwsgi};

/// Name of the test, text of the entry, text of `other.ini` beside it.
const TEXTS: [(&str, &str, &str); 16] = [
    (
        "lines and blanks",
        "x-before = 1\r\n[uwsgi]\r\n\tx-a = 1 \t\r\n  x-b=2\n x-c\nx-d = a=b = c\n=x-e\nx-f = end",
        "",
    ),
    ("comments and quotes", "[uwsgi]\n; x-a = 1\n # x-b\nx-c = \"q\" ; no comment # here\nx-d = 'y' \\\nx-e = z\n", ""),
    (
        "sections",
        "[other]\nx-a = 1\n[uwsgi]\nx-b = 2\n[uwsgi] ; note\nx-c = 3\n  [uwsgi]\nx-d = 4\n[uwsgix\nx-e = 5\n",
        "",
    ),
    (
        "magic",
        "[uwsgi]\nx-a = %p|%o|%s|%n|%e|%d|%c|%0|%1|%2|%3|%x|%j|%v|%k|%u|%U|%g|%G\nx-b = %P|%N|%D 100%% %%(x-a\n",
        "",
    ),
    (
        "placeholders",
        "[uwsgi]\nx-b = 5\nx-b = 6\nx-a = v%(x-b)w %(x-none) %(x-c)\nx-c = late\nx-d = z%(x-e)\nx-e = a%(x-c)\n",
        "",
    ),
    (
        "arithmetic",
        "[uwsgi]\nx-n = 4\nx-m = 12\nx-a = r%(x-n x-m + 2)\nx-b = r%(x-m / x-n)\nx-c = r%(x-m / 0) %(x-n ++) %(x-n --) %(x-no + 1)\n",
        "",
    ),
    ("environment", "[uwsgi]\nx-a = $(X_SET)/y\nx-b = $(X_UNSET)/y $X_SET $()\nx-c = q%(x-a)\n", ""),
    ("set", "[uwsgi]\nset = x-a=b=c\nset-ph = x-p=q\nx-b = <%(x-a)%(x-p)>\n", ""),
    (
        "other files",
        "[uwsgi]\nx-a = %n %N\nini = other.ini\nini = :two\nini = other.ini:two\nx-z = %n\n[two]\nx-wrong = 1\n",
        "[uwsgi]\nx-b = %n %s %x\n[two]\nx-c = %n %x\n",
    ),
    (
        "loops",
        "[uwsgi]\nfor = a  b\nx-a = %(_)\nx-b = <%(_)%(_)>\nendfor =\nfor-times = 3\nx-c = %(_)\nend-for =\nfor-readline = other.ini\nx-d = <%(_)>\nend =\nfor-glob = o*.ini\nx-e = %(_)\nendif =\nfor-glob = z*\nx-f = %(_)\nendfor =\n",
        "one\ntwo words\n\nlast",
    ),
    (
        "conditions",
        "[uwsgi]\nx-early = 1\nif-env = X_SET\nx-a = %(_)\nendif =\nif-env = X_SET=set\nx-b = 1\nendif =\nif-env = X_NO\nx-c = 1\nendif =\nif-not-env = X_NO\nx-d = %(_)\nendif =\nif-opt = x-early=1\nx-e = %(_)\nendif =\nif-not-opt = x-late\nx-f = 1\nendif =\nif-exists = other.ini\nx-g = %(_)\nendif =\nif-file = .\nx-h = 1\nendif =\nif-dir = .\nx-i = %(_)\nendif =\nif-not-reload =\nx-j = 1\nendif =\nif-reload =\nx-k = 1\nendif =\n",
        "",
    ),
    (
        "a loop over files",
        "[uwsgi]\nfor = other.ini other.ini:two\nini = %(_)\nendfor =\nx-z = 1\n",
        "[uwsgi]\nx-a = %(_) %n\nfor-nothing = 1\n[two]\nx-b = %(_) %x\n",
    ),
    ("an open block", "[uwsgi]\nif-env = X_NO\nx-a = 1\n[other]\n[uwsgi]\nx-b = 1\n", ""),
    (
        "a condition that its own lines change",
        "[uwsgi]\nif-not-opt = x-a\nx-b = 1\nini = other.ini\nx-c = 1\nendif =\nx-d = 1\n",
        "[uwsgi]\nx-a = 1\nx-e = 1\n",
    ),
    ("passed over", "[uwsgi]\nif-env = X_NO\nif-env = X_SET\nx-a = 1\nendif =\nx-b = 2\nendif =\nx-c = 3\n", ""),
    (
        "a file in a value",
        "[uwsgi]\nx-a = <@(other.ini)>\nx-b = a@b.example @()\nx-c = q%(x-a)\n",
        "content $(X_SET)\n",
    ),
];

#[test]
fn b1_uwsgi_and_empery_read_the_same_configuration() {
    let Some(uwsgi) = uwsgi() else { return };
    let disk = Disk::new("listed");
    for (name, entry, other) in TEXTS {
        compare(&uwsgi, &disk, &Pair { entry: entry.into(), other: other.into() }, name);
    }
}

#[test]
fn b32_uwsgi_and_empery_read_the_same_random_configurations() {
    let Some(uwsgi) = uwsgi() else { return };
    let number = |name: &str| std::env::var(name).ok().and_then(|number| number.parse::<u64>().ok());
    let is_long = std::env::var_os("EMPERY_LONG").is_some();
    let count = number("EMPERY_CONFIGURATIONS").unwrap_or(if is_long { 5_000 } else { 300 });
    let seed = number("EMPERY_SEED").unwrap_or_else(against::fresh_seed);
    println!("{count} random configurations; EMPERY_SEED={seed}");
    std::thread::scope(|scope| {
        for half in 0..2 {
            let uwsgi = &uwsgi;
            scope.spawn(move || {
                let disk = Disk::new(&format!("random-{half}"));
                for number in (half..count).step_by(2) {
                    let pair = Random::new(seed, number).pair();
                    compare(uwsgi, &disk, &pair, &format!("number {number} of EMPERY_SEED={seed}"));
                }
            });
        }
    });
}
