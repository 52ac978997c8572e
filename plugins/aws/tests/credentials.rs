//! The vendor's chain: what wins, in what order, with which roles, and what is said of the rest.

#[path = "support/drive.rs"]
#[expect(dead_code, reason = "the requests of a service have tests of their own")]
mod drive;

use keyferry_plugin::contract::{
    CredentialSet, CredentialValue, Credentials, Document, DoneStep, ErrorKind, HttpStep, Operation, Outcome,
    Profile, Profiles, ProviderError, Reply, Step, TransportError,
};
use keyferry_plugin::recipe::Place;
use keyferry_plugin::{Answer, Provider, Turn};
use serde_json::{Value, json};

use crate::drive::{context, form, header, replied, response, step};

/// A service that has nothing but the chain.
#[derive(Clone, Copy)]
struct Chain;

impl Provider for Chain {
    fn credentials(&self, credentials: &Credentials, turn: &Turn<'_>) -> Answer {
        keyferry_aws::credentials(credentials, turn)
    }

    fn profiles(&self, turn: &Turn<'_>) -> Answer {
        keyferry_aws::profiles(turn)
    }
}

/// A machine: its sources, as the courier shows them, and what answers requests.
struct Machine {
    environment: Value,
    credentials: Value,
    config: Value,
    token: Value,
    printed: Value,
    answer: fn(&HttpStep) -> Reply,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            environment: json!({}),
            credentials: Value::Null,
            config: Value::Null,
            token: Value::Null,
            printed: Value::Null,
            answer: nobody,
        }
    }
}

/// What came of it, and on the way to it.
struct Run {
    end: Result<CredentialSet, ProviderError>,
    reads: Vec<String>,
    requests: Vec<HttpStep>,
}

impl Machine {
    fn run(&self, profile: Option<&str>) -> Run {
        let operation = Operation::Credentials(Credentials {
            profile: profile.map(str::to_owned),
        });
        let context = keyferry_plugin::contract::Context {
            credential_fields: Vec::new(),
            ..context()
        };
        let (mut reads, mut requests) = (Vec::new(), Vec::new());
        let (mut state, mut reply) = (Value::Null, None);
        for _ in 0..20 {
            let end = match step(Chain, &operation, &context, state, reply.take()) {
                Step::Read(read) => {
                    reply = Some(Reply::Document(self.read(&read.source)));
                    state = read.state;
                    reads.push(read.source);
                    continue;
                }
                Step::Run(run) => {
                    reply = Some(Reply::Document(document(
                        "process",
                        "a command",
                        self.printed.clone(),
                    )));
                    state = run.state;
                    reads.push(format!("{}{}", run.source, run.field));
                    continue;
                }
                Step::Http(http) => {
                    reply = Some((self.answer)(&http));
                    state = http.state.clone();
                    requests.push(*http);
                    continue;
                }
                Step::Done(done) => {
                    let DoneStep { outcome, session } = *done;
                    assert_eq!(session, None);
                    match outcome {
                        Outcome::Credentials(set) => Ok(set),
                        other => panic!("not credentials: {other:?}"),
                    }
                }
                Step::Fail(fail) => Err(fail.error),
                Step::Wait(_) => panic!("it waits"),
            };
            return Run { end, reads, requests };
        }
        panic!("it does not end");
    }

    fn read(&self, source: &str) -> Document {
        let (location, content) = match source {
            "environment" => ("environment", &self.environment),
            "credentials_file" => ("~/.aws/credentials", &self.credentials),
            "config_file" => ("~/.aws/config", &self.config),
            "web_identity_token" | "container_token" => ("/run/token", &self.token),
            other => panic!("no source {other}"),
        };
        document(source, location, content.clone())
    }

    #[track_caller]
    fn finds(&self, profile: Option<&str>) -> CredentialSet {
        self.run(profile).end.unwrap_or_else(|error| panic!("{error:?}"))
    }

    #[track_caller]
    fn fails(&self, profile: Option<&str>, kind: ErrorKind, words: &[&str]) {
        let error = self.run(profile).end.expect_err("it must fail");
        assert_eq!(error.kind, kind, "{}", error.message);
        for word in words {
            assert!(
                error.message.contains(word),
                "{word:?} is not in {:?}",
                error.message
            );
        }
    }
}

