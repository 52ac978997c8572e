//! How EC2 writes fingerprints: each kind of key another way.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};
use rsa::pkcs8::EncodePublicKey as _;
use ssh_key::PublicKey;
use ssh_key::public::KeyData;

use crate::wire::hex;

/// Of a public key that somebody else made: MD5 of the DER SubjectPublicKeyInfo for RSA.
pub(super) fn of_import(key: &PublicKey) -> Result<String, ssh_key::Error> {
    match key.key_data() {
        KeyData::Rsa(data) => {
            let public = rsa::RsaPublicKey::try_from(data)?;
            let der = public
                .to_public_key_der()
                .map_err(|_| ssh_key::Error::FormatEncoding)?;
            Ok(colons(&Md5::digest(der.as_bytes())))
        }
        _ => sha256(key),
    }
}

/// Of a pair that was made here: SHA-1 of the DER PKCS#8 private key for RSA.
pub(super) fn of_creation(key: &PublicKey, pkcs8: Option<&[u8]>) -> Result<String, ssh_key::Error> {
    match pkcs8 {
        Some(der) => Ok(colons(digest(&SHA1_FOR_LEGACY_USE_ONLY, der).as_ref())),
        None => sha256(key),
    }
}

/// SHA-256 of OpenSSH's form, in base64 with its padding.
fn sha256(key: &PublicKey) -> Result<String, ssh_key::Error> {
    Ok(STANDARD.encode(digest(&SHA256, &key.to_bytes()?)))
}

fn colons(octets: &[u8]) -> String {
    let octets: Vec<String> = octets.iter().map(|octet| hex(&[*octet])).collect();
    octets.join(":")
}
