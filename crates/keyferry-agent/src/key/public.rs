//! Public keys of others: read from their blobs, and used to verify.

use super::{ecdsa, ed25519, rsa};
use crate::wire::{Malformed, Reader, put_mpint, put_string};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};

/// A public key, or the one that an OpenSSH certificate certifies. Whether the point or the modulus makes sense
/// is found when it verifies.
pub(crate) struct PublicKey<'a>(Kind<'a>);

enum Kind<'a> {
    Ecdsa {
        curve: &'static ecdsa::Curve,
        point: &'a [u8],
    },
    Ed25519(&'a [u8]),
    Rsa {
        e: &'a [u8],
        n: &'a [u8],
    },
}

impl<'a> PublicKey<'a> {
    /// Reads a blob as SSH writes it (RFC 4253 section 6.6, PROTOCOL.certkeys). Nobody here knows which
    /// authorities to trust, so that a certificate's own signature is not looked at.
    pub(crate) fn parse(blob: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(blob);
        let name = reader.string()?;
        let certified = name.strip_suffix(CERTIFICATE);
        if certified.is_some() {
            let _nonce = reader.string()?;
        }
        let name = certified.unwrap_or(name);
        let kind = if name == ed25519::ALGORITHM.as_bytes() {
            let public = reader.string()?;
            if public.len() != ed25519::PUBLIC_LENGTH {
                return Err(Malformed);
            }
            Kind::Ed25519(public)
        } else if name == rsa::ALGORITHM.as_bytes() {
            let (e, n) = (reader.mpint()?, reader.mpint()?);
            Kind::Rsa { e, n }
        } else {
            let curve = ecdsa::Curve::named(name).ok_or(Malformed)?;
            let point = curve.read_point(&mut reader)?;
            Kind::Ecdsa { curve, point }
        };
        if certified.is_none() {
            reader.end()?;
        }
        Ok(Self(kind))
    }

    /// The blob of the bare key.
    pub(crate) fn blob(&self) -> Vec<u8> {
        let mut blob = Vec::new();
        match &self.0 {
            Kind::Ecdsa { curve, point } => curve.put_blob(point, &mut blob),
            Kind::Ed25519(public) => {
                put_string(&mut blob, ed25519::ALGORITHM.as_bytes());
                put_string(&mut blob, public);
            }
            Kind::Rsa { e, n } => {
                put_string(&mut blob, rsa::ALGORITHM.as_bytes());
                put_mpint(&mut blob, e);
                put_mpint(&mut blob, n);
            }
        }
        blob
    }

    /// Verifies a signature as SSH writes it: the name of its algorithm, then its bytes. One over SHA-1 is none.
    pub(crate) fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), Malformed> {
        let mut reader = Reader::new(signature);
        let (name, bytes) = (reader.string()?, reader.string()?);
        reader.end()?;
        match &self.0 {
            Kind::Ecdsa { curve, point } if name == curve.algorithm.as_bytes() => {
                curve.verify(point, data, bytes)
            }
            Kind::Ed25519(public) if name == ed25519::ALGORITHM.as_bytes() => {
                UnparsedPublicKey::new(&ED25519, public)
                    .verify(data, bytes)
                    .map_err(|_| Malformed)
            }
            Kind::Rsa { e, n } => rsa::Algorithm::named(name)
                .ok_or(Malformed)?
                .verify(e, n, data, bytes),
            _ => Err(Malformed),
        }
    }
}

/// How the names of certificates' types end.
const CERTIFICATE: &[u8] = b"-cert-v01@openssh.com";