fn document(source: &str, location: &str, content: Value) -> Document {
    Document {
        source: source.to_owned(),
        location: location.to_owned(),
        found: !content.is_null(),
        content,
    }
}

fn handle(name: &str) -> Value {
    json!({ "handle": name })
}

fn keys(id: &str) -> Value {
    json!({"aws_access_key_id": id, "aws_secret_access_key": handle(&format!("secret of {id}"))})
}

fn nobody(_: &HttpStep) -> Reply {
    Reply::TransportError(TransportError {
        sent: false,
        message: "no route to host".to_owned(),
    })
}

/// STS, which tells in the keys' id which role they are of.
fn sts(step: &HttpStep) -> Reply {
    let fields = form(&step.request);
    let field = |name: &str| {
        let field = fields.iter().find(|(known, _)| known == name);
        field.map(|(_, value)| value.clone()).unwrap_or_default()
    };
    let action = field("Action");
    let role = field("RoleArn").rsplit('/').next().unwrap_or_default().to_owned();
    let place = |name: &str| Place::XmlPath(format!("{action}Response/{action}Result/Credentials/{name}"));
    let captures: Vec<(&str, &Place)> = step
        .capture
        .iter()
        .map(|capture| (&*capture.name, &capture.place))
        .collect();
    assert_eq!(
        captures,
        [
            ("secret_access_key", &place("SecretAccessKey")),
            ("session_token", &place("SessionToken"))
        ]
    );
    replied(
        200,
        format!(
            "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result><Credentials>\
             <AccessKeyId>ASIA{role}</AccessKeyId><SecretAccessKey/><SessionToken/>\
             <Expiration>2026-11-22T02:38:18Z</Expiration></Credentials></{action}Result>\
             <ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></{action}Response>"
        ),
        &["secret_access_key", "session_token"],
    )
}

fn text(set: &CredentialSet, field: &str) -> String {
    match &set.fields.get(field) {
        Some(CredentialValue::Text(text)) => text.clone(),
        Some(CredentialValue::Handle(handle)) => format!("<{handle}>"),
        Some(CredentialValue::Kept) => "kept".to_owned(),
        None => String::new(),
    }
}

/// Id, secret and token.
fn fields(set: &CredentialSet) -> [String; 3] {
    ["access_key_id", "secret_access_key", "session_token"].map(|field| text(set, field))
}

#[test]
fn the_environment_wins_and_no_file_is_read() {
    let machine = Machine {
        environment: json!({
            "AWS_ACCESS_KEY_ID": "AKIAENV",
            "AWS_SECRET_ACCESS_KEY": handle("s"),
            "AWS_SECURITY_TOKEN": handle("old"),
            "AWS_SESSION_TOKEN": handle("new"),
            "AWS_CREDENTIAL_EXPIRATION": "2026-11-22T03:00:00Z",
            "AWS_PROFILE": "nowhere",
        }),
        ..Machine::default()
    };
    let run = machine.run(None);
    let set = run.end.unwrap();
    assert_eq!(fields(&set), ["AKIAENV", "<s>", "<old>"]);
    assert_eq!(
        (&*set.source, set.expires_at.as_deref()),
        ("environment", Some("2026-11-22T03:00:00Z"))
    );
    assert_eq!(
        (run.reads, set.attempts),
        (vec!["environment".to_owned()], vec![])
    );

    let machine = Machine {
        environment: json!({"AWS_ACCESS_KEY_ID": "AKIAENV"}),
        ..Machine::default()
    };
    machine.fails(None, ErrorKind::Unauthorized, &["without AWS_SECRET_ACCESS_KEY"]);
}

