//! The vendor's credential chain: which source wins, what is sent for it, and what is said when none does.

use keyferry_plugin::Turn;
use keyferry_plugin::contract::{
    Context, CredentialSet, CredentialValue, Credentials, Document, ErrorKind, HttpStep, Outcome, Profile,
    ProviderError, Reply, Response, Step, TransportError,
};
use keyferry_plugin::recipe::{Expr, Place};
use serde_json::{Value, json};

/// A machine: what each source of the manifest holds, the account's profile, and what answers.
#[derive(Default)]
struct Machine {
    profile: Option<&'static str>,
    environment: Value,
    config: Value,
    older_credentials: Value,
    older_config: Value,
    /// Answers in their order; none left: nobody answers.
    answers: Vec<(u16, Value)>,
}

impl Machine {
    /// Runs the chain to its end, and gives what it sent.
    fn run(&self) -> (Vec<HttpStep>, Result<CredentialSet, ProviderError>) {
        let asked = Credentials {
            profile: self.profile.map(str::to_owned),
        };
        let context = Context {
            time: "2026-11-22T01:37:49Z".to_owned(),
            nonce: "ab".repeat(16),
            ..Context::default()
        };
        let (mut state, mut reply) = (Value::Null, None);
        let mut sent = Vec::new();
        for _ in 0..10 {
            let turn = Turn {
                context: &context,
                state: &state,
                reply: reply.as_ref(),
            };
            match keyferry_volcengine::credentials(&asked, &turn) {
                Err(error) => return (sent, Err(error)),
                Ok(Step::Read(read)) => {
                    reply = Some(Reply::Document(self.document(&read.source)));
                    state = read.state;
                }
                Ok(Step::Http(step)) => {
                    reply = Some(match self.answers.get(sent.len()) {
                        None => Reply::TransportError(TransportError {
                            sent: false,
                            message: "no route to host".to_owned(),
                        }),
                        Some((status, body)) => answer(*status, body, &step),
                    });
                    state = step.state.clone();
                    sent.push(*step);
                }
                Ok(Step::Done(done)) => match done.outcome {
                    Outcome::Credentials(set) => return (sent, Ok(set)),
                    other => panic!("{other:?}"),
                },
                Ok(other) => panic!("{other:?}"),
            }
        }
        panic!("the chain has no end")
    }

    fn document(&self, source: &str) -> Document {
        let (location, content) = match source {
            "environment" => ("environment", &self.environment),
            "config" => ("~/.volcengine/config.json", &self.config),
            "older_credentials" => ("~/.volc/credentials", &self.older_credentials),
            "older_config" => ("~/.volc/config", &self.older_config),
            other => panic!("no source {other}"),
        };
        Document {
            source: source.to_owned(),
            location: location.to_owned(),
            found: !content.is_null(),
            content: content.clone(),
        }
    }

    #[track_caller]
    fn finds(&self, id: &str, secret: &str, token: Option<&str>, source: &str) -> CredentialSet {
        let set = self.run().1.unwrap_or_else(|error| panic!("{}", error.message));
        assert_eq!(set.fields["access_key_id"], CredentialValue::Text(id.to_owned()));
        let handle = |handle: &str| CredentialValue::Handle(handle.to_owned());
        assert_eq!(set.fields["access_key_secret"], handle(secret));
        assert_eq!(set.fields.get("security_token"), token.map(handle).as_ref());
        assert_eq!(set.source, source);
        set
    }

    #[track_caller]
    fn fails(&self, kind: ErrorKind, words: &[&str]) {
        let error = self.run().1.expect_err("no credentials");
        assert_eq!(error.kind, kind, "{}", error.message);
        for word in words {
            assert!(
                error.message.contains(word),
                "{word:?} is not in: {}",
                error.message
            );
        }
    }
}

