//! Answering steps that are well formed and not allowed.

use keyferry_plugin::contract::{
    CredentialSet, CredentialValue, DoneStep, Effect, ErrorKind, HttpStep, Operation, Outcome, Pair,
    ProviderError, ReadStep, Reply, RunStep, Session, Step, WaitStep,
};
use keyferry_plugin::recipe::{Capture, Expr, Hmac, HttpRequest, Place};
use keyferry_plugin::{Answer, Turn};
use serde_json::Value;

use crate::Behaviour;
use crate::provider::{credentials, done, private_key_at, request};
use crate::{bodies, login};

/// The step that the behaviour puts in the place of an honest one.
pub(crate) fn answer(behaviour: Behaviour, operation: &Operation, turn: &Turn<'_>, honest: Answer) -> Answer {
    use Behaviour as B;
    let others =
        login::answer(behaviour, operation, turn).or_else(|| bodies::answer(behaviour, operation, turn));
    if let Some(answer) = others {
        return answer;
    }
    match (behaviour, turn.reply) {
        (B::WriteFile, _) => Err(write_file(turn)),
        (B::Panic, _) => panic!("the plugin was asked to panic"),
        (B::Print, _) => {
            print();
            honest
        }

        // Over and over.
        (B::EndlessSteps, _) => Ok(http(request(operation, turn))),
        (B::EndlessWaits, _) => wait(1),
        (B::LongWait, None) => wait(365 * 24 * 3600 * 1000),

        (B::GetUnasked, None) | (B::GetUnanswered, Some(_)) => {
            Ok(done(Outcome::Pair(asked_about(operation))))
        }
        (B::DeleteUnasked, None) => Ok(done(Outcome::Deleted)),
        (B::EmitTooMany, _) => Ok(Step::Http(Box::new(HttpStep {
            emit: vec![Pair::default(); EMITTED],
            ..HttpStep::new(request(operation, turn))
        }))),

        // After a reply.
        (
            B::EchoSecrets | B::PrivateKeyUncaptured | B::PrivateKeyElsewhere | B::PrivateKeyInNoHeader,
            Some(Reply::Response(reply)),
        ) => Err(ProviderError::new(ErrorKind::Internal, reply.body.clone())),
        (B::EchoInPair, Some(Reply::Response(reply))) => Ok(done(Outcome::Pairs(vec![Pair {
            name: reply.body.clone(),
            ..Pair::default()
        }]))),
        (B::PrivateKeyInRecipe, Some(_)) => {
            Ok(http(with_header(operation, turn, Expr::secret("private_key"))))
        }
        (B::PrivateKeyHashed, Some(_)) => Ok(http(with_header(
            operation,
            turn,
            Expr::secret("private_key").sha256().hex(),
        ))),
        (B::DeleteSecond, Some(_)) => Ok(http(delete_names(operation, turn, &["somebody-elses"]))),
        (B::CommentInKey, Some(_)) => honest.map(|step| {
            with_pair(step, |pair| {
                let key = pair.public_key.take().unwrap_or_default();
                pair.public_key = Some(format!("{key} evil\ncommand=\"evil\" {key}"));
            })
        }),
        (B::ControlCharacters, Some(_)) => honest.map(|step| {
            with_pair(step, |pair| {
                pair.name.push_str("\u{1b}[2J\r\n");
                pair.public_key = pair
                    .public_key
                    .take()
                    .map(|key| format!("{key} \u{1b}]0;evil\u{7}"));
            })
        }),
        (B::Session, Some(_)) => honest.map(|step| match step {
            Step::Done(done) => Step::Done(Box::new(DoneStep {
                session: Some(Session {
                    captures: vec!["security_token".to_owned()],
                    public: Value::Null,
                    urls: Vec::new(),
                    expires_at: None,
                }),
                ..*done
            })),
            other => other,
        }),
        (B::HmacKeyAsBearer, Some(reply)) => {
            let fields = [
                ("access_key_id", "HOSTILE_ACCESS_KEY_ID"),
                ("access_key_secret", "HOSTILE_ACCESS_KEY_SECRET"),
                ("security_token", "HOSTILE_ACCESS_KEY_SECRET"),
            ];
            let content = match reply {
                Reply::Document(document) => &document.content,
                _ => &Value::Null,
            };
            credentials(content, fields).map(done)
        }
        (B::DenyCreate | B::DenyImport | B::DenyDelete, Some(_)) => {
            Err(ProviderError::new(ErrorKind::Unauthorized, "nothing happened").with_effect(Effect::None))
        }
        (B::OtherOutcome, Some(_)) => Ok(done(Outcome::Deleted)),
        (_, Some(_)) => honest,

        // Instead of the first step.
        (B::ReadUnlisted, None) => read("shadow"),
        (B::ReadInList, None) => read("environment"),
        (B::Run, None) => Ok(Step::Run(RunStep {
            source: "environment".to_owned(),
            field: "/HOSTILE_ACCESS_KEY_ID".to_owned(),
            state: Value::Null,
        })),
        (B::ForeignHandle, None) => Ok(done(Outcome::Credentials(CredentialSet {
            fields: [(
                "access_key_secret".to_owned(),
                CredentialValue::Handle("0".to_owned()),
            )]
            .into(),
            source: "nowhere".to_owned(),
            expires_at: None,
            attempts: Vec::new(),
        }))),
        (B::HostMetadataCredentials, None) => {
            let mut request = request(operation, turn);
            request.origin = "http://100.100.100.200".to_owned();
            request.path = "/latest/meta-data/ram/security-credentials/".to_owned();
            Ok(http(request))
        }
        (_, None) => match honest? {
            Step::Http(mut step) => {
                bend(behaviour, operation, turn, &mut step);
                Ok(Step::Http(step))
            }
            other => Ok(other),
        },
    }
}

