//! Key pairs of ECS. An action on several elements succeeds as a whole; each has an error of its own.

use serde_json::{Value, json};

use super::sts::in_beijing;
use super::{ECS, REGION};
use crate::inventory::{CreatedBy, Inventory, Pair, Tag, UnknownDelete};
use crate::keys::{md5_hex, public_key};
use crate::refusal::Refusal;
use crate::vendor::{Call, Parameters, Trouble, Vendor as _, World};

/// What [`perform`] knows.
pub(super) const ACTIONS: [&str; 7] = [
    "AttachKeyPair",
    "CreateKeyPair",
    "DeleteKeyPairs",
    "DescribeInstances",
    "DescribeKeyPairs",
    "DetachKeyPair",
    "ImportKeyPair",
];

/// Does what the action says. A key is taken out of the world only where a pair is made of it.
pub(super) fn perform(call: &Call, world: &mut World<'_>) -> Result<Value, Refusal> {
    let parameters = &call.parameters;
    let region = parameters.get(REGION).unwrap_or_default();
    if parameters
        .get("ClientToken")
        .is_some_and(|token| token.len() > 64 || !token.is_ascii())
    {
        return Err(Refusal::new(
            400,
            "InvalidClientToken.Malformed",
            "The client token is malformed.",
        ));
    }
    match &*call.action {
        "CreateKeyPair" => create(parameters, region, world),
        "ImportKeyPair" => import(parameters, region, world),
        "DescribeKeyPairs" => describe(parameters, region, world.inventory),
        "DeleteKeyPairs" => delete(parameters, region, world.inventory),
        "DescribeInstances" => describe_instances(parameters, region, world.inventory),
        action => bind(action == "AttachKeyPair", parameters, region, world.inventory),
    }
}

fn create(parameters: &Parameters, region: &str, world: &mut World<'_>) -> Result<Value, Refusal> {
    let mut pair = new_pair(parameters, region, world)?;
    let form = world.inventory.settings.private_key_form;
    let body = world.key.as_ref().and_then(|key| key.private_key_body(form).ok());
    let fingerprint = world.key.as_ref().and_then(|key| md5_hex(&key.public).ok());
    let (Some(body), Some(fingerprint), Some(key)) = (body, fingerprint, world.key.take()) else {
        return Err(ECS.trouble(Trouble::Internal));
    };
    pair.fingerprint = fingerprint;
    pair.public_key = key.public_key;
    let mut answer = made(&pair);
    answer["PrivateKey"] = json!(body);
    world.inventory.pairs.push(pair);
    Ok(answer)
}

fn import(parameters: &Parameters, region: &str, world: &mut World<'_>) -> Result<Value, Refusal> {
    let text = required(parameters, "PublicKey")?;
    let mut pair = new_pair(parameters, region, world)?;
    let key = public_key(text, &[""]).and_then(|key| md5_hex(&key).ok());
    // The vendor does not publish the code.
    pair.fingerprint =
        key.ok_or_else(|| Refusal::new(400, "InvalidPublicKey.Malformed", "The public key is malformed."))?;
    pair.public_key = text.trim().to_owned();
    pair.created_by = CreatedBy::Import;
    let answer = made(&pair);
    world.inventory.pairs.push(pair);
    Ok(answer)
}

fn made(pair: &Pair) -> Value {
    json!({ "KeyPairId": pair.id, "KeyPairName": pair.name, "FingerPrint": pair.fingerprint })
}

fn describe(parameters: &Parameters, region: &str, inventory: &Inventory) -> Result<Value, Refusal> {
    let (names, ids) = (list(parameters, "KeyPairNames"), list(parameters, "KeyPairIds"));
    let is = |name: &str, value: &str| parameters.get(name).is_none_or(|wanted| wanted == value);
    let found: Vec<&Pair> = inventory
        .of_region(Some(region))
        .filter(|pair| {
            parameters
                .get("KeyPairName")
                .is_none_or(|part| pair.name.contains(part))
        })
        .filter(|pair| names.is_empty() || names.contains(&&*pair.name))
        .filter(|pair| ids.is_empty() || ids.contains(&&*pair.id))
        .filter(|pair| is("FingerPrint", &pair.fingerprint))
        .filter(|pair| is("ProjectName", project(pair)))
        .collect();
    let item = |pair: &&Pair| {
        let tags = pair
            .tags
            .iter()
            .map(|tag| json!({ "Key": tag.key, "Value": tag.value }));
        let mut item = made(pair);
        item["ProjectName"] = json!(project(pair));
        item["Tags"] = tags.collect();
        item["CreatedAt"] = json!(in_beijing(pair.created_at));
        item["UpdatedAt"] = item["CreatedAt"].clone();
        item
    };
    let (page, next) = page(parameters, &found, 500)?;
    Ok(json!({ "KeyPairs": page.iter().map(item).collect::<Value>(), "NextToken": next }))
}

