//! Key algorithms.

use serde::{Deserialize, Serialize};

/// Key algorithms by keyferry's names.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Algorithm {
    /// Ed25519 (RFC 8709).
    #[serde(rename = "ed25519")]
    Ed25519,
    /// ECDSA on NIST P-256 (RFC 5656).
    #[serde(rename = "ecdsa-p256")]
    EcdsaP256,
    /// ECDSA on NIST P-384 (RFC 5656).
    #[serde(rename = "ecdsa-p384")]
    EcdsaP384,
    /// ECDSA on NIST P-521 (RFC 5656).
    #[serde(rename = "ecdsa-p521")]
    EcdsaP521,
    /// RSA with a modulus of 2048 bits (RFC 8332).
    #[serde(rename = "rsa-2048")]
    Rsa2048,
    /// RSA with a modulus of 3072 bits (RFC 8332).
    #[serde(rename = "rsa-3072")]
    Rsa3072,
    /// RSA with a modulus of 4096 bits (RFC 8332).
    #[serde(rename = "rsa-4096")]
    Rsa4096,
}

impl Algorithm {
    /// All algorithms, the default choice of a vendor without limits first.
    pub const ALL: [Self; 7] = [
        Self::Ed25519,
        Self::EcdsaP256,
        Self::EcdsaP384,
        Self::EcdsaP521,
        Self::Rsa2048,
        Self::Rsa3072,
        Self::Rsa4096,
    ];

    /// The name used in config files, status and manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::EcdsaP256 => "ecdsa-p256",
            Self::EcdsaP384 => "ecdsa-p384",
            Self::EcdsaP521 => "ecdsa-p521",
            Self::Rsa2048 => "rsa-2048",
            Self::Rsa3072 => "rsa-3072",
            Self::Rsa4096 => "rsa-4096",
        }
    }

    /// The algorithm of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }
}

impl std::fmt::Display for Algorithm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
