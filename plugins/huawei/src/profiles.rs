//! What the vendor's own tools would find on this machine.

use keyferry_plugin::contract::{Document, Outcome, Profile, Step};
use keyferry_plugin::{Answer, Turn};
use serde_json::{Value, json};

use crate::chain::{CREDENTIALS, ENVIRONMENT};

/// The environment's access key and that of the credentials file; the chain has no names for them.
///
/// # Errors
/// [`Internal`](keyferry_plugin::contract::ErrorKind::Internal) when a step is out of turn.
pub fn profiles(turn: &Turn<'_>) -> Answer {
    let Some(document) = turn.document()? else {
        return Ok(Step::read(ENVIRONMENT, Value::Null));
    };
    if document.source == ENVIRONMENT {
        return Ok(Step::read(
            CREDENTIALS,
            json!(holds(document, "/HUAWEICLOUD_SDK_AK", "/HUAWEICLOUD_SDK_SK")),
        ));
    }
    let file = format!("section [basic] of {}", document.location);
    let found = [
        (turn.state::<bool>()?, "environment".to_owned()),
        (holds(document, "/basic/ak", "/basic/sk"), file),
    ];
    // The first one wins, so that an account cannot mean the other.
    let first = found.into_iter().find(|(holds, _)| *holds);
    let profiles = first.into_iter().map(|(_, source)| Profile {
        source,
        ..Profile::default()
    });
    Ok(Step::done(Outcome::Profiles(profiles.collect())))
}

fn holds(document: &Document, id: &str, secret: &str) -> bool {
    document.text(id).is_some() && document.secret(secret).is_some()
}
