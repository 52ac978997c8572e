//! SSH's data types (RFC 4251 §5) for secrets: built in place, read without copies.

use zeroize::Zeroizing;

/// One field to be written.
pub(super) enum Field<'a> {
    /// `mpint`, from an unsigned big-endian number.
    Mpint(&'a [u8]),
    /// `string`.
    String(&'a [u8]),
}

/// Fields one after the other. The room is reserved first, so that no copy is left behind by growing.
pub(super) fn encode(fields: &[Field<'_>]) -> Zeroizing<Vec<u8>> {
    let length = fields
        .iter()
        .map(|(Field::Mpint(bytes) | Field::String(bytes))| bytes.len() + 5)
        .sum();
    let mut encoded = Zeroizing::new(Vec::with_capacity(length));
    for field in fields {
        let (sign, bytes) = match field {
            Field::String(bytes) => (&b""[..], *bytes),
            Field::Mpint(bytes) => {
                let bytes = without_leading_zeros(bytes);
                let sign = if bytes.first().is_some_and(|&octet| octet >= 0x80) {
                    &b"\0"[..]
                } else {
                    b""
                };
                (sign, bytes)
            }
        };
        let length = u32::try_from(sign.len() + bytes.len()).expect("private keys are bounded by 64 KiB");
        encoded.extend_from_slice(&length.to_be_bytes());
        encoded.extend_from_slice(sign);
        encoded.extend_from_slice(bytes);
    }
    encoded
}

/// The number without leading zeros.
pub(super) fn without_leading_zeros(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|&octet| octet != 0).unwrap_or(bytes.len());
    &bytes[start..]
}

/// Reads fields from a slice.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    /// `uint32`.
    pub(super) fn u32(&mut self) -> Option<u32> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*number))
    }

    /// `string`.
    pub(super) fn string(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u32()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    /// `mpint` that is not negative, without its leading zeros.
    pub(super) fn mpint(&mut self) -> Option<&'a [u8]> {
        let bytes = self.string()?;
        if bytes.first().is_some_and(|&octet| octet >= 0x80) {
            return None;
        }
        Some(without_leading_zeros(bytes))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
