//! Key pairs of Alibaba Cloud ENS (Edge Node Service), API version 2017-11-10.
//!
//! ENS is global: its calls have no region, and a pair's name is unique in the account. An imported key is `ssh-rsa`.
//! The vendor lists neither public keys nor the id of a pair that was just imported, so a pair is known by name and
//! fingerprint, and by id where one was given. One call deletes one pair. Pairs are attached to stopped instances, and no
//! call tells which instances name one.

use keyferry_alibaba::{Call, Product};
use keyferry_plugin::contract::{
    Attachment, Create, Credentials, Delete, ErrorKind, Import, List, Outcome, PairReference, ProviderError,
    Step,
};
use keyferry_plugin::error::ErrorRule;
use keyferry_plugin::{Answer, Provider, Turn};

keyferry_plugin::export!(AlibabaEns);

/// The provider.
#[derive(Clone, Copy, Debug)]
pub struct AlibabaEns;

impl Provider for AlibabaEns {
    fn create(&self, create: &Create, turn: &Turn<'_>) -> Answer {
        match ENS.answer(turn, "CreateKeyPair")? {
            None => Ok(call(turn, "CreateKeyPair")
                .parameter("KeyPairName", &*create.name)
                .capturing_private_key()
                .send()),
            Some(answer) => answer.pair_with_private_key(&create.name),
        }
    }

    fn import(&self, import: &Import, turn: &Turn<'_>) -> Answer {
        match ENS.answer(turn, "ImportKeyPair")? {
            None => Ok(call(turn, "ImportKeyPair")
                .parameter("KeyPairName", &*import.name)
                .parameter("PublicKeyBody", &*import.public_key)
                .send()),
            Some(answer) => answer.pair(&import.name),
        }
    }

    fn list(&self, list: &List, turn: &Turn<'_>) -> Answer {
        keyferry_alibaba::list(&ENS, list, turn, || call(turn, "DescribeKeyPairs"))
    }

    fn get(&self, pair: &PairReference, turn: &Turn<'_>) -> Answer {
        keyferry_alibaba::find(&ENS, &pair.name, turn, || {
            call(turn, "DescribeKeyPairs").parameter("KeyPairName", &*pair.name)
        })
    }

    fn delete(&self, delete: &Delete, turn: &Turn<'_>) -> Answer {
        let [pair] = &*delete.pairs else {
            return Err(ProviderError::new(
                ErrorKind::Unsupported,
                "ens deletes exactly one pair per call",
            ));
        };
        match ENS.answer(turn, "DeleteKeyPairs")? {
            None => Ok(call_for(turn, "DeleteKeyPairs", pair).send()),
            Some(_) => Ok(Step::done(Outcome::Deleted)),
        }
    }

    fn attach(&self, attachment: &Attachment, turn: &Turn<'_>) -> Answer {
        instances("AttachKeyPair", attachment, turn)
    }

    fn detach(&self, attachment: &Attachment, turn: &Turn<'_>) -> Answer {
        instances("DetachKeyPair", attachment, turn)
    }

    fn credentials(&self, credentials: &Credentials, turn: &Turn<'_>) -> Answer {
        keyferry_alibaba::credentials(credentials, turn)
    }

    fn profiles(&self, turn: &Turn<'_>) -> Answer {
        keyferry_alibaba::profiles(turn)
    }
}

fn instances(action: &str, attachment: &Attachment, turn: &Turn<'_>) -> Answer {
    ENS.attachment(action, attachment, turn, || {
        Ok(call_for(turn, action, &attachment.pair).listed("InstanceIds", &attachment.instances))
    })
}

const ENS: Product = Product {
    name: "ens",
    version: "2017-11-10",
    list_action: "DescribeKeyPairs",
    page_size: 50,
    most_instances: 30,
    errors: {
        use ErrorKind::*;
        &[
            ErrorRule::new("PubKeyNameExisted", AlreadyExists, "the name is taken"),
            ErrorRule::new(
                "PubKeyAttachedWithInstance",
                InUse,
                "the pair is bound to an instance: detach it first",
            ),
            ErrorRule::new("InvalidKeyPair.NotFound", NotFound, ""),
            ErrorRule::new("InvalidKeyPairId.NotFound", NotFound, ""),
            ErrorRule::new("InvalidKeyPairName.NotFound", NotFound, ""),
            ErrorRule::new("InvalidParameter*", Invalid, ""),
            ErrorRule::new("MissingParameter", Invalid, ""),
            // Something behind the API failed; what it did before is not known.
            ErrorRule::new("ens.interface.error", Unavailable, ""),
            ErrorRule::new("CallInterface", Unavailable, ""),
        ]
    },
};

fn call(turn: &Turn<'_>, action: &str) -> Call {
    ENS.call(turn, &host(turn.context.region.as_deref()), action)
}

/// The same for one pair: by its id where we know it, as the vendor prefers.
fn call_for(turn: &Turn<'_>, action: &str, pair: &PairReference) -> Call {
    let call = call(turn, action);
    match &pair.id {
        Some(id) => call.parameter("KeyPairId", &**id),
        None => call.parameter("KeyPairName", &*pair.name),
    }
}

/// Regions near the centre have no host of their own.
fn host(region: Option<&str>) -> String {
    match region {
        None
        | Some(
            "cn-beijing" | "cn-chengdu" | "cn-hangzhou" | "cn-heyuan" | "cn-shanghai" | "cn-wulanchabu"
            | "cn-zhangjiakou",
        ) => "ens.aliyuncs.com".to_owned(),
        Some(region) => format!("ens.{region}.aliyuncs.com"),
    }
}
