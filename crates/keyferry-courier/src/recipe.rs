//! Evaluates the recipes of a request ([`Expr`]) with the account's credentials.
//!
//! What may stand where is decided before, by [`classes`](crate::enforce::classes); here only size and depth are
//! limited. Everything computed is kept in buffers that are wiped.

use std::collections::BTreeMap;

use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_plugin::manifest::FieldClass;
use keyferry_plugin::recipe::{Expr, Hmac};
use zeroize::Zeroizing;

use crate::enforce::Rule;
use crate::secret::{Secret, WipedBuffer};

/// How deep a recipe may nest. The signatures of all clouds we know of need 12.
pub(crate) const MAX_DEPTH: usize = 32;
/// How many expressions a request may have.
pub(crate) const MAX_NODES: usize = 8192;
/// How many bytes a request's expressions may make together, those in between included.
pub(crate) const MAX_OUTPUT: usize = 1024 * 1024;

/// A credential field as a recipe sees it.
#[derive(Debug)]
pub(crate) struct Field {
    /// Its class in the manifest.
    pub(crate) class: FieldClass,
    /// The manifest's credential field that it is, where its name is another: the handle of a document's secret.
    pub(crate) of: Option<String>,
    /// Its value.
    pub(crate) value: Secret,
}

/// The fields of one set of credentials, by name.
pub(crate) type Fields = BTreeMap<String, Field>;

/// Evaluates the expressions of one request, against one budget.
pub(crate) struct Evaluator<'a> {
    fields: &'a Fields,
    shown: bool,
    nodes: usize,
    output: usize,
    derived: Vec<Zeroizing<Vec<u8>>>,
}

/// Why a recipe has no value.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum RecipeError {
    #[error("a recipe nests more than {MAX_DEPTH} deep")]
    TooDeep,
    #[error("the recipes of a request have more than {MAX_NODES} parts")]
    TooManyParts,
    #[error("the recipes of a request make more than {MAX_OUTPUT} bytes")]
    TooLong,
    #[error("a recipe names the credential field `{0}`, which is not there")]
    NoSuchField(String),
    #[error("a recipe makes a JSON string of bytes that are not UTF-8")]
    NotText,
    #[error("{0} is not in this version")]
    Reserved(&'static str),
}

impl RecipeError {
    /// The line of the contract that it crosses.
    pub(crate) fn rule(&self) -> Rule {
        match self {
            Self::TooDeep | Self::TooManyParts | Self::TooLong => Rule::Limit,
            Self::NoSuchField(_) => Rule::CredentialPlace,
            Self::NotText => Rule::Call,
            Self::Reserved(_) => Rule::Version,
        }
    }
}

impl<'a> Evaluator<'a> {
    /// Evaluates with these fields. With `shown`, a bearer value that would be sent stands as `<name>`.
    pub(crate) fn new(fields: &'a Fields, shown: bool) -> Self {
        Self {
            fields,
            shown,
            nodes: 0,
            output: 0,
            derived: Vec::new(),
        }
    }

    /// The bytes of this expression.
    pub(crate) fn bytes(&mut self, expr: &Expr) -> Result<Zeroizing<Vec<u8>>, RecipeError> {
        let mut out = WipedBuffer::default();
        self.write(expr, 0, false, &mut out)?;
        Ok(out.into_bytes())
    }

    /// The digests and signatures that were made of secrets, to be blanked like them.
    pub(crate) fn into_derived(self) -> Vec<Zeroizing<Vec<u8>>> {
        self.derived
    }