/// Changes an honest first request.
fn bend(behaviour: Behaviour, operation: &Operation, turn: &Turn<'_>, step: &mut HttpStep) {
    use Behaviour as B;
    let request = &mut step.request;
    let key = || Expr::secret("access_key_secret");
    let token = || Expr::secret("security_token");
    let note = |request: &mut HttpRequest, value| request.headers.push(("x-note".to_owned(), value));
    let parameter =
        |request: &mut HttpRequest, name: &str, value| request.query.push((name.to_owned(), value));
    let endpoint = || {
        turn.context
            .endpoint
            .as_deref()
            .unwrap_or("https://api.hostile.example")
    };
    match behaviour {
        B::EmitInGet => step.emit.push(Pair::default()),
        B::HmacKeyInText => note(request, key()),
        B::HmacKeyInBody => request.body = key(),
        B::HmacKeyHashed => note(request, key().sha256().hex()),
        B::HmacKeyAsData => note(request, Expr::hmac_sha256(Expr::text("known"), key()).hex()),
        B::HmacKeyWithExpression => {
            let both = Expr::concat([key(), Expr::secret("access_key_id")]);
            note(request, Expr::hmac_sha256(both, Expr::text("data")).hex());
        }
        B::HmacKeyEncoded => note(request, Expr::hmac_sha256(key().hex(), Expr::text("data")).hex()),
        B::BearerInHeader => note(request, token()),
        B::BearerInQuery => parameter(request, "page_size", token()),
        B::BearerInPercent => parameter(request, "page_size", token().percent()),
        B::BearerInHex => note(request, token().hex()),
        B::BearerInBody => request.body = token().json_string(),
        B::BearerUnderKnownKey => note(request, Expr::hmac_sha256(Expr::text("known"), token()).hex()),
        B::BearerAsKey => note(request, Expr::hmac_sha256(token(), Expr::text("data")).hex()),
        B::BearerWithText => {
            request.headers.retain(|(name, _)| name != "x-security-token");
            let value = Expr::concat([Expr::text("token "), token()]);
            request.headers.push(("x-security-token".to_owned(), value));
        }
        B::UnknownSecret => note(request, Expr::secret("root_password")),

        B::HostForeign => request.origin = "https://evil.example".to_owned(),
        B::HostSuffix => request.origin = "https://api.hostile.example.evil.example".to_owned(),
        B::HostTwoLabels => request.origin = "https://a.b.api.hostile.example".to_owned(),
        B::HostOtherRegion => request.origin = "https://other-region.api.hostile.example".to_owned(),
        B::HostOtherPort => {
            let host = endpoint()
                .rsplit_once(':')
                .filter(|(scheme, _)| scheme.contains("://"));
            request.origin = format!("{}:1", host.map_or(endpoint(), |(host, _)| host));
        }
        B::HostOtherLoopback => request.origin = "http://127.0.0.2:1".to_owned(),
        B::HostPlainHttp => request.origin = "http://api.hostile.example".to_owned(),
        B::HostUserinfo => request.origin = "https://api.hostile.example@evil.example".to_owned(),
        B::HostEndpointUserinfo => request.origin = format!("{}@evil.example", endpoint()),
        B::HostMetadata => request.origin = "http://169.254.169.254".to_owned(),
        B::HostLoopbackName => request.origin = "http://localhost:1".to_owned(),
        B::HostWithPath => request.origin = format!("{}/?a=b#c", endpoint()),

        B::CallOfDelete => {
            request.method = "DELETE".to_owned();
            request.path = "/pairs/somebody-elses".to_owned();
            set_header(request, "x-action", Expr::text("DeletePair"));
        }
        B::CallOfCreate => {
            set_header(request, "x-action", Expr::text("CreatePair"));
            parameter(request, "name", Expr::text("one-more"));
        }
        B::ExtraParameter => parameter(request, "force", Expr::text("true")),
        B::DuplicateParameter => parameter(request, "name", Expr::text("somebody-elses")),
        B::MissingParameter => request.query.clear(),
        B::OtherParameter => request.query = vec![("name".to_owned(), Expr::text("somebody-elses"))],
        B::ActionInQuery => parameter(request, "Action", Expr::text("DeletePairs")),
        B::QueryInPath => request.path = "/?x-action=DeletePairs".to_owned(),
        B::OtherPath => request.path = "/admin".to_owned(),
        B::OtherMethod => request.method = "DELETE".to_owned(),
        B::DuplicateHeader => request
            .headers
            .push(("x-action".to_owned(), Expr::text("DeletePairs"))),
        B::MissingHeader => request.headers.retain(|(name, _)| name != "x-action"),
        B::ForeignHeader => request.headers.push(("cookie".to_owned(), Expr::text("a=b"))),
        B::HostHeader => request
            .headers
            .push(("host".to_owned(), Expr::text("evil.example"))),
        B::HeaderBreak => note(request, Expr::text("a\r\nx-action: DeletePairs")),
        B::ActionFromCredential => set_header(request, "x-action", Expr::secret("access_key_id")),

        B::CaptureInList | B::CaptureInImport => step.capture.push(private_key_at("/private_key")),
        B::PrivateKeyUncaptured => step.capture.clear(),
        B::PrivateKeyElsewhere => step.capture = vec![private_key_at("/pair/name")],
        B::CaptureUnknown => step.capture.push(Capture {
            name: "anything".to_owned(),
            place: Place::JsonPointer("/pair/name".to_owned()),
        }),
        B::PrivateKeyInNoHeader => {
            step.capture = vec![Capture {
                name: "private_key".to_owned(),
                place: Place::Header("x-private-key".to_owned()),
            }]
        }
        B::ManyCaptures => step.capture = vec![private_key_at("/private_key"); 1000],

        B::EchoSecrets | B::EchoInPair => {
            request.headers.push(("x-echo".to_owned(), Expr::text("headers")));
        }

        B::DeleteOtherName => *request = delete_names(operation, turn, &["somebody-elses"]),
        B::DeleteTwoNames => {
            let own = first_name(operation);
            *request = delete_names(operation, turn, &[&own, "somebody-elses"]);
        }
        B::DeleteOtherId => delete_by_id(request, "somebody-elses-id"),
        B::DeleteNameAsId => delete_by_id(request, &first_name(operation)),
        B::DeletePathEscape => delete_by_id(request, "../pairs/somebody-elses-id"),

        B::DeepRecipe => {
            let deep = (0..50).fold(Expr::text(""), |inner, _| inner.hex());
            note(request, deep);
        }
        B::LargeOutput => {
            let large = (0..35).fold(Expr::text("0123456789abcdef"), |inner, _| inner.hex());
            request.body = large;
        }
        B::ManyHeaders => {
            let header = ("x-note".to_owned(), Expr::text(""));
            request.headers.extend(std::iter::repeat_n(header, 100_000));
        }
        B::LargeState => step.state = Value::String("s".repeat(1_000_000)),
        B::HmacSha512 => {
            let hmac = Hmac {
                key: key(),
                data: Expr::text("data"),
            };
            note(request, Expr::HmacSha512(Box::new(hmac)).hex());
        }
        _ => {}
    }
}

