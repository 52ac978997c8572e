//! Alibaba Cloud: calls in RPC style, signed with ACS3-HMAC-SHA256 or, by old SDKs, with HMAC-SHA1.

use std::time::SystemTime;

use serde_json::{Value, json};

use crate::inventory::{Settings, UnknownDelete, random_hex};
use crate::keys::PrivateKeyForm;
use crate::refusal::Refusal;
use crate::vendor::{Answer, Asked, Call, Claim, Credential, Outline, Trouble, Vendor, World, Written};
use crate::wire::{Request, write_xml};

mod attachment;
mod ecs;
mod ens;
mod rules;
mod signature;
mod sts;
mod swas;

use rules::without_protocol;
use signature::Scheme;

/// Elastic Compute Service.
pub(crate) static ECS: Product = Product {
    name: "Ecs",
    version: "2014-05-26",
    perform: ecs::perform,
    quota: 500,
    quota_exceeded: ecs::quota_exceeded,
    private_key_form: PrivateKeyForm::Pem,
    has_regions: true,
    pair_id: Some("bp1"),
    takes_client_token: false,
};

/// Edge Node Service. Its quota is not published.
pub(crate) static ENS: Product = Product {
    name: "Ens",
    version: "2017-11-10",
    perform: ens::perform,
    quota: 500,
    quota_exceeded: ens::quota_exceeded,
    private_key_form: PrivateKeyForm::Escaped,
    has_regions: false,
    pair_id: Some("5"),
    takes_client_token: false,
};

/// Simple Application Server.
pub(crate) static SWAS: Product = Product {
    name: "SWAS-OPEN",
    version: "2020-06-01",
    perform: swas::perform,
    quota: 10,
    quota_exceeded: swas::quota_exceeded,
    private_key_form: PrivateKeyForm::Base64,
    has_regions: true,
    pair_id: None,
    takes_client_token: true,
};

/// One service of the vendor.
pub(crate) struct Product {
    name: &'static str,
    version: &'static str,
    /// All of it or nothing.
    perform: fn(&Call, &mut World<'_>) -> Result<Value, Refusal>,
    quota: usize,
    quota_exceeded: fn() -> Refusal,
    private_key_form: PrivateKeyForm,
    has_regions: bool,
    /// How ids of pairs go on after `ssh-`; none: pairs have no ids.
    pair_id: Option<&'static str>,
    takes_client_token: bool,
}

impl Vendor for Product {
    fn outline(&self, request: &Request) -> Outline {
        let parameters = request.parameters().unwrap_or_default();
        let stated = |name: &str| find(&parameters, name);
        let (action, access_key) = match request.header("authorization") {
            Some(authorization) => (
                request.header("x-acs-action"),
                signature::v3_access_key(&authorization),
            ),
            None => (stated("Action"), stated("AccessKeyId")),
        };
        Outline {
            action: action.unwrap_or_default(),
            access_key: access_key.unwrap_or_default(),
            name: name(&parameters),
            parameters: without_protocol(parameters).0,
        }
    }

    fn verify(&self, request: &Request, keyring: &[Credential], now: SystemTime) -> Result<Claim, Refusal> {
        if sts::is_unsigned(request) {
            return sts::verify_token(request, keyring, now);
        }
        signature::verify(request, keyring, now)
    }

    fn route(&self, request: &Request, claim: &Claim) -> Result<Call, Refusal> {
        if !matches!(&*request.method, "GET" | "POST") {
            return Err(Refusal::new(
                405,
                "UnsupportedHTTPMethod",
                "This HTTP method is not supported.",
            ));
        }
        let parameters = request
            .parameters()
            .map_err(|error| Refusal::new(400, "InvalidParameter", error.to_string()))?;
        let stated = |header: &str, parameter: &str| match Scheme::of(request) {
            Scheme::Acs3HmacSha256 => request.header(header),
            Scheme::HmacSha1 => find(&parameters, parameter),
        };
        let action = stated("x-acs-action", "Action").unwrap_or_default();
        let version = stated("x-acs-version", "Version").unwrap_or_default();
        if request.path() != "/" || action.is_empty() {
            return Err(no_such_action());
        }
        let known = if sts::has(&action) {
            sts::VERSION
        } else {
            self.version
        };
        if version != known {
            return Err(Refusal::new(
                400,
                "InvalidVersion",
                "The service has no such version.",
            ));
        }
        Ok(Call {
            action,
            name: find(&parameters, "KeyPairName"),
            parameters: without_protocol(parameters),
            access_key: claim.access_key.clone(),
        })
    }

