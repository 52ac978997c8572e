//! `/v2.1/{project_id}/os-keypairs`, as Nova has it. Every access key is of one user, an administrator: it may name another
//! user, whose pairs are then asked about; else there are none but its own.

use serde_json::{Value, json};

use super::{CREATE, DELETE, ECS, LIST, MICROVERSION, REGION, fault};
use crate::inventory::{CreatedBy, Inventory, Pair, UnknownDelete};
use crate::keys::public_key;
use crate::refusal::Refusal;
use crate::vendor::{Answer, Call, Parameters, Trouble, Vendor as _, World};

/// The fields of a new pair, as parameters of the call.
pub(super) fn fields(body: &Value) -> Result<Vec<(String, String)>, Refusal> {
    let invalid = |message: &str| fault(400, "badRequest", message);
    let keypair = body["keypair"]
        .as_object()
        .ok_or_else(|| invalid("'keypair' is a required property"))?;
    let field = |(name, value): (&String, &Value)| match value.as_str() {
        Some(text) => Ok((name.clone(), text.to_owned())),
        None => Err(invalid(&format!("Invalid input for field/attribute {name}."))),
    };
    keypair.iter().map(field).collect()
}

/// Does what the call says. A key is taken out of the world only where a pair is made of it.
pub(super) fn perform(call: &Call, world: &mut World<'_>) -> Result<Answer, Refusal> {
    let parameters = &call.parameters;
    let region = parameters.get(REGION).unwrap_or_default();
    let microversion = parameters
        .get(MICROVERSION)
        .and_then(|number| number.parse().ok())
        .unwrap_or(1);
    let name = call.name.as_deref().unwrap_or_default();
    // Before, a query's is not looked at, and a new pair's is refused.
    let user = parameters.get("user_id").filter(|_| microversion >= NAMES_USERS);
    let owner = Owner {
        region,
        user: user.unwrap_or(USER),
    };
    match &*call.action {
        CREATE => create(parameters, name, owner, microversion, world),
        LIST => list(parameters, owner, microversion, world.inventory),
        DELETE => delete(name, owner, microversion, world.inventory),
        _ => show(name, owner, world.inventory),
    }
}

/// Whose pairs a call is about.
#[derive(Clone, Copy)]
struct Owner<'a> {
    region: &'a str,
    user: &'a str,
}

impl<'a> Owner<'a> {
    fn has(self, pair: &Pair) -> bool {
        pair.region.as_deref() == Some(self.region) && pair.user.as_deref().unwrap_or(USER) == self.user
    }

