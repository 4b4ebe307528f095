//! Routes: what `route` and its relatives do with requests, and what a header option changes about every answer.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use empery_tests::{
    golden,
    ground::Ground,
    http::{self, Answer, Ask, Connection},
    nginx::Nginx,
    process, python,
    runner::Story,
    uwsgi,
    vassal::Vassal,
    wait,
};

pub(crate) const STORIES: &[Story] = &[
    Story::new("routes/redirects-answers-headers-and-files", answers),
    Story::new("routes/the-app-sees-what-routes-have-made-of-a-request", changed),
    Story::new("routes/a-rewritten-path-is-that-of-static-files", rewritten),
    Story::new("routes/the-path-that-routes-see-is-that-of-the-app", paths),
    Story::new("routes/an-answer-of-the-app-may-be-changed-or-replaced", replaced),
    Story::new("routes/basicauth-lets-in-who-is-in-the-line-or-in-the-file", passwords),
    Story::new("routes/lines-of-requests-as-routes-want-them", lines),
    Story::new("routes/the-same-rules-as-uwsgi-the-same-answers", as_uwsgi),
];

const PATIENCE: Duration = Duration::from_secs(30);

const APP: &str = "def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain'), ('X-Secret', 's'), ('X-App', 'a')])
    names = environ.get('QUERY_STRING', '').partition('names=')[2].split('&')[0].split(',')
    text = '|'.join(str(environ.get(name, '-')) for name in ['PATH_INFO'] + names)
    return [text.encode('latin-1')]
";

/// A vassal file for the app above.
fn ini(ground: &Ground, port: u16, more: &str) -> Result<String> {
    ground.write("shown.py", APP)?;
    let directory = ground.directory().display();
    Ok(format!(
        "[uwsgi]\nhttp-socket = 127.0.0.1:{port}\npythonpath = {directory}\nmodule = shown\nmaster = true\n{more}"
    ))
}

fn started(ground: &Ground, more: &str) -> Result<(Vassal, u16)> {
    let port = ground.port()?;
    let text = ini(ground, port, more)?;
    let mut vassal = Vassal::from_ini(ground, "app.ini", &text)?;
    vassal.answers(port)?;
    Ok((vassal, port))
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.header(name).unwrap_or("-")
}