fn describe_instances(
    parameters: &Parameters,
    region: &str,
    inventory: &Inventory,
) -> Result<Value, Refusal> {
    let found: Vec<_> = inventory
        .instances
        .iter()
        .filter(|instance| instance.region.as_deref() == Some(region))
        .filter(|instance| {
            let wanted = parameters.get("KeyPairName");
            wanted.is_none() || wanted == instance.pair.as_deref()
        })
        .collect();
    let (page, next) = page(parameters, &found, 100)?;
    let item =
        |pair: Option<&str>, id: &str| json!({ "InstanceId": id, "KeyPairName": pair.unwrap_or_default() });
    let items = page
        .iter()
        .map(|instance| item(instance.pair.as_deref(), &instance.id));
    Ok(json!({ "Instances": items.collect::<Value>(), "NextToken": next }))
}

fn delete(parameters: &Parameters, region: &str, inventory: &mut Inventory) -> Result<Value, Refusal> {
    let names = elements(parameters, "KeyPairNames")?;
    let mut details = Vec::new();
    for name in names {
        let is_unknown = !inventory.has(Some(region), name);
        // The vendor does not publish these codes.
        let error = if is_unknown && inventory.settings.unknown_delete == UnknownDelete::Refuse {
            error("InvalidKeyPairName.NotFound", "There is no such key pair.")
        } else if inventory.attached(Some(region), name).next().is_some() {
            error("InvalidKeyPair.InUse", "The key pair is bound to an instance.")
        } else {
            let pairs = &mut inventory.pairs;
            pairs.retain(|pair| pair.region.as_deref() != Some(region) || pair.name != name);
            Value::Null
        };
        details.push(json!({ "KeyPairName": name, "Error": error }));
    }
    Ok(json!({ "OperationDetails": details }))
}

fn bind(
    attach: bool,
    parameters: &Parameters,
    region: &str,
    inventory: &mut Inventory,
) -> Result<Value, Refusal> {
    let (id, name) = (parameters.get("KeyPairId"), parameters.get("KeyPairName"));
    let pair = inventory.of_region(Some(region)).find(|pair| match (id, name) {
        (Some(id), _) => pair.id == id,
        (None, name) => Some(&*pair.name) == name,
    });
    let Some(name) = pair.map(|pair| pair.name.clone()) else {
        return Err(Refusal::new(
            404,
            "InvalidKeyPair.NotFound",
            "There is no such key pair.",
        ));
    };
    let mut details = Vec::new();
    for id in elements(parameters, "InstanceIds")? {
        let error = match inventory.instance(Some(region), id) {
            None => error("InvalidInstance.NotFound", "There is no such instance."),
            Some(instance) => {
                if attach {
                    instance.pair = Some(name.clone());
                } else if instance.pair.as_ref() == Some(&name) {
                    instance.pair = None;
                }
                Value::Null
            }
        };
        details.push(json!({ "InstanceId": id, "Error": error }));
    }
    Ok(json!({ "OperationDetails": details }))
}

fn error(code: &str, message: &str) -> Value {
    json!({ "Code": code, "Message": message })
}