    fn pairs(self, inventory: &'a Inventory) -> impl Iterator<Item = &'a Pair> {
        inventory.pairs.iter().filter(move |pair| self.has(pair))
    }

    fn pair(self, inventory: &'a Inventory, name: &str) -> Result<&'a Pair, Refusal> {
        let pair = self.pairs(inventory).find(|pair| pair.name == name);
        pair.ok_or_else(|| {
            let message = format!("Keypair {name} not found for user {}", self.user);
            fault(404, "itemNotFound", &message)
        })
    }
}

fn create(
    parameters: &Parameters,
    name: &str,
    owner: Owner<'_>,
    microversion: u32,
    world: &mut World<'_>,
) -> Result<Answer, Refusal> {
    let invalid = |message: &str| fault(400, "badRequest", message);
    for (field, since) in [("type", 2), ("user_id", NAMES_USERS)] {
        if parameters.get(field).is_some() && microversion < since {
            return Err(invalid("Additional properties are not allowed"));
        }
    }
    if parameters.get("type").is_some_and(|kind| kind != "ssh") {
        return Err(invalid("Only keypairs of type ssh are here"));
    }
    if !is_pair_name(name) {
        return Err(invalid(
            "Keypair data is invalid: Keypair name contains unsafe characters",
        ));
    }
    if owner.pair(world.inventory, name).is_ok() {
        let message = format!("Key pair '{name}' already exists.");
        return Err(fault(409, "conflictingRequest", &message));
    }
    if owner.pairs(world.inventory).count() >= world.inventory.settings.quota {
        return Err(ECS.trouble(Trouble::Quota));
    }
    let mut pair = Pair {
        region: Some(owner.region.to_owned()),
        name: name.to_owned(),
        id: ECS.new_pair_id(),
        fingerprint: String::new(),
        public_key: String::new(),
        created_by: CreatedBy::Create,
        created_at: world.now,
        resource_group: None,
        user: Some(owner.user.to_owned()).filter(|user| user != USER),
        tags: Vec::new(),
    };
    let mut keypair = json!({ "name": name, "user_id": owner.user });
    // The field's presence decides, even where it is empty.
    let public_key_field = parameters.0.iter().find(|(field, _)| field == "public_key");
    match public_key_field {
        Some((_, text)) => {
            let key = public_key(text, &[""]).filter(|_| text.len() <= MAX_PUBLIC_KEY);
            let fingerprint = key.and_then(|key| ECS.fingerprint(&key).ok());
            pair.fingerprint = fingerprint
                .ok_or_else(|| invalid("Keypair data is invalid: failed to generate fingerprint"))?;
            pair.public_key = text.trim().to_owned();
            pair.created_by = CreatedBy::Import;
            // The vendor's example ends like this: an escaped line end, and a real one.
            keypair["public_key"] = json!(format!("{}\\n\n", pair.public_key));
        }
        None => {
            let form = world.inventory.settings.private_key_form;
            let body = world.key.as_ref().and_then(|key| key.private_key_body(form).ok());
            let (Some(body), Some(key)) = (body, world.key.take()) else {
                return Err(ECS.trouble(Trouble::Internal));
            };
            pair.fingerprint = ECS
                .fingerprint(&key.public)
                .map_err(|_| ECS.trouble(Trouble::Internal))?;
            pair.public_key = format!("{} Generated-by-Nova", key.public_key);
            keypair["public_key"] = json!(format!("{}\n", pair.public_key));
            keypair["private_key"] = json!(body);
        }
    }
    keypair["fingerprint"] = json!(pair.fingerprint);
    if microversion >= 2 {
        keypair["type"] = json!("ssh");
    }
    world.inventory.pairs.push(pair);
    let body = json!({ "keypair": keypair });
    Ok(Answer {
        status: if microversion < 2 { 200 } else { 201 },
        ..Answer::from(body)
    })
}

fn list(
    parameters: &Parameters,
    owner: Owner<'_>,
    microversion: u32,
    inventory: &Inventory,
) -> Result<Answer, Refusal> {
    let mut found: Vec<&Pair> = owner.pairs(inventory).collect();
    if microversion >= 35 {
        found.sort_by(|left, right| left.name.cmp(&right.name));
        let limit = match parameters.get("limit").map(str::parse) {
            None => MAX_LIMIT,
            Some(Ok(limit)) => MAX_LIMIT.min(limit),
            Some(Err(_)) => {
                return Err(fault(
                    400,
                    "badRequest",
                    "Invalid input for query parameters limit.",
                ));
            }
        };
        if let Some(marker) = parameters.get("marker") {
            if !found.iter().any(|pair| pair.name == marker) {
                return Err(fault(400, "badRequest", "marker not found"));
            }
            found.retain(|pair| pair.name.as_str() > marker);
        }
        found.truncate(limit);
    }
    let items: Vec<Value> = found
        .iter()
        .map(|pair| json!({ "keypair": item(pair) }))
        .collect();
    Ok(Answer::from(json!({ "keypairs": items })))
}

fn show(name: &str, owner: Owner<'_>, inventory: &Inventory) -> Result<Answer, Refusal> {
    let pair = owner.pair(inventory, name)?;
    let mut keypair = item(pair);
    let created_at = humantime::format_rfc3339_micros(pair.created_at).to_string();
    keypair["created_at"] = json!(created_at.trim_end_matches('Z'));
    keypair["deleted"] = json!(false);
    keypair["deleted_at"] = Value::Null;
    keypair["updated_at"] = Value::Null;
    keypair["user_id"] = json!(owner.user);
    keypair["id"] = json!(pair.id.parse::<u32>().unwrap_or_default());
    Ok(Answer::from(json!({ "keypair": keypair })))
}

fn delete(
    name: &str,
    owner: Owner<'_>,
    microversion: u32,
    inventory: &mut Inventory,
) -> Result<Answer, Refusal> {
    if inventory.settings.unknown_delete == UnknownDelete::Refuse {
        owner.pair(inventory, name)?;
    }
    inventory
        .pairs
        .retain(|pair| !(owner.has(pair) && pair.name == name));
    Ok(Answer {
        status: if microversion < 2 { 202 } else { 204 },
        ..Answer::from(Value::Null)
    })
}

fn item(pair: &Pair) -> Value {
    json!({
        "name": pair.name,
        "fingerprint": pair.fingerprint,
        "public_key": pair.public_key,
        "type": "ssh",
    })
}

/// 1 to 255 letters, digits, spaces, `_` and `-`, without spaces at the ends.
fn is_pair_name(name: &str) -> bool {
    let inside = |c: char| c.is_ascii_alphanumeric() || " _-".contains(c);
    (1..=255).contains(&name.len()) && name.chars().all(inside) && name.trim() == name
}

/// The microversion from which a request may name a user.
const NAMES_USERS: u32 = 10;

/// The user of every access key.
const USER: &str = "6fc0d2cbbfab40b199874b97097e913d";
const MAX_PUBLIC_KEY: usize = 1024;
const MAX_LIMIT: usize = 1000;