#[test]
fn the_credentials_file_comes_before_the_config_file() {
    let machine = Machine {
        credentials: json!({"default": keys("AKIAFILE"), "prod": keys("AKIAPROD")}),
        config: json!({"default": keys("AKIACONFIG"), "profile stage": keys("AKIASTAGE")}),
        ..Machine::default()
    };
    let set = machine.finds(None);
    assert_eq!(fields(&set), ["AKIAFILE", "<secret of AKIAFILE>", ""]);
    assert_eq!(set.source, "profile \"default\" of ~/.aws/credentials");
    assert_eq!(set.attempts, ["environment: AWS_ACCESS_KEY_ID is not set"]);
    assert_eq!(text(&machine.finds(Some("prod")), "access_key_id"), "AKIAPROD");
    let set = machine.finds(Some("stage"));
    assert_eq!(set.source, "profile \"stage\" of ~/.aws/config");
    assert_eq!(
        set.attempts,
        ["environment: left out, since the account names a profile"]
    );
}

#[test]
fn the_environment_chooses_the_profile() {
    let with = |environment: Value| Machine {
        environment,
        credentials: json!({"default": keys("AKIA0"), "a": keys("AKIAA"), "b": keys("AKIAB")}),
        ..Machine::default()
    };
    let id = |machine: Machine, profile| text(&machine.finds(profile), "access_key_id");
    assert_eq!(id(with(json!({"AWS_PROFILE": "a"})), None), "AKIAA");
    let both = json!({"AWS_PROFILE": "a", "AWS_DEFAULT_PROFILE": "b"});
    assert_eq!(id(with(both.clone()), None), "AKIAB");
    assert_eq!(id(with(both), Some("a")), "AKIAA");
    let words = ["no profile \"nowhere\" in ~/.aws/credentials and ~/.aws/config"];
    with(json!({"AWS_PROFILE": "nowhere"})).fails(None, ErrorKind::Unauthorized, &words);
    with(json!({})).fails(Some("nowhere"), ErrorKind::Unauthorized, &words);
}

#[test]
fn a_named_profile_leaves_the_environments_keys_out() {
    let machine = Machine {
        environment: json!({
            "AWS_ACCESS_KEY_ID": "AKIAENV", "AWS_SECRET_ACCESS_KEY": handle("s"),
            "AWS_WEB_IDENTITY_TOKEN_FILE": "/run/token", "AWS_ROLE_ARN": "arn:aws:iam::1:role/web",
        }),
        credentials: json!({"prod": keys("AKIAPROD")}),
        ..Machine::default()
    };
    assert_eq!(text(&machine.finds(Some("prod")), "access_key_id"), "AKIAPROD");
}

#[test]
fn keys_without_a_secret_are_not_passed_over() {
    let machine = Machine {
        credentials: json!({"default": {"aws_access_key_id": "AKIA", "aws_secret_access_key": "in the clear"}}),
        config: json!({"default": keys("AKIACONFIG")}),
        ..Machine::default()
    };
    machine.fails(None, ErrorKind::Unauthorized, &["has no aws_secret_access_key"]);
}

#[test]
fn a_role_is_assumed_with_its_source_profile() {
    let machine = Machine {
        credentials: json!({"base": {
            "aws_access_key_id": "AKIABASE",
            "aws_secret_access_key": handle("s"),
            "aws_session_token": handle("t"),
        }}),
        config: json!({"profile deploy": {
            "role_arn": "arn:aws:iam::1:role/deploy",
            "source_profile": "base",
            "external_id": "e+1",
            "role_session_name": "li",
            "duration_seconds": "1800",
        }}),
        answer: sts,
        ..Machine::default()
    };
    let run = machine.run(Some("deploy"));
    let set = run.end.unwrap();
    assert_eq!(fields(&set), ["ASIAdeploy", "kept", "kept"]);
    assert_eq!(set.expires_at.as_deref(), Some("2026-11-22T02:38:18Z"));
    assert_eq!(
        set.source,
        "role arn:aws:iam::1:role/deploy by profile \"base\" of ~/.aws/credentials"
    );
    let [request] = &*run.requests else {
        panic!("{} requests", run.requests.len())
    };
    let request = &request.request;
    assert_eq!(request.origin, "https://sts.us-east-1.amazonaws.com");
    let fields: Vec<String> = form(request)
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    assert_eq!(
        fields,
        [
            "Action=AssumeRole",
            "Version=2011-06-15",
            "RoleArn=arn:aws:iam::1:role/deploy",
            "RoleSessionName=li",
            "DurationSeconds=1800",
            "ExternalId=e+1"
        ]
    );
    assert_eq!(header(request, "x-amz-security-token").as_deref(), Some("<t>"));
    let authorization = header(request, "authorization").unwrap();
    assert!(
        authorization
            .starts_with("AWS4-HMAC-SHA256 Credential=AKIABASE/20261122/us-east-1/sts/aws4_request, "),
        "{authorization}"
    );
    assert!(
        authorization.contains("hmac(AWS4<s>, 20261122)"),
        "{authorization}"
    );
}

