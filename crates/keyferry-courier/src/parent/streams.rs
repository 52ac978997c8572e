//! Moves frames between the tasks of the worker and the courier's socket.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use keyferry_sandbox::frame::{self, FrameError};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::Child;
use tokio::sync::{mpsc, oneshot, watch};
use zeroize::Zeroizing;

use super::needs::Needs;
use super::{Inner, Outgoing, end};
use crate::wire::{self, FromCourier, MAX_FRAME};

/// Writes frames until nobody has any more, or the courier is gone.
pub(super) async fn write(mut writer: OwnedWriteHalf, mut frames: mpsc::UnboundedReceiver<Outgoing>) {
    while let Some(outgoing) = frames.recv().await {
        let sent = match outgoing.descriptors.is_empty() {
            true => Ok(0),
            false => send_with_descriptors(&writer, &outgoing).await,
        };
        let Ok(sent) = sent else { return };
        if writer.write_all(&outgoing.whole[sent..]).await.is_err() {
            return;
        }
    }
}

/// Sends the beginning of a frame together with its descriptors; how much was sent.
async fn send_with_descriptors(writer: &OwnedWriteHalf, outgoing: &Outgoing) -> std::io::Result<usize> {
    let descriptors: Vec<_> = outgoing.descriptors.iter().map(AsFd::as_fd).collect();
    let stream = writer.as_ref();
    stream
        .async_io(Interest::WRITABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
            Ok(sendmsg(
                stream,
                &[IoSlice::new(&outgoing.whole)],
                &mut ancillary,
                SendFlags::empty(),
            )?)
        })
        .await
}

/// The worker's part of the conversation, until the process has ended.
pub(super) struct Conversation {
    pub(super) inner: Arc<Inner>,
    pub(super) start_time: Duration,
    pub(super) needs: Needs,
}

impl Conversation {
    /// Reads and answers until the socket closes or nobody wants the courier any more, and reaps the process.
    pub(super) async fn hold(
        self,
        reader: OwnedReadHalf,
        mut child: Child,
        killed: oneshot::Receiver<()>,
        ended: watch::Sender<bool>,
    ) {
        let reason = tokio::select! {
            reason = self.read(reader) => reason,
            _ = killed => None,
        };
        // Whether it said something odd, closed the line or is not wanted: it must not go on.
        let is_closed = matches!(reason, Some(FrameError::Closed));
        if !is_closed {
            let _ = child.start_kill();
        }
        let words = match reason {
            Some(FrameError::Closed | FrameError::Cut) => {
                // The socket closes when the process ends; if it lives on without, it is ended.
                let grace = tokio::time::timeout(GRACE, end(&mut child)).await;
                match grace {
                    Ok(words) => words,
                    Err(_) => {
                        let _ = child.start_kill();
                        end(&mut child).await
                    }
                }
            }
            Some(error) => {
                end(&mut child).await;
                format!("the courier was ended: {error}")
            }
            None => {
                end(&mut child).await;
                "the courier was ended".to_owned()
            }
        };
        // In this order: who learns of a lost job sees that the courier is gone.
        ended.send_replace(true);
        self.inner.close(&words);
    }

    async fn read(&self, mut reader: OwnedReadHalf) -> Option<FrameError> {
        let mut has_spoken = false;
        loop {
            // The first word comes soon; later ones when there is something to say.
            let patience = if has_spoken {
                Duration::MAX
            } else {
                self.start_time
            };
            let read = tokio::time::timeout(patience, read_frame(&mut reader)).await;
            has_spoken = true;
            let frame = read.unwrap_or_else(|_| {
                let words = format!("it said nothing for {} s after its start", patience.as_secs_f32());
                Err(FrameError::Io(std::io::Error::new(
                    std::io::ErrorKind::TimedOut,
                    words,
                )))
            });
            let content = match frame {
                Ok(content) => content,
                Err(error) => return Some(error),
            };
            match wire::decode::<FromCourier>(&content) {
                Ok(FromCourier::NeedVariables { need, names }) => self.needs.variables(need, names),
                Ok(FromCourier::NeedCommand { need, argv }) => self.needs.command(need, argv),
                Ok(message) => self.inner.received(message),
                Err(error) => {
                    tracing::error!(
                        account = self.inner.account,
                        "the courier said something odd: {error}"
                    );
                    return Some(FrameError::Io(std::io::Error::other(error)));
                }
            }
        }
    }
}

/// Whether the other side is gone: a socket is reset when it held unread bytes.
fn is_gone(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset
    )
}

/// One frame, read straight into a buffer that is wiped.
async fn read_frame(reader: &mut OwnedReadHalf) -> Result<Zeroizing<Vec<u8>>, FrameError> {
    let mut start = [0; frame::HEADER_LENGTH];
    match reader.read_exact(&mut start).await {
        Ok(_) => {}
        Err(error) if is_gone(&error) => return Err(FrameError::Closed),
        Err(error) => return Err(FrameError::Io(error)),
    }
    let mut content = Zeroizing::new(vec![0; frame::length(start, MAX_FRAME)?]);
    match reader.read_exact(&mut content).await {
        Ok(_) => Ok(content),
        Err(error) if is_gone(&error) => Err(FrameError::Cut),
        Err(error) => Err(FrameError::Io(error)),
    }
}

/// Time between a closed socket and the end of the process.
const GRACE: Duration = Duration::from_secs(2);