fn answers(ground: &Ground) -> Result<()> {
    ground.write("files/a.css", "body {}")?;
    ground.write("files/down.html", "down")?;
    let at = ground.directory().display();
    let socket = ground.path("uwsgi.sock");
    let (vassal, port) = started(
        ground,
        &format!(
            "socket = {}\nchdir = {at}\nadd-header = X-Frame-Options: DENY\nadd-header = Connection: Keep-Alive\n\
             del-header = x-secret\nadd-header = X-Secret: ours\nroute = ^/empty return:204\nroute = ^/same return:304\n\
             route = ^/near/(.*) static:files/$1\nroute = ^/beside/(.*) static:{at}/files/../files/$1\n\
             route-if = equal:${{HTTP_X_FORWARDED_PROTO}};http redirect-permanent:https://${{HTTP_HOST}}${{REQUEST_URI}}\n\
             route = ^/old/(.*)$ redirect:/new/$1\n\
             route = ^/robots addheader:X-Robots-Tag: none\nroute = ^/robots delheader:X-App\n\
             route = ^/forbidden return:403\nroute = ^/broken break:503 Not Now\nroute = ^/nothing break:\n\
             route = ^/files/(.*) static:{at}/files/$1\n\
             route = ^/down file:filename={at}/files/down.html,status=503 Down,content_type=text/html\n\
             route = ^/made clearheaders:201 Made\nroute = ^/made addheader:X-Made: yes\nroute = ^/made send:by hand\n\
             route = ^/made break:\nroute-run = last:\nroute-run = return:500\n",
            socket.display()
        ),
    )?;
    let plain = http::get(port, "/")?;
    ensure!(
        plain.status == 200 && header(&plain, "X-Frame-Options") == "DENY" && header(&plain, "X-App") == "a",
        "{plain:?}"
    );
    ensure!(header(&plain, "X-Secret") == "ours", "what is added takes the place of what is left out: {plain:?}");
    let mut kept = Connection::open(port, PATIENCE)?;
    // What would be behind an answer without a body is the next one.
    for (path, status) in [("/", 200), ("/empty", 204), ("/", 200), ("/same", 304), ("/", 200)] {
        let answer = kept.ask(&Ask::get(path))?;
        ensure!(answer.status == status && !answer.closes(), "{path}: {answer:?}");
        ensure!((status == 200) == (answer.text() == "/|-") && (status == 200 || answer.body.is_empty()), "{answer:?}");
        ensure!(status != 204 || answer.header("Content-Length").is_none(), "{answer:?}");
    }
    for (path, status, name, value, body) in [
        ("/old/a?b=c", 302, "Location", "/new/a", "Moved"),
        ("/robots.txt", 200, "X-Robots-Tag", "none", "/robots.txt|-"),
        ("/forbidden", 403, "X-Frame-Options", "DENY", "Forbidden"),
        ("/broken", 503, "Content-Type", "text/plain", ""),
        ("/files/a.css", 200, "Content-Type", "text/css", "body {}"),
        ("/near/a.css", 200, "Content-Type", "text/css", "body {}"),
        ("/beside/a.css", 200, "Content-Type", "text/css", "body {}"),
        ("/beside/../a.css", 403, "Content-Type", "text/plain", "Forbidden"),
        ("/files/gone", 404, "Content-Type", "text/plain", "Not Found"),
        ("/files/../files/down.html", 403, "Content-Type", "text/plain", "Forbidden"),
        ("/down", 503, "Content-Type", "text/html", "down"),
        ("/made", 201, "X-Made", "yes", "by hand"),
    ] {
        for answer in [http::get(port, path)?, uwsgi::get(&socket, path)?] {
            ensure!(
                answer.status == status && header(&answer, name) == value && answer.text() == body,
                "{path}: {answer:?}"
            );
        }
    }
    ensure!(http::get(port, "/robots.txt")?.header("X-App").is_none());
    ensure!(http::get(port, "/nothing").is_err());
    let https = http::ask(port, Ask::get("/a?b").header("Host", "shop.example").header("X-Forwarded-Proto", "http"))?;
    ensure!(https.status == 301 && header(&https, "Location") == "https://shop.example/a?b", "{https:?}");
    // A file is one that can be asked for in parts, and if it has changed.
    let part = http::ask(port, Ask::get("/files/a.css").header("Range", "bytes=0-3"))?;
    ensure!(part.status == 206 && part.text() == "body", "{part:?}");
    vassal.stop()
}

fn changed(ground: &Ground) -> Result<()> {
    let socket = ground.path("uwsgi.sock");
    let (vassal, port) = started(
        ground,
        &format!(
            "socket = {}\nroute = ^/v1/(.*)$ rewrite:/api/$1?version=1\nroute-host = ^(\\w+)\\.example addvar:SHOP=$1\n\
             route-user-agent = bot goto:bots\nroute-run = addvar:KIND=person\nroute-label = bots\n\
             route = ^/set setscriptname:/mounted\nroute = ^/set setmethod:PUT\nroute = ^/set setscheme:https\n\
             route = ^/set setuser:joe:doe\nroute = ^/set setpathinfo:/mounted/x\nroute = ^/mounted fixpathinfo:\n\
             route = ^/count addvar:N=40\nroute = ^/count +:N,2\nroute = ^/count addvar:M=84\nroute = ^/count /:M,2\n\
             route-if-not = ipv4in:${{REMOTE_ADDR}};127.0.0.0/8 break:\n\
             route-if = ishigher:${{CONTENT_LENGTH}};5 return:413\n",
            socket.display()
        ),
    )?;
    for (path, expected) in [
        ("/v1/books?names=QUERY_STRING,KIND", "/api/books|version=1&names=QUERY_STRING,KIND|person"),
        ("/set?names=SCRIPT_NAME,REQUEST_METHOD,wsgi.url_scheme,REMOTE_USER", "/x|/mounted|PUT|https|joe"),
        ("/count?names=N,M", "/count|42|42"),
    ] {
        for answer in [http::get(port, path)?, uwsgi::get(&socket, path)?] {
            ensure!(answer.text() == expected, "{path}: {}", answer.text());
        }
    }
    let ask = Ask::get("/?names=SHOP,KIND").header("Host", "books.example").header("User-Agent", "a bot");
    ensure!(http::ask(port, ask)?.text() == "/|books|-");
    ensure!(http::ask(port, Ask::post("/").body("text/plain", b"larger"))?.status == 413);
    ensure!(http::ask(port, Ask::post("/").body("text/plain", b"small"))?.status == 200);
    vassal.stop()
}