    /// Appends the value; true if it depends on a secret.
    fn write(
        &mut self,
        expr: &Expr,
        depth: usize,
        hidden: bool,
        out: &mut WipedBuffer,
    ) -> Result<bool, RecipeError> {
        self.nodes += 1;
        if depth > MAX_DEPTH {
            return Err(RecipeError::TooDeep);
        }
        if self.nodes > MAX_NODES {
            return Err(RecipeError::TooManyParts);
        }
        match expr {
            Expr::Text(text) => {
                self.push(text.as_bytes(), out)?;
                Ok(false)
            }
            Expr::Secret(name) => {
                let fields = self.fields;
                let field = fields
                    .get(name)
                    .ok_or_else(|| RecipeError::NoSuchField(name.clone()))?;
                if self.shown && !hidden && field.class == FieldClass::Bearer {
                    self.push(format!("<{name}>").as_bytes(), out)?;
                } else {
                    self.push(field.value.expose(), out)?;
                }
                Ok(field.class != FieldClass::Public)
            }
            Expr::Concat(parts) => {
                let mut secret = false;
                for part in parts {
                    secret |= self.write(part, depth + 1, hidden, out)?;
                }
                Ok(secret)
            }
            Expr::Hex(inner) => {
                let (bytes, secret) = self.inner(inner, depth, hidden)?;
                self.room(2 * bytes.len())?;
                for byte in bytes.iter() {
                    out.push(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 0xf)]]);
                }
                Ok(secret)
            }
            Expr::Base64(inner) => {
                let (bytes, secret) = self.inner(inner, depth, hidden)?;
                let length = bytes.len().div_ceil(3) * 4;
                self.room(length)?;
                let mut text = Zeroizing::new(String::with_capacity(length));
                STANDARD.encode_string(bytes.as_slice(), &mut text);
                out.push(text.as_bytes());
                Ok(secret)
            }
            Expr::Percent(inner) => {
                let (bytes, secret) = self.inner(inner, depth, hidden)?;
                let length = bytes
                    .iter()
                    .map(|&byte| if is_unreserved(byte) { 1 } else { 3 })
                    .sum();
                self.room(length)?;
                percent(&bytes, out);
                Ok(secret)
            }
            Expr::JsonString(inner) => {
                let (bytes, secret) = self.inner(inner, depth, hidden)?;
                let text = std::str::from_utf8(&bytes).map_err(|_| RecipeError::NotText)?;
                let mut json = WipedBuffer::default();
                serde_json::to_writer(&mut json, text).map_err(|_| RecipeError::NotText)?;
                self.push(&json.into_bytes(), out)?;
                Ok(secret)
            }
            Expr::Sha256(inner) => {
                let (bytes, secret) = self.inner(inner, depth, hidden)?;
                let hash = Zeroizing::new(digest::digest(&digest::SHA256, &bytes).as_ref().to_vec());
                self.push_digest(hash, secret, out)
            }
            Expr::HmacSha256(parts) => self.write_hmac(hmac::HMAC_SHA256, parts, depth, out),
            Expr::HmacSha1(parts) => self.write_hmac(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, parts, depth, out),
            Expr::HmacSha512(_) => Err(RecipeError::Reserved("HMAC-SHA-512")),
            Expr::RsaSha256(_) => Err(RecipeError::Reserved("RSA-SHA-256")),
        }
    }

    fn write_hmac(
        &mut self,
        algorithm: hmac::Algorithm,
        parts: &Hmac,
        depth: usize,
        out: &mut WipedBuffer,
    ) -> Result<bool, RecipeError> {
        let (key, secret_key) = self.inner(&parts.key, depth, true)?;
        let (data, secret_data) = self.inner(&parts.data, depth, true)?;
        let tag = hmac::sign(&hmac::Key::new(algorithm, &key), &data);
        self.push_digest(
            Zeroizing::new(tag.as_ref().to_vec()),
            secret_key || secret_data,
            out,
        )
    }

    fn inner(
        &mut self,
        expr: &Expr,
        depth: usize,
        hidden: bool,
    ) -> Result<(Zeroizing<Vec<u8>>, bool), RecipeError> {
        let mut out = WipedBuffer::default();
        let secret = self.write(expr, depth + 1, hidden, &mut out)?;
        Ok((out.into_bytes(), secret))
    }

    fn push_digest(
        &mut self,
        hash: Zeroizing<Vec<u8>>,
        secret: bool,
        out: &mut WipedBuffer,
    ) -> Result<bool, RecipeError> {
        self.push(&hash, out)?;
        if secret && !self.derived.contains(&hash) {
            self.derived.push(hash);
        }
        Ok(secret)
    }

    fn push(&mut self, bytes: &[u8], out: &mut WipedBuffer) -> Result<(), RecipeError> {
        self.room(bytes.len())?;
        out.push(bytes);
        Ok(())
    }

    fn room(&mut self, bytes: usize) -> Result<(), RecipeError> {
        self.output = self.output.saturating_add(bytes);
        if self.output > MAX_OUTPUT {
            Err(RecipeError::TooLong)
        } else {
            Ok(())
        }
    }
}

/// Appends the bytes percent-encoded, all but the unreserved characters of RFC 3986.
pub(crate) fn percent(bytes: &[u8], out: &mut WipedBuffer) {
    for &byte in bytes {
        if is_unreserved(byte) {
            out.push(&[byte]);
        } else {
            out.push(&[
                b'%',
                UPPER_HEX[usize::from(byte >> 4)],
                UPPER_HEX[usize::from(byte & 0xf)],
            ]);
        }
    }
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~')
}

const HEX: &[u8; 16] = b"0123456789abcdef";
const UPPER_HEX: &[u8; 16] = b"0123456789ABCDEF";

#[cfg(test)]
mod tests;