/// An answer, from which the step's captures were lifted where they are.
fn answer(status: u16, body: &Value, step: &HttpStep) -> Reply {
    let captured = step.capture.iter().filter_map(|capture| match &capture.place {
        Place::JsonPointer(pointer) => body.pointer(pointer).map(|_| capture.name.clone()),
        other => panic!("{other:?}"),
    });
    Reply::Response(Response {
        status,
        headers: Vec::new(),
        captured: captured.collect(),
        body: match body {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        },
    })
}

fn handle(name: &str) -> Value {
    json!({"handle": name})
}

fn environment() -> Value {
    json!({"VOLCENGINE_ACCESS_KEY": "AKLT-env", "VOLCENGINE_SECRET_KEY": handle("env-secret")})
}

fn config() -> Value {
    json!({"current": "prod", "profiles": {
        "default": {"mode": "AK", "access-key": "AKLT-default", "secret-key": handle("default-secret")},
        "prod": {"access-key": "AKLT-prod", "secret-key": handle("prod-secret"), "region": "cn-beijing"},
        "sts": {"mode": "ak", "access-key": "AKTP", "secret-key": handle("sts-secret"), "session-token": handle("sts-token")},
        "token": {"mode": "StsToken", "access-key": "AKTP", "secret-key": handle("sts-secret"), "session-token": handle("sts-token")},
        "role": {"mode": "RamRoleArn", "access-key": "AKLT-role", "secret-key": handle("role-secret"),
                 "role-name": "deploy", "account-id": "2100000000"},
        "machine": {"mode": "EcsRole", "role-name": "vm"},
        "sso": {"mode": "sso", "sso-session-name": "s"},
        "half": {"mode": "AK", "access-key": "AKLT-half"},
        "tokenless": {"mode": "StsToken", "access-key": "AKTP", "secret-key": handle("sts-secret")},
        "a/b~c": {"mode": "AK", "access-key": "AKLT-odd", "secret-key": handle("odd-secret")},
    }})
}

const FILE: &str = "~/.volcengine/config.json";

#[test]
fn the_environment_wins() {
    let mut machine = Machine {
        environment: environment(),
        config: config(),
        ..Machine::default()
    };
    let set = machine.finds("AKLT-env", "env-secret", None, "environment");
    assert!(set.attempts.is_empty());
    machine.environment["VOLCENGINE_SESSION_TOKEN"] = handle("env-token");
    machine.finds("AKLT-env", "env-secret", Some("env-token"), "environment");
}

#[test]
fn the_profile_is_the_accounts_then_the_environments_then_the_files() {
    let with = |profile, environment: Value| Machine {
        profile,
        environment,
        config: config(),
        ..Machine::default()
    };
    let set = with(None, json!({})).finds(
        "AKLT-prod",
        "prod-secret",
        None,
        &format!("profile \"prod\" of {FILE}"),
    );
    assert_eq!(set.attempts, ["environment: VOLCENGINE_ACCESS_KEY is not set"]);
    let named = json!({"VOLCENGINE_PROFILE": "default"});
    with(None, named.clone()).finds(
        "AKLT-default",
        "default-secret",
        None,
        &format!("profile \"default\" of {FILE}"),
    );
    let mut environment = environment();
    environment["VOLCENGINE_PROFILE"] = json!("default");
    for profile in ["sts", "token"] {
        let source = format!("profile {profile:?} of {FILE}");
        with(Some(profile), environment.clone()).finds("AKTP", "sts-secret", Some("sts-token"), &source);
    }
    let source = format!("profile \"a/b~c\" of {FILE}");
    with(Some("a/b~c"), json!({})).finds("AKLT-odd", "odd-secret", None, &source);
    // Without a `current` it is "default".
    let mut machine = with(None, json!({}));
    machine.config["current"] = json!("");
    machine.finds(
        "AKLT-default",
        "default-secret",
        None,
        &format!("profile \"default\" of {FILE}"),
    );
}

