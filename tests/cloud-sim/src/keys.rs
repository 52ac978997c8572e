//! Keys, RSA ones made ahead of the requests that want them, and the forms in which the vendors hand them out.

use std::io;
use std::sync::{Mutex as Shelf, PoisonError};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use rsa::RsaPrivateKey;
use rsa::pkcs1::EncodeRsaPrivateKey;
use rsa::pkcs8::{DecodePrivateKey, EncodePrivateKey, LineEnding};
use serde::{Deserialize, Serialize};
use ssh_key::private::{Ed25519Keypair, KeypairData, RsaKeypair};
use ssh_key::public::{KeyData, RsaPublicKey};
use ssh_key::{PrivateKey, PublicKey};
use tokio::sync::{Mutex, mpsc};

use crate::wire::hex;

/// The form of `PrivateKeyBody`. The vendors' pages and examples disagree, so a client should read all of them.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PrivateKeyForm {
    /// PKCS#1 DER in base64, without armour or line ends.
    Base64,
    /// PKCS#8 DER in base64, without armour or line ends.
    Base64Pkcs8,
    /// PKCS#1 PEM whose line ends are a backslash and an `n`.
    Escaped,
    /// OpenSSH's own form.
    OpenSsh,
    /// PKCS#1 PEM.
    Pem,
    /// PKCS#8 PEM.
    Pkcs8,
}

/// A private key that nobody has yet.
pub(crate) struct NewKey {
    private: PrivateHalf,
    /// The public half.
    pub(crate) public: PublicKey,
    /// The same as `ssh-rsa AAAA...`, without a comment.
    pub(crate) public_key: String,
}

enum PrivateHalf {
    Ed25519(Box<PrivateKey>),
    Rsa(Box<RsaPrivateKey>),
}

impl NewKey {
    /// An Ed25519 key. Making one takes no time.
    pub(crate) fn ed25519() -> Result<Self, NoKey> {
        let mut seed = [0; 32];
        rand::fill(&mut seed).map_err(|_| NoKey)?;
        let pair = KeypairData::Ed25519(Ed25519Keypair::from_seed(&seed));
        let private = PrivateKey::new(pair, "").map_err(|_| NoKey)?;
        let public = private.public_key().clone();
        Ok(Self {
            public_key: public.to_openssh().map_err(|_| NoKey)?,
            public,
            private: PrivateHalf::Ed25519(Box::new(private)),
        })
    }

    /// An RSA key of 2048 bits, the only size that the vendors make.
    fn generate() -> Result<Self, NoKey> {
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|_| NoKey)?;
        let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).map_err(|_| NoKey)?;
        let private = RsaPrivateKey::from_pkcs8_der(der.as_ref()).map_err(|_| NoKey)?;
        let data = RsaPublicKey::try_from(private.to_public_key()).map_err(|_| NoKey)?;
        let public = PublicKey::from(KeyData::Rsa(data));
        Ok(Self {
            private: PrivateHalf::Rsa(Box::new(private)),
            public_key: public.to_openssh().map_err(|_| NoKey)?,
            public,
        })
    }

    /// The DER PKCS#8 form of an RSA key's private half.
    pub(crate) fn pkcs8(&self) -> Result<Option<Vec<u8>>, NoKey> {
        match &self.private {
            PrivateHalf::Ed25519(_) => Ok(None),
            PrivateHalf::Rsa(private) => {
                let der = private.to_pkcs8_der().map_err(|_| NoKey)?;
                Ok(Some(der.as_bytes().to_vec()))
            }
        }
    }

    /// The private half as the text of a reply. An Ed25519 key has OpenSSH's own form alone.
    pub(crate) fn private_key_body(&self, form: PrivateKeyForm) -> Result<String, NoKey> {
        let private = match &self.private {
            PrivateHalf::Ed25519(private) => {
                let text = private.to_openssh(LineEnding::LF).map_err(|_| NoKey)?;
                return Ok(text.to_string());
            }
            PrivateHalf::Rsa(private) => private,
        };
        let pem = || private.to_pkcs1_pem(LineEnding::LF).map_err(|_| NoKey);
        Ok(match form {
            PrivateKeyForm::Base64 => STANDARD.encode(private.to_pkcs1_der().map_err(|_| NoKey)?.as_bytes()),
            PrivateKeyForm::Base64Pkcs8 => {
                STANDARD.encode(private.to_pkcs8_der().map_err(|_| NoKey)?.as_bytes())
            }
            PrivateKeyForm::Escaped => pem()?.replace('\n', "\\n"),
            PrivateKeyForm::OpenSsh => {
                let pair = RsaKeypair::try_from(&**private).map_err(|_| NoKey)?;
                let key = PrivateKey::new(KeypairData::Rsa(pair), "").map_err(|_| NoKey)?;
                key.to_openssh(LineEnding::LF).map_err(|_| NoKey)?.to_string()
            }
            PrivateKeyForm::Pem => pem()?.to_string(),
            PrivateKeyForm::Pkcs8 => private
                .to_pkcs8_pem(LineEnding::LF)
                .map_err(|_| NoKey)?
                .to_string(),
        })
    }
}

