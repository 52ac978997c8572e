//! Key pairs of Volcengine ECS (Elastic Compute Service), API version 2020-04-01.
//!
//! A pair belongs to a region, which is in the signature alone. The vendor makes RSA-2048 pairs. It never gives a public
//! key back: a pair is known by name, id and fingerprint. Actions on several pairs or instances succeed as a whole even
//! where each of them failed, so each element's own error counts.

use keyferry_plugin::contract::{
    Attachment, Create, Credentials, Delete, ErrorKind, Import, InstanceResult, List, Outcome, Pair,
    PairReference, ProviderError, Step,
};
use keyferry_plugin::error::ErrorRule;
use keyferry_plugin::recipe::PRIVATE_KEY;
use keyferry_plugin::reply::text;
use keyferry_plugin::{Answer, Provider, Turn};
use keyferry_volcengine::{Answered, Call, Page, Service};
use serde_json::Value;

keyferry_plugin::export!(VolcengineEcs);

/// The provider.
#[derive(Clone, Copy, Debug)]
pub struct VolcengineEcs;

impl Provider for VolcengineEcs {
    fn create(&self, create: &Create, turn: &Turn<'_>) -> Answer {
        match ECS.answer(turn, "CreateKeyPair")? {
            None => Ok(new_pair(turn, "CreateKeyPair", &create.name)?
                .capturing_private_key()
                .send(turn)),
            // The vendor does not say whether an answer that is given again holds it again.
            Some(answered) if !answered.has_captured(PRIVATE_KEY) => {
                Err(answered.garbled("the answer holds no private key".to_owned()))
            }
            Some(answered) => made(&answered, &create.name),
        }
    }

    fn import(&self, import: &Import, turn: &Turn<'_>) -> Answer {
        match ECS.answer(turn, "ImportKeyPair")? {
            None => Ok(new_pair(turn, "ImportKeyPair", &import.name)?
                .parameter("PublicKey", &*import.public_key)
                .send(turn)),
            Some(answered) => made(&answered, &import.name),
        }
    }

    fn list(&self, list: &List, turn: &Turn<'_>) -> Answer {
        let size = list
            .page_size
            .unwrap_or(PAIRS_PER_PAGE)
            .clamp(1, MAX_PAIRS_PER_PAGE);
        let describe = || Ok(call(turn, "DescribeKeyPairs")?.parameter("MaxResults", size.to_string()));
        let Some(answered) = ECS.answer(turn, "DescribeKeyPairs")? else {
            return Ok(describe()?.send(turn));
        };
        let pairs = pairs(&answered)?;
        match Page::this(turn)?.next(&answered)? {
            Some(page) => Ok(page.of(describe()?).emitting(pairs).send(turn)),
            None => Ok(Step::done(Outcome::Pairs(pairs))),
        }
    }

    fn get(&self, pair: &PairReference, turn: &Turn<'_>) -> Answer {
        // `KeyPairName` would find names that are only like it.
        let describe = || Ok(call(turn, "DescribeKeyPairs")?.list("KeyPairNames", [&*pair.name]));
        let Some(answered) = ECS.answer(turn, "DescribeKeyPairs")? else {
            return Ok(describe()?.send(turn));
        };
        if let Some(found) = pairs(&answered)?
            .into_iter()
            .find(|found| found.name == pair.name)
        {
            return Ok(Step::done(Outcome::Pair(found)));
        }
        match Page::this(turn)?.next(&answered)? {
            Some(page) => Ok(page.of(describe()?).send(turn)),
            None => {
                let message = format!("there is no pair named {:?}", pair.name);
                Err(answered.blame(ProviderError::new(ErrorKind::NotFound, message)))
            }
        }
    }

    fn delete(&self, delete: &Delete, turn: &Turn<'_>) -> Answer {
        at_most(delete.pairs.len(), "pairs")?;
        let Some(answered) = ECS.answer(turn, "DeleteKeyPairs")? else {
            let names = delete.pairs.iter().map(|pair| pair.name.as_str());
            return Ok(call(turn, "DeleteKeyPairs")?
                .parameter("ClientToken", &*turn.context.idempotency_token)
                .list("KeyPairNames", names)
                .send(turn));
        };
        let details = answered.details("KeyPairName")?;
        for pair in &delete.pairs {
            match details.iter().find(|(name, _)| *name == pair.name) {
                Some((_, None)) => {}
                Some((_, Some(error))) => return Err(error.clone()),
                None => return Err(answered.garbled(format!("the answer does not speak of {:?}", pair.name))),
            }
        }
        Ok(Step::done(Outcome::Deleted))
    }