const FAILING: &str = "def application(environ, start_response):
    path = environ['PATH_INFO']
    if path == '/raise':
        raise ValueError('broken')
    status = path[1:4] if path[1:4].isdigit() else '200'
    headers = [('Content-Type', 'text/plain'), ('X-Secret', 's'), ('X-Shop', 'books')]
    if path.endswith('/sized'):
        headers.append(('Content-Length', '6'))
    start_response(status + ' Of The App', headers)
    if path.endswith('/streamed'):
        return iter([b'one', b'two'])
    return [b'theapp']
";

fn replaced(ground: &Ground) -> Result<()> {
    ground.write("gone.html", "gone")?;
    let at = ground.directory().display();
    let port = ground.port()?;
    ground.write("shown.py", FAILING)?;
    let text = format!(
        "[uwsgi]\nhttp-socket = 127.0.0.1:{port}\npythonpath = {at}\nmodule = shown\n\
         log-format = line %(uri) %(var.SHOP) %(var.SECRET) %(late) %(var.KIND)\n\
         collect-header = Content-Type KIND\nstatic-map = /files={at}\nroute = ^/refused return:404\n\
         response-route = ^/files/ addheader:X-Served: ${{uwsgi[status]}}\ncollect-header = X-Shop SHOP\npull-header = x-secret SECRET\n\
         error-route-status = 404 redirect:/instead\nerror-route-status = 410 file:filename={at}/gone.html,status=410 Gone\n\
         error-route-status = 500 goto:sorry\nerror-route-run = last:\nerror-route-label = sorry\n\
         error-route-run = clearheaders:503 Sorry\nerror-route-run = send:sorry\nerror-route-run = break:\n\
         response-route = ^/418 break:\nresponse-route-status = 201 addheader:X-Late: ${{uwsgi[status]}} ${{SHOP}}\n\
         response-route-run = logvar:late=yes\n"
    );
    let mut vassal = Vassal::from_ini(ground, "second.ini", &text)?;
    vassal.answers(port)?;
    for way in ["", "/sized", "/streamed"] {
        for (path, status, name, value, body) in [
            ("/200", 200, "X-Shop", "books", None),
            ("/201", 201, "X-Late", "201 books", None),
            ("/404", 302, "Location", "/instead", Some("Moved")),
            ("/410", 410, "Content-Type", "text/html", Some("gone")),
            ("/500", 503, "X-Shop", "-", Some("sorry")),
        ] {
            let path = format!("{path}{way}");
            let answer = http::get(port, &path)?;
            let of_the_app = if way == "/streamed" { "onetwo" } else { "theapp" };
            ensure!(answer.status == status && header(&answer, name) == value, "{path}: {answer:?}");
            ensure!(
                answer.text() == body.unwrap_or(of_the_app) && answer.header("X-Secret").is_none(),
                "{path}: {answer:?}"
            );
        }
        ensure!(http::get(port, &format!("/418{way}")).is_err());
    }
    ensure!(http::get(port, "/raise")?.text() == "sorry");
    // So may one that is not the app's.
    let served = http::get(port, "/files/gone.html")?;
    ensure!(served.text() == "gone" && header(&served, "X-Served") == "200", "{served:?}");
    let refused = http::get(port, "/refused")?;
    ensure!(refused.status == 302 && header(&refused, "Location") == "/instead", "{refused:?}");
    vassal.master.says("line /files/gone.html - - yes text/html", PATIENCE)?;
    // The connection is of use behind such an answer.
    let mut kept = Connection::open(port, PATIENCE)?;
    for path in ["/404", "/200", "/500/streamed", "/200"] {
        ensure!(!kept.ask(&Ask::get(path))?.closes(), "{path}");
    }
    vassal.master.says("line /201/sized books s yes", PATIENCE)?;
    vassal.stop()
}

