//! Key pairs of ENS, version 2017-11-10: no regions, one deletion at a time, ssh-rsa only.

use std::time::SystemTime;

use serde_json::{Value, json};

use super::attachment::{self, Change};
use super::ecs::creation_time;
use super::rules::{invalid, is_latin_or_chinese, is_pair_name, matches_wildcard, missing, page, required};
use super::{ENS, no_such_action};
use crate::inventory::{CreatedBy, Inventory, Pair, UnknownDelete};
use crate::keys::{NewKey, md5_hex, public_key};
use crate::refusal::Refusal;
use crate::vendor::{Call, Parameters, Vendor as _, World};

/// Does what the action says, all of it or nothing. A key is taken out of `key` only where a pair is made of it.
///
/// A `RegionId`, which the old SDK sends, is ignored.
pub(super) fn perform(call: &Call, world: &mut World<'_>) -> Result<Value, Refusal> {
    let parameters = &call.parameters;
    let World {
        inventory, now, key, ..
    } = world;
    match &*call.action {
        "CreateKeyPair" => create(parameters, inventory, *now, key),
        "ImportKeyPair" => import(parameters, inventory, *now),
        "DescribeKeyPairs" => describe(parameters, inventory),
        "DeleteKeyPairs" => delete(parameters, inventory),
        "AttachKeyPair" | "DetachKeyPair" => attach(Change::of(&call.action), parameters, inventory),
        _ => Err(no_such_action()),
    }
}

/// The answer to one pair too many. ENS publishes no code for it; all its errors are 400.
pub(super) fn quota_exceeded() -> Refusal {
    Refusal::new(
        400,
        "QuotaExceed.KeyPair",
        "The account has as many key pairs as it may have.",
    )
}

fn create(
    parameters: &Parameters,
    inventory: &mut Inventory,
    now: SystemTime,
    key: &mut Option<NewKey>,
) -> Result<Value, Refusal> {
    let name = new_name(parameters, inventory)?;
    let private_key_form = inventory.settings.private_key_form;
    let body = key
        .as_ref()
        .and_then(|key| key.private_key_body(private_key_form).ok());
    let fingerprint = key.as_ref().and_then(|key| md5_hex(&key.public).ok());
    let (Some(body), Some(fingerprint), Some(key)) = (body, fingerprint, key.take()) else {
        return Err(Refusal::new(400, "ens.interface.error", "No key could be made."));
    };
    let pair = new_pair(name, fingerprint, key.public_key, CreatedBy::Create, now);
    let answer = json!({
        "KeyPairId": pair.id,
        "KeyPairName": pair.name,
        "KeyPairFingerPrint": pair.fingerprint,
        "PrivateKeyBody": body,
    });
    inventory.pairs.push(pair);
    Ok(answer)
}

fn import(parameters: &Parameters, inventory: &mut Inventory, now: SystemTime) -> Result<Value, Refusal> {
    let body = required(parameters, "PublicKeyBody")?;
    let name = new_name(parameters, inventory)?;
    let fingerprint = public_key(body, &["ssh-rsa"])
        .and_then(|key| md5_hex(&key).ok())
        .ok_or_else(|| invalid("PublicKeyBody"))?;
    let pair = new_pair(name, fingerprint, body.trim().to_owned(), CreatedBy::Import, now);
    let answer = json!({ "KeyPairName": pair.name, "KeyPairFingerPrint": pair.fingerprint });
    inventory.pairs.push(pair);
    Ok(answer)
}

fn describe(parameters: &Parameters, inventory: &Inventory) -> Result<Value, Refusal> {
    let page = page(parameters)?;
    let found: Vec<&Pair> = inventory
        .of_region(None)
        .filter(|pair| {
            parameters
                .get("KeyPairName")
                .is_none_or(|pattern| matches_wildcard(pattern, &pair.name))
        })
        .filter(|pair| parameters.get("KeyPairId").is_none_or(|wanted| wanted == pair.id))
        .collect();
    let item = |pair: &&Pair| {
        json!({
            "KeyPairId": pair.id,
            "KeyPairName": pair.name,
            "KeyPairFingerPrint": pair.fingerprint,
            "CreationTime": creation_time(pair),
        })
    };
    let items: Vec<Value> = page.of(&found).iter().map(item).collect();
    Ok(json!({
        "PageNumber": page.number,
        "PageSize": page.size,
        "TotalCount": found.len(),
        "KeyPairs": { "KeyPair": items },
    }))
}