#[test]
fn a_role_is_assumed_with_the_profiles_own_key() {
    let credentials = json!({"AccessKeyId": "AKTP-1", "SecretAccessKey": "s", "SessionToken": "t",
        "ExpiredTime": "2026-11-22T10:37:49+08:00"});
    let body = json!({"ResponseMetadata": {"RequestId": "CAFE"}, "Result": {"Credentials": credentials}});
    let machine = Machine {
        profile: Some("role"),
        config: config(),
        answers: vec![(200, body)],
        ..Machine::default()
    };
    let (sent, set) = machine.run();
    let set = set.unwrap_or_else(|error| panic!("{}", error.message));
    assert_eq!(
        set.fields["access_key_id"],
        CredentialValue::Text("AKTP-1".to_owned())
    );
    assert_eq!(set.fields["access_key_secret"], CredentialValue::Kept);
    assert_eq!(set.fields["security_token"], CredentialValue::Kept);
    assert_eq!(set.expires_at.as_deref(), Some("2026-11-22T10:37:49+08:00"));
    assert_eq!(set.source, format!("profile \"role\" of {FILE}"));
    let [step] = &*sent else { panic!("{sent:?}") };
    assert_eq!(
        (&*step.request.method, &*step.request.origin),
        ("GET", "https://sts.volcengineapi.com")
    );
    let parameter = |name: &str| {
        step.request
            .query
            .iter()
            .find(|(other, _)| other == name)
            .map(|(_, value)| value)
    };
    assert_eq!(parameter("Action"), Some(&Expr::text("AssumeRole")));
    assert_eq!(parameter("Version"), Some(&Expr::text("2018-01-01")));
    assert_eq!(
        parameter("RoleTrn"),
        Some(&Expr::text("trn:iam::2100000000:role/deploy"))
    );
    // Signed with the profile's key: its id is text, its secret the handle.
    let (_, authorization) = step.request.headers.last().expect("it is signed");
    let text = format!("{authorization:?}");
    assert!(
        text.contains("Credential=AKLT-role/20261122/cn-north-1/sts/request"),
        "{text}"
    );
    assert!(
        text.contains("Secret(\"role-secret\")") && !text.contains("access_key_secret"),
        "{text}"
    );
}

#[test]
fn a_role_that_is_refused_says_why() {
    let body = json!({"ResponseMetadata": {"RequestId": "CAFE", "Error": {"Code": "AccessDenied", "Message": "No."}}});
    let machine = |answers| Machine {
        profile: Some("role"),
        config: config(),
        answers,
        ..Machine::default()
    };
    machine(vec![(403, body)]).fails(ErrorKind::Unauthorized, &["sts:AssumeRole"]);
    let empty =
        json!({"ResponseMetadata": {"RequestId": "CAFE"}, "Result": {"Credentials": {"AccessKeyId": "x"}}});
    machine(vec![(200, empty)]).fails(ErrorKind::Internal, &["no access key"]);
    machine(Vec::new()).fails(ErrorKind::Unavailable, &["no route to host"]);
}

