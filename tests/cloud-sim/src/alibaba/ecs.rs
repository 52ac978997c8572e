//! Key pairs of ECS, version 2014-05-26.

use std::time::SystemTime;

use serde_json::{Value, json};

use super::attachment::{self, Change};
use super::rules::{invalid, is_latin_or_chinese, is_pair_name, matches_wildcard, page, required, tags};
use super::{ECS, no_such_action};
use crate::inventory::{CreatedBy, Instance, Inventory, Pair, UnknownDelete};
use crate::keys::{NewKey, md5_hex, public_key};
use crate::refusal::Refusal;
use crate::vendor::{Call, Parameters, Trouble, Vendor as _, World};

/// Does what the action says, all of it or nothing. A key is taken out of `key` only where a pair is made of it.
pub(super) fn perform(call: &Call, world: &mut World<'_>) -> Result<Value, Refusal> {
    let parameters = &call.parameters;
    let World {
        inventory, now, key, ..
    } = world;
    let region = region(parameters)?;
    match &*call.action {
        "CreateKeyPair" => create(parameters, region, inventory, *now, key),
        "ImportKeyPair" => import(parameters, region, inventory, *now),
        "DescribeKeyPairs" => describe(parameters, region, inventory),
        "DeleteKeyPairs" => delete(parameters, region, inventory),
        "AttachKeyPair" | "DetachKeyPair" => attach(Change::of(&call.action), parameters, region, inventory),
        "DescribeInstances" => describe_instances(parameters, region, inventory),
        _ => Err(no_such_action()),
    }
}

/// The answer to one pair too many.
pub(super) fn quota_exceeded() -> Refusal {
    Refusal::new(
        403,
        "QuotaExceed.KeyPair",
        "The region has as many key pairs as it may have.",
    )
}

fn create(
    parameters: &Parameters,
    region: &str,
    inventory: &mut Inventory,
    now: SystemTime,
    key: &mut Option<NewKey>,
) -> Result<Value, Refusal> {
    let name = new_name(parameters, region, inventory, &[], is_latin_or_chinese)?;
    let mut pair = new_pair(parameters, region, name, now)?;
    let private_key_form = inventory.settings.private_key_form;
    let body = key
        .as_ref()
        .and_then(|key| key.private_key_body(private_key_form).ok());
    let fingerprint = key.as_ref().and_then(|key| md5_hex(&key.public).ok());
    let (Some(body), Some(fingerprint), Some(key)) = (body, fingerprint, key.take()) else {
        return Err(ECS.trouble(Trouble::Internal));
    };
    pair.fingerprint = fingerprint;
    pair.public_key = key.public_key;
    let answer = json!({
        "KeyPairId": pair.id,
        "KeyPairName": pair.name,
        "KeyPairFingerPrint": pair.fingerprint,
        "PrivateKeyBody": body,
    });
    inventory.pairs.push(pair);
    Ok(answer)
}

fn import(
    parameters: &Parameters,
    region: &str,
    inventory: &mut Inventory,
    now: SystemTime,
) -> Result<Value, Refusal> {
    let body = required(parameters, "PublicKeyBody")?;
    let name = new_name(parameters, region, inventory, &['.'], char::is_alphabetic)?;
    let fingerprint = public_key(body, &["ssh-rsa", "ssh-dss", "ecdsa-sha2-"])
        .and_then(|key| md5_hex(&key).ok())
        .ok_or_else(|| {
            Refusal::new(
                400,
                "InvalidPublicKeyBody.Malformed",
                "The public key is malformed or not supported.",
            )
        })?;
    let mut pair = new_pair(parameters, region, name, now)?;
    pair.fingerprint = fingerprint;
    pair.public_key = body.trim().to_owned();
    pair.created_by = CreatedBy::Import;
    let answer = json!({ "KeyPairName": pair.name, "KeyPairFingerPrint": pair.fingerprint });
    inventory.pairs.push(pair);
    Ok(answer)
}

fn describe(parameters: &Parameters, region: &str, inventory: &Inventory) -> Result<Value, Refusal> {
    let page = page(parameters)?;
    let tags = tags(parameters)?;
    let with_public_key = match parameters.get("IncludePublicKey") {
        None => false,
        Some(text) if text.eq_ignore_ascii_case("true") => true,
        Some(text) if text.eq_ignore_ascii_case("false") => false,
        Some(_) => return Err(invalid("IncludePublicKey")),
    };
    let found: Vec<&Pair> = inventory
        .of_region(Some(region))
        .filter(|pair| {
            parameters
                .get("KeyPairName")
                .is_none_or(|pattern| matches_wildcard(pattern, &pair.name))
        })
        .filter(|pair| {
            parameters
                .get("KeyPairFingerPrint")
                .is_none_or(|wanted| wanted == pair.fingerprint)
        })
        .filter(|pair| {
            parameters
                .get("ResourceGroupId")
                .is_none_or(|wanted| pair.resource_group.as_deref() == Some(wanted))
        })
        .filter(|pair| {
            tags.iter().all(|wanted| {
                pair.tags.iter().any(|tag| {
                    tag.key == wanted.key && (wanted.value.is_empty() || tag.value == wanted.value)
                })
            })
        })
        .collect();
    let items: Vec<Value> = page
        .of(&found)
        .iter()
        .map(|pair| item(pair, with_public_key))
        .collect();
    Ok(json!({
        "PageNumber": page.number,
        "PageSize": page.size,
        "TotalCount": found.len(),
        "KeyPairs": { "KeyPair": items },
    }))
}

