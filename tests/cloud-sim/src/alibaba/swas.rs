//! Key pairs of SWAS, version 2020-06-01: no ids, no fingerprints, lists as `Name.N`; and the pairs of single servers.

use serde_json::{Value, json};

use super::attachment::{self, Change};
use super::ecs::{creation_time, region};
use super::no_such_action;
use super::rules::{invalid, is_latin_or_chinese, is_pair_name, matches_wildcard, numbered, page, required};
use crate::inventory::{CreatedBy, Inventory, Pair, ServerPair, UnknownDelete};
use crate::keys::{NewKey, md5_hex, public_key};
use crate::refusal::Refusal;
use crate::vendor::{Call, Parameters, Trouble, Vendor as _, World};

/// Does what the action says, all of it or nothing. A key is taken out of the world only where a pair is made of it.
pub(super) fn perform(call: &Call, world: &mut World<'_>) -> Result<Value, Refusal> {
    let parameters = &call.parameters;
    let region = region(parameters)?;
    check_client_token(parameters)?;
    match &*call.action {
        "CreateKeyPair" => create(parameters, region, world),
        "ImportKeyPair" => import(parameters, region, world),
        "ListKeyPairs" => list(parameters, region, world.inventory),
        "DeleteKeyPairs" => delete(parameters, region, world.inventory),
        "AttachKeyPair" | "DetachKeyPair" => {
            attach(Change::of(&call.action), parameters, region, world.inventory)
        }
        "CreateInstanceKeyPair"
        | "UploadInstanceKeyPair"
        | "DescribeInstanceKeyPair"
        | "DeleteInstanceKeyPair" => of_one_server(&call.action, parameters, region, world),
        _ => Err(no_such_action()),
    }
}

/// The answer to one pair too many. SWAS publishes no code for it.
pub(super) fn quota_exceeded() -> Refusal {
    Refusal::new(
        403,
        "QuotaExceed.KeyPair",
        "The region has as many key pairs as it may have.",
    )
}

fn create(parameters: &Parameters, region: &str, world: &mut World<'_>) -> Result<Value, Refusal> {
    let name = new_name(parameters, region, world.inventory)?;
    let form = world.inventory.settings.private_key_form;
    let (key, body, fingerprint) = take_key(world.key, form)?;
    let answer = json!({ "KeyPairName": name, "PrivateKeyBody": body });
    let pair = new_pair(
        region,
        name,
        fingerprint,
        key.public_key,
        CreatedBy::Create,
        world.now,
    );
    world.inventory.pairs.push(pair);
    Ok(answer)
}

fn import(parameters: &Parameters, region: &str, world: &mut World<'_>) -> Result<Value, Refusal> {
    let body = required(parameters, "PublicKeyBody")?;
    let name = new_name(parameters, region, world.inventory)?;
    let fingerprint = public_key(body, &["ssh-rsa"])
        .and_then(|key| md5_hex(&key).ok())
        .ok_or_else(|| invalid("PublicKeyBody"))?;
    let line = body.trim().to_owned();
    let pair = new_pair(region, name, fingerprint, line, CreatedBy::Import, world.now);
    world.inventory.pairs.push(pair);
    Ok(json!({ "KeyPairName": name }))
}

fn list(parameters: &Parameters, region: &str, inventory: &Inventory) -> Result<Value, Refusal> {
    let page = page(parameters)?;
    let found: Vec<&Pair> = inventory
        .of_region(Some(region))
        .filter(|pair| {
            parameters
                .get("KeyPairName")
                .is_none_or(|pattern| matches_wildcard(pattern, &pair.name))
        })
        .collect();
    let item = |pair: &&Pair| {
        let instances: Vec<&str> = inventory
            .attached(Some(region), &pair.name)
            .take(MAX_INSTANCES)
            .map(|instance| &*instance.id)
            .collect();
        json!({
            "KeyPairName": pair.name,
            "CreationTime": creation_time(pair),
            "PublicKey": pair.public_key,
            "InstanceIds": instances,
        })
    };
    let items: Vec<Value> = page.of(&found).iter().map(item).collect();
    Ok(json!({
        "PageNumber": page.number,
        "PageSize": page.size,
        "TotalCount": found.len(),
        "KeyPairs": items,
    }))
}

fn delete(parameters: &Parameters, region: &str, inventory: &mut Inventory) -> Result<Value, Refusal> {
    let names = numbered(parameters, "KeyPairNames");
    if !(1..=MAX_NAMES_IN_DELETE).contains(&names.len()) {
        return Err(invalid("KeyPairNames"));
    }
    let is_known = |name: &String| inventory.has(Some(region), name);
    if !names.iter().all(is_known) && inventory.settings.unknown_delete == UnknownDelete::Refuse {
        return Err(Refusal::new(
            404,
            "InvalidKeyPair.NotFound",
            "A named key pair does not exist.",
        ));
    }
    if names
        .iter()
        .any(|name| inventory.attached(Some(region), name).next().is_some())
    {
        // A pair must be detached first; the code for it is not published.
        return Err(Refusal::new(
            400,
            "KeyPairAttachedToInstance",
            "The key pair is attached to an instance.",
        ));
    }
    inventory
        .pairs
        .retain(|pair| pair.region.as_deref() != Some(region) || !names.contains(&pair.name));
    Ok(json!({}))
}