fn rewritten(ground: &Ground) -> Result<()> {
    ground.write("files/a.txt", "a")?;
    let at = ground.directory().display();
    let (vassal, port) =
        started(ground, &format!("static-map = /static={at}/files\nroute = ^/s/(.*) rewrite:/static/$1\n"))?;
    for path in ["/static/a.txt", "/s/a.txt"] {
        ensure!(http::get(port, path)?.text() == "a", "{path}");
    }
    ensure!(http::get(port, "/s/b.txt")?.text() == "/static/b.txt|-");
    vassal.stop()
}

/// By nginx as packages configure it, which sends no PATH_INFO, and with apps at mount points.
fn paths(ground: &Ground) -> Result<()> {
    ground.write("files/index.html", "the index")?;
    let (fastcgi, scgi) = (ground.path("fastcgi.sock"), ground.path("scgi.sock"));
    let (fast, simple) = (fastcgi.display(), scgi.display());
    let (vassal, port) = started(
        ground,
        &format!(
            "fastcgi-socket = {fast}\nscgi-socket = {simple}\nchmod-socket = 666\nmount = /shop=shown:application\n\
             manage-script-name = true\ncheck-static = {}\nstatic-index = index.html\n\
             route = ^/admin return:403\nroute = ^/item addvar:ITEM=yes\nroute = ^/moved rewrite:/shop/moved\n",
            ground.path("files").display()
        ),
    )?;
    let names = "names=SCRIPT_NAME,ITEM";
    let nginx = Nginx::start(
        ground,
        &format!(
            "location / {{ include fastcgi_params; fastcgi_pass unix:{fast}; }}\n\
             location /simple/ {{ include scgi_params; rewrite ^/simple(.*)$ $1 break; scgi_pass unix:{simple}; }}"
        ),
    )?;
    for (port, below) in [(port, ""), (nginx.port, ""), (nginx.port, "/simple")] {
        let get = |path: &str| http::get(port, &format!("{below}{path}?{names}"));
        ensure!(get("/admin")?.status == 403 && get("/shop/admin")?.status == 403, "{port}{below}");
        for (path, expected) in [
            ("/item", "/item||yes"),
            ("/shop/item", "/item|/shop|yes"),
            ("/shop/x", "/x|/shop|-"),
            // A rewritten path chooses no other app, as in uWSGI.
            ("/moved", "/shop/moved||-"),
        ] {
            let answer = get(path)?;
            ensure!(answer.text() == expected, "{port}{below}{path}: {}", answer.text());
        }
        ensure!(get("/")?.text() == "the index", "{port}{below}");
    }
    nginx.stop()?;
    vassal.stop()
}

