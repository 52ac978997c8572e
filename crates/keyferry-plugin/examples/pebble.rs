#![doc = "A plugin for a cloud that does not exist, and that can do no more than import a public key."]

use keyferry_plugin::contract::{Effect, ErrorKind, HttpStep, Import, Outcome, Pair, ProviderError, Step};
use keyferry_plugin::recipe::{Expr, HttpRequest};
use keyferry_plugin::reply::text;
use keyferry_plugin::{Answer, Provider, Turn};
use serde_json::Value;

// A plugin of its own has its manifest in `manifest.json` and says `keyferry_plugin::export!(Pebble);`.
keyferry_plugin::export!(
    Pebble,
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/pebble.json"))
);

/// The provider.
#[derive(Clone, Copy, Debug)]
pub struct Pebble;

impl Provider for Pebble {
    fn import(&self, import: &Import, turn: &Turn<'_>) -> Answer {
        // The first step sends the request. The token is a recipe: its value is put in by the courier.
        let Some(response) = turn.response(Effect::Unknown)? else {
            let request = HttpRequest::new("POST", turn.origin("keys.pebble.example"), "/keys")
                .with_query("name", &*import.name)
                .with_query("public_key", &*import.public_key)
                .with_header("x-pebble-token", Expr::secret("token"));
            return Ok(HttpStep::new(request).into());
        };

        // The second step reads the answer.
        let body: Value = serde_json::from_str(&response.body).unwrap_or_default();
        let fingerprint = text(&body, "fingerprint")?.map(str::to_owned);
        match (response.status, fingerprint) {
            (201, Some(fingerprint)) => {
                let name = import.name.clone();
                let pair = Pair {
                    name,
                    fingerprint: Some(fingerprint),
                    ..Pair::default()
                };
                Ok(Step::done(Outcome::Pair(pair)))
            }
            (409, _) => Err(ProviderError::new(ErrorKind::AlreadyExists, "the name is taken")),
            (401 | 403, _) => Err(ProviderError::new(
                ErrorKind::Unauthorized,
                "the token was refused",
            )),
            (status, _) => Err(ProviderError::new(
                ErrorKind::Internal,
                format!("not understood: status {status}"),
            )
            .with_effect(Effect::Unknown)),
        }
    }
}