fn attach(
    change: Change,
    parameters: &Parameters,
    region: &str,
    inventory: &mut Inventory,
) -> Result<Value, Refusal> {
    let name = required(parameters, "KeyPairName")?;
    let ids = attachment::checked(numbered(parameters, "InstanceIds"), MAX_INSTANCES)?;
    if !inventory.has(Some(region), name) {
        return Err(Refusal::new(
            404,
            "InvalidKeyPair.NotFound",
            "The key pair does not exist.",
        ));
    }
    let outcomes = attachment::apply(change, inventory, Some(region), name, ids, false);
    let results: Vec<Value> = outcomes
        .iter()
        .map(|outcome| {
            let (code, message) = outcome.problem.unwrap_or(("200", "success"));
            json!({
                "InstanceId": outcome.instance,
                "Success": outcome.problem.is_none().to_string(),
                "Code": code,
                "Message": message,
            })
        })
        .collect();
    let failed = outcomes
        .iter()
        .filter(|outcome| outcome.problem.is_some())
        .count();
    Ok(json!({ "TotalCount": results.len(), "FailCount": failed, "Results": results }))
}

/// The calls for the pair that belongs to one server alone. A server that is not known counts as a new one.
fn of_one_server(
    action: &str,
    parameters: &Parameters,
    region: &str,
    world: &mut World<'_>,
) -> Result<Value, Refusal> {
    let id = required(parameters, "InstanceId")?;
    let place = (region.to_owned(), id.to_owned());
    let name = parameters.get("KeyPairName").unwrap_or("default").to_owned();
    match action {
        "CreateInstanceKeyPair" => {
            let form = world.inventory.settings.private_key_form;
            let (_, body, fingerprint) = take_key(world.key, form)?;
            let answer = json!({ "KeyPairName": name, "PrivateKey": body, "Fingerprint": fingerprint });
            let pair = ServerPair { name, fingerprint };
            world.inventory.server_pairs.insert(place, pair);
            Ok(answer)
        }
        "UploadInstanceKeyPair" => {
            let fingerprint = public_key(required(parameters, "PublicKey")?, &["ssh-rsa"])
                .and_then(|key| md5_hex(&key).ok())
                .ok_or_else(|| invalid("PublicKey"))?;
            let pair = ServerPair { name, fingerprint };
            world.inventory.server_pairs.insert(place, pair);
            Ok(json!({}))
        }
        "DescribeInstanceKeyPair" => Ok(match world.inventory.server_pairs.get(&place) {
            Some(pair) => json!({ "KeyPairName": pair.name, "Fingerprint": pair.fingerprint }),
            None => json!({}),
        }),
        _ => {
            world.inventory.server_pairs.remove(&place);
            Ok(json!({}))
        }
    }
}

fn take_key(
    key: &mut Option<NewKey>,
    form: crate::keys::PrivateKeyForm,
) -> Result<(NewKey, String, String), Refusal> {
    let made = key.as_ref().and_then(|key| {
        let fingerprint = md5_hex(&key.public).ok()?;
        Some((key.private_key_body(form).ok()?, fingerprint))
    });
    match (made, key.take()) {
        (Some((body, fingerprint)), Some(key)) => Ok((key, body, fingerprint)),
        _ => Err(super::SWAS.trouble(Trouble::Internal)),
    }
}

fn new_name<'a>(parameters: &'a Parameters, region: &str, inventory: &Inventory) -> Result<&'a str, Refusal> {
    let name = required(parameters, "KeyPairName")?;
    if !is_pair_name(name, MAX_NAME, &[], is_latin_or_chinese) {
        return Err(invalid("KeyPairName"));
    }
    if inventory.has(Some(region), name) {
        return Err(Refusal::new(
            400,
            "KeyPairNameAlreadyExist",
            "The keyPair name already exist.",
        ));
    }
    if inventory.is_full(Some(region)) {
        return Err(quota_exceeded());
    }
    Ok(name)
}

fn new_pair(
    region: &str,
    name: &str,
    fingerprint: String,
    public_key: String,
    created_by: CreatedBy,
    now: std::time::SystemTime,
) -> Pair {
    Pair {
        region: Some(region.to_owned()),
        name: name.to_owned(),
        id: String::new(),
        fingerprint,
        public_key,
        created_by,
        created_at: now,
        resource_group: None,
        user: None,
        tags: Vec::new(),
    }
}

fn check_client_token(parameters: &Parameters) -> Result<(), Refusal> {
    match parameters.get("ClientToken") {
        Some(token) if token.len() > 64 || !token.is_ascii() => Err(invalid("ClientToken")),
        _ => Ok(()),
    }
}

const MAX_NAME: usize = 64;
const MAX_NAMES_IN_DELETE: usize = 50;
const MAX_INSTANCES: usize = 50;
