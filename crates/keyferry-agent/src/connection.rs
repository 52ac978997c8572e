//! One client's socket: frames in, replies out, in order.

mod eager;

use crate::frames::{FrameBuffer, TooLong};
use crate::serve::Limits;
use crate::serve::connections::Connection;
use crate::session::Session;
use eager::Eager;
use std::io::{self, ErrorKind};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout, timeout_at};

/// Serves one client until it leaves, breaks the framing, or takes too long over half a frame or a reply.
pub(crate) async fn run(
    mut stream: UnixStream,
    mut session: Session,
    connection: &Connection,
    limits: &Limits,
) -> Result<(), Ended> {
    let mut buffer = FrameBuffer::new();
    let mut replies = Vec::new();
    let mut partial_since = None;
    let mut eager = Eager::new();
    let mut awake = 0_u32;
    loop {
        let mut answered = 0;
        while let Some(frame) = buffer.next_frame()? {
            let task = session.begin(frame.message(), connection.is_alone(), &mut replies);
            drop(frame);
            if task.is_some() || replies.len() >= FLUSHED_LENGTH {
                flush(&mut stream, &mut replies, limits.write).await?;
            }
            if let Some(task) = task {
                session.finish(task, &mut replies).await;
            }
            answered += 1;
            partial_since = None;
            if answered % TURN == 0 {
                tokio::task::yield_now().await;
            }
        }
        flush(&mut stream, &mut replies, limits.write).await?;
        if !connection.served() {
            return Ok(());
        }
        eager.answered();
        if !buffer.is_partial()
            && connection.is_alone()
            && let Some(count) = eager.receive(&stream, buffer.space())
        {
            buffer.filled(count);
            connection.begin();
            awake += 1;
            if awake.is_multiple_of(PACE) {
                // Nothing else on this way waits, and whoever ends this task or shares its thread must get a turn.
                tokio::task::yield_now().await;
            }
            continue;
        }

        let read = if buffer.is_partial() {
            let since = *partial_since.get_or_insert_with(Instant::now);
            timeout_at(since + limits.half_frame, stream.read(buffer.space()))
                .await
                .map_err(|_| Ended::HalfFrame)?
        } else {
            stream.read(buffer.space()).await
        };
        match read? {
            0 => return Ok(()),
            count => buffer.filled(count),
        }
        eager.arrived();
        connection.begin();
    }
}

/// Why a connection was closed by us.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    #[error("half a message came, and the rest did not")]
    HalfFrame,
    #[error("the connection failed")]
    Io(#[from] io::Error),
    #[error(transparent)]
    TooLong(#[from] TooLong),
    #[error("the client did not read its replies")]
    Unread,
}

/// Writes all replies. A client that reads costs one system call and nothing else.
async fn flush(stream: &mut UnixStream, replies: &mut Vec<u8>, limit: Duration) -> Result<(), Ended> {
    if replies.is_empty() {
        return Ok(());
    }
    let written = match stream.try_write(replies) {
        Ok(written) => written,
        Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
        Err(error) => return Err(error.into()),
    };
    if written < replies.len() {
        timeout(limit, stream.write_all(&replies[written..]))
            .await
            .map_err(|_| Ended::Unread)??;
    }
    replies.clear();
    replies.shrink_to(FLUSHED_LENGTH);
    Ok(())
}

/// Replies to pipelined requests are gathered up to about this length, in bytes.
const FLUSHED_LENGTH: usize = 16 * 1024;

/// After so many requests that were waited for awake, everything else gets a turn.
const PACE: u32 = 64;

/// After so many pipelined requests the other clients get their turn.
const TURN: usize = 8;