fn delete(parameters: &Parameters, inventory: &mut Inventory) -> Result<Value, Refusal> {
    match meant(parameters, inventory) {
        Ok(name) => {
            if inventory.attached(None, &name).next().is_some() {
                return Err(Refusal::new(
                    400,
                    "PubKeyAttachedWithInstance",
                    "The key pair is attached to an instance.",
                ));
            }
            inventory.pairs.retain(|pair| pair.name != name);
            Ok(json!({}))
        }
        Err(refusal)
            if refusal.code == "MissingParameter"
                || inventory.settings.unknown_delete == UnknownDelete::Refuse =>
        {
            Err(refusal)
        }
        Err(_) => Ok(json!({})),
    }
}

/// The name of the pair that `KeyPairName`, `KeyPairId` or both mean.
fn meant(parameters: &Parameters, inventory: &Inventory) -> Result<String, Refusal> {
    let (name, id) = (parameters.get("KeyPairName"), parameters.get("KeyPairId"));
    if name.is_none() && id.is_none() {
        return Err(missing("KeyPairName"));
    }
    // Where both are given, both must be those of one pair.
    let is_meant =
        |pair: &&Pair| name.is_none_or(|name| pair.name == name) && id.is_none_or(|id| pair.id == id);
    let pair = inventory.pairs.iter().find(is_meant);
    pair.map(|pair| pair.name.clone())
        .ok_or_else(|| invalid(if id.is_some() { "KeyPairId" } else { "KeyPairName" }))
}

fn attach(change: Change, parameters: &Parameters, inventory: &mut Inventory) -> Result<Value, Refusal> {
    let ids = serde_json::from_str(required(parameters, "InstanceIds")?).unwrap_or_default();
    let ids = attachment::checked(ids, MAX_INSTANCES)?;
    let name = meant(parameters, inventory)?;
    let id = inventory
        .pairs
        .iter()
        .find(|pair| pair.name == name)
        .map(|pair| pair.id.clone());
    let outcomes = attachment::apply(change, inventory, None, &name, ids, true);
    let results: Vec<Value> = outcomes
        .iter()
        .map(|outcome| {
            json!({
                "InstanceId": outcome.instance,
                "Success": outcome.problem.is_none(),
                "Code": if outcome.problem.is_none() { 200 } else { 400 },
                "Message": outcome.problem.map_or("success", |(_, message)| message),
            })
        })
        .collect();
    let failed = outcomes
        .iter()
        .filter(|outcome| outcome.problem.is_some())
        .count();
    Ok(json!({
        "KeyPairId": id,
        "KeyPairName": name,
        "TotalCount": results.len(),
        "FailCount": failed,
        "Results": results,
    }))
}

fn new_name<'a>(parameters: &'a Parameters, inventory: &Inventory) -> Result<&'a str, Refusal> {
    let name = required(parameters, "KeyPairName")?;
    if !is_pair_name(name, 128, &[], is_latin_or_chinese) {
        return Err(invalid("KeyPairName"));
    }
    if inventory.has(None, name) {
        return Err(Refusal::new(
            400,
            "PubKeyNameExisted",
            "There is a key pair of that name.",
        ));
    }
    if inventory.is_full(None) {
        return Err(quota_exceeded());
    }
    Ok(name)
}

fn new_pair(
    name: &str,
    fingerprint: String,
    public_key: String,
    created_by: CreatedBy,
    now: SystemTime,
) -> Pair {
    Pair {
        region: None,
        name: name.to_owned(),
        id: ENS.new_pair_id(),
        fingerprint,
        public_key,
        created_by,
        created_at: now,
        resource_group: None,
        user: None,
        tags: Vec::new(),
    }
}

const MAX_INSTANCES: usize = 30;
