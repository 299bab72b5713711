//! One connection whose bytes can be read: HTTP/1.1 or HTTP/2 with their bounds, until it ends.
//!
//! Invariant: the tasks of an HTTP/2 connection end with it.

use std::convert::Infallible;
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::Router;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::line::{Answer, Line};
use super::patience::Patient;
use super::wire::Wire;
use stockade::limits::{
    FRAME_BYTES_MAX, HEAD_BYTES_MAX, HEAD_FIELDS_MAX, PEER_STREAMS_MAX, PIECE_BYTES,
    STREAMS_GIVEN_UP_MAX, STREAMS_MAX, STREAMS_RESET_MAX, WINDOW_BYTES,
};

/// Bounds on the requests of an HTTP/2 connection.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    streams_max: u32,
    given_up_max: usize,
    reset_max: (usize, usize),
}

impl Bounds {
    /// Peers have proved who they are: many requests share a connection of theirs, and those that
    /// callers give up end nothing.
    pub(super) fn of(is_for_peers: bool) -> Self {
        if is_for_peers {
            let reset_max = usize::try_from(PEER_STREAMS_MAX).unwrap_or(usize::MAX);
            return Self {
                streams_max: PEER_STREAMS_MAX,
                given_up_max: usize::MAX,
                reset_max: (reset_max, reset_max),
            };
        }
        Self {
            streams_max: STREAMS_MAX,
            given_up_max: STREAMS_GIVEN_UP_MAX,
            reset_max: STREAMS_RESET_MAX,
        }
    }
}

/// What a connection needs once its bytes can be read.
pub(super) struct Spoken {
    pub(super) line: Arc<Line>,
    pub(super) routes: TowerToHyperService<Router>,
    pub(super) stopped: watch::Receiver<bool>,
    pub(super) read_max: Duration,
    pub(super) stall_max: Duration,
    pub(super) bounds: Bounds,
}

impl Spoken {
    /// Serves until the connection ends.
    pub(super) async fn serve<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(self, stream: S) {
        let Self { line, routes, mut stopped, read_max, stall_max, bounds } = self;
        let stream = Patient::new(stream, stall_max);
        let wire = Wire::new(stream, Arc::clone(&line), read_max, stall_max);
        let stream = TokioIo::new(wire.with_given_up(bounds.given_up_max));
        let asked = Arc::clone(&line);
        let service = service_fn(move |mut request: Request<Incoming>| {
            let turn = asked.begin(&mut request);
            let answered = routes.call(request);
            async move {
                let answered: Result<_, Infallible> = answered.await;
                answered
                    .map(|response| -> Response<Answer> { response.map(|body| turn.answer(body)) })
            }
        });
        let streams = Arc::<Mutex<JoinSet<()>>>::default();
        let builder = builder(Streams(Arc::downgrade(&streams)), bounds);
        let mut connection = std::pin::pin!(builder.serve_connection(stream, service));
        let ended = tokio::select! {
            biased;
            ended = connection.as_mut() => Some(ended),
            () = stop_asked(&mut stopped) => None,
            () = line.leaving() => None,
        };
        let ended = match ended {
            Some(ended) => ended,
            None => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            // Clients go away all the time; nothing here needs an operator.
            tracing::debug!(%error, "connection ended");
        }
    }
}

/// Both versions with their bounds. [`Wire`] watches the times.
fn builder(streams: Streams, bounds: Bounds) -> auto::Builder<Streams> {
    let mut builder = auto::Builder::new(streams);
    builder
        .http1()
        .header_read_timeout(None)
        .max_headers(HEAD_FIELDS_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    let (by_client, by_us) = bounds.reset_max;
    builder
        .http2()
        .max_concurrent_streams(bounds.streams_max)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_send_buf_size(PIECE_BYTES)
        .max_pending_accept_reset_streams(by_client)
        .max_local_error_reset_streams(by_us);
    builder
}

/// Spawns the tasks of an HTTP/2 connection on its thread. They end with the connection, which owns
/// the `JoinSet`.
#[derive(Clone)]
struct Streams(Weak<Mutex<JoinSet<()>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        if let Some(streams) = self.0.upgrade() {
            let mut streams = streams.lock();
            while streams.try_join_next().is_some() {}
            streams.spawn(stream);
        }
    }
}

/// Resolves when the listener was asked to stop, or was dropped.
pub(super) async fn stop_asked(stopped: &mut watch::Receiver<bool>) {
    drop(stopped.wait_for(|stopped| *stopped).await);
}
