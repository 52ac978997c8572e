//! The data types of SSH messages (RFC 4251 section 5).

/// What is still to be read of a message. Every read checks its length first; nothing is copied.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Malformed> {
        let (&first, rest) = self.0.split_first().ok_or(Malformed)?;
        self.0 = rest;
        Ok(first)
    }

    pub(crate) fn uint32(&mut self) -> Result<u32, Malformed> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*bytes))
    }

    pub(crate) fn string(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.uint32()? as usize;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(bytes)
    }

    /// The magnitude of a number without leading zeros; empty for zero. Negative numbers, of which no key has
    /// any, are refused. Needless leading zeros are taken, as OpenSSH takes them.
    pub(crate) fn mpint(&mut self) -> Result<&'a [u8], Malformed> {
        let bytes = self.string()?;
        if bytes.first().is_some_and(|&first| first & 0x80 != 0) {
            return Err(Malformed);
        }
        let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
        Ok(&bytes[zeros..])
    }

    /// All that is left.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Everything that was to be read has been read.
    pub(crate) fn end(self) -> Result<(), Malformed> {
        if self.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

/// The bytes do not hold what their place calls for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message is truncated or malformed")]
pub(crate) struct Malformed;

pub(crate) fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&length_of(bytes).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Writes a big-endian magnitude, with or without leading zeros, as the shortest number that is not negative.
pub(crate) fn put_mpint(out: &mut Vec<u8>, magnitude: &[u8]) {
    let zeros = magnitude.iter().take_while(|&&byte| byte == 0).count();
    let digits = &magnitude[zeros..];
    let sign = u32::from(digits.first().is_some_and(|&first| first & 0x80 != 0));
    out.extend_from_slice(&(length_of(digits) + sign).to_be_bytes());
    if sign == 1 {
        out.push(0);
    }
    out.extend_from_slice(digits);
}

/// Writes what `body` writes, with its length in front: a string made in place, or a frame. Gives what `body`
/// gives.
pub(crate) fn put_prefixed<T>(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    let given = body(out);
    let length = length_of(&out[start + 4..]);
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    given
}

fn length_of(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("what is written fits a frame, and a frame is far below 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_rfc_4251_says() {
        #[track_caller]
        fn check(magnitude: &[u8], expected: &[u8]) {
            let mut out = Vec::new();
            put_mpint(&mut out, magnitude);
            assert_eq!(out, expected);
        }
        check(&[], &[0, 0, 0, 0]);
        check(&[0, 0], &[0, 0, 0, 0]);
        check(&[0x80], &[0, 0, 0, 2, 0, 0x80]);
        check(&[0, 0x7f, 0xff], &[0, 0, 0, 2, 0x7f, 0xff]);
    }

    #[test]
    fn numbers_are_read_without_their_sign_byte() {
        #[track_caller]
        fn check(bytes: &[u8], expected: Result<&[u8], Malformed>) {
            let mut message = Vec::new();
            put_string(&mut message, bytes);
            assert_eq!(Reader::new(&message).mpint(), expected);
        }
        check(&[], Ok(&[]));
        check(&[0], Ok(&[]));
        check(&[0, 0x80], Ok(&[0x80]));
        check(&[0, 0, 1], Ok(&[1]));
        check(&[0x80], Err(Malformed));
    }

    #[test]
    fn a_string_longer_than_the_message_is_malformed() {
        for message in [&[0, 0, 0, 2, 1][..], &[0xff; 4], &[0xff; 8], &[0, 0, 0], &[]] {
            assert_eq!(Reader::new(message).string(), Err(Malformed), "{message:?}");
        }
    }
}
