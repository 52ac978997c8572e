//! What the suite must know of a vendor: how its cloud is named and reached, and which words it has for things.

use cloud_sim::{Credential, Service};
use serde_json::{Value, json};

/// One vendor.
pub(crate) struct Vendor {
    pub(crate) service: Service,
    pub(crate) region: &'static str,
    /// Lines of the account's file besides plugin, region, endpoint and credentials.
    pub(crate) account: &'static str,
    /// The credential fields of an access key.
    pub(crate) credentials: fn(&Credential) -> Value,
    /// An algorithm that it imports and that is quickly made.
    pub(crate) algorithm: &'static str,
    /// The name in the cloud's log of the call that makes a pair.
    pub(crate) create: &'static str,
    /// The same of the call that imports a public key.
    pub(crate) import: &'static str,
    /// The same of the call that lists.
    pub(crate) list: &'static str,
    /// The same of the call that deletes.
    pub(crate) delete: &'static str,
    /// The longest page that a list asks for; none where the vendor has no pages.
    pub(crate) page: Option<usize>,
    /// The longest name.
    pub(crate) longest_name: usize,
    /// A name whose first character the vendor does not take; none where it takes any.
    pub(crate) bad_first: Option<&'static str>,
    /// Whether pairs belong to a region.
    pub(crate) has_regions: bool,
    /// Its code for a name that is taken.
    pub(crate) duplicate: Option<&'static str>,
    /// Its code for one pair too many.
    pub(crate) quota: Option<&'static str>,
    /// Its code for a wrong secret.
    pub(crate) wrong_secret: Option<&'static str>,
    /// Its code for what the access key may not do (with status 403), and the permission that an import needs.
    pub(crate) lacking: (&'static str, &'static str),
    /// Its code for a token that has expired.
    pub(crate) expired_token: Option<&'static str>,
}

pub(crate) const ALIBABA_ECS: Vendor = Vendor {
    service: Service::AlibabaEcs,
    region: "cn-hangzhou",
    account: "",
    credentials: alibaba,
    algorithm: "ecdsa-p256",
    create: "CreateKeyPair",
    import: "ImportKeyPair",
    list: "DescribeKeyPairs",
    delete: "DeleteKeyPairs",
    page: Some(50),
    longest_name: 128,
    bad_first: Some("1st-key"),
    has_regions: true,
    duplicate: Some("KeyPair.AlreadyExist"),
    quota: Some("QuotaExceed.KeyPair"),
    wrong_secret: Some("SignatureDoesNotMatch"),
    lacking: ("Forbidden.RAM", "ecs:ImportKeyPair"),
    expired_token: Some("InvalidSecurityToken.Expired"),
};

pub(crate) const ALIBABA_ENS: Vendor = Vendor {
    service: Service::AlibabaEns,
    algorithm: "rsa-2048",
    has_regions: false,
    duplicate: Some("PubKeyNameExisted"),
    lacking: ("Forbidden.RAM", "ens:ImportKeyPair"),
    ..ALIBABA_ECS
};

fn alibaba(key: &Credential) -> Value {
    fields(key, "access_key_id", "access_key_secret", "security_token")
}

/// An object of these fields; the token only where there is one.
fn fields(key: &Credential, id: &str, secret: &str, token: &str) -> Value {
    let mut fields = json!({id: key.access_key, secret: key.secret_key});
    if let Some(value) = &key.session_token {
        fields[token] = json!(value);
    }
    fields
}

pub(crate) const ALIBABA_SWAS: Vendor = Vendor {
    service: Service::AlibabaSwas,
    algorithm: "rsa-2048",
    list: "ListKeyPairs",
    page: Some(10),
    longest_name: 64,
    duplicate: Some("KeyPairNameAlreadyExist"),
    lacking: ("Forbidden.RAM", "swas-open:ImportKeyPair"),
    ..ALIBABA_ECS
};

pub(crate) const AWS_EC2: Vendor = Vendor {
    service: Service::AwsEc2,
    region: "eu-central-1",
    credentials: aws,
    algorithm: "ed25519",
    delete: "DeleteKeyPair",
    page: None,
    longest_name: 255,
    bad_first: None,
    duplicate: Some("InvalidKeyPair.Duplicate"),
    quota: Some("KeyPairLimitExceeded"),
    lacking: ("UnauthorizedOperation", "ec2:ImportKeyPair"),
    expired_token: Some("RequestExpired"),
    ..ALIBABA_ECS
};

fn aws(key: &Credential) -> Value {
    fields(key, "access_key_id", "secret_access_key", "session_token")
}

pub(crate) const HUAWEI_ECS: Vendor = Vendor {
    service: Service::HuaweiEcs,
    region: "cn-north-4",
    algorithm: "rsa-2048",
    create: "NovaCreateKeypair",
    import: "NovaCreateKeypair",
    list: "NovaListKeypairs",
    delete: "NovaDeleteKeypair",
    page: Some(100),
    longest_name: 64,
    duplicate: None,
    quota: None,
    wrong_secret: None,
    lacking: ("APIGW.0302", "ecs:serverKeypairs:create"),
    expired_token: None,
    ..ALIBABA_ECS
};

/// An administrator's account, whose pairs are another user's.
pub(crate) const HUAWEI_ECS_FOR_A_USER: Vendor = Vendor {
    account: "settings.user_id = \"u1\"",
    ..HUAWEI_ECS
};

pub(crate) const VOLCENGINE_ECS: Vendor = Vendor {
    service: Service::VolcengineEcs,
    region: "cn-beijing",
    algorithm: "rsa-2048",
    page: Some(100),
    longest_name: 64,
    duplicate: Some("InvalidKeyPairName.Conflict"),
    lacking: ("AccessDenied", "ecs:ImportKeyPair"),
    quota: Some("LimitExceeded.MaximumKeyPairs"),
    expired_token: Some("InvalidSecurityToken"),
    ..ALIBABA_ECS
};