#[test]
fn roles_are_assumed_one_after_the_other() {
    let role = |name: &str, source: &str| json!({"role_arn": format!("arn:aws:iam::1:role/{name}"), "source_profile": source});
    let machine = Machine {
        config: json!({
            "profile c": role("third", "b"),
            "profile b": role("second", "a"),
            "profile a": {
                "role_arn": "arn:aws:iam::1:role/first",
                "source_profile": "a",
                "aws_access_key_id": "AKIABASE",
                "aws_secret_access_key": handle("s"),
            },
        }),
        answer: sts,
        ..Machine::default()
    };
    // Keys in the source profile count before its own role.
    let run = machine.run(Some("c"));
    assert_eq!(fields(&run.end.unwrap()), ["ASIAthird", "kept", "kept"]);
    let keys: Vec<String> = run
        .requests
        .iter()
        .map(|step| {
            let authorization = header(&step.request, "authorization").unwrap();
            let (_, rest) = authorization.split_once("Credential=").unwrap();
            rest.split('/').next().unwrap().to_owned()
        })
        .collect();
    assert_eq!(keys, ["AKIABASE", "ASIAsecond"]);
    let second = header(&run.requests[1].request, "authorization").unwrap();
    assert!(second.contains("hmac(AWS4<secret_access_key>, "), "{second}");
    assert_eq!(
        header(&run.requests[1].request, "x-amz-security-token").as_deref(),
        Some("<session_token>")
    );
    // A profile may build on itself.
    assert_eq!(text(&machine.finds(Some("a")), "access_key_id"), "ASIAfirst");
}

#[test]
fn what_a_role_builds_on_must_be_sound() {
    let with = |fields: Value| Machine {
        config: json!({"profile x": fields, "profile y": {"role_arn": "r", "source_profile": "x"}, "profile empty": {}}),
        answer: sts,
        ..Machine::default()
    };
    use ErrorKind::{Invalid, Unauthorized, Unsupported};
    for (fields, kind, words) in [
        (
            json!({"role_arn": "r"}),
            Invalid,
            "neither source_profile nor credential_source",
        ),
        (
            json!({"role_arn": "r", "source_profile": "y", "credential_source": "Environment"}),
            Invalid,
            "has both",
        ),
        (
            json!({"role_arn": "r", "source_profile": "nowhere"}),
            Invalid,
            "which is not in",
        ),
        (
            json!({"role_arn": "r", "source_profile": "x"}),
            Invalid,
            "leads in a circle",
        ),
        (
            json!({"role_arn": "r", "source_profile": "y"}),
            Invalid,
            "leads in a circle: x, y",
        ),
        (
            json!({"role_arn": "r", "source_profile": "empty"}),
            Unauthorized,
            "has no keys",
        ),
        (
            json!({"role_arn": "r", "credential_source": "Moon"}),
            Invalid,
            "\"Moon\"",
        ),
        (
            json!({"role_arn": "r", "credential_source": "Environment"}),
            Unauthorized,
            "AWS_ACCESS_KEY_ID is not set",
        ),
        (
            json!({"role_arn": "r", "credential_source": "EcsContainer"}),
            Unauthorized,
            "names no address",
        ),
        (
            json!({"role_arn": "r", "source_profile": "y", "mfa_serial": "arn:mfa"}),
            Unsupported,
            "mfa_serial arn:mfa",
        ),
    ] {
        with(fields).fails(Some("x"), kind, &[words]);
    }
}

#[test]
fn a_role_may_take_its_keys_from_the_environment() {
    let machine = Machine {
        environment: json!({"AWS_ACCESS_KEY_ID": "AKIAENV", "AWS_SECRET_ACCESS_KEY": handle("s")}),
        config: json!({"profile x": {"role_arn": "arn:aws:iam::1:role/x", "credential_source": "Environment"}}),
        answer: sts,
        ..Machine::default()
    };
    let set = machine.finds(Some("x"));
    assert_eq!(set.source, "role arn:aws:iam::1:role/x by environment");
}

