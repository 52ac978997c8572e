//! Key pairs of Huawei Cloud ECS (Elastic Cloud Server), in the API that is compatible with OpenStack's Nova:
//! `/v2.1/{project_id}/os-keypairs`.
//!
//! A pair belongs to the IAM user who made it, or for whom an administrator made it (the setting `user_id`, which every
//! request names then), and to a region; nobody else sees it. The vendor makes RSA-2048 pairs and imports public keys of at
//! most 1,024 bytes. Pairs have neither tags nor descriptions nor an idempotency token here, and are not bound to running
//! instances: all that is in another API of the vendor (KPS).

use keyferry_huawei::{Answered, Call, answer, project_id};
use keyferry_plugin::contract::{
    Create, Credentials, Delete, Effect, ErrorKind, Import, List, Outcome, Pair, PairReference,
    ProviderError, Step,
};
use keyferry_plugin::recipe::PRIVATE_KEY;
use keyferry_plugin::signing::percent_encode;
use keyferry_plugin::{Answer, Provider, Turn};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

keyferry_plugin::export!(HuaweiEcs);

/// The provider.
#[derive(Clone, Copy, Debug)]
pub struct HuaweiEcs;

impl Provider for HuaweiEcs {
    fn create(&self, create: &Create, turn: &Turn<'_>) -> Answer {
        match answer(turn, Effect::Unknown, "ecs:serverKeypairs:create")? {
            None => Ok(new_pair(turn, &create.name, None)?
                .capturing_private_key()
                .send(turn)),
            Some(answered) if !answered.has_captured(PRIVATE_KEY) => {
                Err(answered.garbled("the answer holds no private key"))
            }
            Some(answered) => made(&answered, &create.name),
        }
    }

    fn import(&self, import: &Import, turn: &Turn<'_>) -> Answer {
        let length = import.public_key.len();
        if length > MAX_PUBLIC_KEY {
            let message = format!(
                "the public key has {length} bytes, and the vendor takes at most {MAX_PUBLIC_KEY}: choose another \
                 `algorithm` for the key"
            );
            return Err(ProviderError::new(ErrorKind::Invalid, message));
        }
        match answer(turn, Effect::Unknown, "ecs:serverKeypairs:create")? {
            None => Ok(new_pair(turn, &import.name, Some(&import.public_key))?.send(turn)),
            Some(answered) => made(&answered, &import.name),
        }
    }

    fn list(&self, list: &List, turn: &Turn<'_>) -> Answer {
        let limit = list
            .page_size
            .unwrap_or(PAIRS_PER_PAGE)
            .clamp(1, MAX_PAIRS_PER_PAGE);
        let this = turn.state::<Option<Page>>()?.unwrap_or_default();
        let answered = match answer(turn, Effect::None, "ecs:serverKeypairs:list") {
            Ok(Some(answered)) => answered,
            Ok(None) => return Ok(this.ask(turn, limit)?.send(turn)),
            // A service without this microversion lists all at once.
            Err(_) if is_unknown_microversion(turn) && !this.whole => {
                return Ok(Page { whole: true, ..this }.ask(turn, limit)?.send(turn));
            }
            Err(error) => return Err(error),
        };
        let Value::Array(items) = &answered.body["keypairs"] else {
            return Err(answered.garbled("keypairs in the provider's answer is not a list"));
        };
        let pairs: Result<Vec<Pair>, _> = items.iter().map(|item| pair(&answered, item)).collect();
        let pairs = pairs?;
        let more = answered.body["keypairs_links"].is_array() || pairs.len() >= limit as usize;
        // Pages that do not move on are the whole list again.
        let again =
            this.marker.is_some() && pairs.iter().any(|pair| Some(&pair.name) == this.marker.as_ref());
        match pairs.last().map(|pair| pair.name.clone()) {
            Some(marker) if more && !this.whole && !again => {
                let next = Page {
                    marker: Some(marker),
                    ..this
                };
                Ok(next.ask(turn, limit)?.emitting(pairs).send(turn))
            }
            _ if again => Ok(Step::done(Outcome::Pairs(Vec::new()))),
            _ => Ok(Step::done(Outcome::Pairs(pairs))),
        }
    }

    fn get(&self, reference: &PairReference, turn: &Turn<'_>) -> Answer {
        match answer(turn, Effect::None, "ecs:serverKeypairs:get")? {
            None => Ok(about(turn, "GET", &reference.name)?.send(turn)),
            Some(answered) => made(&answered, &reference.name),
        }
    }

    fn delete(&self, delete: &Delete, turn: &Turn<'_>) -> Answer {
        let [pair] = &*delete.pairs else {
            let message = "huawei-ecs deletes one pair per call";
            return Err(ProviderError::new(ErrorKind::Unsupported, message));
        };
        match answer(turn, Effect::Unknown, "ecs:serverKeypairs:delete")? {
            None => Ok(about(turn, "DELETE", &pair.name)?.send(turn)),
            Some(_) => Ok(Step::done(Outcome::Deleted)),
        }
    }

    fn credentials(&self, credentials: &Credentials, turn: &Turn<'_>) -> Answer {
        keyferry_huawei::credentials(credentials, turn)
    }

