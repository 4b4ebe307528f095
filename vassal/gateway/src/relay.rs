//! A client that speaks the uwsgi protocol inside TLS (nginx: `uwsgi_pass suwsgi://…`): its bytes go to a worker and the
//! worker's come back, untouched. One request is one connection; how long its parts may take is the worker's business.

use std::{io, pin::pin, sync::Arc};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::UnixStream,
};

use crate::{
    connection::{Manners, keep},
    deadlines::{Activity, Heads, Noted},
    floor::Floor,
    workers,
};

/// Serves a connection, by way of the workers' socket of this abstract name.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    manners: Manners,
    floor: &Arc<Floor>,
    workers_name: &str,
) {
    let activity = Activity::new(Heads::Each, Arc::clone(floor));
    let mut in_flight = activity.request();
    // Nothing of it is taken back.
    in_flight.answered();
    let worker = match workers::call(&format!("\0{workers_name}")).await {
        Ok(worker) => worker,
        Err(error) => return workers::tell_of_none(&error),
    };
    let stream = Noted::new(stream, Arc::clone(&activity));
    let relayed = pin!(relay(stream, worker));
    keep(relayed, |_| {}, &activity, manners.waits, floor).await;
    drop(in_flight);
}

/// Until the worker has said everything, or one of them is gone.
async fn relay<S: AsyncRead + AsyncWrite + Unpin>(client: S, worker: UnixStream) -> io::Result<()> {
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_worker, mut to_worker) = worker.into_split();
    let asking = async {
        tokio::io::copy(&mut from_client, &mut to_worker).await?;
        // It has said all it wants to; its answer is still to come.
        to_worker.shutdown().await
    };
    let answering = async {
        tokio::io::copy(&mut from_worker, &mut to_client).await?;
        to_client.shutdown().await
    };
    let (mut asking, mut answering) = (pin!(asking), pin!(answering));
    tokio::select! {
        answered = answering.as_mut() => return answered,
        // A worker that reads no more may still answer; a client that is gone is noticed by the answer.
        _ = asking.as_mut() => {}
    }
    answering.await
}
