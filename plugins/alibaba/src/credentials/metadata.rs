//! The RAM role of an ECS instance, from the instance's metadata service.
//!
//! The service wants a token of its own first. Where that is not given, or refused, it is asked without one (version 1 of
//! the service), unless `ALIBABA_CLOUD_IMDSV1_DISABLED` is `true`. The token opens nothing but this service of this
//! instance, which a plugin cannot reach: it is no secret here.

use keyferry_plugin::Turn;
use keyferry_plugin::contract::{Effect, ErrorKind, HttpStep, ProviderError, Reply};
use keyferry_plugin::recipe::HttpRequest;
use keyferry_plugin::signing::percent_encode;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::environment::Environment;
use super::role::{Issued, issued};
use crate::{ACCESS_KEY, SECURITY_TOKEN};

const ORIGIN: &str = "http://100.100.100.200";
const ROLES: &str = "/latest/meta-data/ram/security-credentials/";

/// How long a token of the service lasts, in seconds. We need it once.
const TOKEN_SECONDS: &str = "60";

/// How far it is.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Metadata {
    /// The role; none: the one that the service names.
    role: Option<String>,
    token: Token,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
enum Token {
    Wanted,
    Held(String),
    /// Version 1 of the service.
    Without,
}

impl Metadata {
    pub(super) fn new(role: Option<String>) -> Self {
        Self {
            role,
            token: Token::Wanted,
        }
    }

    /// The next request.
    pub(super) fn send(&self) -> HttpStep {
        let path = match &self.role {
            Some(role) => format!("{ROLES}{}", percent_encode(role)),
            None => ROLES.to_owned(),
        };
        let get = HttpRequest::new("GET", ORIGIN, &path);
        let step = HttpStep::new(match &self.token {
            Token::Wanted => HttpRequest::new("PUT", ORIGIN, "/latest/api/token")
                .with_header("x-aliyun-ecs-metadata-token-ttl-seconds", TOKEN_SECONDS),
            Token::Held(token) => get.with_header("x-aliyun-ecs-metadata-token", &**token),
            Token::Without => get,
        });
        match (&self.token, &self.role) {
            (Token::Held(_) | Token::Without, Some(_)) => step
                .capturing(ACCESS_KEY.secret, "/AccessKeySecret")
                .capturing(SECURITY_TOKEN, "/SecurityToken"),
            _ => step,
        }
    }

    /// What the answer led to: the access key, or another request.
    pub(super) fn read(
        &mut self,
        turn: &Turn<'_>,
        environment: &Environment,
    ) -> Result<Option<Issued>, ProviderError> {
        let answer = match turn.response(Effect::None) {
            Ok(Some(response)) if response.status == 200 => Ok(response),
            Ok(Some(response)) => Err(ProviderError::new(
                ErrorKind::Unavailable,
                format!("the service answered with status {}", response.status),
            )),
            Ok(None) => return Err(super::internal("an answer is missing")),
            Err(error) => Err(error),
        };
        let response = match answer {
            Ok(response) => response,
            Err(error) => {
                let may_go_without = !environment.imds_v1_disabled && !matches!(self.token, Token::Without);
                // Where not even a connection comes about, there is no such service of any version.
                let nobody_is_there = matches!(turn.reply, Some(Reply::TransportError(error)) if !error.sent);
                if !may_go_without || nobody_is_there {
                    return Err(error);
                }
                self.token = Token::Without;
                return Ok(None);
            }
        };
        let text = response.body.trim();
        if matches!(self.token, Token::Wanted) {
            if !is_word(text) {
                return Err(ProviderError::new(ErrorKind::Internal, "the answer is no token"));
            }
            self.token = Token::Held(text.to_owned());
            return Ok(None);
        }
        if self.role.is_none() {
            if !is_word(text) {
                let words = "the instance has no RAM role";
                return Err(ProviderError::new(ErrorKind::Unauthorized, words));
            }
            self.role = Some(text.to_owned());
            return Ok(None);
        }
        let body: Value = serde_json::from_str(text).unwrap_or_default();
        if body["Code"] != "Success" {
            let words = "the service gave no credentials for the role";
            return Err(ProviderError::new(ErrorKind::Unauthorized, words));
        }
        issued(turn, &body).map(Some)
    }
}

/// One short line of visible ASCII, as a header or a path takes it.
fn is_word(text: &str) -> bool {
    (1..=512).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}