    fn profiles(&self, turn: &Turn<'_>) -> Answer {
        keyferry_huawei::profiles(turn)
    }
}

/// Bytes of a public key's line.
const MAX_PUBLIC_KEY: usize = 1024;

const PAIRS_PER_PAGE: u32 = 100;
const MAX_PAIRS_PER_PAGE: u32 = 1000;

/// Microversions from which a request may have these.
const WITH_TYPE: &str = "2.2";
const WITH_USER: &str = "2.10";
const WITH_PAGES: &str = "2.35";

fn call(turn: &Turn<'_>, method: &str, name: Option<&str>) -> Result<Call, ProviderError> {
    let project_id = project_id(turn)?;
    let host = format!("ecs.{}.myhuaweicloud.com", turn.region()?);
    let mut path = format!("/v2.1/{}/os-keypairs", percent_encode(project_id));
    if let Some(name) = name {
        path = format!("{path}/{}", percent_encode(name));
    }
    Ok(Call::new(turn, method, &host, &path, project_id))
}

/// A request about one pair.
fn about(turn: &Turn<'_>, method: &str, name: &str) -> Result<Call, ProviderError> {
    Ok(of_user(turn, call(turn, method, Some(name))?))
}

/// The request for pairs of the account's `user_id`, where it has one.
fn of_user(turn: &Turn<'_>, call: Call) -> Call {
    match turn.setting("user_id") {
        Some(user) => call.microversion(WITH_USER).parameter("user_id", user),
        None => call,
    }
}

/// The request that makes a pair, of the public key where there is one.
fn new_pair(turn: &Turn<'_>, name: &str, public_key: Option<&str>) -> Result<Call, ProviderError> {
    let (kind, user) = (turn.setting("type"), turn.setting("user_id"));
    if let Some(other) = kind.filter(|kind| *kind != "ssh") {
        let message =
            format!("`type = {other:?}` in the account's [settings] makes no SSH keys: take \"ssh\"");
        return Err(ProviderError::new(ErrorKind::Invalid, message));
    }
    let fields = [
        ("name", Some(name)),
        ("public_key", public_key),
        ("type", kind),
        ("user_id", user),
    ];
    let keypair: Map<String, Value> = fields
        .into_iter()
        .filter_map(|(field, value)| Some((field.to_owned(), value?.into())))
        .collect();
    let call = call(turn, "POST", None)?.body(&json!({ "keypair": keypair }));
    Ok(match (kind, user) {
        (_, Some(_)) => call.microversion(WITH_USER),
        (Some(_), None) => call.microversion(WITH_TYPE),
        (None, None) => call,
    })
}

/// Where a list is.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct Page {
    /// The last name of the page before; none: the first page.
    marker: Option<String>,
    /// Whether all is asked for at once.
    whole: bool,
}

impl Page {
    fn ask(self, turn: &Turn<'_>, limit: u32) -> Result<Call, ProviderError> {
        let all = call(turn, "GET", None)?;
        if self.whole {
            return Ok(of_user(turn, all).with_state(json!(self)));
        }
        let mut call = all.microversion(WITH_PAGES).parameter("limit", limit.to_string());
        if let Some(user) = turn.setting("user_id") {
            call = call.parameter("user_id", user);
        }
        if let Some(marker) = &self.marker {
            call = call.parameter("marker", &**marker);
        }
        Ok(call.with_state(json!(self)))
    }
}

fn is_unknown_microversion(turn: &Turn<'_>) -> bool {
    matches!(turn.response(Effect::None), Ok(Some(response)) if response.status == 406)
}

/// The pair that this answer describes, of this name.
fn made(answered: &Answered<'_>, name: &str) -> Answer {
    let pair = pair(answered, &answered.body)?;
    match pair.name == name {
        true => Ok(Step::done(Outcome::Pair(pair))),
        false => Err(answered.garbled(format!(
            "the answer is about a pair {:?}, not {name:?}",
            pair.name
        ))),
    }
}

/// A pair as `{"keypair": {...}}`.
fn pair(answered: &Answered<'_>, object: &Value) -> Result<Pair, ProviderError> {
    let keypair = &object["keypair"];
    let field = |name: &str| {
        let text = keypair[name]
            .as_str()
            .map(str::trim)
            .filter(|text| !text.is_empty());
        text.map(str::to_owned)
    };
    Ok(Pair {
        name: field("name").ok_or_else(|| answered.garbled("the answer names no pair"))?,
        id: keypair["id"].as_u64().map(|id| id.to_string()),
        fingerprint: field("fingerprint"),
        public_key: field("public_key").as_deref().map(tidy),
        created_at: field("created_at"),
    })
}

/// A public key without the line ends that the vendor puts after it, escaped or not, and with the space that it may lack.
fn tidy(public_key: &str) -> String {
    let line = public_key.split(['\\', '\n']).next().unwrap_or_default().trim();
    match line.strip_prefix("ssh-rsaAAAA") {
        Some(rest) => format!("ssh-rsa AAAA{rest}"),
        None => line.to_owned(),
    }
}