#[test]
fn the_instance_is_asked_last() {
    let key = json!({"AccessKeyId": "AKTP-vm", "SecretAccessKey": "s", "SessionToken": "t",
        "ExpiredTime": "2026-11-22T10:37:49+08:00"});
    let machine = Machine {
        answers: vec![
            (200, json!("token-1")),
            (200, json!(["vm/role", "other"])),
            (200, key),
        ],
        ..Machine::default()
    };
    let (sent, set) = machine.run();
    let set = set.unwrap_or_else(|error| panic!("{}", error.message));
    assert_eq!(
        set.fields["access_key_id"],
        CredentialValue::Text("AKTP-vm".to_owned())
    );
    assert_eq!(set.fields["access_key_secret"], CredentialValue::Kept);
    assert_eq!(set.source, "role \"vm/role\" of the instance");
    assert_eq!(
        set.attempts,
        [
            "environment: VOLCENGINE_ACCESS_KEY is not set",
            "~/.volcengine/config.json: no such file",
            "~/.volc/credentials: no such file",
            "~/.volc/config: no such file",
        ]
    );
    let targets: Vec<_> = sent
        .iter()
        .map(|step| (&*step.request.method, &*step.request.origin, &*step.request.path))
        .collect();
    let origin = "http://100.96.0.96";
    let roles = "/volcstack/latest/iam/security_credentials";
    assert_eq!(
        targets,
        [
            ("PUT", origin, "/latest/api/token"),
            ("GET", origin, roles),
            ("GET", origin, &*format!("{roles}/vm%2Frole")),
        ]
    );
    let lifetime = (
        "x-volc-ecs-metadata-token-ttl-seconds".to_owned(),
        Expr::text("60"),
    );
    assert_eq!(sent[0].request.headers, [lifetime]);
    let token = ("x-volc-ecs-metadata-token".to_owned(), Expr::text("token-1"));
    assert!(
        sent[1..]
            .iter()
            .all(|step| step.request.headers == [token.clone()])
    );
}

#[test]
fn a_named_role_of_the_instance_is_not_looked_for() {
    let key = json!({"AccessKeyId": "AKTP-vm", "SecretAccessKey": "s", "SessionToken": "t"});
    let answers = vec![(200, json!("token-1")), (200, key)];
    for machine in [
        Machine {
            profile: Some("machine"),
            config: config(),
            answers: answers.clone(),
            ..Machine::default()
        },
        Machine {
            environment: json!({"VOLCENGINE_ECS_METADATA": "vm"}),
            answers,
            ..Machine::default()
        },
    ] {
        let (sent, set) = machine.run();
        let set = set.unwrap_or_else(|error| panic!("{}", error.message));
        assert_eq!(
            (set.source.as_str(), set.expires_at),
            ("role \"vm\" of the instance", None)
        );
        assert!(
            sent[1].request.path.ends_with("/security_credentials/vm"),
            "{sent:?}"
        );
    }
}

#[test]
fn no_instance_is_the_end_of_the_chain() {
    for answers in [
        Vec::new(),
        vec![(404, json!(""))],
        vec![(200, json!(" "))],
        vec![(200, json!("token")), (200, json!([]))],
        vec![(200, json!("token")), (200, json!("{"))],
        vec![(200, json!("token")), (200, json!(["vm"])), (500, json!(""))],
    ] {
        let machine = Machine {
            answers,
            ..Machine::default()
        };
        machine.fails(
            ErrorKind::Unauthorized,
            &[
                "environment: VOLCENGINE_ACCESS_KEY is not set",
                "metadata service: ",
                "ve configure set",
            ],
        );
    }
    let disabled = Machine {
        environment: json!({"VOLCENGINE_ECS_METADATA_DISABLED": "True"}),
        ..Machine::default()
    };
    assert!(disabled.run().0.is_empty());
    disabled.fails(
        ErrorKind::Unauthorized,
        &["switched off by VOLCENGINE_ECS_METADATA_DISABLED"],
    );
}

#[test]
fn the_older_packages_places_come_after_the_file() {
    let mut machine = Machine {
        environment: json!({"VOLC_ACCESSKEY": "AKLT-old", "VOLC_SECRETKEY": handle("old-secret")}),
        config: config(),
        older_credentials: json!({"default": {"access_key_id": "AKLT-ini", "secret_access_key": handle("ini-secret")}}),
        older_config: json!({"ak": "AKLT-json", "sk": handle("json-secret")}),
        ..Machine::default()
    };
    machine.finds(
        "AKLT-prod",
        "prod-secret",
        None,
        &format!("profile \"prod\" of {FILE}"),
    );
    machine.config = Value::Null;
    machine.finds("AKLT-old", "old-secret", None, "environment, VOLC_ACCESSKEY");
    machine.environment = json!({});
    machine.finds("AKLT-ini", "ini-secret", None, "~/.volc/credentials");
    machine.older_credentials = json!({});
    machine.finds("AKLT-json", "json-secret", None, "~/.volc/config");
}

