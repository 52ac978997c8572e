//! Key pairs of Alibaba Cloud ECS (Elastic Compute Service), API version 2014-05-26.
//!
//! A pair belongs to a region. The vendor makes RSA-2048 pairs and imports RSA and ECDSA keys. It has no idempotency
//! token: a lost answer to a create is a lost private key. An id is given at creation only, so a pair is known by name,
//! fingerprint and public key. An instance has one pair at most: attaching replaces it, takes effect at the next start, and
//! ends logins by password.

use keyferry_alibaba::{Call, Product};
use keyferry_plugin::contract::{
    Attachment, Create, Credentials, Delete, ErrorKind, Import, List, Outcome, PairReference, ProviderError,
    Step,
};
use keyferry_plugin::error::ErrorRule;
use keyferry_plugin::{Answer, Provider, Turn};
use serde_json::json;

keyferry_plugin::export!(AlibabaEcs);

/// The provider.
#[derive(Clone, Copy, Debug)]
pub struct AlibabaEcs;

impl Provider for AlibabaEcs {
    fn create(&self, create: &Create, turn: &Turn<'_>) -> Answer {
        match ECS.answer(turn, "CreateKeyPair")? {
            None => Ok(call(turn, "CreateKeyPair")?
                .parameter("KeyPairName", &*create.name)
                .optional("ResourceGroupId", turn.setting("resource_group"))
                .tags(turn)?
                .capturing_private_key()
                .send()),
            Some(answer) => answer.pair_with_private_key(&create.name),
        }
    }

    fn import(&self, import: &Import, turn: &Turn<'_>) -> Answer {
        match ECS.answer(turn, "ImportKeyPair")? {
            None => Ok(call(turn, "ImportKeyPair")?
                .parameter("KeyPairName", &*import.name)
                .parameter("PublicKeyBody", &*import.public_key)
                .optional("ResourceGroupId", turn.setting("resource_group"))
                .tags(turn)?
                .send()),
            Some(answer) => answer.pair(&import.name),
        }
    }

    fn list(&self, list: &List, turn: &Turn<'_>) -> Answer {
        let call = call(turn, "DescribeKeyPairs")?;
        keyferry_alibaba::list(&ECS, list, turn, || call.parameter("IncludePublicKey", "true"))
    }

    fn get(&self, pair: &PairReference, turn: &Turn<'_>) -> Answer {
        let call = call(turn, "DescribeKeyPairs")?.parameter("IncludePublicKey", "true");
        keyferry_alibaba::find(&ECS, &pair.name, turn, || {
            call.parameter("KeyPairName", &*pair.name)
        })
    }