fn delete(parameters: &Parameters, region: &str, inventory: &mut Inventory) -> Result<Value, Refusal> {
    let names: Vec<String> = serde_json::from_str(required(parameters, "KeyPairNames")?)
        .ok()
        .filter(|names: &Vec<String>| !names.is_empty())
        .ok_or_else(|| {
            Refusal::new(
                400,
                "InvalidKeyPairNames.ValueNotSupported",
                "KeyPairNames is not a JSON array of names.",
            )
        })?;
    if names.len() > MAX_NAMES_IN_DELETE {
        return Err(Refusal::new(
            403,
            "InstanceKeyPairLimitExceeded",
            "At most 100 pairs are deleted at once.",
        ));
    }
    let unknown = names.iter().any(|name| !inventory.has(Some(region), name));
    if unknown && inventory.settings.unknown_delete == UnknownDelete::Refuse {
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
        return Err(Refusal::new(
            400,
            "InvalidParameter.KeypairAlreadyAttachedInstance",
            "A named key pair is attached to an instance.",
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
    let ids = serde_json::from_str(required(parameters, "InstanceIds")?).unwrap_or_default();
    let ids = attachment::checked(ids, MAX_INSTANCES)?;
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
            let (code, message) = outcome.problem.unwrap_or(("200", "successful"));
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
    Ok(json!({
        "KeyPairName": name,
        "TotalCount": results.len().to_string(),
        "FailCount": failed.to_string(),
        "Results": { "Result": results },
    }))
}

/// The token of the next page is the number of instances before it.
fn describe_instances(
    parameters: &Parameters,
    region: &str,
    inventory: &Inventory,
) -> Result<Value, Refusal> {
    let number = |name: &str| match parameters.get(name) {
        None => Ok(None),
        Some(text) => text.parse::<usize>().map(Some).map_err(|_| invalid(name)),
    };
    let most = number("MaxResults")?.unwrap_or(10).clamp(10, 100);
    let start = number("NextToken")?.unwrap_or(0);
    let pair = parameters.get("KeyPairName");
    let found: Vec<&Instance> = inventory
        .instances
        .iter()
        .filter(|instance| instance.region.as_deref() == Some(region))
        .filter(|instance| pair.is_none() || instance.pair.as_deref() == pair)
        .collect();
    let items: Vec<Value> = found
        .iter()
        .skip(start)
        .take(most)
        .map(|instance| {
            json!({
                "InstanceId": instance.id,
                "KeyPairName": instance.pair.as_deref().unwrap_or_default(),
                "Status": if instance.running { "Running" } else { "Stopped" },
            })
        })
        .collect();
    let end = start + items.len();
    let next = if end < found.len() {
        end.to_string()
    } else {
        String::new()
    };
    Ok(json!({
        "TotalCount": found.len(),
        "NextToken": next,
        "Instances": { "Instance": items },
    }))
}

pub(super) fn region(parameters: &Parameters) -> Result<&str, Refusal> {
    let region = required(parameters, "RegionId")?;
    let well_formed = region.contains('-')
        && region.split('-').all(|part| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
        });
    if well_formed {
        Ok(region)
    } else {
        Err(Refusal::new(
            404,
            "InvalidRegionId.NotFound",
            "There is no such region.",
        ))
    }
}

fn new_name<'a>(
    parameters: &'a Parameters,
    region: &str,
    inventory: &Inventory,
    also: &[char],
    first: fn(char) -> bool,
) -> Result<&'a str, Refusal> {
    let name = required(parameters, "KeyPairName")?;
    if !is_pair_name(name, 128, also, first) {
        return Err(Refusal::new(
            400,
            "InvalidKeyPairName.Malformed",
            "The key pair name is not valid.",
        ));
    }
    if inventory.has(Some(region), name) {
        return Err(Refusal::new(
            400,
            "KeyPair.AlreadyExist",
            "There is a key pair of that name.",
        ));
    }
    if inventory.is_full(Some(region)) {
        return Err(quota_exceeded());
    }
    Ok(name)
}

/// A pair that still lacks its key.
fn new_pair(parameters: &Parameters, region: &str, name: &str, now: SystemTime) -> Result<Pair, Refusal> {
    let resource_group = parameters.get("ResourceGroupId");
    if resource_group.is_some_and(|group| !group.starts_with("rg-")) {
        return Err(Refusal::new(
            404,
            "InvalidResourceGroup.NotFound",
            "There is no such resource group.",
        ));
    }
    Ok(Pair {
        region: Some(region.to_owned()),
        name: name.to_owned(),
        id: ECS.new_pair_id(),
        fingerprint: String::new(),
        public_key: String::new(),
        created_by: CreatedBy::Create,
        created_at: now,
        resource_group: resource_group.map(str::to_owned),
        user: None,
        tags: tags(parameters)?,
    })
}

fn item(pair: &Pair, with_public_key: bool) -> Value {
    let tags: Vec<Value> = pair
        .tags
        .iter()
        .map(|tag| json!({ "TagKey": tag.key, "TagValue": tag.value }))
        .collect();
    let mut item = json!({
        "KeyPairName": pair.name,
        "KeyPairFingerPrint": pair.fingerprint,
        "CreationTime": creation_time(pair),
        "ResourceGroupId": pair.resource_group.as_deref().unwrap_or_default(),
        "Tags": { "Tag": tags },
    });
    if with_public_key {
        item["PublicKey"] = json!(pair.public_key);
    }
    item
}

/// To the minute: `2026-01-02T03:04Z`.
pub(super) fn creation_time(pair: &Pair) -> String {
    let seconds = humantime::format_rfc3339_seconds(pair.created_at).to_string();
    format!("{}Z", &seconds[.."2026-01-02T03:04".len()])
}

const MAX_INSTANCES: usize = 50;
const MAX_NAMES_IN_DELETE: usize = 100;