#[test]
fn what_sts_refuses_is_said() {
    let machine = Machine {
        credentials: json!({"base": keys("AKIA")}),
        config: json!({"profile x": {"role_arn": "arn:aws:iam::1:role/x", "source_profile": "base"}}),
        answer: |_| {
            response(
                403,
                "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>\
                 <Code>AccessDenied</Code><Message>No.</Message></Error><RequestId>r</RequestId></ErrorResponse>",
            )
        },
        ..Machine::default()
    };
    machine.fails(Some("x"), ErrorKind::Unauthorized, &["sts:AssumeRole"]);
    let nothing = Machine {
        answer: |_| replied(200, "<AssumeRoleResponse/>", &[]),
        ..machine
    };
    nothing.fails(Some("x"), ErrorKind::Internal, &["no keys of the role"]);
}

#[test]
fn a_web_identity_is_exchanged_for_a_role() {
    let machine = Machine {
        environment: json!({
            "AWS_WEB_IDENTITY_TOKEN_FILE": "/run/token",
            "AWS_ROLE_ARN": "arn:aws:iam::1:role/pod",
            "AWS_ROLE_SESSION_NAME": "pod-7",
        }),
        credentials: json!({"default": keys("AKIAFILE")}),
        token: handle("jwt"),
        answer: sts,
        ..Machine::default()
    };
    let run = machine.run(None);
    let set = run.end.unwrap();
    assert_eq!(fields(&set), ["ASIApod", "kept", "kept"]);
    let request = &run.requests[0].request;
    let fields = form(request);
    let has = |name: &str, value: &str| fields.contains(&(name.to_owned(), value.to_owned()));
    assert!(
        has("Action", "AssumeRoleWithWebIdentity") && has("RoleSessionName", "pod-7"),
        "{fields:?}"
    );
    assert!(has("WebIdentityToken", "<jwt>"), "{fields:?}");
    assert_eq!(header(request, "authorization"), None);

    let empty = Machine {
        token: Value::Null,
        environment: json!({"AWS_WEB_IDENTITY_TOKEN_FILE": "/run/token", "AWS_ROLE_ARN": "r"}),
        ..Machine::default()
    };
    empty.fails(None, ErrorKind::Unauthorized, &["/run/token holds no token"]);
    let incomplete = Machine {
        environment: json!({"AWS_WEB_IDENTITY_TOKEN_FILE": "/run/token"}),
        ..Machine::default()
    };
    incomplete.fails(None, ErrorKind::Unauthorized, &["without AWS_ROLE_ARN"]);
}

#[test]
fn a_command_prints_keys() {
    let with = |printed: Value| Machine {
        credentials: json!({"other": keys("AKIA")}),
        config: json!({"profile a/b": {
            "credential_process": true,
            "aws_access_key_id": "AKIACONFIG",
            "aws_secret_access_key": handle("s"),
        }}),
        printed,
        ..Machine::default()
    };
    let printed = json!({
        "Version": 1,
        "AccessKeyId": "ASIAPRINTED",
        "SecretAccessKey": handle("s"),
        "SessionToken": handle("t"),
        "Expiration": "2026-11-22T02:00:00Z",
    });
    let run = with(printed.clone()).run(Some("a/b"));
    let set = run.end.unwrap();
    assert_eq!(fields(&set), ["ASIAPRINTED", "<s>", "<t>"]);
    assert_eq!(set.expires_at.as_deref(), Some("2026-11-22T02:00:00Z"));
    assert_eq!(run.reads[3], "config_file/profile a~1b/credential_process");
    for (field, words) in [
        ("Version", "no `\"Version\": 1`"),
        ("AccessKeyId", "no AccessKeyId"),
        ("SecretAccessKey", "no SecretAccessKey"),
    ] {
        let mut printed = printed.clone();
        printed[field] = Value::Null;
        with(printed).fails(Some("a/b"), ErrorKind::Unauthorized, &[words]);
    }
}