    fn attach(&self, attachment: &Attachment, turn: &Turn<'_>) -> Answer {
        bind("AttachKeyPair", attachment, turn)
    }

    fn detach(&self, attachment: &Attachment, turn: &Turn<'_>) -> Answer {
        bind("DetachKeyPair", attachment, turn)
    }

    fn list_instances(&self, pair: &PairReference, turn: &Turn<'_>) -> Answer {
        let describe = || {
            Ok(call(turn, "DescribeInstances")?
                .parameter("KeyPairName", &*pair.name)
                .parameter("MaxResults", MAX_INSTANCES_PER_PAGE.to_string()))
        };
        let Some(answered) = ECS.answer(turn, "DescribeInstances")? else {
            return Ok(describe()?.send(turn));
        };
        let mut page = Page::this(turn)?;
        for instance in answered.items("Instances")? {
            let is_its_pair = instance["KeyPairName"]
                .as_str()
                .is_none_or(|name| name == pair.name);
            page.found.extend(
                text(instance, "InstanceId")?
                    .filter(|_| is_its_pair)
                    .map(str::to_owned),
            );
        }
        let found = page.found.clone();
        match page.next(&answered)? {
            Some(page) => Ok(page.of(describe()?).send(turn)),
            None => Ok(Step::done(Outcome::Instances(found))),
        }
    }

    fn credentials(&self, credentials: &Credentials, turn: &Turn<'_>) -> Answer {
        keyferry_volcengine::credentials(credentials, turn)
    }

    fn profiles(&self, turn: &Turn<'_>) -> Answer {
        keyferry_volcengine::profiles(turn)
    }
}

/// The most names or instances in one call.
const MAX_ELEMENTS: usize = 100;

const PAIRS_PER_PAGE: u32 = 100;
const MAX_PAIRS_PER_PAGE: u32 = 500;
const MAX_INSTANCES_PER_PAGE: u32 = 100;

/// Regions with a host of their own; the others share one.
const OWN_HOSTS: [&str; 5] = [
    "ap-southeast-2",
    "ap-southeast-3",
    "cn-beijing-autodriving",
    "cn-beijing-selfdrive",
    "cn-shanghai-autodriving",
];

const ECS: Service = Service {
    code: "ecs",
    version: "2020-04-01",
    errors: {
        use ErrorKind::*;
        &[
            ErrorRule::new("InvalidKeyPairName.Conflict", AlreadyExists, "the name is taken"),
            ErrorRule::new(
                "LimitExceeded.MaximumKeyPairs",
                Quota,
                "the region's limit of key pairs is reached: delete some, or ask the vendor for more",
            ),
            // The vendor publishes no code for a bound pair, only that it is not deleted.
            ErrorRule::new(
                "*InUse*",
                InUse,
                "the pair is bound to an instance: detach it first",
            ),
            ErrorRule::new("InvalidKeyPair.NotFound", NotFound, ""),
            ErrorRule::new("InvalidKeyPairId.NotFound", NotFound, ""),
            ErrorRule::new("InvalidKeyPairName.NotFound", NotFound, ""),
            ErrorRule::new("InvalidKeyPairName.Malformed", Invalid, ""),
            ErrorRule::new(
                "InvalidKeyPairDescription.Malformed",
                Invalid,
                "the vendor does not take this description: correct `description` in the account's [settings]",
            ),
            ErrorRule::new(
                "InvalidProject.NotFound",
                Invalid,
                "there is no such project: correct `project` in the account's [settings]",
            ),
            ErrorRule::new("InvalidInstance.NotFound", Invalid, "there is no such instance"),
            ErrorRule::new("InvalidClientToken.Malformed", Invalid, ""),
            ErrorRule::new("IdempotentParameterMismatch", Invalid, ""),
            ErrorRule::new("MissingParameter*", Invalid, ""),
        ]
    },
};

