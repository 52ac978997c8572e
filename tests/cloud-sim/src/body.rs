//! Bodies of replies, the spoiled ones too.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame};

/// The body of a reply.
pub(crate) enum ReplyBody {
    /// All of it.
    Whole(Option<Bytes>),
    /// This much and then the connection is closed, whatever length was announced.
    CutShort { part: Option<Bytes>, flushed: bool },
    /// So many bytes.
    Huge { left: u64, started: bool },
}

impl ReplyBody {
    pub(crate) fn whole(text: String) -> Self {
        Self::Whole(Some(Bytes::from(text)))
    }

    pub(crate) fn cut_short(part: String) -> Self {
        Self::CutShort {
            part: Some(Bytes::from(part)),
            flushed: false,
        }
    }

    pub(crate) fn huge(bytes: u64) -> Self {
        Self::Huge {
            left: bytes,
            started: false,
        }
    }

    /// The `Content-Length` that belongs to it, where it is the body that says so.
    pub(crate) fn length(&self) -> Option<u64> {
        match self {
            Self::Whole(bytes) => Some(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Huge { left, .. } => Some(*left),
            Self::CutShort { .. } => None,
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::CutShort { part, flushed } => {
                if let Some(part) = part.take() {
                    return Poll::Ready(Some(Ok(Frame::data(part))));
                }
                if !*flushed {
                    // An error at once would close the connection before the part is written.
                    *flushed = true;
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Ready(Some(Err(io::Error::other("cut short on request"))))
            }
            Self::Huge { left: 0, .. } => Poll::Ready(None),
            Self::Huge { left, started } => {
                let mut chunk = vec![b'x'; usize::try_from(*left).unwrap_or(usize::MAX).min(HUGE_CHUNK)];
                if !*started {
                    *started = true;
                    let length = chunk.len().min(HUGE_START.len());
                    chunk[..length].copy_from_slice(&HUGE_START[..length]);
                }
                *left -= chunk.len() as u64;
                Poll::Ready(Some(Ok(Frame::data(Bytes::from(chunk)))))
            }
        }
    }
}

const HUGE_CHUNK: usize = 64 << 10;
const HUGE_START: &[u8] = b"{\"Padding\":\"";
