//! Frames between keyferry's processes: the length as a big-endian `u32`, then that many bytes.
//!
//! The length is checked against a cap before anything is allocated. [`read`] and [`write()`] are for blocking streams;
//! an asynchronous reader takes [`header`] and [`length`] and moves the bytes itself.

use std::io::{self, ErrorKind, Read, Write};

/// Bytes before the content.
pub const HEADER_LENGTH: usize = 4;

/// Reads one frame of at most `cap` bytes.
///
/// `B` is `Vec<u8>`, or `Zeroizing<Vec<u8>>` for content that is secret: the bytes are read into their final place and
/// leave no copy behind, also when the frame is cut short.
///
/// # Errors
/// [`FrameError::Closed`] when the stream ends between two frames, the others when it does not hold a whole frame.
pub fn read<B: From<Vec<u8>> + AsMut<[u8]>>(reader: &mut impl Read, cap: usize) -> Result<B, FrameError> {
    let mut start = [0; HEADER_LENGTH];
    let mut filled = 0;
    while filled < HEADER_LENGTH {
        match reader.read(&mut start[filled..]) {
            Ok(0) if filled == 0 => return Err(FrameError::Closed),
            Ok(0) => return Err(FrameError::Cut),
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(FrameError::Io(error)),
        }
    }
    let mut content = B::from(vec![0; length(start, cap)?]);
    reader
        .read_exact(content.as_mut())
        .map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => FrameError::Cut,
            _ => FrameError::Io(error),
        })?;
    Ok(content)
}

/// Writes one frame of at most `cap` bytes.
///
/// # Errors
/// [`FrameError::TooLong`] before anything is written; [`FrameError::Closed`] when the other side is gone.
pub fn write(writer: &mut impl Write, content: &[u8], cap: usize) -> Result<(), FrameError> {
    let start = header(content.len(), cap)?;
    let sent = writer
        .write_all(&start)
        .and_then(|()| writer.write_all(content))
        .and_then(|()| writer.flush());
    sent.map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::WriteZero => FrameError::Closed,
        _ => FrameError::Io(error),
    })
}

/// The header of a frame with this many bytes.
///
/// # Errors
/// [`FrameError::TooLong`] above `cap`.
pub fn header(length: usize, cap: usize) -> Result<[u8; HEADER_LENGTH], FrameError> {
    match u32::try_from(length) {
        Ok(short) if length <= cap => Ok(short.to_be_bytes()),
        _ => Err(FrameError::TooLong { length, cap }),
    }
}

/// How many bytes follow this header.
///
/// # Errors
/// [`FrameError::TooLong`] above `cap`.
pub fn length(header: [u8; HEADER_LENGTH], cap: usize) -> Result<usize, FrameError> {
    let length = usize::try_from(u32::from_be_bytes(header)).unwrap_or(usize::MAX);
    if length > cap {
        return Err(FrameError::TooLong { length, cap });
    }
    Ok(length)
}

/// Why there is no frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The other side closed the stream between two frames.
    #[error("the other side closed the connection")]
    Closed,
    /// The stream ended within a frame.
    #[error("the connection ended in the middle of a message")]
    Cut,
    /// The stream failed.
    #[error("the connection failed: {0}")]
    Io(#[source] io::Error),
    /// The frame is longer than is accepted.
    #[error("a message of {length} bytes is too long: at most {cap} are accepted")]
    TooLong {
        /// Its length in bytes.
        length: usize,
        /// The greatest length accepted.
        cap: usize,
    },
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    #[test]
    fn a_frame_reads_back() {
        let mut wire = Vec::new();
        write(&mut wire, b"", 16).unwrap();
        write(&mut wire, b"sixteen letters!", 16).unwrap();
        assert_eq!(&wire[..8], b"\0\0\0\0\0\0\0\x10");
        let mut reader = wire.as_slice();
        assert_eq!(read::<Vec<u8>>(&mut reader, 16).unwrap(), b"");
        assert_eq!(
            read::<Zeroizing<Vec<u8>>>(&mut reader, 16).unwrap().as_slice(),
            b"sixteen letters!"
        );
        assert!(matches!(
            read::<Vec<u8>>(&mut reader, 16),
            Err(FrameError::Closed)
        ));
    }

    #[test]
    fn every_cut_is_told_from_a_closed_stream() {
        let wire = b"\0\0\0\x03abc";
        for end in 1..wire.len() {
            assert!(
                matches!(read::<Vec<u8>>(&mut &wire[..end], 16), Err(FrameError::Cut)),
                "{end}"
            );
        }
    }

    #[test]
    fn a_length_above_the_cap_is_refused_before_anything_is_read() {
        let mut wire: &[u8] = b"\xff\xff\xff\xffabc";
        let error = read::<Vec<u8>>(&mut wire, 16).unwrap_err();
        assert!(matches!(
            error,
            FrameError::TooLong {
                length: 0xffff_ffff,
                cap: 16
            }
        ));
        assert_eq!(wire, b"abc");
    }

    #[test]
    fn nothing_is_written_of_what_is_too_long() {
        let mut wire = Vec::new();
        assert!(matches!(
            write(&mut wire, b"four!", 4),
            Err(FrameError::TooLong { length: 5, cap: 4 })
        ));
        assert!(wire.is_empty());
    }
}