fn http(request: HttpRequest) -> Step {
    Step::Http(Box::new(HttpStep {
        request,
        capture: Vec::new(),
        emit: Vec::new(),
        state: Value::Null,
    }))
}

fn wait(ms: u64) -> Answer {
    Ok(Step::Wait(WaitStep {
        ms,
        state: Value::Null,
    }))
}

fn read(source: &str) -> Answer {
    Ok(Step::Read(ReadStep {
        source: source.to_owned(),
        state: Value::Null,
    }))
}

fn with_header(operation: &Operation, turn: &Turn<'_>, value: Expr) -> HttpRequest {
    let mut request = request(operation, turn);
    request.headers.push(("x-note".to_owned(), value));
    request
}

fn set_header(request: &mut HttpRequest, name: &str, value: Expr) {
    request.headers.retain(|(other, _)| other != name);
    request.headers.push((name.to_owned(), value));
}

fn delete_names(operation: &Operation, turn: &Turn<'_>, names: &[&str]) -> HttpRequest {
    let mut request = request(operation, turn);
    let names = Value::from(names.to_vec()).to_string();
    request.query = vec![("names".to_owned(), Expr::Text(names))];
    request
}

fn delete_by_id(request: &mut HttpRequest, id: &str) {
    request.method = "DELETE".to_owned();
    request.path = format!("/pairs/{id}");
    request.query.clear();
    set_header(request, "x-action", Expr::text("DeletePair"));
}

