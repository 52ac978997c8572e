//! Key pairs of Alibaba Cloud SWAS (Simple Application Server), API version 2020-06-01.
//!
//! A pair belongs to a region, which has ten at most. The vendor makes RSA-2048 pairs. It tells neither ids nor
//! fingerprints, so a pair is known by name and public key, and its list of pairs says which servers have them. Calls that
//! change something carry the idempotency token: sent again, they have no second effect. A pair must be detached before
//! it is deleted.
//!
//! The pairs that belong to one server, a family of calls of their own, are not used.

use keyferry_alibaba::{Call, Product};
use keyferry_plugin::contract::{
    Attachment, Create, Credentials, Delete, ErrorKind, Import, List, Outcome, PairReference, ProviderError,
    Step,
};
use keyferry_plugin::error::ErrorRule;
use keyferry_plugin::reply::items;
use keyferry_plugin::{Answer, Provider, Turn};
use serde_json::Value;

keyferry_plugin::export!(AlibabaSwas);

/// The provider.
#[derive(Clone, Copy, Debug)]
pub struct AlibabaSwas;

impl Provider for AlibabaSwas {
    fn create(&self, create: &Create, turn: &Turn<'_>) -> Answer {
        match SWAS.answer(turn, "CreateKeyPair")? {
            None => Ok(change(turn, "CreateKeyPair")?
                .parameter("KeyPairName", &*create.name)
                .capturing_private_key()
                .send()),
            Some(answer) => answer.pair_with_private_key(&create.name),
        }
    }

    fn import(&self, import: &Import, turn: &Turn<'_>) -> Answer {
        match SWAS.answer(turn, "ImportKeyPair")? {
            None => Ok(change(turn, "ImportKeyPair")?
                .parameter("KeyPairName", &*import.name)
                .parameter("PublicKeyBody", &*import.public_key)
                .send()),
            Some(answer) => answer.pair(&import.name),
        }
    }

    fn list(&self, list: &List, turn: &Turn<'_>) -> Answer {
        let call = call(turn, "ListKeyPairs")?.by_get();
        keyferry_alibaba::list(&SWAS, list, turn, || call)
    }

    fn get(&self, pair: &PairReference, turn: &Turn<'_>) -> Answer {
        let call = of_name(turn, pair)?;
        keyferry_alibaba::find(&SWAS, &pair.name, turn, || call)
    }

    fn delete(&self, delete: &Delete, turn: &Turn<'_>) -> Answer {
        if delete.pairs.len() > MAX_DELETED {
            let message = format!("swas deletes at most {MAX_DELETED} pairs per call");
            return Err(ProviderError::new(ErrorKind::Unsupported, message));
        }
        match SWAS.answer(turn, "DeleteKeyPairs")? {
            None => Ok(change(turn, "DeleteKeyPairs")?
                .numbered("KeyPairNames", delete.pairs.iter().map(|pair| &*pair.name))
                .send()),
            Some(_) => Ok(Step::done(Outcome::Deleted)),
        }
    }

    fn attach(&self, attachment: &Attachment, turn: &Turn<'_>) -> Answer {
        instances("AttachKeyPair", attachment, turn)
    }

    fn detach(&self, attachment: &Attachment, turn: &Turn<'_>) -> Answer {
        instances("DetachKeyPair", attachment, turn)
    }

    fn list_instances(&self, pair: &PairReference, turn: &Turn<'_>) -> Answer {
        let call = of_name(turn, pair)?;
        keyferry_alibaba::search(&SWAS, &pair.name, turn, || call, servers)
    }

    fn credentials(&self, credentials: &Credentials, turn: &Turn<'_>) -> Answer {
        keyferry_alibaba::credentials(credentials, turn)
    }

    fn profiles(&self, turn: &Turn<'_>) -> Answer {
        keyferry_alibaba::profiles(turn)
    }
}

/// The most names in one `DeleteKeyPairs`.
const MAX_DELETED: usize = 50;

const SWAS: Product = Product {
    name: "swas-open",
    version: "2020-06-01",
    list_action: "ListKeyPairs",
    // The vendor does not say how many fit in a page; a region has ten pairs.
    page_size: 10,
    most_instances: 50,
    errors: {
        use ErrorKind::*;
        &[
            ErrorRule::new("KeyPairNameAlreadyExist*", AlreadyExists, "the name is taken"),
            ErrorRule::new(
                "InvalidRegionId*",
                Invalid,
                "swas has no such region: correct `region` of the account or the key",
            ),
            ErrorRule::new("InvalidParameter*", Invalid, ""),
            ErrorRule::new("MissingParameter*", Invalid, ""),
        ]
    },
};

fn instances(action: &str, attachment: &Attachment, turn: &Turn<'_>) -> Answer {
    SWAS.attachment(action, attachment, turn, || {
        Ok(change(turn, action)?
            .parameter("KeyPairName", &*attachment.pair.name)
            .numbered("InstanceIds", attachment.instances.iter().map(String::as_str)))
    })
}

/// The servers of a listed pair; the vendor names fifty at most.
fn servers(item: &Value) -> Result<Outcome, ProviderError> {
    let ids = match item.get("InstanceIds") {
        None | Some(Value::Null) => &[],
        Some(_) => items(item, "/InstanceIds")?,
    };
    let id = |id: &Value| id.as_str().map(str::to_owned);
    let ids: Option<Vec<String>> = ids.iter().map(id).collect();
    ids.map(Outcome::Instances)
        .ok_or_else(|| ProviderError::new(ErrorKind::Internal, "a server in the answer has no id"))
}

fn of_name(turn: &Turn<'_>, pair: &PairReference) -> Result<Call, ProviderError> {
    Ok(call(turn, "ListKeyPairs")?
        .by_get()
        .parameter("KeyPairName", &*pair.name))
}

/// A call that changes something.
fn change(turn: &Turn<'_>, action: &str) -> Result<Call, ProviderError> {
    Ok(call(turn, action)?.client_token(turn))
}

fn call(turn: &Turn<'_>, action: &str) -> Result<Call, ProviderError> {
    let region = turn.region()?;
    let host = format!("swas.{region}.aliyuncs.com");
    Ok(SWAS.call(turn, &host, action).parameter("RegionId", region))
}
