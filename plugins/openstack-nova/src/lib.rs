//! Key pairs of OpenStack Nova: `os-keypairs` of the compute API 2.1, with its microversions.
//!
//! A pair belongs to a user, in every project alike, and is known by its name. Nova makes RSA-2048 pairs up to
//! microversion 2.91, and imports whatever OpenSSH calls a public key. It has no idempotency token: a lost answer to a create is
//! a lost private key. There is no call that binds a pair to a server: a server gets it when it is made.

use keyferry_openstack::{Compute, annotate, fault};
use keyferry_plugin::contract::{
    Create, Credentials, Delete, Effect, ErrorKind, HttpStep, Import, List, Outcome, Pair, PairReference,
    ProviderError, Response, Step,
};
use keyferry_plugin::error::ErrorRule;
use keyferry_plugin::recipe::PRIVATE_KEY;
use keyferry_plugin::reply::{items, text};
use keyferry_plugin::signing::percent_encode;
use keyferry_plugin::{Answer, Provider, Turn};
use serde_json::{Value, json};

keyferry_plugin::export!(OpenstackNova);

/// The provider.
#[derive(Clone, Copy, Debug)]
pub struct OpenstackNova;

impl Provider for OpenstackNova {
    fn create(&self, create: &Create, turn: &Turn<'_>) -> Answer {
        let Some(response) = turn.response(Effect::Unknown)? else {
            let compute = Compute::of(turn)?;
            let pair = json!({"name": create.name});
            let step = HttpStep::new(compute.request("POST", "", compute.generating()?, pair));
            return Ok(step.capturing(PRIVATE_KEY, "/keypair/private_key").into());
        };
        let step = described(response, &create.name, "create", Effect::Unknown)?;
        if response.has_captured(PRIVATE_KEY) {
            Ok(step)
        } else {
            Err(garbled(response, "holds no private key", Effect::Unknown))
        }
    }

    fn import(&self, import: &Import, turn: &Turn<'_>) -> Answer {
        match turn.response(Effect::Unknown)? {
            None => {
                let pair = json!({"name": import.name, "public_key": import.public_key});
                send(turn, "POST", "", pair)
            }
            Some(response) => described(response, &import.name, "create", Effect::Unknown),
        }
    }

    fn list(&self, list: &List, turn: &Turn<'_>) -> Answer {
        let compute = Compute::of(turn)?;
        let Some(response) = turn.response(Effect::None)? else {
            return Ok(compute.list(list, None)?.into());
        };
        let body = answer(response, "index", Effect::None)?;
        let described = items(&body, "/keypairs")
            .and_then(|items| items.iter().map(|item| pair(&item["keypair"])).collect());
        let pairs: Vec<Pair> = described.map_err(|error| annotate(error, response))?;
        // Present while there is more, from 2.35 on. The marker is the last name.
        let more = body["keypairs_links"]
            .as_array()
            .is_some_and(|links| links.iter().any(|link| link["rel"] == "next"));
        let marker: Option<String> = turn.state()?;
        match pairs.last().map(|pair| pair.name.clone()) {
            last if more && last == marker => {
                Err(garbled(response, "is the same page once more", Effect::None))
            }
            Some(last) if more => Ok(compute.list(list, Some(last))?.emitting(pairs).into()),
            _ => Ok(Step::done(Outcome::Pairs(pairs))),
        }
    }

    fn get(&self, reference: &PairReference, turn: &Turn<'_>) -> Answer {
        match turn.response(Effect::None)? {
            None => send(turn, "GET", &below(reference), Value::Null),
            Some(response) => described(response, &reference.name, "show", Effect::None),
        }
    }

    fn delete(&self, delete: &Delete, turn: &Turn<'_>) -> Answer {
        let [reference] = &*delete.pairs else {
            let message = "nova deletes one pair per call";
            return Err(ProviderError::new(ErrorKind::Unsupported, message));
        };
        match turn.response(Effect::Unknown)? {
            None => send(turn, "DELETE", &below(reference), Value::Null),
            // 202 up to microversion 2.1, 204 from 2.2 on.
            Some(response) if [202, 204].contains(&response.status) => Ok(Step::done(Outcome::Deleted)),
            Some(response) => Err(refused(response, "delete", Effect::Unknown)),
        }
    }

    fn credentials(&self, credentials: &Credentials, turn: &Turn<'_>) -> Answer {
        keyferry_openstack::login(credentials, turn)
    }

    fn profiles(&self, turn: &Turn<'_>) -> Answer {
        keyferry_openstack::profiles(turn)
    }
}

