//! Key pairs of EC2: Ed25519 and RSA, names of up to 255 ASCII characters, no pages.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{EC2, REGION, fingerprint, missing};
use crate::inventory::{CreatedBy, Inventory, Pair, Tag, UnknownDelete};
use crate::keys::{NewKey, public_key};
use crate::refusal::Refusal;
use crate::vendor::{Call, Parameters, Trouble, Vendor as _, World};

/// What it can do.
pub(super) const ACTIONS: [&str; 5] = [
    "CreateKeyPair",
    "DeleteKeyPair",
    "DescribeInstances",
    "DescribeKeyPairs",
    "ImportKeyPair",
];

/// The namespace of its answers.
pub(super) const NAMESPACE: &str = "http://ec2.amazonaws.com/doc/2016-11-15/";

/// Does what the action says, all of it or nothing. A key is taken out of `key` only where a pair is made of it.
pub(super) fn perform(call: &Call, world: &mut World<'_>) -> Result<Value, Refusal> {
    let parameters = &call.parameters;
    let region = parameters.get(REGION).unwrap_or_default();
    let World {
        inventory, now, key, ..
    } = world;
    match &*call.action {
        "CreateKeyPair" => create(parameters, region, inventory, *now, key),
        "ImportKeyPair" => import(parameters, region, inventory, *now),
        "DescribeKeyPairs" => describe(parameters, region, inventory),
        "DescribeInstances" => instances(parameters, region, inventory),
        _ => delete(parameters, region, inventory),
    }
}

fn create(
    parameters: &Parameters,
    region: &str,
    inventory: &mut Inventory,
    now: SystemTime,
    key: &mut Option<NewKey>,
) -> Result<Value, Refusal> {
    let name = new_name(parameters, region, inventory)?;
    let tags = tags(parameters)?;
    for (parameter, known) in [("KeyType", ["ed25519", "rsa"]), ("KeyFormat", ["pem", "pem"])] {
        if parameters
            .get(parameter)
            .is_some_and(|value| !known.contains(&value))
        {
            return Err(invalid(parameter));
        }
    }
    let form = inventory.settings.private_key_form;
    let made = key.as_ref().and_then(|key| {
        let pkcs8 = key.pkcs8().ok()?;
        let fingerprint = fingerprint::of_creation(&key.public, pkcs8.as_deref()).ok()?;
        Some((key.private_key_body(form).ok()?, fingerprint))
    });
    let (Some((material, fingerprint)), Some(key)) = (made, key.take()) else {
        return Err(EC2.trouble(Trouble::Internal));
    };
    let pair = Pair {
        region: Some(region.to_owned()),
        name: name.to_owned(),
        id: EC2.new_pair_id(),
        fingerprint,
        public_key: key.public_key,
        created_by: CreatedBy::Create,
        created_at: now,
        resource_group: None,
        user: None,
        tags,
    };
    let mut answer = short(&pair);
    answer["keyMaterial"] = json!(material);
    inventory.pairs.push(pair);
    Ok(answer)
}

fn import(
    parameters: &Parameters,
    region: &str,
    inventory: &mut Inventory,
    now: SystemTime,
) -> Result<Value, Refusal> {
    let name = new_name(parameters, region, inventory)?;
    let tags = tags(parameters)?;
    let material = parameters
        .get("PublicKeyMaterial")
        .ok_or_else(|| missing("PublicKeyMaterial"))?;
    let line = STANDARD
        .decode(material)
        .ok()
        .and_then(|line| String::from_utf8(line).ok());
    let key = line
        .as_deref()
        .and_then(|line| public_key(line, &["ssh-ed25519", "ssh-rsa"]))
        .and_then(|key| {
            Some((
                fingerprint::of_import(&key).ok()?,
                line.as_deref()?.trim().to_owned(),
            ))
        });
    let (fingerprint, public_key) = key.ok_or_else(|| {
        let message = "Key is not in valid OpenSSH public key format";
        Refusal::new(400, "InvalidKey.Format", message)
    })?;
    let pair = Pair {
        region: Some(region.to_owned()),
        name: name.to_owned(),
        id: EC2.new_pair_id(),
        fingerprint,
        public_key,
        created_by: CreatedBy::Import,
        created_at: now,
        resource_group: None,
        user: None,
        tags,
    };
    let answer = short(&pair);
    inventory.pairs.push(pair);
    Ok(answer)
}

fn describe(parameters: &Parameters, region: &str, inventory: &Inventory) -> Result<Value, Refusal> {
    let names = numbered(parameters, "KeyName");
    let ids = numbered(parameters, "KeyPairId");
    let pairs = || inventory.of_region(Some(region));
    for name in &names {
        if !pairs().any(|pair| pair.name == *name) {
            return Err(not_found(name));
        }
    }
    for id in &ids {
        if !pairs().any(|pair| pair.id == *id) {
            return Err(not_found(id));
        }
    }
    let with_public_key = parameters.get("IncludePublicKey") == Some("true");
    let is_meant = |pair: &&Pair| {
        names.is_empty() && ids.is_empty() || names.contains(&&*pair.name) || ids.contains(&&*pair.id)
    };
    let items: Vec<Value> = pairs()
        .filter(is_meant)
        .map(|pair| {
            let mut item = short(pair);
            item["keyType"] = json!(if pair.public_key.starts_with("ssh-rsa") {
                "rsa"
            } else {
                "ed25519"
            });
            item["createTime"] = json!(humantime::format_rfc3339_millis(pair.created_at).to_string());
            if with_public_key {
                item["publicKey"] = json!(pair.public_key);
            }
            item
        })
        .collect();
    Ok(json!({ "keySet": { "item": items } }))
}