    fn wants_key(&self, call: &Call) -> bool {
        matches!(&*call.action, "CreateKeyPair" | "CreateInstanceKeyPair")
    }

    fn changes(&self, call: &Call) -> bool {
        !["Assume", "Describe", "List"]
            .iter()
            .any(|reading| call.action.starts_with(reading))
    }

    fn client_token<'a>(&self, call: &'a Call) -> Option<&'a str> {
        call.parameters
            .get("ClientToken")
            .filter(|_| self.takes_client_token && self.changes(call))
    }

    fn perform(&self, call: &Call, mut world: World<'_>) -> Result<Answer, Refusal> {
        let perform = if sts::has(&call.action) {
            sts::perform
        } else {
            self.perform
        };
        perform(call, &mut world).map(Answer::from)
    }

    fn write(&self, asked: &Asked<'_>, result: Result<&Answer, &Refusal>) -> Written {
        let id = asked.request_id;
        let mut headers = vec![("x-acs-request-id", id.to_owned())];
        let (status, root, body) = match result {
            Ok(answer) => {
                let mut body = answer.body.clone();
                body["RequestId"] = json!(id);
                headers.extend(answer.headers.iter().cloned());
                (answer.status, format!("{}Response", asked.action), body)
            }
            Err(refusal) => {
                if let Some(milliseconds) = refusal.retry_after_ms {
                    headers.push(("x-acs-retry-after", milliseconds.to_string()));
                }
                let body = json!({
                    "RequestId": id,
                    "HostId": asked.request.header("host").unwrap_or_default(),
                    "Code": refusal.code,
                    "Message": refusal.message,
                    "Recommend": format!(
                        "https://api.aliyun.com/troubleshoot?q={}&product={}&requestId={id}",
                        refusal.code, self.name,
                    ),
                });
                (refusal.status, "Error".to_owned(), body)
            }
        };
        let (content_type, body) = if wants_xml(asked.request) {
            let mut text = String::from("<?xml version='1.0' encoding='UTF-8'?>");
            write_xml(&mut text, &root, &body);
            ("text/xml;charset=utf-8", text)
        } else {
            ("application/json;charset=utf-8", body.to_string())
        };
        Written {
            status,
            content_type,
            headers,
            body,
        }
    }

    fn trouble(&self, trouble: Trouble) -> Refusal {
        let (status, code, message) = match trouble {
            Trouble::Internal => (500, "InternalError", "The request could not be processed."),
            Trouble::Quota => return (self.quota_exceeded)(),
            Trouble::Replayed => (
                400,
                "SignatureNonceUsed",
                "The signature nonce has been used before.",
            ),
            Trouble::Throttled { retry_after_ms } => {
                return Refusal {
                    retry_after_ms,
                    ..Refusal::new(400, "Throttling.User", "Too many requests.")
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
            quota: self.quota,
            private_key_form: self.private_key_form,
            unknown_delete: UnknownDelete::Succeed,
        }
    }

    fn has_regions(&self) -> bool {
        self.has_regions
    }

    fn new_pair_id(&self) -> String {
        self.pair_id
            .map_or_else(String::new, |place| format!("ssh-{place}{}", random_hex::<8>()))
    }
}

fn find(parameters: &[(String, String)], wanted: &str) -> Option<String> {
    parameters
        .iter()
        .find(|(name, _)| name == wanted)
        .map(|(_, value)| value.clone())
}

/// The pair's name, or what stands for it.
fn name(parameters: &[(String, String)]) -> Option<String> {
    ["KeyPairName", "KeyPairNames", "KeyPairNames.1", "KeyPairId"]
        .into_iter()
        .find_map(|wanted| find(parameters, wanted))
}

/// V1 answers in XML unless the client asks for JSON.
fn wants_xml(request: &Request) -> bool {
    let format = || find(&request.parameters().unwrap_or_default(), "Format");
    Scheme::of(request) == Scheme::HmacSha1
        && !format().is_some_and(|format| format.eq_ignore_ascii_case("json"))
}

fn no_such_action() -> Refusal {
    Refusal::new(404, "InvalidAction.NotFound", "There is no such action.")
}
