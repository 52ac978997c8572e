//! The admin interface: what a test or a person asks and tells the cloud itself.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::Service;
use crate::cloud::{Cloud, Release};
use crate::faults::{Fault, FaultRequest};
use crate::inventory::{Instance, UnknownDelete};
use crate::keys::PrivateKeyForm;
use crate::requests::RequestFilter;
use crate::vendor::Credential;
use crate::wire::form_pairs;

/// Every method and path there is.
const PATHS: [&str; 16] = [
    "GET /clock",
    "POST /clock {time: RFC 3339 or null (the machine's), forget_nonces: bool}",
    "POST /credentials {access_key, secret_key, session_token, expires_at: RFC 3339}",
    "GET /faults",
    "POST /faults {kind, service, action, name, count, after, and ms | retry_after_ms | bytes | error {status, code, message} + after_commit}",
    "DELETE /faults",
    "GET /instances",
    "POST /instances {service, region, id, pair, running: bool}",
    "GET /pairs",
    "POST /pairs {service, region, name, public_key}",
    "POST /release",
    "GET /requests?service&action&name&outcome&finished&committed&at_least&timeout_ms",
    "DELETE /requests",
    "GET /settings",
    "POST /settings {service, quota, private_key_form, unknown_delete}",
    "GET /",
];

/// Answers in JSON: 200, 400 with `error`, or 404 with the paths there are.
pub(crate) async fn answer(
    cloud: Arc<Cloud>,
    received: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = received.into_parts();
    let body = match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => {
            return Ok(respond(
                StatusCode::PAYLOAD_TOO_LARGE,
                &json!({ "error": error.to_string() }),
            ));
        }
    };
    let route = format!("{} {}", head.method, head.uri.path());
    let result = dispatch(&cloud, &route, head.uri.query().unwrap_or_default(), &body).await;
    Ok(match result {
        Ok(Some(value)) => respond(StatusCode::OK, &value),
        Ok(None) => respond(
            StatusCode::NOT_FOUND,
            &json!({ "error": format!("no {route}"), "paths": PATHS }),
        ),
        Err(error) => respond(StatusCode::BAD_REQUEST, &json!({ "error": error })),
    })
}

/// `None`: there is no such method and path.
async fn dispatch(cloud: &Cloud, route: &str, query: &str, body: &[u8]) -> Result<Option<Value>, String> {
    let nothing = json!({});
    Ok(Some(match route {
        "GET /" => json!({ "paths": PATHS }),
        "GET /clock" => clock(cloud),
        "POST /clock" => {
            let change: ClockChange = parse(body)?;
            if let Some(time) = change.time {
                cloud.set_clock(time.as_deref().map(parse_time).transpose()?);
            }
            if change.forget_nonces {
                cloud.forget_nonces();
            }
            clock(cloud)
        }
        "POST /credentials" => {
            let new: NewCredential = parse(body)?;
            let expires_at = new.expires_at.as_deref().map(parse_time).transpose()?;
            cloud.add_credential(Credential {
                access_key: new.access_key,
                secret_key: new.secret_key,
                session_token: new.session_token,
                expires_at,
            });
            nothing
        }
        "GET /faults" => json!(cloud.faults()),
        "POST /faults" => {
            let fault = Fault::try_from(parse::<FaultRequest>(body)?)?;
            json!({ "id": cloud.add_fault(fault) })
        }
        "DELETE /faults" => {
            cloud.clear_faults();
            nothing
        }
        "GET /instances" => by_service(|service| json!(cloud.instances(service))),
        "POST /instances" => {
            let new: NewInstance = parse(body)?;
            cloud.add_instance(new.service, new.instance)?;
            nothing
        }
        "GET /pairs" => by_service(|service| json!(cloud.pairs(service))),
        "POST /pairs" => json!(cloud.plant(parse(body)?).await?),
        "POST /release" => {
            cloud.release(Release::ToAnswer);
            nothing
        }
        "GET /requests" => requests(cloud, query).await?,
        "DELETE /requests" => {
            cloud.log(|log| log.clear());
            nothing
        }
        "GET /settings" => by_service(|service| json!(cloud.settings(service))),
        "POST /settings" => {
            let change: SettingsChange = parse(body)?;
            let mut settings = cloud.settings(change.service);
            settings.quota = change.quota.unwrap_or(settings.quota);
            settings.private_key_form = change.private_key_form.unwrap_or(settings.private_key_form);
            settings.unknown_delete = change.unknown_delete.unwrap_or(settings.unknown_delete);
            cloud.set_settings(change.service, settings);
            json!(settings)
        }
        _ => return Ok(None),
    }))
}

/// The requests so far; with `at_least` once there are so many, or after `timeout_ms` however many there are.
async fn requests(cloud: &Cloud, query: &str) -> Result<Value, String> {
    let mut filter = RequestFilter::default();
    let mut at_least = 0;
    let mut timeout = None;
    for (name, value) in form_pairs(query).map_err(|error| error.to_string())? {
        let wrong = |error: &dyn std::fmt::Display| format!("{name}={value}: {error}");
        match &*name {
            "service" => {
                filter.service = Some(Service::from_name(&value).ok_or_else(|| wrong(&"no such service"))?)
            }
            "action" => filter.action = Some(value),
            "name" => filter.name = Some(value),
            "outcome" => filter.outcome = Some(value),
            "finished" => filter.finished = Some(value.parse().map_err(|error| wrong(&error))?),
            "committed" => filter.committed = Some(value.parse().map_err(|error| wrong(&error))?),
            "at_least" => at_least = value.parse().map_err(|error| wrong(&error))?,
            "timeout_ms" => {
                timeout = Some(Duration::from_millis(
                    value.parse().map_err(|error| wrong(&error))?,
                ))
            }
            _ => return Err(format!("GET /requests has no parameter {name}")),
        }
    }
    let arrived = cloud.requests_at_least(&filter, at_least);
    Ok(json!(match timeout {
        None => arrived.await,
        Some(timeout) => match tokio::time::timeout(timeout, arrived).await {
            Ok(requests) => requests,
            Err(_) => cloud.requests(&filter),
        },
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockChange {
    /// Left out: stays. Null: the machine's.
    #[serde(default, deserialize_with = "null_is_a_value")]
    time: Option<Option<String>>,
    #[serde(default)]
    forget_nonces: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewCredential {
    access_key: String,
    secret_key: String,
    session_token: Option<String>,
    expires_at: Option<String>,
}

#[derive(Deserialize)]
struct NewInstance {
    service: Service,
    #[serde(flatten)]
    instance: Instance,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SettingsChange {
    service: Service,
    quota: Option<usize>,
    private_key_form: Option<PrivateKeyForm>,
    unknown_delete: Option<UnknownDelete>,
}

fn null_is_a_value<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

fn parse_time(text: &str) -> Result<std::time::SystemTime, String> {
    humantime::parse_rfc3339(text).map_err(|error| format!("{text}: {error} (such as 2026-01-02T03:04:05Z)"))
}

fn clock(cloud: &Cloud) -> Value {
    json!({ "time": humantime::format_rfc3339_millis(cloud.now()).to_string() })
}

fn by_service(value: impl Fn(Service) -> Value) -> Value {
    Service::ALL
        .into_iter()
        .map(|service| (service.name().to_owned(), value(service)))
        .collect()
}

fn respond(status: StatusCode, value: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(value.to_string())));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

const MAX_BODY: usize = 1 << 20;
