//! The requests captured from vendors' SDKs: `tests/vectors`, or the directory that KEYFERRY_VECTORS names.

use serde::Deserialize;

#[path = "../../../../tests/vectors/folder.rs"]
pub(crate) mod folder;

/// One captured request.
#[derive(Debug, Deserialize)]
pub(crate) struct Vector {
    pub(crate) id: String,
    pub(crate) provider: String,
    pub(crate) operation: String,
    pub(crate) variant: String,
    pub(crate) signing: String,
    pub(crate) credentials: Credentials,
    pub(crate) request: Request,
    pub(crate) host: String,
    pub(crate) timestamp: String,
    #[serde(default)]
    pub(crate) nonce: Option<String>,
    pub(crate) authorization: Option<String>,
    pub(crate) signature: Option<String>,
    pub(crate) derived: Option<Derived>,
    /// Calls that the SDK made before, for a login or a look-up.
    #[serde(default)]
    pub(crate) preceding: Vec<Request>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Credentials {
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
    pub(crate) session_token: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Derived {
    pub(crate) canonical: String,
    pub(crate) string_to_sign: String,
}

impl Vector {
    /// The path, and the query's decoded names and values.
    pub(crate) fn target(&self) -> (String, Vec<(String, String)>) {
        let (path, query) = self
            .request
            .target
            .split_once('?')
            .unwrap_or((&self.request.target, ""));
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        });
        (path.to_owned(), pairs.collect())
    }
}

/// All vectors of these providers (`alibaba-`), sorted by id. Another directory than our own may have none.
///
/// # Panics
/// When our own has none.
pub(crate) fn vectors(prefix: &str) -> Vec<Vector> {
    let directory = folder::named();
    let entries = std::fs::read_dir(&directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
    let mut vectors: Vec<Vector> = entries
        .map(|entry| entry.expect("a readable directory").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.as_encoded_bytes().starts_with(prefix.as_bytes()))
        })
        .map(|path| {
            let text = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        })
        .collect();
    assert!(
        !vectors.is_empty() || !folder::are_our_own(),
        "no file {prefix}*.json in {}",
        directory.display()
    );
    vectors.sort_by(|left, right| left.id.cmp(&right.id));
    vectors
}

/// Form decoding: `+` is a space, then percent-decoding.
fn decode(text: &str) -> String {
    let mut decoded = Vec::new();
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        rest = tail;
        match (byte, tail) {
            (b'+', _) => decoded.push(b' '),
            (b'%', [high, low, tail @ ..]) => {
                decoded.push(digit(*high) << 4 | digit(*low));
                rest = tail;
            }
            _ => decoded.push(*byte),
        }
    }
    String::from_utf8(decoded).expect("vectors are UTF-8")
}

fn digit(hex: u8) -> u8 {
    let digit = char::from(hex)
        .to_digit(16)
        .expect("two hex digits follow a percent sign");
    digit as u8
}
