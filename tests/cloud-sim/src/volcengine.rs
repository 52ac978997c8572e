//! Volcengine: `GET /` with everything in the query, signed with `HMAC-SHA256`. STS answers on the same port.

use std::time::SystemTime;

use serde_json::{Value, json};

use crate::inventory::{Settings, UnknownDelete, random_hex};
use crate::keys::PrivateKeyForm;
use crate::refusal::Refusal;
use crate::vendor::{
    Answer, Asked, Call, Claim, Credential, Outline, Parameters, Trouble, Vendor, World, Written,
};
use crate::wire::Request;

mod ecs;
mod signature;
mod sts;

/// Elastic Compute Service, 2020-04-01, and STS, 2018-01-01.
pub(crate) static ECS: Ecs = Ecs;

/// See [`ECS`].
pub(crate) struct Ecs;

impl Vendor for Ecs {
    fn outline(&self, request: &Request) -> Outline {
        let parameters = Parameters(request.parameters().unwrap_or_default());
        let name = ["KeyPairName", "KeyPairNames.1", "KeyPairId"]
            .into_iter()
            .find_map(|name| parameters.get(name));
        Outline {
            action: parameters.get("Action").unwrap_or_default().to_owned(),
            access_key: signature::access_key(request).unwrap_or_default(),
            name: name.map(str::to_owned),
            parameters: business(&parameters).0,
        }
    }

    fn verify(&self, request: &Request, keyring: &[Credential], now: SystemTime) -> Result<Claim, Refusal> {
        signature::verify(request, keyring, now)
    }

    fn route(&self, request: &Request, claim: &Claim) -> Result<Call, Refusal> {
        let parameters = request
            .parameters()
            .map_err(|error| Refusal::new(400, "InvalidParameter", error.to_string()))?;
        let parameters = Parameters(parameters);
        let action = parameters.get("Action").unwrap_or_default().to_owned();
        let scope = signature::scope(request).ok_or_else(no_such_action)?;
        let known = match (scope.service.as_str(), parameters.get("Version")) {
            ("ecs", Some("2020-04-01")) => ecs::ACTIONS.contains(&&*action),
            ("sts", Some("2018-01-01")) => action == sts::ACTION,
            ("ecs" | "sts", _) => false,
            _ => return Err(Refusal::new(404, "ServiceNotFound", "There is no such service.")),
        };
        if request.method != "GET" || request.path() != "/" || !known {
            return Err(no_such_action());
        }
        let name = parameters.get("KeyPairName").or(parameters.get("KeyPairNames.1"));
        let name = name.map(str::to_owned);
        let mut parameters = business(&parameters);
        // Where pairs belong is in the signature alone.
        parameters.0.push((REGION.to_owned(), scope.region));
        Ok(Call {
            action,
            name,
            parameters,
            access_key: claim.access_key.clone(),
        })
    }

    fn wants_key(&self, call: &Call) -> bool {
        call.action == "CreateKeyPair"
    }

    fn changes(&self, call: &Call) -> bool {
        !call.action.starts_with("Describe") && call.action != sts::ACTION
    }

    fn client_token<'a>(&self, call: &'a Call) -> Option<&'a str> {
        call.parameters.get("ClientToken").filter(|_| self.changes(call))
    }

    fn perform(&self, call: &Call, mut world: World<'_>) -> Result<Answer, Refusal> {
        let result = match &*call.action {
            sts::ACTION => sts::assume_role(call, &mut world)?,
            _ => ecs::perform(call, &mut world)?,
        };
        Ok(Answer::from(result))
    }

    fn write(&self, asked: &Asked<'_>, result: Result<&Answer, &Refusal>) -> Written {
        let parameters = Parameters(asked.request.parameters().unwrap_or_default());
        let scope = signature::scope(asked.request);
        let mut metadata = json!({
            "RequestId": asked.request_id.replace('-', ""),
            "Action": asked.action,
            "Version": parameters.get("Version").unwrap_or_default(),
            "Service": scope.as_ref().map_or("", |scope| &scope.service),
            "Region": scope.as_ref().map_or("", |scope| &scope.region),
        });
        let mut headers = Vec::new();
        let (status, body) = match result {
            Ok(answer) => (
                answer.status,
                json!({ "ResponseMetadata": metadata, "Result": answer.body }),
            ),
            Err(refusal) => {
                if let Some(milliseconds) = refusal.retry_after_ms {
                    headers.push(("retry-after", milliseconds.div_ceil(1000).to_string()));
                }
                metadata["Error"] = json!({ "Code": refusal.code, "Message": refusal.message });
                if let Some((_, number)) = GATEWAY_CODES.iter().find(|(code, _)| *code == refusal.code) {
                    metadata["Error"]["CodeN"] = json!(number);
                }
                (
                    refusal.status,
                    json!({ "ResponseMetadata": metadata, "Result": Value::Null }),
                )
            }
        };
        Written {
            status,
            content_type: "application/json; charset=utf-8",
            headers,
            body: body.to_string(),
        }
    }

    fn trouble(&self, trouble: Trouble) -> Refusal {
        let (status, code, message) = match trouble {
            Trouble::Internal => (500, "InternalError", "An internal error has occurred."),
            Trouble::Quota => (
                400,
                "LimitExceeded.MaximumKeyPairs",
                "The region has as many key pairs as it may have.",
            ),
            Trouble::Replayed => (400, "InvalidTimestamp", "The request was sent before."),
            Trouble::Throttled { retry_after_ms } => {
                return Refusal {
                    retry_after_ms,
                    // The vendor does not publish the exact name.
                    ..Refusal::new(429, "AccountFlowLimitExceeded", "Too many requests.")
                };
            }
            Trouble::TokenUsed => (
                400,
                "IdempotentParameterMismatch",
                "The client token was used with other parameters.",
            ),
            Trouble::Unavailable => (503, "ServiceUnavailable", "The service is not available."),
        };
        Refusal::new(status, code, message)
    }

    fn settings(&self) -> Settings {
        Settings {
            quota: 500,
            private_key_form: PrivateKeyForm::Pem,
            unknown_delete: UnknownDelete::Refuse,
        }
    }

    fn new_pair_id(&self) -> String {
        format!("kp-{}", random_hex::<10>())
    }
}

/// The parameter by which a call carries the region of its signature.
const REGION: &str = "(region)";

/// Codes of the gateway, which have numbers too.
const GATEWAY_CODES: [(&str, u32); 5] = [
    ("MissingSignature", 100_005),
    ("InvalidTimestamp", 100_006),
    ("InvalidActionOrVersion", 100_008),
    ("InvalidAccessKey", 100_009),
    ("SignatureDoesNotMatch", 100_010),
];

fn business(parameters: &Parameters) -> Parameters {
    let is_business = |(name, _): &&(String, String)| name != "Action" && name != "Version";
    Parameters(parameters.0.iter().filter(is_business).cloned().collect())
}

fn no_such_action() -> Refusal {
    Refusal::new(
        404,
        "InvalidActionOrVersion",
        "There is no such action in this version.",
    )
}