/// The instances of a pair, by the filter `key-name` alone.
fn instances(parameters: &Parameters, region: &str, inventory: &Inventory) -> Result<Value, Refusal> {
    if parameters.get("Filter.1.Name") != Some("key-name") {
        return Err(invalid("Filter"));
    }
    let names = numbered(parameters, "Filter.1.Value");
    let items: Vec<Value> = names
        .iter()
        .flat_map(|name| inventory.attached(Some(region), name))
        .map(|instance| {
            json!({
                "instanceId": instance.id,
                "keyName": instance.pair,
                "instanceState": { "name": if instance.running { "running" } else { "stopped" } },
            })
        })
        .collect();
    let reservations = items
        .into_iter()
        .map(|item| json!({ "instancesSet": { "item": item } }));
    Ok(json!({ "reservationSet": { "item": reservations.collect::<Vec<_>>() } }))
}

fn delete(parameters: &Parameters, region: &str, inventory: &mut Inventory) -> Result<Value, Refusal> {
    let (name, id) = (parameters.get("KeyName"), parameters.get("KeyPairId"));
    let wanted = name.or(id).ok_or_else(|| missing("KeyName"))?;
    let is_meant = |pair: &Pair| {
        pair.region.as_deref() == Some(region)
            && name.is_none_or(|name| pair.name == name)
            && id.is_none_or(|id| pair.id == id)
    };
    let found = inventory.pairs.iter().find(|pair| is_meant(pair));
    let id = found.map(|pair| pair.id.clone());
    if id.is_none() && inventory.settings.unknown_delete == UnknownDelete::Refuse {
        return Err(not_found(wanted));
    }
    inventory.pairs.retain(|pair| !is_meant(pair));
    Ok(match id {
        Some(id) => json!({ "return": true, "keyPairId": id }),
        None => json!({ "return": true }),
    })
}

/// What every answer tells of a pair.
fn short(pair: &Pair) -> Value {
    let tags: Vec<Value> = pair
        .tags
        .iter()
        .map(|tag| json!({ "key": tag.key, "value": tag.value }))
        .collect();
    json!({
        "keyPairId": pair.id,
        "keyName": pair.name,
        "keyFingerprint": pair.fingerprint,
        "tagSet": { "item": tags },
    })
}

/// A name that is free, where there is room. The vendor takes any text of up to 255 characters; its documents say ASCII,
/// its tools send others.
fn new_name<'a>(parameters: &'a Parameters, region: &str, inventory: &Inventory) -> Result<&'a str, Refusal> {
    let name = parameters.get("KeyName").ok_or_else(|| missing("KeyName"))?;
    if name.chars().count() > 255 || name.chars().any(char::is_control) {
        return Err(invalid("KeyName"));
    }
    if inventory.has(Some(region), name) {
        return Err(Refusal::new(
            400,
            "InvalidKeyPair.Duplicate",
            format!("The keypair '{name}' already exists."),
        ));
    }
    if inventory.is_full(Some(region)) {
        return Err(EC2.trouble(Trouble::Quota));
    }
    Ok(name)
}

/// `TagSpecification.1.Tag.1.Key`, `.Value` and so on.
fn tags(parameters: &Parameters) -> Result<Vec<Tag>, Refusal> {
    let mut tags = Vec::new();
    for number in 1.. {
        let part = |name| parameters.get(&format!("TagSpecification.1.Tag.{number}.{name}"));
        let Some(key) = part("Key") else { break };
        let value = part("Value").unwrap_or_default();
        if key.chars().count() > 127 || value.chars().count() > 256 || key.starts_with("aws:") {
            return Err(invalid("Tag"));
        }
        tags.push(Tag {
            key: key.to_owned(),
            value: value.to_owned(),
        });
    }
    if !tags.is_empty() && parameters.get("TagSpecification.1.ResourceType") != Some("key-pair") {
        return Err(invalid("TagSpecification.1.ResourceType"));
    }
    match tags.len() {
        0..=50 => Ok(tags),
        _ => Err(Refusal::new(
            400,
            "TagLimitExceeded",
            "A resource has at most 50 tags.",
        )),
    }
}

/// The values of `Name.1`, `Name.2` and so on, as far as the numbers go.
fn numbered<'a>(parameters: &'a Parameters, name: &str) -> Vec<&'a str> {
    (1..)
        .map_while(|number| parameters.get(&format!("{name}.{number}")))
        .collect()
}

fn invalid(parameter: &str) -> Refusal {
    let message = format!("The value of the parameter {parameter} is not valid.");
    Refusal::new(400, "InvalidParameterValue", message)
}

fn not_found(what: &str) -> Refusal {
    let message = format!("The key pair '{what}' does not exist");
    Refusal::new(400, "InvalidKeyPair.NotFound", message)
}
