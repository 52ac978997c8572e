//! Key pairs of Amazon EC2, API version 2016-11-15.
//!
//! A pair belongs to a region. The vendor makes Ed25519 and RSA-2048 pairs and imports Ed25519 and RSA keys. It has no
//! idempotency token: a lost answer to a create is a lost private key. A list comes in one piece. Deleting a pair that is
//! not there succeeds. Pairs are named by their names, which are unique; keyferry compares id and fingerprint before it
//! deletes one.
//!
//! Fingerprints: SHA-1 of the private key (PKCS#8) for RSA pairs made by the vendor, MD5 of the public key
//! (SubjectPublicKeyInfo) for imported ones, SHA-256 of OpenSSH's form for Ed25519. Services that speak the same API take
//! sums of the SubjectPublicKeyInfo throughout.

use keyferry_aws::{Answered, Call, Element, Service, tags};
use keyferry_plugin::contract::{
    Algorithm, Create, Credentials, Delete, ErrorKind, Import, List, Outcome, Pair, PairReference,
    ProviderError, Step,
};
use keyferry_plugin::error::ErrorRule;
use keyferry_plugin::recipe::{Expr, PRIVATE_KEY};
use keyferry_plugin::{Answer, Provider, Turn};
use serde_json::json;

keyferry_plugin::export!(AwsEc2);

/// The provider.
#[derive(Clone, Copy, Debug)]
pub struct AwsEc2;

impl Provider for AwsEc2 {
    fn create(&self, create: &Create, turn: &Turn<'_>) -> Answer {
        let key_type = match create.algorithm {
            Algorithm::Ed25519 => "ed25519",
            Algorithm::Rsa2048 => "rsa",
            other => {
                let message = format!("ec2 makes ed25519 and rsa-2048 pairs, not {other}");
                return Err(ProviderError::new(ErrorKind::Unsupported, message));
            }
        };
        match EC2.answer(turn, "CreateKeyPair")? {
            None => Ok(EC2
                .call(turn, "CreateKeyPair")?
                .parameter("KeyName", &*create.name)
                .parameter("KeyType", key_type)
                .tagged(KEY_PAIR, tags(turn))
                .capturing(PRIVATE_KEY, "CreateKeyPairResponse/keyMaterial")
                .send(turn)
                .into()),
            Some(answer) if answer.has_captured(PRIVATE_KEY) => made(&answer, &create.name),
            Some(answer) => Err(answer.blame("the answer holds no private key")),
        }
    }

    fn import(&self, import: &Import, turn: &Turn<'_>) -> Answer {
        match EC2.answer(turn, "ImportKeyPair")? {
            None => Ok(EC2
                .call(turn, "ImportKeyPair")?
                .parameter("KeyName", &*import.name)
                // The whole line is encoded once more.
                .parameter("PublicKeyMaterial", Expr::text(&*import.public_key).base64())
                .tagged(KEY_PAIR, tags(turn))
                .send(turn)
                .into()),
            Some(answer) => made(&answer, &import.name),
        }
    }

    fn list(&self, _: &List, turn: &Turn<'_>) -> Answer {
        match EC2.answer(turn, "DescribeKeyPairs")? {
            // Without public keys: five thousand pairs are to fit into one answer.
            None => Ok(EC2.call(turn, "DescribeKeyPairs")?.send(turn).into()),
            Some(answer) => Ok(Step::done(Outcome::Pairs(pairs(&answer)?))),
        }
    }

    fn get(&self, reference: &PairReference, turn: &Turn<'_>) -> Answer {
        let name = &*reference.name;
        let Some(answer) = EC2.answer(turn, "DescribeKeyPairs")? else {
            return Ok(EC2
                .call(turn, "DescribeKeyPairs")?
                .parameter("KeyName.1", name)
                .parameter("IncludePublicKey", "true")
                .send(turn)
                .into());
        };
        match pairs(&answer)?.into_iter().find(|pair| pair.name == name) {
            Some(pair) => Ok(Step::done(Outcome::Pair(pair))),
            None => {
                let message = format!("there is no pair named {name:?}");
                Err(answer.annotated(ProviderError::new(ErrorKind::NotFound, message)))
            }
        }
    }

