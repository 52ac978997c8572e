//! Accepting clients: whose they are, how many, and what happens when there are too many.

pub(crate) mod connections;
mod lanes;

use crate::agent::Agent;
use crate::connection;
use crate::listener::{Listener, is_own};
use crate::session::{Reach, Session};
use connections::Connections;
pub(crate) use lanes::Lanes;
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixStream;

/// What one client, or many of them, may take from the others.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How many clients may be connected. One more, and the client that has been quiet longest is
    /// disconnected. Default: 512, or half the descriptors this process may open if that is less.
    pub connections: usize,
    /// How long the rest of a message may take once a part of it came. Default: 30 seconds. A client that is
    /// silent between messages may be so for ever.
    pub half_frame: Duration,
    /// How long a client may leave its replies unread. Default: 30 seconds.
    pub write: Duration,
    /// How long another agent may take over a signature with one of its keys; somebody may have to touch
    /// something. Default: 60 seconds.
    pub upstream: Duration,
    /// How long requests in progress may take to end once the agent stops. Default: 2 seconds.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let descriptors = getrlimit(Resource::Nofile)
            .current
            .map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        Self {
            connections: (descriptors / 2).clamp(1, 512),
            half_frame: Duration::from_secs(30),
            write: Duration::from_secs(30),
            upstream: Duration::from_secs(60),
            drain: Duration::from_secs(2),
        }
    }
}

/// Answers the clients of one socket until `shutdown` completes; then lets requests in progress end, closes
/// all connections and removes the socket. Never ends for any other reason: when descriptors run out it waits
/// for some.
///
/// A client of another user than this process's is turned away, except root's. One agent may be served on
/// several sockets. Clients are answered on threads of their own, so that it matters little what else the caller's
/// runtime has to do.
pub async fn serve(listener: Listener, agent: Agent, limits: Limits, shutdown: impl Future<Output = ()>) {
    let expiring = agent.clone();
    let end = async move {
        tokio::select! {
            () = shutdown => {}
            () = expiring.expire_keys() => {}
        }
    };
    let upstream = limits.upstream;
    let session = move || Session::new(agent.clone(), Reach::Offered, upstream);
    answer(listener, Lanes::start(), limits, session, end).await;
}

/// Answers the clients of one socket, each with a session of its own, until `shutdown` completes.
pub(crate) async fn answer(
    listener: Listener,
    lanes: Lanes,
    limits: Limits,
    session: impl Fn() -> Session,
    shutdown: impl Future<Output = ()>,
) {
    let connections = Connections::new(limits.connections, lanes.are_ours());
    let _abort = connections.abort_on_drop();
    let limits = Arc::new(limits);
    tokio::select! {
        () = shutdown => {}
        () = accept_all(&listener, &session, &limits, &connections, &lanes) => {}
    }
    drop(listener);
    connections.drain(limits.drain).await;
}

/// Never ends.
async fn accept_all(
    listener: &Listener,
    session: &impl Fn() -> Session,
    limits: &Arc<Limits>,
    connections: &Arc<Connections>,
    lanes: &Lanes,
) {
    let mut strangers = 0_u64;
    let mut pause = FIRST_PAUSE;
    loop {
        let stream = match listener.accept().await {
            Ok(stream) => stream,
            // The client left before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => {
                if pause == FIRST_PAUSE {
                    tracing::warn!(%error, "cannot accept clients, trying again");
                }
                if is_exhaustion(&error) {
                    connections.evict();
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LAST_PAUSE);
                continue;
            }
        };
        pause = FIRST_PAUSE;
        if !is_own(&stream) {
            strangers += 1;
            // 1, 2, 4, 8...: a stranger shall not fill the log.
            if strangers.is_power_of_two() {
                tracing::warn!(times = strangers, "turned away a client of another user");
            }
            continue;
        }
        let place = connections.admit().await;
        let session = session();
        let limits = Arc::clone(limits);
        let stream = match stream.into_std() {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot serve a client");
                continue;
            }
        };
        connections.spawn(place, lanes, |connection| async move {
            // From here on the lane's own runtime waits for its bytes.
            let stream = match UnixStream::from_std(stream) {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot serve a client");
                    return;
                }
            };
            if let Err(ended) = connection::run(stream, session, &connection, &limits).await {
                tracing::debug!(cause = &ended as &dyn std::error::Error, "closed a connection");
            }
        });
    }
}

fn is_exhaustion(error: &io::Error) -> bool {
    let codes = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    error
        .raw_os_error()
        .is_some_and(|code| codes.iter().any(|known| known.raw_os_error() == code))
}

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LAST_PAUSE: Duration = Duration::from_secs(1);
