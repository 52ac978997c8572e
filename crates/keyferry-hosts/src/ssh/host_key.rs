//! Host keys: blobs and fingerprints.

use std::path::PathBuf;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use crate::line::first_string;

/// `SHA256:...`, as ssh shows it: of a certificate, its key's.
pub fn fingerprint(blob: &[u8]) -> String {
    let blob = without_certificate(blob);
    let hash = digest(&SHA256, &blob);
    format!("SHA256:{}", STANDARD_NO_PAD.encode(hash.as_ref()))
}

/// The plain public key of a host certificate (PROTOCOL.certkeys): certificates are renewed, and the key is what is pinned.
/// Anything else is left as it is.
pub(super) fn without_certificate(blob: &[u8]) -> Vec<u8> {
    plain_key(blob).unwrap_or_else(|| blob.to_vec())
}

fn plain_key(blob: &[u8]) -> Option<Vec<u8>> {
    let kind = first_string(blob)?;
    let plain = kind.strip_suffix(b"-cert-v01@openssh.com")?;
    let fields = match plain {
        b"ssh-ed25519" => 1,
        b"ssh-rsa" => 2,
        _ if plain.starts_with(b"ecdsa-sha2-") => 2,
        _ => return None,
    };
    let mut result = Vec::with_capacity(blob.len());
    let mut add = |text: &[u8]| {
        result.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
        result.extend_from_slice(text);
    };
    add(plain);
    let mut rest = &blob[4 + kind.len()..];
    // The first is the certificate's nonce.
    for index in 0..=fields {
        let field = first_string(rest)?;
        rest = &rest[4 + field.len()..];
        if index > 0 {
            add(field);
        }
    }
    Some(result)
}

/// The host key with a fingerprint, from known_hosts files. Whose line it is does not matter: the fingerprint says which key.
pub(super) fn find(files: &[PathBuf], wanted: &str) -> Option<Vec<u8>> {
    files
        .iter()
        .filter_map(|path| std::fs::read(path).ok())
        .find_map(|text| {
            text.split(|byte| *byte == b'\n')
                .flat_map(|line| line.split(|byte| byte.is_ascii_whitespace()))
                .filter(|word| word.starts_with(b"AAAA"))
                .filter_map(|word| STANDARD.decode(word).ok())
                .find(|blob| fingerprint(blob) == wanted)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_certificate_stands_for_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let keygen = |arguments: &[&str]| {
            let status = std::process::Command::new("ssh-keygen")
                .args(arguments)
                .current_dir(folder.path())
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .status();
            assert!(status.unwrap().success(), "{arguments:?}");
        };
        let blob = |name: &str| {
            let text = std::fs::read_to_string(folder.path().join(name)).unwrap();
            STANDARD.decode(text.split(' ').nth(1).unwrap()).unwrap()
        };
        keygen(&["-q", "-t", "ed25519", "-N", "", "-f", "ca"]);
        for kind in ["ed25519", "ecdsa", "rsa"] {
            keygen(&["-q", "-t", kind, "-N", "", "-f", kind]);
            let public = format!("{kind}.pub");
            keygen(&["-q", "-h", "-s", "ca", "-I", "host", "-n", "web", &public]);
            let certificate = blob(&format!("{kind}-cert.pub"));
            assert_eq!(without_certificate(&certificate), blob(&public), "{kind}");
            assert_eq!(fingerprint(&certificate), fingerprint(&blob(&public)), "{kind}");
            // Cut short, it is left alone.
            for length in 0..certificate.len().min(60) {
                assert_eq!(
                    without_certificate(&certificate[..length]),
                    &certificate[..length]
                );
            }
            let files = [folder.path().join("missing"), folder.path().join(&public)];
            let wanted = fingerprint(&blob(&public));
            assert_eq!(find(&files, &wanted), Some(blob(&public)));
        }
    }
}
