//! Bytes that are a secret.

use std::fmt;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

/// A secret: a credential's value, or a private key that a provider made.
///
/// It is wiped on drop, has no `Display`, `Clone` or comparison, and its `Debug` shows nothing of it:
///
/// ```
/// let secret = keyferry_courier::Secret::from_text("wJalrXUtnFEMI");
/// assert_eq!(format!("{secret:?}"), "Secret(..)");
/// assert_eq!(secret.expose(), b"wJalrXUtnFEMI");
/// ```
///
/// Between our own processes it travels as base64, which a JSON parser reads without making a copy of its own.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes over.
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }

    /// A copy of this text.
    pub fn from_text(text: &str) -> Self {
        Self(Zeroizing::new(text.as_bytes().to_vec()))
    }

    /// The bytes.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, still wiped on drop.
    pub fn into_bytes(self) -> Zeroizing<Vec<u8>> {
        self.0
    }

    /// Another copy, for a holder with a life of its own.
    pub(crate) fn duplicate(&self) -> Self {
        Self(self.0.clone())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = Zeroizing::new(String::with_capacity(self.0.len().div_ceil(3) * 4));
        STANDARD.encode_string(self.0.as_slice(), &mut text);
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Base64;
        impl Visitor<'_> for Base64 {
            type Value = Secret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a secret in base64")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Secret, E> {
                let mut bytes = Zeroizing::new(vec![0; text.len().div_ceil(4) * 3]);
                let length = STANDARD
                    .decode_slice(text, &mut bytes)
                    .map_err(|_| E::custom("not base64"))?;
                bytes.truncate(length);
                Ok(Secret(bytes))
            }
        }
        deserializer
            .deserialize_str(Base64)
            .map_err(|_| D::Error::custom("a secret does not read back"))
    }
}

/// A growing buffer that leaves no copy behind when it grows, and is wiped on drop.
#[derive(Default)]
pub(crate) struct WipedBuffer(Zeroizing<Vec<u8>>);

impl WipedBuffer {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let needed = self.0.len() + bytes.len();
        if needed > self.0.capacity() {
            let mut bigger = Zeroizing::new(Vec::with_capacity(needed.max(2 * self.0.capacity()).max(256)));
            bigger.extend_from_slice(&self.0);
            self.0 = bigger;
        }
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn into_bytes(self) -> Zeroizing<Vec<u8>> {
        self.0
    }
}

impl io::Write for WipedBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_reads_back_from_json() {
        let json = serde_json::to_string(&Secret::from_text("a \"quoted\" \u{1}")).unwrap();
        assert!(!json.contains("quoted"));
        let back: Secret = serde_json::from_str(&json).unwrap();
        assert_eq!(back.expose(), b"a \"quoted\" \x01");
        assert!(serde_json::from_str::<Secret>("\"not base64!\"").is_err());
    }

    #[test]
    fn a_buffer_keeps_what_is_pushed() {
        let mut buffer = WipedBuffer::default();
        for _ in 0..100 {
            buffer.push(b"0123456789");
        }
        assert_eq!(buffer.len(), 1000);
        assert!(buffer.into_bytes().chunks(10).all(|chunk| chunk == b"0123456789"));
    }
}