fn passwords(ground: &Ground) -> Result<()> {
    let hashed = |password: &str| -> Result<String> {
        let code = "import base64, hashlib, sys; print(base64.b64encode(hashlib.sha1(sys.argv[1].encode()).digest()).decode())";
        Ok(format!("{{SHA}}{}", python::run(code, &[password])?.trim()))
    };
    // SHA-512 of crypt(3) for "secret", as `openssl passwd -6 -salt saltsalt secret` writes it.
    let mut openssl = Command::new("openssl");
    openssl.args(["passwd", "-6", "-salt", "saltsalt", "secret"]);
    let crypted = process::run(openssl)?.success()?;
    let users = format!("# staff\nann:{}\nbob:{}\njoe:*\njim:*0\njon:!\n", hashed("one:two")?, crypted.trim());
    let file = ground.write("htpasswd", &users)?;
    let (vassal, port) = started(
        ground,
        &format!(
            "route = ^/line basicauth:Line,foo:bar\nroute = ^/file basicauth:File,{0}\n\
             route = ^/both basicauth-next:Both,foo:bar\nroute = ^/both basicauth:Both,{0}\n",
            file.display()
        ),
    )?;
    let ask = |path: &str, user: Option<&str>| {
        let ask = Ask::get(&format!("{path}?names=REMOTE_USER"));
        let ask = match user {
            Some(user) => ask.header("Authorization", &format!("Basic {}", python_base64(user)?)),
            None => ask,
        };
        Ok::<_, anyhow::Error>(http::ask(port, ask)?)
    };
    for (path, user, name) in [
        ("/line", "foo:bar", "foo"),
        ("/file", "ann:one:two", "ann"),
        ("/file", "bob:secret", "bob"),
        ("/both", "foo:bar", "foo"),
        ("/both", "bob:secret", "bob"),
    ] {
        let answer = ask(path, Some(user))?;
        ensure!(answer.status == 200 && answer.text() == format!("{path}|{name}"), "{path} {user}: {answer:?}");
    }
    for (path, user) in [
        ("/line", None),
        ("/line", Some("foo:baz")),
        ("/file", Some("ann:one")),
        ("/file", Some("bob:wrong")),
        ("/file", Some("nobody:x")),
        // Locked accounts (crypt(3) knows no such kind).
        ("/file", Some("joe:anything")),
        ("/file", Some("jim:anything")),
        ("/file", Some("jon:anything")),
        ("/both", Some("foo:baz")),
    ] {
        let answer = ask(path, user)?;
        ensure!(
            answer.status == 401 && header(&answer, "WWW-Authenticate").starts_with("Basic realm=\""),
            "{path}: {answer:?}"
        );
    }
    vassal.stop()
}

fn python_base64(text: &str) -> Result<String> {
    let code = "import base64, sys; print(base64.b64encode(sys.argv[1].encode()).decode())";
    Ok(python::run(code, &[text])?.trim().to_owned())
}

fn lines(ground: &Ground) -> Result<()> {
    let (mut vassal, port) = started(
        ground,
        "log-format = line %(uri) %(user) %(shop) %(var.KIND) %(kept)\nroute = ^/quiet donotlog:\nroute-run = logvar:shop=${HTTP_HOST}\n\
         route-run = addvar:KIND=k\nroute = ^/user setuser:ann\nroute = ^/said log:said ${REQUEST_URI}\n\
         final-route-status = 403 logvar:kept=${uwsgi[status]}\nfinal-route = ^/late donotlog:\nroute = ^/no return:403\n\
         route = ^/closed break:\nfinal-route = ^/closed logvar:kept=${uwsgi[status]}\n",
    )?;
    for path in ["/quiet", "/late", "/said%0a", "/no", "/user"] {
        http::ask(port, Ask::get(path).header("Host", "books"))?;
    }
    ensure!(http::ask(port, Ask::get("/closed").header("Host", "books")).is_err());
    vassal.master.says("line /closed - books k 0", PATIENCE)?;
    vassal.master.says("line /user ann books k -", PATIENCE)?;
    let output = vassal.master.output();
    ensure!(!output.contains("line /quiet") && !output.contains("line /late"), "{output}");
    ensure!(output.contains("line /no - books k 403") && output.contains("] said /said%0a\n"), "{output}");
    vassal.stop()
}

