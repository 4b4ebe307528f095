//! What uWSGI's words come to.

use super::*;

fn words(line: &[&str]) -> Vec<OsString> {
    line.iter().map(OsString::from).collect()
}

fn run_of(line: &[&str]) -> Vec<String> {
    let found = translated(words(&[&["emperor"], line].concat())).unwrap();
    let found: Vec<String> = found.into_iter().map(|word| word.into_string().unwrap()).collect();
    assert_eq!(found[..3], ["emperor", "run", "--vassals"], "{line:?}");
    found[3..].to_vec()
}

#[test]
fn the_emperor_option_is_a_run() {
    assert_eq!(run_of(&["--emperor", "/v", "--listen", "127.0.0.1:1"]), ["/v", "--listen", "127.0.0.1:1"]);
    assert_eq!(run_of(&["--state=/s", "--emperor=/v"]), ["/v", "--state=/s"]);
    let on_demand = ["--emperor", "/v", "--emperor-on-demand-dir", "/s"];
    assert_eq!(run_of(&on_demand), ["/v", "--emperor-on-demand-directory=/s"]);
    assert_eq!(translated(words(&["emperor", "status"])), Ok(words(&["emperor", "status"])));
    assert_eq!(translated(words(&["emperor", "--help"])), Ok(words(&["emperor", "--help"])));
    assert!(translated(words(&["emperor", "--emperor"])).is_err());
    assert!(translated(words(&["emperor", "--master"])).unwrap_err().contains("emperor = DIR"));
}

#[test]
fn what_stands_in_units_for_uwsgi_s_emperor_starts_one() {
    let unit = "--master --emperor /v --uid www-data --gid web --logto /l --pidfile /p --die-on-term --listen 100 \
                --emperor-tyrant=false --allow-root false --listen-beyond-loopback";
    let line: Vec<&str> = unit.split_whitespace().collect();
    let told = [
        "/v",
        "--vassal-set=uid=www-data",
        "--vassal-set=gid=web",
        "--emperor-pidfile=/p",
        "--emperor-tyrant=false",
        "--allow-root",
        "false",
        "--listen-beyond-loopback",
    ];
    assert_eq!(run_of(&line), told);
    let translated = translated(words(&[&["emperor"], line.as_slice()].concat())).unwrap();
    assert!(matches!(Line::try_parse_from(translated).unwrap().verb, Verb::Run(_)));
}

#[test]
fn an_emperor_s_file_is_read_as_uwsgi_reads_it() {
    let room = std::env::temp_dir().join(format!("empery-emperor-file-{}", std::process::id()));
    std::fs::create_dir_all(&room).unwrap();
    let write = |name: &str, text: &str| {
        std::fs::write(room.join(name), text).unwrap();
        room.join(name).display().to_string()
    };
    let file = write("emperor.ini", "[uwsgi]\ninclude = %d/more.ini\nemperor = %d/%(where)\nemperor-tyrant\n");
    write("more.ini", "[uwsgi]\nwhere = vassals\nvassals-set = processes=2\n");
    let vassals = format!("{}/vassals", room.display());
    let told =
        [vassals.replace("/vassals", "//vassals"), "--vassal-set=processes=2".into(), "--emperor-tyrant=true".into()];
    assert_eq!(run_of(&[&file]), told);
    assert_eq!(run_of(&["--ini", &file]), told);
    let options = options_of(std::path::Path::new(&file)).unwrap();
    assert_eq!(options.common.set, ["processes=2"]);
    assert!(options.tyrant.tyrant().is_some());
    let two = write("two.ini", "[uwsgi]\nemperor = /a\nemperor = /b\n");
    assert_eq!(run_of(&[&two]), ["/a", "--vassals", "/b"]);
    let other = write("other.ini", "[uwsgi]\nemperor = /a\nemperor = pg://b\n");
    let refused = translated(words(&["emperor", &other])).unwrap_err();
    assert!(refused.contains("other.ini:3") && refused.contains("vassals come from files only"), "{refused}");
    std::fs::remove_dir_all(room).unwrap();
}