#[test]
fn what_wants_a_person_is_refused_by_name() {
    for (fields, words) in [
        (json!({"sso_session": "corp"}), "single sign-on"),
        (
            json!({"sso_start_url": "https://x.awsapps.com/start"}),
            "single sign-on",
        ),
        (
            json!({"login_session": "arn:aws:iam::1:user/li"}),
            "a login in the browser",
        ),
        (
            json!({"role_arn": "r", "web_identity_token_file": "/run/token"}),
            "has a web_identity_token_file",
        ),
    ] {
        let machine = Machine {
            config: json!({"profile x": fields}),
            ..Machine::default()
        };
        machine.fails(Some("x"), ErrorKind::Unsupported, &[words, "not in this version"]);
    }
}

#[test]
fn a_container_hands_out_keys() {
    fn container(step: &HttpStep) -> Reply {
        let body = json!({"AccessKeyId": "ASIABOX", "Expiration": "2026-11-22T02:00:00Z"});
        let places: Vec<&Place> = step.capture.iter().map(|capture| &capture.place).collect();
        let pointer = |text: &str| Place::JsonPointer(text.to_owned());
        assert_eq!(places, [&pointer("/SecretAccessKey"), &pointer("/Token")]);
        replied(200, body, &["secret_access_key", "session_token"])
    }
    for (environment, origin, path, token) in [
        (
            json!({"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials/7"}),
            "http://169.254.170.2",
            "/v2/credentials/7",
            None,
        ),
        (
            json!({
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1/credentials",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "/run/token",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN": handle("not this one"),
            }),
            "http://169.254.170.23",
            "/v1/credentials",
            Some("<file token>"),
        ),
        (
            json!({
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:8080",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN": handle("t"),
            }),
            "http://127.0.0.1:8080",
            "/",
            Some("<t>"),
        ),
    ] {
        let machine = Machine {
            environment,
            token: handle("file token"),
            answer: container,
            ..Machine::default()
        };
        let run = machine.run(None);
        let set = run.end.unwrap();
        assert_eq!(fields(&set), ["ASIABOX", "kept", "kept"]);
        assert_eq!(set.expires_at.as_deref(), Some("2026-11-22T02:00:00Z"));
        let request = &run.requests[0].request;
        assert_eq!((&*request.origin, &*request.path), (origin, path));
        assert_eq!(header(request, "authorization").as_deref(), token);
        assert_eq!(
            set.attempts,
            [
                "environment: AWS_ACCESS_KEY_ID is not set",
                "~/.aws/credentials: no such file",
                "~/.aws/config: no such file"
            ]
        );
    }
    let refused = Machine {
        environment: json!({"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/x"}),
        answer: |_| response(500, ""),
        ..Machine::default()
    };
    refused.fails(None, ErrorKind::Unavailable, &["status 500"]);
}

#[test]
fn an_instance_hands_out_keys_of_its_role() {
    fn metadata(step: &HttpStep) -> Reply {
        let request = &step.request;
        assert_eq!(request.origin, "http://169.254.169.254");
        let token = header(request, "x-aws-ec2-metadata-token");
        match (&*request.method, &*request.path) {
            ("PUT", "/latest/api/token") => {
                let lifetime = header(request, "x-aws-ec2-metadata-token-ttl-seconds");
                assert_eq!(lifetime.as_deref(), Some("60"));
                response(200, "leave==")
            }
            ("GET", "/latest/meta-data/iam/security-credentials/") if token.as_deref() == Some("leave==") => {
                response(200, "web server\n")
            }
            ("GET", "/latest/meta-data/iam/security-credentials/web%20server") => {
                assert_eq!(token.as_deref(), Some("leave=="));
                let body = json!({"Code": "Success", "AccessKeyId": "ASIAROLE", "Expiration": "2026-11-22T07:00:00Z"});
                replied(200, body, &["secret_access_key", "session_token"])
            }
            other => panic!("{other:?}"),
        }
    }
    let machine = Machine {
        answer: metadata,
        ..Machine::default()
    };
    let set = machine.finds(None);
    assert_eq!(fields(&set), ["ASIAROLE", "kept", "kept"]);
    assert_eq!(set.source, "instance metadata, role web server");
    assert_eq!(set.expires_at.as_deref(), Some("2026-11-22T07:00:00Z"));
    assert_eq!(set.attempts.len(), 4, "{:?}", set.attempts);

    let off = Machine {
        environment: json!({"AWS_EC2_METADATA_DISABLED": "TRUE"}),
        answer: |_| panic!("it asks"),
        ..Machine::default()
    };
    off.fails(
        None,
        ErrorKind::Unauthorized,
        &["switched off by AWS_EC2_METADATA_DISABLED"],
    );
}