/// A pair that still lacks its key, if it may be made.
fn new_pair(parameters: &Parameters, region: &str, world: &World<'_>) -> Result<Pair, Refusal> {
    let name = required(parameters, "KeyPairName")?;
    let malformed = |what: &str| {
        Refusal::new(
            400,
            format!("Invalid{what}.Malformed"),
            format!("The {what} is malformed."),
        )
    };
    if !is_pair_name(name) {
        return Err(malformed("KeyPairName"));
    }
    let description = parameters.get("Description").unwrap_or_default();
    let in_description = |c: char| c.is_alphanumeric() || " ._-=,，。".contains(c);
    let starts_well = description.chars().next().is_none_or(char::is_alphabetic);
    if !starts_well || description.chars().count() > 255 || !description.chars().all(in_description) {
        return Err(malformed("KeyPairDescription"));
    }
    let project = parameters.get("ProjectName");
    let in_project = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if project.is_some_and(|project| project.len() > 64 || !project.chars().all(in_project)) {
        return Err(Refusal::new(
            404,
            "InvalidProject.NotFound",
            "There is no such project.",
        ));
    }
    if world.inventory.has(Some(region), name) {
        return Err(Refusal::new(
            409,
            "InvalidKeyPairName.Conflict",
            "The name is taken.",
        ));
    }
    if world.inventory.is_full(Some(region)) {
        return Err(ECS.trouble(Trouble::Quota));
    }
    let tag = |n: usize| {
        Some(Tag {
            key: parameters.get(&format!("Tags.{n}.Key"))?.to_owned(),
            value: parameters
                .get(&format!("Tags.{n}.Value"))
                .unwrap_or_default()
                .to_owned(),
        })
    };
    Ok(Pair {
        region: Some(region.to_owned()),
        name: name.to_owned(),
        id: ECS.new_pair_id(),
        fingerprint: String::new(),
        public_key: String::new(),
        created_by: CreatedBy::Create,
        created_at: world.now,
        resource_group: project.map(str::to_owned),
        user: None,
        tags: (1..).map_while(tag).collect(),
    })
}

/// 2 to 64 letters, digits, `_`, and single `-` and `.` between them. The rule that is written down has no `_`, but the
/// example beside it has.
fn is_pair_name(name: &str) -> bool {
    let inside = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    (2..=64).contains(&name.len())
        && name.chars().all(inside)
        && !["--", ".."].iter().any(|twice| name.contains(twice))
        && !name.starts_with(['-', '.'])
        && !name.ends_with(['-', '.'])
}

fn project(pair: &Pair) -> &str {
    pair.resource_group.as_deref().unwrap_or("default")
}

fn required<'a>(parameters: &'a Parameters, name: &str) -> Result<&'a str, Refusal> {
    let missing = || {
        Refusal::new(
            400,
            format!("MissingParameter.{name}"),
            format!("{name} is not supplied."),
        )
    };
    parameters.get(name).ok_or_else(missing)
}

/// `NAME.1`, `NAME.2` and so on.
fn list<'a>(parameters: &'a Parameters, name: &str) -> Vec<&'a str> {
    (1..)
        .map_while(|n| parameters.get(&format!("{name}.{n}")))
        .collect()
}

/// The same for what an action is done to: 1 to 100.
fn elements<'a>(parameters: &'a Parameters, name: &str) -> Result<Vec<&'a str>, Refusal> {
    match list(parameters, name) {
        few if (1..=100).contains(&few.len()) => Ok(few),
        _ => Err(Refusal::new(
            400,
            format!("MissingParameter.{name}"),
            format!("{name} takes 1 to 100."),
        )),
    }
}

/// A page, and the token of the one after it; empty after the last.
fn page<'a, T>(parameters: &Parameters, items: &'a [T], most: usize) -> Result<(&'a [T], String), Refusal> {
    let malformed = |name: &str| {
        Refusal::new(
            400,
            format!("Invalid{name}.Malformed"),
            format!("{name} is malformed."),
        )
    };
    let size = match parameters.get("MaxResults").map(str::parse) {
        None => 10,
        Some(Ok(size)) if (1..=most).contains(&size) => size,
        Some(_) => return Err(malformed("MaxResults")),
    };
    let start = match parameters.get("NextToken") {
        None => 0,
        Some(token) => token
            .strip_prefix("from-")
            .and_then(|start| start.parse().ok())
            .ok_or_else(|| malformed("NextToken"))?,
    };
    let start = items.len().min(start);
    let end = items.len().min(start + size);
    let next = if end < items.len() {
        format!("from-{end}")
    } else {
        String::new()
    };
    Ok((&items[start..end], next))
}
