//! How vendors write the fingerprint of a key pair, and when two of them say the same.
//!
//! One puts `MD5:` in front, another colons in between, a third pads base64. Here the ornaments go.

/// A fingerprint as a vendor wrote it, without its ornaments.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fingerprint {
    /// A SHA-256 sum as OpenSSH writes it: 43 characters of base64, without padding.
    Base64(String),
    /// The hex digits of 16, 20 or 32 octets, in lower case.
    Hex(String),
    /// Anything else, as it stands but for prefix and padding.
    Other(String),
}

impl Fingerprint {
    /// Takes off blanks around it, a prefix `MD5:`, `SHA1:` or `SHA256:` in any case, of hex also colons and hyphens, and
    /// of the rest the padding.
    pub fn read(text: &str) -> Self {
        let text = text.trim();
        let without = |prefix: &str| match text.get(..prefix.len()) {
            Some(start) if start.eq_ignore_ascii_case(prefix) => text.get(prefix.len()..),
            _ => None,
        };
        let bare = ["md5:", "sha1:", "sha256:"]
            .into_iter()
            .find_map(without)
            .unwrap_or(text);
        let hex = bare.replace([':', '-'], "").to_ascii_lowercase();
        if matches!(hex.len(), 32 | 40 | 64) && hex.bytes().all(|octet| octet.is_ascii_hexdigit()) {
            return Self::Hex(hex);
        }
        let unpadded = bare.trim_end_matches('=').to_owned();
        match unpadded.len() {
            43 => Self::Base64(unpadded),
            _ => Self::Other(unpadded),
        }
    }

    /// What is left of it.
    pub fn text(&self) -> &str {
        match self {
            Self::Base64(text) | Self::Hex(text) | Self::Other(text) => text,
        }
    }
}

/// Whether two reports are the same fingerprint, however they are written.
pub fn same(one: &str, other: &str) -> bool {
    Fingerprint::read(one) == Fingerprint::read(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ornaments_make_no_difference() {
        let md5 = "7880c1ad4687fdbf7a6da21312345678";
        let sha256 = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU";
        for (one, other, expected) in [
            (md5, "MD5:78:80:C1:AD:46:87:FD:BF:7A:6D:A2:13:12:34:56:78", true),
            (md5, " 78-80-c1-ad-46-87-fd-bf-7a-6d-a2-13-12-34-56-78\n", true),
            (md5, "7880c1ad4687fdbf7a6da21312345679", false),
            (sha256, &format!("sha256:{sha256}="), true),
            (sha256, &sha256.to_ascii_lowercase(), false),
            ("SHA256:aB+c=", "aB+c", true),
            ("aB-c", "aBc", false),
            ("", "", true),
            ("é", "e", false),
        ] {
            assert_eq!(same(one, other), expected, "{one} {other}");
        }
    }
}