    fn delete(&self, delete: &Delete, turn: &Turn<'_>) -> Answer {
        if delete.pairs.len() > MAX_DELETED {
            let message = format!("ecs deletes at most {MAX_DELETED} pairs per call");
            return Err(ProviderError::new(ErrorKind::Unsupported, message));
        }
        let names: Vec<String> = delete.pairs.iter().map(|pair| pair.name.clone()).collect();
        match ECS.answer(turn, "DeleteKeyPairs")? {
            None => Ok(call(turn, "DeleteKeyPairs")?
                .listed("KeyPairNames", &names)
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
        let answer = ECS.answer(turn, "DescribeInstances")?;
        let mut found: Vec<String> = match answer {
            None => Vec::new(),
            Some(_) => turn.state()?,
        };
        let call = call(turn, "DescribeInstances")?
            .parameter("KeyPairName", &*pair.name)
            .parameter("MaxResults", "100");
        let Some(answer) = answer else {
            return Ok(call.with_state(json!(found)).send());
        };
        let (here, next) = answer.instances_that_name(&pair.name)?;
        found.extend(here);
        match next {
            Some(token) => Ok(call.parameter("NextToken", token).with_state(json!(found)).send()),
            None => Ok(Step::done(Outcome::Instances(found))),
        }
    }

    fn credentials(&self, credentials: &Credentials, turn: &Turn<'_>) -> Answer {
        keyferry_alibaba::credentials(credentials, turn)
    }

    fn profiles(&self, turn: &Turn<'_>) -> Answer {
        keyferry_alibaba::profiles(turn)
    }
}

fn instances(action: &str, attachment: &Attachment, turn: &Turn<'_>) -> Answer {
    ECS.attachment(action, attachment, turn, || {
        Ok(call(turn, action)?
            .parameter("KeyPairName", &*attachment.pair.name)
            .listed("InstanceIds", &attachment.instances))
    })
}

/// The most names in one `DeleteKeyPairs`.
const MAX_DELETED: usize = 100;

const ECS: Product = Product {
    name: "ecs",
    version: "2014-05-26",
    list_action: "DescribeKeyPairs",
    page_size: 50,
    most_instances: 50,
    errors: {
        use ErrorKind::*;
        &[
            ErrorRule::new("KeyPair.AlreadyExist*", AlreadyExists, "the name is taken"),
            ErrorRule::new(
                "InvalidParameter.KeypairAlreadyAttachedInstance",
                InUse,
                "the pair is bound to an instance: detach it first",
            ),
            ErrorRule::new(
                "QuotaExceed*",
                Quota,
                "the region's limit of key pairs is reached: delete some, or ask the vendor for more",
            ),
            ErrorRule::new("InvalidKeyPair.NotFound", NotFound, ""),
            ErrorRule::new("InvalidKeyPairName.NotFound", NotFound, ""),
            ErrorRule::new("InvalidKeyPairName.Malformed", Invalid, ""),
            ErrorRule::new("InvalidKeyPairNames.ValueNotSupported", Invalid, ""),
            ErrorRule::new(
                "InvalidPublicKeyBody.Malformed",
                Invalid,
                "ecs takes no public key of this algorithm: choose another `algorithm` for the key",
            ),
            ErrorRule::new(
                "InvalidRegionId.NotFound",
                Invalid,
                "ecs has no such region: correct `region` of the account or the key",
            ),
            ErrorRule::new(
                "InvalidResourceGroup.NotFound",
                Invalid,
                "there is no such resource group: correct `resource_group` in the account's [settings]",
            ),
            ErrorRule::new("InstanceKeyPairLimitExceeded", Invalid, ""),
            ErrorRule::new("MissingParameter", Invalid, ""),
        ]
    },
};

fn call(turn: &Turn<'_>, action: &str) -> Result<Call, ProviderError> {
    let region = turn.region()?;
    Ok(ECS
        .call(turn, &host(region), action)
        .parameter("RegionId", region))
}

/// Every region has a host of its own, but for these.
fn host(region: &str) -> String {
    let host = match region {
        "cn-beijing-nu16-b01"
        | "cn-fujian"
        | "cn-haidian-cm12-c01"
        | "cn-hangzhou"
        | "cn-hangzhou-bj-b01"
        | "cn-hangzhou-internal-prod-1"
        | "cn-hangzhou-internal-test-1"
        | "cn-hangzhou-internal-test-2"
        | "cn-hangzhou-internal-test-3"
        | "cn-hangzhou-test-306"
        | "cn-shanghai-et15-b01"
        | "cn-shanghai-et2-b01"
        | "cn-shanghai-finance-1"
        | "cn-shanghai-internal-test-1"
        | "cn-shenzhen-finance-1"
        | "cn-shenzhen-st4-d01"
        | "cn-shenzhen-su18-b01"
        | "cn-zhangbei-na61-b01" => "ecs-cn-hangzhou.aliyuncs.com",
        "ap-northeast-2-pop"
        | "cn-beijing-finance-pop"
        | "cn-beijing-gov-1"
        | "cn-hangzhou-finance"
        | "cn-hongkong-finance-pop"
        | "cn-north-2-gov-1"
        | "cn-shanghai-inner"
        | "cn-shenzhen-inner"
        | "cn-wuhan"
        | "cn-yushanfang"
        | "cn-zhangbei"
        | "rus-west-1-pop" => "ecs.aliyuncs.com",
        "cn-edge-1" | "cn-huhehaote-nebula-1" | "cn-zhengzhou-nebula-1" => {
            "ecs.cn-qingdao-nebula.aliyuncs.com"
        }
        "cn-zhangjiakou-na62-a01" => "ecs.cn-zhangjiakou.aliyuncs.com",
        "eu-west-1-oxs" => "ecs.cn-shenzhen-cloudstone.aliyuncs.com",
        _ => return format!("ecs.{region}.aliyuncs.com"),
    };
    host.to_owned()
}