#[test]
fn what_is_not_in_this_version_is_refused_where_it_would_win() {
    let oidc =
        json!({"VOLCENGINE_OIDC_ROLE_TRN": "trn:iam::1:role/x", "VOLCENGINE_OIDC_TOKEN_FILE": "/token"});
    let mut machine = Machine {
        environment: oidc,
        config: config(),
        ..Machine::default()
    };
    machine.fails(
        ErrorKind::Unsupported,
        &[
            "OpenID Connect",
            "VOLCENGINE_OIDC_ROLE_TRN",
            "not in this version",
        ],
    );
    machine.profile = Some("sso");
    machine.fails(
        ErrorKind::Unsupported,
        &["profile \"sso\"", FILE, "\"sso\"", "RamRoleArn"],
    );
}

#[test]
fn a_profile_that_the_account_names_is_the_only_one() {
    let machine = |profile| Machine {
        profile: Some(profile),
        environment: environment(),
        config: config(),
        older_config: json!({"ak": "AKLT-json", "sk": handle("json-secret")}),
        ..Machine::default()
    };
    let words = ["environment: left out", "no profile \"nope\""];
    machine("nope").fails(ErrorKind::Unauthorized, &words);
    machine("tokenless").fails(
        ErrorKind::Unauthorized,
        &["profile \"tokenless\" has no session-token"],
    );
    machine("half").fails(ErrorKind::Unauthorized, &["profile \"half\" has no secret-key"]);
}

#[test]
fn documents_and_answers_of_another_shape_are_no_panic() {
    for content in [
        json!([]),
        json!(7),
        json!("x"),
        json!({"profiles": 7, "current": []}),
        json!({"default": 7}),
    ] {
        let machine = Machine {
            environment: content.clone(),
            config: content.clone(),
            older_credentials: content.clone(),
            older_config: content.clone(),
            answers: vec![(200, json!("token")), (200, json!(["vm"])), (200, content)],
            ..Machine::default()
        };
        assert!(machine.run().1.is_err());
    }
}

#[test]
fn profiles_are_listed_with_the_default_first() {
    let profiles = |environment: Value, config: Value| -> Vec<Profile> {
        let machine = Machine {
            environment,
            config,
            ..Machine::default()
        };
        let context = Context::default();
        let (mut state, mut reply) = (Value::Null, None);
        loop {
            let turn = Turn {
                context: &context,
                state: &state,
                reply: reply.as_ref(),
            };
            match keyferry_volcengine::profiles(&turn).expect("profiles are read") {
                Step::Read(read) => {
                    reply = Some(Reply::Document(machine.document(&read.source)));
                    state = read.state;
                }
                Step::Done(done) => match done.outcome {
                    Outcome::Profiles(profiles) => return profiles,
                    other => panic!("{other:?}"),
                },
                other => panic!("{other:?}"),
            }
        }
    };
    assert!(profiles(Value::Null, Value::Null).is_empty());
    let found = profiles(environment(), config());
    assert_eq!(
        (found[0].name.as_deref(), found[0].source.as_str()),
        (None, "environment")
    );
    assert_eq!(found[1].name.as_deref(), Some("prod"));
    assert_eq!(found[1].region.as_deref(), Some("cn-beijing"));
    let sso = found
        .iter()
        .find(|profile| profile.name.as_deref() == Some("sso"))
        .expect("it is listed");
    assert!(
        sso.unusable
            .as_ref()
            .is_some_and(|reason| reason.contains("\"sso\""))
    );
    assert!(found.iter().filter(|profile| profile.unusable.is_some()).count() == 1);
}