fn call(turn: &Turn<'_>, action: &str) -> Result<Call, ProviderError> {
    let region = turn.region()?;
    let host = match OWN_HOSTS.contains(&region) {
        true => format!("ecs.{region}.volcengineapi.com"),
        false => "open.volcengineapi.com".to_owned(),
    };
    Ok(ECS.call(turn, &host, region, action))
}

/// The call that makes a pair, with what the account's settings say about new ones.
fn new_pair(turn: &Turn<'_>, action: &str, name: &str) -> Result<Call, ProviderError> {
    let at_an_end = |c: &str| name.starts_with(c) || name.ends_with(c);
    if ["-", "."].into_iter().any(at_an_end) || name.contains("--") || name.contains("..") {
        let message =
            format!("{name:?} is no name for a pair: no `-` or `.` at an end, and no two of them together");
        return Err(ProviderError::new(ErrorKind::Invalid, message));
    }
    let call = call(turn, action)?
        .parameter("ClientToken", &*turn.context.idempotency_token)
        .parameter("KeyPairName", name)
        .optional("Description", turn.setting("description"))
        .optional("ProjectName", turn.setting("project"));
    let tags = turn.context.settings.get("tags").and_then(Value::as_object);
    let tags = tags.into_iter().flatten().zip(1..);
    Ok(tags.fold(call, |call, ((key, value), n)| {
        call.parameter(&format!("Tags.{n}.Key"), key)
            .parameter(&format!("Tags.{n}.Value"), value.as_str().unwrap_or_default())
    }))
}

fn bind(action: &str, attachment: &Attachment, turn: &Turn<'_>) -> Answer {
    at_most(attachment.instances.len(), "instances")?;
    let Some(answered) = ECS.answer(turn, action)? else {
        let instances = attachment.instances.iter().map(String::as_str);
        return Ok(call(turn, action)?
            .parameter("ClientToken", &*turn.context.idempotency_token)
            .parameter("KeyPairName", &*attachment.pair.name)
            .optional("KeyPairId", attachment.pair.id.as_deref())
            .list("InstanceIds", instances)
            .send(turn));
    };
    let details = answered.details("InstanceId")?;
    let result = |instance: &String| InstanceResult {
        instance: instance.clone(),
        error: match details.iter().find(|(id, _)| id == instance) {
            Some((_, error)) => error.clone(),
            None => Some(answered.garbled(format!("the answer does not speak of {instance:?}"))),
        },
    };
    let results = attachment.instances.iter().map(result).collect();
    Ok(Step::done(Outcome::Attached(results)))
}

fn at_most(count: usize, what: &str) -> Result<(), ProviderError> {
    match count {
        0..=MAX_ELEMENTS => Ok(()),
        _ => Err(ProviderError::new(
            ErrorKind::Unsupported,
            format!("ecs takes at most {MAX_ELEMENTS} {what} per call"),
        )),
    }
}

fn pairs(answered: &Answered<'_>) -> Result<Vec<Pair>, ProviderError> {
    let pairs: Result<_, _> = answered.items("KeyPairs")?.iter().map(pair).collect();
    pairs.map_err(|error| answered.blame(error))
}

fn pair(object: &Value) -> Result<Pair, ProviderError> {
    let field = |name| {
        Ok(text(object, name)?
            .filter(|text| !text.is_empty())
            .map(str::to_owned))
    };
    let unnamed = || ProviderError::new(ErrorKind::Internal, "the answer names no pair");
    Ok(Pair {
        name: field("KeyPairName")?.ok_or_else(unnamed)?,
        id: field("KeyPairId")?,
        fingerprint: field("FingerPrint")?,
        public_key: None,
        created_at: field("CreatedAt")?,
    })
}

/// The new pair that this answer describes.
fn made(answered: &Answered<'_>, name: &str) -> Answer {
    let pair = pair(&answered.result).map_err(|error| answered.blame(error))?;
    match pair.name == name {
        true => Ok(Step::done(Outcome::Pair(pair))),
        false => Err(answered.garbled(format!(
            "the answer is about a pair {:?}, not {name:?}",
            pair.name
        ))),
    }
}
