//! Huawei Cloud: the API of ECS that is compatible with Nova, and IAM on the same port. Requests are signed with
//! `SDK-HMAC-SHA256` or carry a token of IAM.

use std::time::SystemTime;

use serde_json::{Value, json};
use ssh_key::PublicKey;

use crate::inventory::{Settings, UnknownDelete, random_hex};
use crate::keys::{PrivateKeyForm, md5_hex};
use crate::refusal::Refusal;
use crate::vendor::{
    Answer, Asked, Call, Claim, Credential, Outline, Parameters, Trouble, Vendor, World, Written,
};
use crate::wire::{Request, decode_path, form_pairs};

mod iam;
mod keypairs;
mod signature;

/// Elastic Cloud Server and IAM.
pub(crate) static ECS: Ecs = Ecs;

/// See [`ECS`].
pub(crate) struct Ecs;

impl Vendor for Ecs {
    fn outline(&self, request: &Request) -> Outline {
        let asked = Route::of(request).ok();
        let user = match request.header("x-auth-token") {
            Some(_) => Some("token".to_owned()),
            None => signature::access_key(request).or_else(|| iam::user(request)),
        };
        Outline {
            action: asked.as_ref().map_or("", |asked| asked.action).to_owned(),
            access_key: user.unwrap_or_default(),
            name: asked.as_ref().and_then(|asked| asked.name.clone()),
            parameters: asked.map(|asked| asked.parameters.0).unwrap_or_default(),
        }
    }

    fn verify(&self, request: &Request, keyring: &[Credential], now: SystemTime) -> Result<Claim, Refusal> {
        let is_login = Route::of(request).is_ok_and(|asked| asked.action == LOGIN);
        match request.header("x-auth-token") {
            _ if is_login => iam::check_password(request, keyring, now),
            Some(token) => iam::check_token(&token, keyring, now),
            None => signature::verify(request, keyring, now),
        }
    }

    fn route(&self, request: &Request, claim: &Claim) -> Result<Call, Refusal> {
        let asked = Route::of(request)?;
        let mut parameters = asked.parameters;
        if let Some(project) = &asked.project {
            let region = iam::region_of_project(project);
            let stated = request.header("x-project-id");
            let is_stated = stated.is_none_or(|stated| stated == *project);
            let of_token = iam::project_of_token(&claim.access_key);
            match region {
                Some(region) if is_stated && of_token.is_none_or(|own| own == *project) => {
                    parameters.0.push((REGION.to_owned(), region.to_owned()));
                }
                _ => {
                    return Err(fault(
                        403,
                        "forbidden",
                        "Policy doesn't allow this project to be accessed.",
                    ));
                }
            }
        }
        parameters
            .0
            .push((MICROVERSION.to_owned(), microversion(request)?.to_string()));
        Ok(Call {
            action: asked.action.to_owned(),
            name: asked.name,
            parameters,
            access_key: claim.access_key.clone(),
        })
    }

    fn wants_key(&self, call: &Call) -> bool {
        call.action == CREATE && !call.parameters.0.iter().any(|(name, _)| name == "public_key")
    }

    fn changes(&self, call: &Call) -> bool {
        [CREATE, DELETE].contains(&&*call.action)
    }

    fn perform(&self, call: &Call, mut world: World<'_>) -> Result<Answer, Refusal> {
        match &*call.action {
            LOGIN => iam::log_in(call, &mut world),
            PROJECTS => Ok(iam::projects(call)),
            _ => keypairs::perform(call, &mut world),
        }
    }

    fn write(&self, asked: &Asked<'_>, result: Result<&Answer, &Refusal>) -> Written {
        let mut headers = vec![("x-request-id", asked.request_id.to_lowercase())];
        let (status, body) = match result {
            Ok(answer) => {
                headers.extend(answer.headers.iter().cloned());
                (answer.status, answer.body.clone())
            }
            Err(refusal) => {
                if let Some(milliseconds) = refusal.retry_after_ms {
                    headers.push(("retry-after", milliseconds.div_ceil(1000).to_string()));
                }
                let Refusal {
                    status,
                    code,
                    message,
                    ..
                } = refusal;
                let body = match code.as_str() {
                    gateway if gateway.starts_with("APIGW.") => json!({
                        "error_code": gateway,
                        "error_msg": message,
                        "request_id": asked.request_id.to_lowercase(),
                    }),
                    name => json!({ name: { "code": status, "message": message } }),
                };
                (*status, body)
            }
        };
        Written {
            status,
            content_type: "application/json",
            headers,
            body: if body.is_null() {
                String::new()
            } else {
                body.to_string()
            },
        }
    }

