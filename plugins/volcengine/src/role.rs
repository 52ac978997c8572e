//! STS `AssumeRole`: a profile's own access key is exchanged for a role's temporary one.

use keyferry_plugin::contract::{ErrorKind, ProviderError, Step};
use keyferry_plugin::signing::DocumentKey;
use keyferry_plugin::{Answer, Turn};
use serde_json::json;

use crate::credentials::{Search, temporary};
use crate::{ACCESS_KEY, SECURITY_TOKEN, Service};

const STS: Service = Service {
    code: "sts",
    version: "2018-01-01",
    errors: &[],
};

const HOST: &str = "sts.volcengineapi.com";

/// STS has one host for all regions; this is the region that the vendor's SDK signs for there.
const REGION: &str = "cn-north-1";

const ACTION: &str = "AssumeRole";

/// Seconds that the temporary key is good for.
const DURATION: &str = "3600";

/// Asks for a temporary key of this role.
pub(crate) fn assume(search: Search, turn: &Turn<'_>, key: DocumentKey<'_>, role_trn: &str) -> Step {
    STS.call(turn, HOST, REGION, ACTION)
        .parameter("DurationSeconds", DURATION)
        .parameter("RoleSessionName", format!("keyferry-{}", turn.context.nonce))
        .parameter("RoleTrn", role_trn)
        .capturing(ACCESS_KEY.secret, "/Result/Credentials/SecretAccessKey")
        .capturing(SECURITY_TOKEN, "/Result/Credentials/SessionToken")
        .with_state(json!(search))
        .send_signed(&key)
}

/// The temporary key.
pub(crate) fn assumed(search: Search, turn: &Turn<'_>) -> Answer {
    let Some(answered) = STS.answer(turn, ACTION)? else {
        return Err(ProviderError::new(
            ErrorKind::Internal,
            "the role was not asked for",
        ));
    };
    let credentials = &answered.result["Credentials"];
    let kept = [ACCESS_KEY.secret, SECURITY_TOKEN]
        .into_iter()
        .all(|name| answered.has_captured(name));
    match credentials["AccessKeyId"].as_str() {
        Some(id) if kept => Ok(temporary(search, id, credentials["ExpiredTime"].as_str())),
        _ => Err(answered.garbled("the answer to AssumeRole holds no access key".to_owned())),
    }
}
