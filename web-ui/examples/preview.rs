//! Serves the pages over a made-up fleet, to be looked at: `cargo run -p empery-web-ui --example preview [ADDRESS]`.
//! Prints a login link. Requests are taken and end in every way there is.

#[path = "../tests/web/fake.rs"]
mod fake;

use std::{sync::Arc, time::Duration};

use empery_control::{fleet::FleetEvent, link::Severity};
use empery_lifecycle::{
    fleet::{OperationEnd, Verb},
    ids::VassalName,
};
use empery_store::{Incident, Store};
use empery_web_ui::{Access, serve};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener =
        tokio::net::TcpListener::bind(std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7071".to_owned())).await?;
    let place = std::env::temp_dir().join(format!("empery-preview-{}", std::process::id()));
    std::fs::create_dir_all(&place)?;
    std::fs::write(
        place.join("blog.ini"),
        "[pid: 41201|app: 0|req: 1/1] 127.0.0.1 () {28 vars in 310 bytes} GET / => generated 12 bytes in 3 msecs\n"
            .repeat(30),
    )?;
    let opened = Store::open(&place.join("state.db")).await?;
    remember(&opened.store).await?;
    let mut fake = fake::Fake::new(Access::open(&place.join("token"))?, Some(opened.reader), place);
    fake.take_requests();
    let mut realm = fake.realm.clone();
    realm.base_url = Arc::from(format!("http://{}", listener.local_addr()?));
    println!("{}", realm.access.login_link(&realm.base_url)?.url);
    tokio::spawn(live(fake));
    serve::tcp(listener, realm).await;
    Ok(())
}

/// A second is sampled again and again.
async fn live(fake: fake::Fake) {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    loop {
        seconds.tick().await;
        fake.snapshots.send_modify(|snapshot| {
            let next = Arc::make_mut(snapshot);
            next.sequence += 1;
            next.at_unix_ms += 1_000;
            for vassal in &mut next.vassals {
                vassal.numbers.requests_total += vassal.numbers.requests_per_s as u64;
                vassal.numbers.busy_threads = (vassal.numbers.busy_threads + 3) % (vassal.numbers.threads + 1).max(1);
            }
        });
        let _ = fake.realm.events.send(FleetEvent::Sampled);
    }
}

async fn remember(store: &Store) -> Result<(), Box<dyn std::error::Error>> {
    let blog = VassalName::new("blog.ini")?;
    for (id, verb, end) in [
        (3, Verb::Start, OperationEnd::Succeeded),
        (5, Verb::Stop, OperationEnd::Succeeded),
        (6, Verb::Start, OperationEnd::Superseded),
        (9, Verb::Reload, fake::failed()),
    ] {
        store.record_operation(fake::operation(id, "blog.ini", verb, Some(end))).done().await?;
    }
    let incident = Incident {
        vassal: Some(blog),
        at_unix_ms: fake::NOW_UNIX_MS - 4_000_000,
        severity: Severity::Incident,
        code: "harakiri".to_owned(),
        text: "Worker 2 was killed: GET /report was inside the app for 31 s (harakiri 30 s).".to_owned(),
        worker: None,
    };
    store.record_incident(incident).done().await?;
    Ok(())
}
