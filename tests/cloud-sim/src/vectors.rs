//! Requests captured from the vendors' own SDKs: `tests/vectors`, or the directory that `KEYFERRY_VECTORS` names.

use std::time::SystemTime;

use serde_json::Value;

use crate::wire::{Request, compact_time};
use crate::{Credential, Service};

#[path = "../../vectors/folder.rs"]
mod folder;

/// A captured request, what it should come to, and when.
pub struct Vector {
    /// The name of its file, without the ending.
    pub id: String,
    /// The service that it was sent to.
    pub service: Service,
    /// `create`, `import`, `list` and so on; `legacy` in the id tells an old SDK.
    pub operation: String,
    /// `basic`, `sts` and so on.
    pub variant: String,
    /// The signature scheme's name.
    pub signing: String,
    /// What it was signed with.
    pub credential: Credential,
    /// The request as it was on the wire.
    pub request: Request,
    /// Its host and port.
    pub host: String,
    /// When it was signed, as in the request.
    pub timestamp: String,
    /// The same.
    pub time: SystemTime,
    /// Its nonce, where the scheme has one.
    pub nonce: Option<String>,
    /// The canonical request or query that the SDK signed.
    pub canonical: String,
    /// What the SDK made the signature of.
    pub string_to_sign: String,
}

/// Whether the directory is the project's own, which has every operation of every SDK.
pub fn are_our_own() -> bool {
    folder::are_our_own()
}

/// All signed requests to services that are here, sorted by id. Another directory than our own may have none.
///
/// # Panics
/// Where our own has none, or one is not what it should be.
pub fn captured() -> Vec<Vector> {
    let directory = folder::named();
    let files =
        std::fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut vectors: Vec<Vector> = files
        .map(|file| file.expect("a directory can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .filter_map(|path| {
            let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let value =
                serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            parse(&value)
        })
        .collect();
    vectors.sort_by(|left, right| left.id.cmp(&right.id));
    assert!(
        !vectors.is_empty() || !are_our_own(),
        "{}: no captured requests",
        directory.display()
    );
    vectors
}

fn parse(vector: &Value) -> Option<Vector> {
    let provider = vector["provider"].as_str()?;
    let service = Service::from_name(provider.strip_suffix("-legacy").unwrap_or(provider))?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    // What carries a token instead of a signature has none of these.
    let derived = vector["derived"].as_object()?;
    let request = &vector["request"];
    let timestamp = text(&vector["timestamp"]);
    Some(Vector {
        id: text(&vector["id"]),
        service,
        operation: text(&vector["operation"]),
        variant: text(&vector["variant"]),
        signing: text(&vector["signing"]),
        credential: Credential {
            access_key: text(&vector["credentials"]["access_key"]),
            secret_key: text(&vector["credentials"]["secret_key"]),
            session_token: vector["credentials"]["session_token"].as_str().map(str::to_owned),
            expires_at: None,
        },
        request: Request {
            method: text(&request["method"]),
            target: text(&request["target"]),
            headers: request["headers"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|header| (text(&header[0]), text(&header[1])))
                .collect(),
            body: text(&request["body"]).into_bytes(),
        },
        host: text(&vector["host"]),
        time: parse_time(&timestamp),
        timestamp,
        nonce: vector["nonce"].as_str().map(str::to_owned),
        canonical: text(derived.get("canonical")?),
        string_to_sign: text(derived.get("string_to_sign")?),
    })
}

/// `2026-11-22T01:37:23Z` or `20261122T013723Z`.
fn parse_time(timestamp: &str) -> SystemTime {
    compact_time(timestamp)
        .or_else(|| humantime::parse_rfc3339(timestamp).ok())
        .unwrap_or_else(|| panic!("{timestamp:?} is no time stamp"))
}
