//! Where the app's modules are looked for.
#![allow(clippy::unwrap_used)]

mod driver;

use driver::{Generation, Listeners, app_of, get};

#[test]
fn b6_a_pattern_in_pythonpath_names_every_directory_that_matches_and_one_that_matches_nothing_stays() {
    let base = std::env::temp_dir().join(format!("empery-worker-{}-directories", std::process::id()));
    for (directory, module) in [("lib-a", "first"), ("lib-b", "second")] {
        std::fs::create_dir_all(base.join(directory)).unwrap();
        std::fs::write(base.join(directory).join(format!("of_lib_{module}.py")), "").unwrap();
    }
    let text = "import sys, of_lib_first, of_lib_second\n\
                def application(environ, start_response):\n    start_response('200 OK', [])\n    return [repr(sys.path).encode()]\n";
    let listeners = Listeners::new();
    let mut generation = Generation::boot(1, app_of("paths", text), &listeners, |boot| {
        boot.pythonpath = vec![base.join("lib-*"), base.join("none-*")];
    });
    generation.fork(1);
    generation.open();
    let shown = get(&listeners, "/");
    let none = base.join("none-*");
    assert!(shown.contains(none.to_str().unwrap()), "{shown}");
    assert!(!shown.contains("lib-*"), "{shown}");
    generation.drain();
    std::fs::remove_dir_all(base).unwrap();
}
