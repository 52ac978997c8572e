//! AWS: the query protocol (`POST /`, everything in a form, XML answers) signed with `AWS4-HMAC-SHA256`. The Security Token
//! Service answers on the same port.

use std::time::SystemTime;

use serde_json::{Value, json};
use ssh_key::PublicKey;

use crate::inventory::{Settings, UnknownDelete, random_hex};
use crate::keys::PrivateKeyForm;
use crate::refusal::Refusal;
use crate::vendor::{
    Answer, Asked, Call, Claim, Credential, Outline, Parameters, Trouble, Vendor, World, Written,
};
use crate::wire::{Request, write_xml};

mod ec2;
mod fingerprint;
mod signature;
mod sts;

/// Elastic Compute Cloud, 2016-11-15, and STS, 2011-06-15.
pub(crate) static EC2: Ec2 = Ec2;

/// See [`EC2`].
pub(crate) struct Ec2;

impl Vendor for Ec2 {
    fn outline(&self, request: &Request) -> Outline {
        let parameters = Parameters(request.parameters().unwrap_or_default());
        Outline {
            action: parameters.get("Action").unwrap_or_default().to_owned(),
            access_key: signature::access_key(request).unwrap_or_default(),
            name: name(&parameters).map(str::to_owned),
            parameters: business(&parameters).0,
        }
    }

    fn verify(&self, request: &Request, keyring: &[Credential], now: SystemTime) -> Result<Claim, Refusal> {
        if sts::is_unsigned(request) {
            return sts::verify_token(request, keyring);
        }
        signature::verify(request, keyring, now)
    }

    fn route(&self, request: &Request, claim: &Claim) -> Result<Call, Refusal> {
        let parameters = request
            .parameters()
            .map_err(|error| Refusal::new(400, "InvalidParameterValue", error.to_string()))?;
        let parameters = Parameters(parameters);
        let action = parameters.get("Action").unwrap_or_default().to_owned();
        let scope = signature::scope(request);
        let service = match &scope {
            Some(scope) => scope.service.as_str(),
            // A token instead of a signature.
            None => "sts",
        };
        let known = match (service, parameters.get("Version")) {
            ("ec2", Some("2016-11-15")) => ec2::ACTIONS.contains(&&*action),
            ("sts", Some("2011-06-15")) => sts::ACTIONS.contains(&&*action),
            _ => false,
        };
        if request.method != "POST" || request.path() != "/" || !known {
            let message = "The action is not valid for this web service.";
            return Err(Refusal::new(400, "InvalidAction", message));
        }
        let name = name(&parameters).map(str::to_owned);
        let mut parameters = business(&parameters);
        // Where pairs belong is in the signature alone.
        let region = scope.map(|scope| scope.region).unwrap_or_default();
        parameters.0.push((REGION.to_owned(), region));
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

    fn wants_ed25519(&self, call: &Call) -> bool {
        call.parameters.get("KeyType") == Some("ed25519")
    }

    fn changes(&self, call: &Call) -> bool {
        !call.action.starts_with("Describe") && !sts::ACTIONS.contains(&&*call.action)
    }

    fn perform(&self, call: &Call, mut world: World<'_>) -> Result<Answer, Refusal> {
        let result = if sts::ACTIONS.contains(&&*call.action) {
            sts::perform(call, &mut world)?
        } else {
            ec2::perform(call, &mut world)?
        };
        Ok(Answer::from(result))
    }

    fn write(&self, asked: &Asked<'_>, result: Result<&Answer, &Refusal>) -> Written {
        let id = asked.request_id.to_ascii_lowercase();
        let of_sts = sts::ACTIONS.contains(&asked.action);
        let namespace = if of_sts { sts::NAMESPACE } else { ec2::NAMESPACE };
        let mut headers = vec![("x-amzn-requestid", id.clone())];
        let (status, root, namespace, fields) = match result {
            Ok(answer) => {
                headers.extend(answer.headers.iter().cloned());
                let root = format!("{}Response", asked.action);
                let mut fields = answer.body.clone();
                match of_sts {
                    true => fields["ResponseMetadata"] = json!({ "RequestId": id }),
                    false => fields["requestId"] = json!(id),
                }
                (answer.status, root, Some(namespace), fields)
            }
            Err(refusal) => {
                if let Some(milliseconds) = refusal.retry_after_ms {
                    headers.push(("retry-after", milliseconds.div_ceil(1000).to_string()));
                }
                let error = json!({ "Code": refusal.code, "Message": refusal.message });
                let (root, namespace, fields) = match of_sts {
                    true => (
                        "ErrorResponse",
                        Some(namespace),
                        json!({ "Error": error, "RequestId": id }),
                    ),
                    false => (
                        "Response",
                        None,
                        json!({ "Errors": { "Error": error }, "RequestID": id }),
                    ),
                };
                (refusal.status, root.to_owned(), namespace, fields)
            }
        };
        Written {
            status,
            content_type: "text/xml;charset=UTF-8",
            headers,
            body: xml(&root, namespace, &fields),
        }
    }

    fn trouble(&self, trouble: Trouble) -> Refusal {
        let (status, code, message) = match trouble {
            Trouble::Internal => (500, "InternalError", "An internal error has occurred."),
            Trouble::Quota => (
                400,
                "KeyPairLimitExceeded",
                "The region has as many key pairs as it may have.",
            ),
            Trouble::Replayed | Trouble::TokenUsed => (400, "RequestExpired", "The request was sent before."),
            Trouble::Throttled { retry_after_ms } => {
                return Refusal {
                    retry_after_ms,
                    ..Refusal::new(503, "RequestLimitExceeded", "Request limit exceeded.")
                };
            }
            Trouble::Unavailable => (503, "Unavailable", "The service is not available."),
        };
        Refusal::new(status, code, message)
    }

    fn settings(&self) -> Settings {
        Settings {
            quota: 5000,
            private_key_form: PrivateKeyForm::Pem,
            unknown_delete: UnknownDelete::Succeed,
        }
    }

    fn new_pair_id(&self) -> String {
        format!("key-0{}", random_hex::<8>())
    }

    fn fingerprint(&self, key: &PublicKey) -> Result<String, ssh_key::Error> {
        fingerprint::of_import(key)
    }
}

/// The parameter by which a call carries the region of its signature.
const REGION: &str = "(region)";

/// The business parameters: what says what kind of request it is, and a token, are left out.
fn business(parameters: &Parameters) -> Parameters {
    let of_protocol = ["Action", "Version", "WebIdentityToken"];
    let is_business = |(name, _): &&(String, String)| !of_protocol.contains(&&**name);
    Parameters(parameters.0.iter().filter(is_business).cloned().collect())
}

fn name(parameters: &Parameters) -> Option<&str> {
    ["KeyName", "KeyName.1", "KeyPairId", "KeyPairId.1", "RoleArn"]
        .into_iter()
        .find_map(|name| parameters.get(name))
}

fn missing(parameter: &str) -> Refusal {
    let message = format!("The request must contain the parameter {parameter}");
    Refusal::new(400, "MissingParameter", message)
}

fn xml(root: &str, namespace: Option<&str>, fields: &Value) -> String {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    match namespace {
        Some(namespace) => text.push_str(&format!("<{root} xmlns=\"{namespace}\">")),
        None => text.push_str(&format!("<{root}>")),
    }
    for (name, field) in fields.as_object().into_iter().flatten() {
        write_xml(&mut text, name, field);
    }
    text.push_str(&format!("</{root}>"));
    text
}
