//! What an app asks to be called when its process forks is called once for a worker.
#![allow(clippy::unwrap_used)]

mod driver;

use driver::{Generation, Listeners, app_of, assert_answer, get};

#[test]
fn hooks_of_the_app_run_once_for_a_worker() {
    let text = "
import os

ran = []
os.register_at_fork(before=lambda: ran.append('before'), after_in_child=lambda: ran.append('child'),
                    after_in_parent=lambda: ran.append('parent'))

def application(environ, start_response):
    start_response('200 OK', [])
    return [','.join(ran).encode()]
";
    let listeners = Listeners::new();
    let mut generation = Generation::serving(app_of("forked", text), &listeners, |_| {});
    assert_answer(&get(&listeners, "/"), "the hooks", &["\r\n\r\nbefore,child"], &["child,"]);
    generation.drain();
}