/// Rules and requests whose answers are ours and uWSGI's alike. Its answers are kept, since it may be built without routes;
/// EMPERY_UWSGI names one that has them.
fn as_uwsgi(ground: &Ground) -> Result<()> {
    let rules = "route-if = equal:${HTTP_X_FORWARDED_PROTO};http redirect-permanent:https://${HTTP_HOST}${REQUEST_URI}\n\
        route = ^/old/(\\w+)/(\\w+) redirect:/$2/$1/$3x\nroute-uri = \\?secret return:404\nroute-qs = ^k=(.*) addvar:K=$1\n\
        route = ^/rw/(.*) rewrite:/to/$1?q=%%20\nroute = ^/b basicauth:Realm,foo:bar\nroute = ^/h addheader:X-H: ${cookie[a]}\n\
        route-remote-addr = ^127 addvar:LOCAL=${hex[HTTP_X_WORD]}${base64[HTTP_X_WORD]}\n\
        route-if = startswith:${PATH_INFO};/sw addvar:C=sw\nroute-if = endswith:${PATH_INFO};.txt addvar:C=ew\n\
        route-if = contains:${PATH_INFO};mid addvar:C=mid\nroute-if = regexp:${PATH_INFO};^/re(.)(.) addvar:C=$2$1\n\
        route-if-not = empty:${HTTP_X_WORD} addvar:W=${HTTP_X_WORD}\nroute-if = ishigher:${HTTP_X_N};9 addvar:HI=${HTTP_X_N}\n\
        route-if = isdir:/etc addvar:D=yes\nroute = ^/g goto:end\nroute-run = addvar:G=passed\nroute-label = end\n\
        route = ^/last last:\nroute = ^/ addvar:L=seen\nadd-header = X-All: yes\ndel-header = X-Secret\n";
    let asks = || {
        let names = "names=K,LOCAL,C,W,HI,D,G,L,QUERY_STRING,REMOTE_USER";
        let mut asks: Vec<Ask> =
            ["/", "/sw", "/a.txt", "/amidb", "/reab", "/g", "/last", "/rw/a%20b", "/old/a/b", "/h"]
                .iter()
                .map(|path| {
                    Ask::get(&format!("{path}?{names}"))
                        .header("Host", "shop.example")
                        .header("X-Word", "Wörd")
                        .header("X-N", "10")
                        .header("Cookie", "b=c; a=d")
                })
                .collect();
        asks.push(Ask::get(&format!("/?k=1&{names}")));
        asks.push(Ask::get("/?secret"));
        asks.push(Ask::get("/b"));
        asks.push(Ask::get(&format!("/b?{names}")).header("Authorization", "Basic Zm9vOmJhcg=="));
        asks.push(Ask::get("/b").header("Authorization", "Basic Zm9vOmJheg=="));
        asks.push(Ask::get("/x?y").header("Host", "h").header("X-Forwarded-Proto", "http"));
        asks
    };
    let told = |answer: &Answer| {
        let kept =
            ["Location", "WWW-Authenticate", "X-H", "X-All", "X-Secret", "X-App"].map(|name| header(answer, name));
        format!("{} {kept:?} {}", answer.status, answer.text())
    };
    let answers =
        |port: u16| -> Result<Vec<String>> { asks().into_iter().map(|ask| Ok(told(&http::ask(port, ask)?))).collect() };
    let (vassal, port) = started(ground, rules)?;
    let ours = answers(port)?;
    vassal.stop()?;
    golden::matches("routes.txt", &format!("{}\n", ours.join("\n")))?;
    let program = match std::env::var_os("EMPERY_UWSGI") {
        Some(program) => program.into(),
        None => python::program("uwsgi")?,
    };
    let mut help = Command::new(&program);
    help.arg("--help");
    if !process::run(help)?.success()?.contains("--route-run") {
        ground.note(
            "this uWSGI has no routes (it was built without PCRE): compared with what one that has them answered",
        );
        return Ok(());
    }
    let port = ground.port()?;
    let file = ground.write("theirs.ini", &ini(ground, port, rules)?)?;
    let mut command = Command::new(program);
    command.arg("--ini").arg(&file).args(["--need-app", "--die-on-term"]);
    let mut uwsgi = ground.start("uwsgi", command)?;
    wait::until_ok("uWSGI to answer", PATIENCE, || Ok(http::get(port, "/")?))?;
    for (number, (ours, theirs)) in ours.iter().zip(answers(port).context("uWSGI's answers")?).enumerate() {
        ensure!(*ours == theirs, "request {number}:\nours:   {ours}\ntheirs: {theirs}");
    }
    uwsgi.terminated(PATIENCE)?;
    Ok(())
}