#[test]
fn a_machine_with_nothing_hears_what_was_tried() {
    let machine = Machine {
        credentials: json!({"other": keys("AKIA")}),
        config: json!({"default": {"region": "us-east-1"}}),
        ..Machine::default()
    };
    machine.fails(
        None,
        ErrorKind::Unauthorized,
        &[
            "environment: AWS_ACCESS_KEY_ID is not set",
            "~/.aws/credentials: no profile \"default\"",
            "~/.aws/config: profile \"default\" has no keys",
            "container: neither",
            "instance metadata: no route to host",
            "run `aws configure`",
        ],
    );
    let roleless = Machine {
        answer: |step| match &*step.request.method {
            "PUT" => response(200, "leave"),
            _ => response(404, ""),
        },
        ..Machine::default()
    };
    roleless.fails(None, ErrorKind::Unauthorized, &["the instance has no role"]);
    let another = Machine {
        answer: |_| response(405, "<html>"),
        ..Machine::default()
    };
    another.fails(None, ErrorKind::Unauthorized, &["no version 2"]);
}

#[test]
fn documents_of_another_shape_are_no_panic() {
    for content in [
        json!([]),
        json!(7),
        json!("x"),
        json!({"default": 7}),
        json!({"default": {"role_arn": {}}}),
    ] {
        let machine = Machine {
            environment: content.clone(),
            credentials: content.clone(),
            config: content,
            ..Machine::default()
        };
        machine.fails(None, ErrorKind::Unauthorized, &[]);
    }
}

#[test]
fn profiles_are_listed_the_default_one_first() {
    let machine = Machine {
        environment: json!({"AWS_PROFILE": "prod"}),
        credentials: json!({"default": keys("AKIA0"), "prod": keys("AKIA1")}),
        config: json!({
            "default": {"region": "eu-west-1"},
            "profile prod": {"region": "us-west-2"},
            "profile sso": {"sso_session": "corp"},
            "profile empty": {"region": "us-east-1"},
            "sso-session corp": {},
        }),
        ..Machine::default()
    };
    let found = listed(&machine);
    let shown: Vec<(Option<&str>, &str, Option<&str>, bool)> = found
        .iter()
        .map(|profile| {
            let unusable = profile.unusable.is_some();
            (
                profile.name.as_deref(),
                &*profile.source,
                profile.region.as_deref(),
                unusable,
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            (
                Some("prod"),
                "profile \"prod\" of ~/.aws/credentials and ~/.aws/config",
                Some("us-west-2"),
                false
            ),
            (
                Some("default"),
                "profile \"default\" of ~/.aws/credentials and ~/.aws/config",
                Some("eu-west-1"),
                false
            ),
            (Some("sso"), "profile \"sso\" of ~/.aws/config", None, true),
        ]
    );
    let environment = Machine {
        environment: json!({"AWS_ACCESS_KEY_ID": "AKIAENV", "AWS_SECRET_ACCESS_KEY": handle("s")}),
        ..Machine::default()
    };
    let found = listed(&environment);
    assert_eq!(
        (found.len(), found[0].name.as_deref(), &*found[0].source),
        (1, None, "environment")
    );
}

fn listed(machine: &Machine) -> Vec<Profile> {
    let operation = Operation::Profiles(Profiles {});
    let (mut state, mut reply) = (Value::Null, None);
    loop {
        match step(Chain, &operation, &context(), state, reply.take()) {
            Step::Read(read) => {
                reply = Some(Reply::Document(machine.read(&read.source)));
                state = read.state;
            }
            Step::Done(done) => match done.outcome {
                Outcome::Profiles(found) => return found,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }
}