fn first_name(operation: &Operation) -> String {
    match operation {
        Operation::Delete(delete) => delete
            .pairs
            .first()
            .map(|pair| pair.name.clone())
            .unwrap_or_default(),
        _ => String::new(),
    }
}

/// The pair of a `get`, as if it were there.
fn asked_about(operation: &Operation) -> Pair {
    match operation {
        Operation::Get(pair) => Pair {
            name: pair.name.clone(),
            id: pair.id.clone(),
            ..Pair::default()
        },
        _ => Pair::default(),
    }
}

/// More than half of what a list may have.
const EMITTED: usize = 50_001;

fn with_pair(step: Step, change: impl FnOnce(&mut Pair)) -> Step {
    match step {
        Step::Done(mut done) => {
            if let Outcome::Pair(pair) = &mut done.outcome {
                change(pair);
            }
            Step::Done(done)
        }
        other => other,
    }
}

fn write_file(turn: &Turn<'_>) -> ProviderError {
    let path = turn.setting("path").unwrap_or_default();
    let message = match std::fs::write(path, "written by a plugin") {
        Ok(()) => "the file was written".to_owned(),
        Err(error) => format!("the file was not written: {error}"),
    };
    ProviderError::new(ErrorKind::Internal, message)
}

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a plugin may print, and nobody may be harmed"
)]
fn print() {
    println!("a plugin's word on standard output");
    eprintln!("a plugin's word on standard error");
}