fn send(turn: &Turn<'_>, method: &str, below: &str, pair: Value) -> Answer {
    let compute = Compute::of(turn)?;
    Ok(HttpStep::new(compute.request(method, below, compute.version()?, pair)).into())
}

fn below(reference: &PairReference) -> String {
    format!("/{}", percent_encode(&reference.name))
}

/// The pair that an answer describes.
fn described(response: &Response, name: &str, action: &str, effect: Effect) -> Answer {
    let body = answer(response, action, effect)?;
    let pair = pair(&body["keypair"]).map_err(|error| annotate(error.with_effect(effect), response))?;
    if pair.name == name {
        Ok(Step::done(Outcome::Pair(pair)))
    } else {
        Err(garbled(response, "is about another pair", effect))
    }
}

/// A pair, in the fields that all answers share. Its number is none of ours: only a show tells it.
fn pair(object: &Value) -> Result<Pair, ProviderError> {
    let field = |name| Ok(text(object, name)?.map(str::to_owned));
    let name = field("name")?.filter(|name| !name.is_empty());
    let is_ssh = object["type"].as_str().is_none_or(|kind| kind == "ssh");
    Ok(Pair {
        name: name.ok_or_else(|| ProviderError::new(ErrorKind::Internal, "the answer names no pair"))?,
        id: None,
        fingerprint: field("fingerprint")?,
        // Of an x509 pair it is a certificate.
        public_key: field("public_key")?.filter(|_| is_ssh),
        created_at: field("created_at")?,
    })
}

/// What an answer with status 200, or 201 of a pair that was made from microversion 2.2 on, says.
fn answer(response: &Response, action: &str, effect: Effect) -> Result<Value, ProviderError> {
    if ![200, 201].contains(&response.status) {
        return Err(refused(response, action, effect));
    }
    let body: Option<Value> = serde_json::from_str(&response.body).ok().filter(Value::is_object);
    body.ok_or_else(|| garbled(response, "is not JSON", effect))
}

fn garbled(response: &Response, what: &str, effect: Effect) -> ProviderError {
    let error = ProviderError::new(ErrorKind::Internal, format!("nova's answer {what}"));
    annotate(error.with_effect(effect), response)
}

/// What Nova refused. Kinds follow from the status, and where that says too little from Nova's own words.
fn refused(response: &Response, action: &str, effect: Effect) -> ProviderError {
    let fault = fault(response);
    let status = response.status;
    let is_novas = fault.code.is_some();
    let (kind, message) = match RULES
        .iter()
        .find(|(of, rule)| *of == status && rule.matches(&fault.words))
    {
        // Without a fault a 404 is about the address, not about a pair.
        Some((_, rule)) if is_novas => (rule.kind, rule.message.replace("{action}", action)),
        _ => match status {
            500.. => (
                ErrorKind::Unavailable,
                format!("nova answered with status {status}"),
            ),
            400..500 if is_novas => (ErrorKind::Invalid, String::new()),
            _ => (
                ErrorKind::Internal,
                format!(
                    "the answer, with status {status}, is not nova's own form: check `auth_url` and the catalogue"
                ),
            ),
        },
    };
    let message = if message.is_empty() { fault.words } else { message };
    let effect = if status < 500 && is_novas {
        Effect::None
    } else {
        effect
    };
    annotate(ProviderError::new(kind, message).with_effect(effect), response)
}

/// Status, words of the fault, and what they mean.
const RULES: &[(u16, ErrorRule)] = {
    use ErrorKind::*;
    &[
        (
            400,
            ErrorRule::new(
                "*could not be found*",
                Unavailable,
                "a pair was deleted while the list was read",
            ),
        ),
        (
            400,
            ErrorRule::new(
                "*eypair data is invalid*",
                Invalid,
                "nova takes no such public key: choose another `algorithm` for the key",
            ),
        ),
        (
            401,
            ErrorRule::new("*", Unauthorized, "the token has expired or was revoked"),
        ),
        (
            403,
            ErrorRule::new(
                "*uota exceeded*",
                Quota,
                "the user's limit of key pairs is reached: delete some, or have it raised",
            ),
        ),
        (
            403,
            ErrorRule::new(
                "*",
                Unauthorized,
                "the user lacks the permission os_compute_api:os-keypairs:{action}: have a role assigned that has it",
            ),
        ),
        (404, ErrorRule::new("*", NotFound, "")),
        (406, ErrorRule::new("*", Unsupported, "")),
        (409, ErrorRule::new("*", AlreadyExists, "the name is taken")),
        (413, ErrorRule::new("*", Throttled, "too many requests")),
        (429, ErrorRule::new("*", Throttled, "too many requests")),
    ]
};
