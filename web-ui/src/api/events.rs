//! `GET /api/v1/events`: what changes, as it changes (server-sent events). Names and words only; a listener reads the
//! rest where it may. The id of an event is the number of the snapshot it belongs to; nothing is replayed: after a
//! gap a listener is told to read everything anew.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::State,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use empery_control::fleet::FleetEvent;
use empery_lifecycle::fleet::OperationEnd;
use futures_util::stream;
use serde_json::json;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::Realm;

/// A listener that hears nothing for this long may believe the connection dead.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Where a stream is.
enum Place {
    Beginning,
    Listening,
}

pub(super) async fn stream(State(realm): State<Realm>) -> Response {
    // Subscribed before the snapshot is named: nothing falls between.
    let events = realm.events.subscribe();
    let stream = stream::unfold((realm, events, Place::Beginning), |(realm, mut events, place)| async move {
        let event = match place {
            Place::Beginning => Some(described(&realm, "hello", json!({ "version": realm.now().version }))),
            Place::Listening => next(&realm, &mut events).await,
        };
        Some((Ok::<_, Infallible>(event?), (realm, events, Place::Listening)))
    });
    let heartbeat = KeepAlive::new().interval(HEARTBEAT).event(Event::default().event("heartbeat").data("{}"));
    // nginx would collect a minute of them otherwise.
    ([("x-accel-buffering", "no")], Sse::new(stream).keep_alive(heartbeat)).into_response()
}

async fn next(realm: &Realm, events: &mut Receiver<FleetEvent>) -> Option<Event> {
    match events.recv().await {
        Ok(event) => Some(worded(realm, &event)),
        Err(RecvError::Lagged(missed)) => Some(described(realm, "resync", json!({ "missed": missed }))),
        Err(RecvError::Closed) => None,
    }
}

fn worded(realm: &Realm, event: &FleetEvent) -> Event {
    match event {
        FleetEvent::VassalChanged { name } => described(realm, "vassal", json!({ "name": name })),
        FleetEvent::VassalRemoved { name } => described(realm, "removed", json!({ "name": name })),
        FleetEvent::Sampled => described(realm, "sampled", json!({})),
        FleetEvent::Operation(view) => {
            let result = view.end.as_ref().map(|end| match end {
                OperationEnd::Succeeded => "succeeded",
                OperationEnd::Failed { .. } => "failed",
                OperationEnd::Superseded => "superseded",
            });
            let body = json!({ "id": view.id, "vassal": view.vassal, "verb": view.verb, "phase": view.phase, "result": result });
            described(realm, "operation", body)
        }
    }
}

fn described(realm: &Realm, name: &str, body: serde_json::Value) -> Event {
    Event::default().id(realm.snapshot.borrow().sequence.to_string()).event(name).data(body.to_string())
}