    fn delete(&self, delete: &Delete, turn: &Turn<'_>) -> Answer {
        let [pair] = &*delete.pairs else {
            let message = "ec2 deletes one pair per call";
            return Err(ProviderError::new(ErrorKind::Unsupported, message));
        };
        match EC2.answer(turn, "DeleteKeyPair")? {
            None => Ok(EC2
                .call(turn, "DeleteKeyPair")?
                .parameter("KeyName", &*pair.name)
                .send(turn)
                .into()),
            Some(answer) if answer.root().text("return") == Some("true") => Ok(Step::done(Outcome::Deleted)),
            Some(answer) => Err(answer.blame("the answer does not say that the pair is deleted")),
        }
    }

    fn list_instances(&self, pair: &PairReference, turn: &Turn<'_>) -> Answer {
        let call = || -> Result<Call, ProviderError> {
            Ok(EC2
                .call(turn, "DescribeInstances")?
                .parameter("Filter.1.Name", "key-name")
                .parameter("Filter.1.Value.1", &*pair.name)
                .parameter("MaxResults", MAX_INSTANCES))
        };
        let Some(answer) = EC2.answer(turn, "DescribeInstances")? else {
            return Ok(call()?.with_state(json!([])).send(turn).into());
        };
        let mut found: Vec<String> = turn.state()?;
        let reservations = answer.root().items("reservationSet");
        let instances = reservations.flat_map(|reservation| reservation.items("instancesSet"));
        let living = instances.filter(|instance| {
            let state = instance.child("instanceState");
            state.and_then(|state| state.text("name")) != Some("terminated")
        });
        found.extend(living.filter_map(|instance| instance.text("instanceId").map(str::to_owned)));
        match answer.root().text("nextToken") {
            Some(token) => {
                let call = call()?.parameter("NextToken", token);
                Ok(call.with_state(json!(found)).send(turn).into())
            }
            None => Ok(Step::done(Outcome::Instances(found))),
        }
    }

    fn credentials(&self, credentials: &Credentials, turn: &Turn<'_>) -> Answer {
        keyferry_aws::credentials(credentials, turn)
    }

    fn profiles(&self, turn: &Turn<'_>) -> Answer {
        keyferry_aws::profiles(turn)
    }
}

/// The pair that was made or imported.
fn made(answer: &Answered<'_>, name: &str) -> Answer {
    match pair(answer.root()) {
        Some(pair) if pair.name == name => Ok(Step::done(Outcome::Pair(pair))),
        Some(pair) => Err(answer.blame(format!(
            "the answer is about a pair {:?}, not {name:?}",
            pair.name
        ))),
        None => Err(answer.blame("the answer names no pair")),
    }
}

fn pairs(answer: &Answered<'_>) -> Result<Vec<Pair>, ProviderError> {
    if answer.root().child("keySet").is_none() {
        return Err(answer.blame("the answer has no keySet"));
    }
    let pairs: Option<Vec<Pair>> = answer.root().items("keySet").map(pair).collect();
    pairs.ok_or_else(|| answer.blame("the answer has a pair without a name"))
}

fn pair(element: Element<'_>) -> Option<Pair> {
    let text = |name| element.text(name).map(str::to_owned);
    Some(Pair {
        name: text("keyName")?,
        id: text("keyPairId"),
        fingerprint: text("keyFingerprint"),
        public_key: text("publicKey"),
        created_at: text("createTime"),
    })
}

/// What tags say they are for.
const KEY_PAIR: &str = "key-pair";

/// The most instances in one answer.
const MAX_INSTANCES: &str = "1000";

const EC2: Service = Service {
    name: "ec2",
    version: "2016-11-15",
    errors: {
        use ErrorKind::*;
        const WRONG_KEY: &str =
            "ec2 takes ed25519 and rsa public keys: choose another `algorithm` for the key";
        &[
            ErrorRule::new("InvalidKeyPair.Duplicate", AlreadyExists, "the name is taken"),
            ErrorRule::new("InvalidKeyPair.NotFound", NotFound, ""),
            ErrorRule::new("InvalidKeyPair.Format", Invalid, WRONG_KEY),
            ErrorRule::new("InvalidKey.Format", Invalid, WRONG_KEY),
            ErrorRule::new(
                "KeyPairLimitExceeded",
                Quota,
                "the region's limit of key pairs is reached: delete some, or ask the vendor for more",
            ),
            ErrorRule::new(
                "TagLimitExceeded",
                Invalid,
                "too many tags: leave some out of `tags` in the account's [settings]",
            ),
        ]
    },
};
