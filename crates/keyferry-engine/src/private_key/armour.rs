//! From text to octets: armour (RFC 7468), bare base64, and line ends that were escaped once or twice too often.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use super::PrivateKeyError;

/// The octets inside the text. Octets that are no text at all (DER as it is) pass unchanged.
pub(super) fn strip(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, PrivateKeyError> {
    if text.first() == Some(&DER_SEQUENCE) && text.get(1).is_some_and(|&length| length >= 0x80) {
        return Ok(Zeroizing::new(text.to_vec()));
    }
    let text = unescape(text);
    let mut encoded = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut inside = !contains(&text, BEGIN);
    for line in text.split(|&octet| octet == b'\n' || octet == b'\r') {
        let line = line.trim_ascii();
        if let Some(label) = line.strip_prefix(BEGIN) {
            if inside && !encoded.is_empty() {
                return Err(PrivateKeyError::Malformed("armour begins twice"));
            }
            inside = true;
            // Armour on one line: the rest after the label's dashes is content.
            let rest = find(label, DASHES).map_or(&b""[..], |at| &label[at + DASHES.len()..]);
            let end = find(rest, END).unwrap_or(rest.len());
            push(&mut encoded, &rest[..end]);
            if end < rest.len() {
                break;
            }
        } else if !inside {
            continue;
        } else if let Some(end) = find(line, END) {
            push(&mut encoded, &line[..end]);
            break;
        } else if line.starts_with(b"Proc-Type:") && contains(line, b"ENCRYPTED") {
            return Err(PrivateKeyError::Encrypted("PEM with Proc-Type: 4,ENCRYPTED"));
        } else if !line.contains(&b':') {
            push(&mut encoded, line);
        }
    }
    if encoded.is_empty() {
        return Err(PrivateKeyError::Empty);
    }
    let mut decoded = Zeroizing::new(vec![0; base64::decoded_len_estimate(encoded.len())]);
    let length = BASE64
        .decode_slice(&*encoded, &mut decoded)
        .map_err(|_| PrivateKeyError::Malformed("it is not base64"))?;
    decoded.truncate(length);
    Ok(decoded)
}

const DER_SEQUENCE: u8 = 0x30;
const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";

/// Padding may be missing: some vendors trim it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Turns `\n` and `\r` that are still two characters (or more, when escaped again) into line ends. A backslash has
/// no other meaning in armour or base64.
fn unescape(text: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut plain = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.trim_ascii();
    while let Some((&octet, tail)) = rest.split_first() {
        rest = tail;
        if octet != b'\\' {
            plain.push(octet);
            continue;
        }
        while let Some(tail) = rest.strip_prefix(b"\\") {
            rest = tail;
        }
        if let Some(tail) = rest.strip_prefix(b"n").or_else(|| rest.strip_prefix(b"r")) {
            rest = tail;
            plain.push(b'\n');
        }
    }
    plain
}

/// `encoded` has room for the whole text, so it never moves and leaves no copy behind.
fn push(encoded: &mut Vec<u8>, line: &[u8]) {
    encoded.extend(
        line.iter()
            .filter(|octet| !octet.is_ascii_whitespace() && **octet != b'"'),
    );
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    find(text, part).is_some()
}