/// A key could not be made, or there is nobody left to make one.
#[derive(Debug, thiserror::Error)]
#[error("no RSA key could be made")]
pub(crate) struct NoKey;

/// The MD5 of the key's SSH blob in lower-case hexadecimal without colons.
pub(crate) fn md5_hex(key: &PublicKey) -> Result<String, ssh_key::Error> {
    Ok(hex(Md5::digest(key.to_bytes()?).as_slice()))
}

/// The public key, if it is well-formed and of one of `kinds` (the algorithm names of SSH, by prefix).
pub(crate) fn public_key(text: &str, kinds: &[&str]) -> Option<PublicKey> {
    let key = PublicKey::from_openssh(text.trim()).ok()?;
    let algorithm = key.algorithm();
    kinds
        .iter()
        .any(|kind| algorithm.as_str().starts_with(kind))
        .then_some(key)
}

/// A few keys made ahead by a thread of its own, which begins at the first wish and sleeps while the stock is full.
pub(crate) struct Stock {
    size: usize,
    /// None: nobody wanted one yet.
    made: Mutex<Option<mpsc::Receiver<NewKey>>>,
    put_back: Shelf<Vec<NewKey>>,
}

impl Stock {
    /// With no size, each key is made when it is wanted. The thread ends when the stock is dropped.
    pub(crate) fn new(size: usize) -> Self {
        Self {
            size,
            made: Mutex::new(None),
            put_back: Shelf::new(Vec::new()),
        }
    }

    /// The next key. No key is handed out twice.
    pub(crate) async fn take(&self) -> Result<NewKey, NoKey> {
        if let Some(key) = self.shelf().pop() {
            return Ok(key);
        }
        if self.size == 0 {
            return tokio::task::spawn_blocking(NewKey::generate)
                .await
                .unwrap_or(Err(NoKey));
        }
        let mut made = self.made.lock().await;
        let made = match &mut *made {
            Some(made) => made,
            None => made.insert(self.start().map_err(|_| NoKey)?),
        };
        made.recv().await.ok_or(NoKey)
    }

    fn start(&self) -> io::Result<mpsc::Receiver<NewKey>> {
        let (sender, receiver) = mpsc::channel(self.size);
        std::thread::Builder::new()
            .name("rsa-keys".into())
            .spawn(move || {
                while let Ok(key) = NewKey::generate() {
                    if sender.blocking_send(key).is_err() {
                        return;
                    }
                }
            })?;
        Ok(receiver)
    }

    /// Takes back a key that was not handed out, so that a refused request costs no RSA key.
    pub(crate) fn put_back(&self, key: NewKey) {
        self.shelf().push(key);
    }

    fn shelf(&self) -> std::sync::MutexGuard<'_, Vec<NewKey>> {
        self.put_back.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
