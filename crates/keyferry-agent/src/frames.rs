//! Frames as they come in from one client: a length, then that many bytes.

use crate::message::Request;
use std::ops::Range;
use zeroize::{Zeroize, Zeroizing};

/// The longest message taken, in bytes, as in OpenSSH.
pub(crate) const MAX_MESSAGE: usize = 256 * 1024;

/// What was read from a client and not yet answered. The buffer grows with what has arrived, never with what
/// a length announces, and every byte that may belong to a secret is wiped when its frame is done or its
/// place is given up.
pub(crate) struct FrameBuffer {
    bytes: Zeroizing<Vec<u8>>,
    /// The bytes at hand; those around it are free.
    unread: Range<usize>,
}

impl FrameBuffer {
    pub(crate) fn new() -> Self {
        Self {
            bytes: Zeroizing::new(vec![0; FIRST_CAPACITY]),
            unread: 0..0,
        }
    }

    /// The next whole frame's message, if there is one.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Frame<'_>>, TooLong> {
        let Some((length, rest)) = self.bytes[self.unread.clone()].split_first_chunk() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*length) as usize;
        if length > MAX_MESSAGE {
            return Err(TooLong(length));
        }
        if rest.len() < length {
            return Ok(None);
        }
        let start = self.unread.start + PREFIX;
        self.unread.start = start + length;
        Ok(Some(Frame(&mut self.bytes[start..start + length])))
    }

    /// Room to read into, never empty. Call it when [`FrameBuffer::next_frame`] has given all it has.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        if self.unread.is_empty() {
            self.unread = 0..0;
            if self.bytes.len() > KEPT_CAPACITY {
                self.bytes = Zeroizing::new(vec![0; FIRST_CAPACITY]);
            }
        } else if self.unread.end == self.bytes.len() {
            let capacity = (2 * self.unread.len()).clamp(FIRST_CAPACITY, PREFIX + MAX_MESSAGE);
            let mut moved = Zeroizing::new(vec![0; capacity]);
            moved[..self.unread.len()].copy_from_slice(&self.bytes[self.unread.clone()]);
            self.unread = 0..self.unread.len();
            self.bytes = moved;
        }
        &mut self.bytes[self.unread.end..]
    }

    /// The first `count` bytes of [`FrameBuffer::space`] were filled.
    pub(crate) fn filled(&mut self, count: usize) {
        self.unread.end = self.bytes.len().min(self.unread.end + count);
    }

    /// Whether a frame has begun to arrive and is not complete.
    pub(crate) fn is_partial(&self) -> bool {
        !self.unread.is_empty()
    }
}

/// One message, wiped when it is dropped if it may hold a secret.
pub(crate) struct Frame<'a>(&'a mut [u8]);

impl Frame<'_> {
    pub(crate) fn message(&self) -> &[u8] {
        self.0
    }
}

impl Drop for Frame<'_> {
    fn drop(&mut self) {
        if Request::is_secret(self.0) {
            self.0.zeroize();
        }
    }
}

/// A client announced a message longer than [`MAX_MESSAGE`]; there is no way back into step with it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message of {0} bytes is longer than the {MAX_MESSAGE} allowed")]
pub(crate) struct TooLong(usize);

const PREFIX: usize = 4;

/// Enough for every request of an ordinary login. A thousand silent clients cost 2 MiB.
const FIRST_CAPACITY: usize = 2 * 1024;

/// What a connection may keep after a long message.
const KEPT_CAPACITY: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::number;
    use proptest::prelude::*;

    fn feed(buffer: &mut FrameBuffer, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let space = buffer.space();
            let count = space.len().min(bytes.len());
            space[..count].copy_from_slice(&bytes[..count]);
            buffer.filled(count);
            bytes = &bytes[count..];
        }
    }

    #[test]
    fn the_longest_message_is_taken_and_one_byte_more_is_not() {
        let mut buffer = FrameBuffer::new();
        let mut frame = (MAX_MESSAGE as u32).to_be_bytes().to_vec();
        frame.resize(PREFIX + MAX_MESSAGE, b'x');
        feed(&mut buffer, &frame);
        assert_eq!(buffer.next_frame().unwrap().unwrap().message().len(), MAX_MESSAGE);
        assert!(buffer.next_frame().unwrap().is_none());

        feed(&mut buffer, &(MAX_MESSAGE as u32 + 1).to_be_bytes());
        assert_eq!(buffer.next_frame().err(), Some(TooLong(MAX_MESSAGE + 1)));
    }

    #[test]
    fn an_announced_length_sizes_nothing() {
        let mut buffer = FrameBuffer::new();
        feed(&mut buffer, &(MAX_MESSAGE as u32).to_be_bytes());
        assert!(buffer.next_frame().unwrap().is_none());
        assert!(buffer.space().len() < FIRST_CAPACITY);
        assert!(buffer.is_partial());
    }

    #[test]
    fn a_frame_with_a_key_is_wiped_and_a_long_one_leaves_no_room_behind() {
        let mut buffer = FrameBuffer::new();
        let mut frame = 101_u32.to_be_bytes().to_vec();
        frame.push(number::ADD_IDENTITY);
        frame.extend([0xaa; 100]);
        feed(&mut buffer, &frame);
        drop(buffer.next_frame().unwrap().unwrap());
        assert!(!buffer.bytes.contains(&0xaa));

        frame = (MAX_MESSAGE as u32).to_be_bytes().to_vec();
        frame.resize(PREFIX + MAX_MESSAGE, 0xaa);
        feed(&mut buffer, &frame);
        drop(buffer.next_frame().unwrap().unwrap());
        assert_eq!(buffer.space().len(), FIRST_CAPACITY);
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_however_they_are_cut(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 1..12),
            cut in 1..5000_usize,
        ) {
            let stream: Vec<u8> =
                messages.iter().flat_map(|message| [&(message.len() as u32).to_be_bytes(), &message[..]].concat()).collect();
            let mut buffer = FrameBuffer::new();
            let mut seen = Vec::new();
            for piece in stream.chunks(cut) {
                feed(&mut buffer, piece);
                while let Some(frame) = buffer.next_frame().unwrap() {
                    seen.push(frame.message().to_vec());
                }
            }
            prop_assert_eq!(seen, messages);
            prop_assert!(!buffer.is_partial());
        }
    }
}