    fn trouble(&self, trouble: Trouble) -> Refusal {
        match trouble {
            Trouble::Internal | Trouble::Replayed | Trouble::TokenUsed => {
                fault(500, "computeFault", "Unexpected API Error.")
            }
            Trouble::Quota => fault(403, "forbidden", "Quota exceeded, too many key pairs."),
            Trouble::Throttled { retry_after_ms } => Refusal {
                retry_after_ms,
                ..fault(429, "APIGW.0308", "The throttling threshold has been reached.")
            },
            Trouble::Unavailable => fault(503, "serviceUnavailable", "The service is not available."),
        }
    }

    fn settings(&self) -> Settings {
        Settings {
            // The vendor does not publish its figure; this is Nova's.
            quota: 100,
            private_key_form: PrivateKeyForm::Pem,
            unknown_delete: UnknownDelete::Refuse,
        }
    }

    fn new_pair_id(&self) -> String {
        let digits = random_hex::<3>();
        u32::from_str_radix(&digits, 16).unwrap_or_default().to_string()
    }

    fn fingerprint(&self, key: &PublicKey) -> Result<String, ssh_key::Error> {
        let digits = md5_hex(key)?;
        let pairs: Vec<&str> = (0..digits.len())
            .step_by(2)
            .map(|at| &digits[at..at + 2])
            .collect();
        Ok(pairs.join(":"))
    }
}

/// Names of calls, as the vendor's SDK has them.
const CREATE: &str = "NovaCreateKeypair";
const DELETE: &str = "NovaDeleteKeypair";
const LIST: &str = "NovaListKeypairs";
const SHOW: &str = "NovaShowKeypair";
const LOGIN: &str = "KeystoneCreateUserTokenByPassword";
const PROJECTS: &str = "KeystoneListProjects";

/// Parameters that a call carries besides its own: of which region its project is, and its microversion's number after
/// the point.
const REGION: &str = "(region)";
const MICROVERSION: &str = "(microversion)";

/// What a request asks.
struct Route {
    action: &'static str,
    project: Option<String>,
    name: Option<String>,
    parameters: Parameters,
}

impl Route {
    fn of(request: &Request) -> Result<Self, Refusal> {
        let unknown = || {
            fault(
                404,
                "APIGW.0101",
                "The API does not exist or has not been published.",
            )
        };
        let invalid = |error: &dyn std::fmt::Display| fault(400, "badRequest", &error.to_string());
        let segments: Vec<&str> = request.path().trim_start_matches('/').split('/').collect();
        let mut parameters = form_pairs(request.query()).map_err(|error| invalid(&error))?;
        let mut route = |action, project: Option<&str>, name: Option<String>| {
            Ok(Self {
                action,
                project: project.map(str::to_owned),
                name,
                parameters: Parameters(std::mem::take(&mut parameters)),
            })
        };
        match (&*request.method, &*segments) {
            ("POST", ["v3", "auth", "tokens"]) => route(LOGIN, None, None).map(|mut login: Self| {
                login.parameters.0.extend(iam::scope(request));
                login
            }),
            ("GET", ["v3", "projects"]) => route(PROJECTS, None, None),
            ("GET", ["v2.1", project, "os-keypairs"]) => route(LIST, Some(project), None),
            ("POST", ["v2.1", project, "os-keypairs"]) => {
                let body: Value = serde_json::from_slice(&request.body).map_err(|error| invalid(&error))?;
                let fields = keypairs::fields(&body)?;
                let name = fields.iter().find(|(field, _)| field == "name");
                let name = name.map(|(_, name)| name.clone());
                let mut create = route(CREATE, Some(project), name)?;
                create.parameters.0.extend(fields);
                Ok(create)
            }
            ("GET" | "DELETE", ["v2.1", project, "os-keypairs", name]) => {
                let name = decode_path(name).map_err(|error| invalid(&error))?;
                let action = if request.method == "GET" { SHOW } else { DELETE };
                route(action, Some(project), Some(name))
            }
            _ => Err(unknown()),
        }
    }
}

/// The number after the point of the microversion that a request is for.
fn microversion(request: &Request) -> Result<u32, Refusal> {
    let Some(text) = request.header("openstack-api-version") else {
        return Ok(1);
    };
    let number = text.strip_prefix("2.").and_then(|number| number.parse().ok());
    number
        .filter(|number| (1..=NEWEST).contains(number))
        .ok_or_else(|| {
            let message = format!("Version {text} is not supported by the API.");
            fault(406, "computeFault", &message)
        })
}

/// The newest microversion that is here; the vendor does not publish its own.
const NEWEST: u32 = 60;

/// A refusal of the gateway, where the name begins with `APIGW.`, else of the service.
fn fault(status: u16, name: &str, message: &str) -> Refusal {
    Refusal::new(status, name, message)
}
