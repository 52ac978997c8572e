//! The login, and the vendor's credential chain: what wins, what is sent for it, and what is said when nothing does.

use keyferry_plugin::Turn;
use keyferry_plugin::contract::{
    Context, CredentialSet, CredentialValue, Credentials, Document, ErrorKind, HttpStep, Outcome, Profile,
    ProviderError, Reply, Response, Session, Step, TransportError,
};
use keyferry_plugin::recipe::{Expr, Place};
use serde_json::{Value, json};

/// A machine: what the account gives, what each source of the manifest holds, and what answers.
#[derive(Default)]
struct Machine {
    given: &'static [&'static str],
    settings: Value,
    endpoint: Option<&'static str>,
    profile: Option<&'static str>,
    environment: Value,
    file: Value,
    /// Answers in their order: status, whether it has a token in its header, body. None left: nobody answers.
    answers: Vec<(u16, bool, Value)>,
}

type Login = Result<(CredentialSet, Session), ProviderError>;

impl Machine {
    fn run(&self) -> (Vec<HttpStep>, Login) {
        let asked = Credentials {
            profile: self.profile.map(str::to_owned),
        };
        let context = Context {
            time: "2026-11-22T01:37:49Z".to_owned(),
            region: Some("cn-north-4".to_owned()),
            credential_fields: self.given.iter().map(|field| (*field).to_owned()).collect(),
            settings: serde_json::from_value(self.settings.clone()).unwrap_or_default(),
            endpoint: self.endpoint.map(str::to_owned),
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
            match keyferry_huawei::credentials(&asked, &turn) {
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
                        Some((status, has_token, body)) => answer(*status, *has_token, body, &step),
                    });
                    state = step.state.clone();
                    sent.push(*step);
                }
                Ok(Step::Done(done)) => match (done.outcome, done.session) {
                    (Outcome::Credentials(set), Some(session)) => return (sent, Ok((set, session))),
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
            "credentials" => ("~/.huaweicloud/credentials", &self.file),
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
    fn logs_in(&self) -> (Vec<HttpStep>, CredentialSet, Session) {
        let (sent, login) = self.run();
        let (set, session) = login.unwrap_or_else(|error| panic!("{}", error.message));
        assert_eq!(session.public["region"], "cn-north-4");
        (sent, set, session)
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
fn answer(status: u16, has_token: bool, body: &Value, step: &HttpStep) -> Reply {
    let is_there = |place: &Place| match place {
        Place::JsonPointer(pointer) => body.pointer(pointer).is_some(),
        Place::Header(name) => has_token && name == "x-subject-token",
        other => panic!("{other:?}"),
    };
    let captured = step.capture.iter().filter(|capture| is_there(&capture.place));
    Reply::Response(Response {
        status,
        headers: Vec::new(),
        captured: captured.map(|capture| capture.name.clone()).collect(),
        body: match body {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        },
    })
}

fn handle(name: &str) -> Value {
    json!({"handle": name})
}

const KEY: &[&str] = &["access_key_id", "access_key_secret"];
const USER: &[&str] = &["username", "password", "domain"];
const TOKEN: &[&str] = &["token"];

fn projects(ids: &[&str]) -> (u16, bool, Value) {
    let projects: Vec<Value> = ids
        .iter()
        .map(|id| json!({"id": id, "name": "cn-north-4"}))
        .collect();
    (200, false, json!({ "projects": projects }))
}

fn token(project: Value) -> (u16, bool, Value) {
    let body = json!({"token": {"expires_at": "2026-11-23T01:37:49.123456Z", "project": project}});
    (201, true, body)
}

/// What a request's recipe stands for, with names of secrets in angle brackets.
fn shown(expr: &Expr) -> String {
    match expr {
        Expr::Text(text) => text.clone(),
        Expr::Secret(name) => format!("<{name}>"),
        Expr::JsonString(inner) => format!("\"{}\"", shown(inner)),
        Expr::Concat(parts) => parts.iter().map(shown).collect(),
        other => format!("{other:?}"),
    }
}

fn header(step: &HttpStep, name: &str) -> Option<String> {
    let (_, value) = step.request.headers.iter().find(|(other, _)| other == name)?;
    Some(shown(value))
}

fn target(step: &HttpStep) -> String {
    format!(
        "{} {}{}",
        step.request.method, step.request.origin, step.request.path
    )
}

#[test]
fn an_access_key_with_a_project_needs_no_request() {
    let machine = Machine {
        given: &["access_key_id", "access_key_secret", "security_token"],
        settings: json!({"project_id": "p1"}),
        ..Machine::default()
    };
    let (sent, set, session) = machine.logs_in();
    assert!(sent.is_empty());
    assert_eq!(session.public["project_id"], "p1");
    assert_eq!(set.fields.len(), 3);
    assert!(set.fields.values().all(|value| *value == CredentialValue::Kept));
}

#[test]
fn the_project_of_the_region_is_looked_up() {
    let machine = Machine {
        given: KEY,
        answers: vec![projects(&["p1"])],
        ..Machine::default()
    };
    let (sent, _, session) = machine.logs_in();
    assert_eq!(session.public["project_id"], "p1");
    let [step] = &*sent else { panic!("{sent:?}") };
    assert_eq!(
        target(step),
        "GET https://iam.cn-north-4.myhuaweicloud.com/v3/projects"
    );
    assert_eq!(
        step.request.query,
        [("name".to_owned(), Expr::text("cn-north-4"))]
    );
    let authorization = header(step, "authorization").expect("it is signed");
    assert!(
        authorization.starts_with("SDK-HMAC-SHA256 Access=<access_key_id>, SignedHeaders=host;x-sdk-date")
    );
    assert_eq!(header(step, "x-project-id"), None);
}

#[test]
fn one_project_is_needed() {
    for ids in [&[][..], &["p1", "p2"]] {
        let machine = Machine {
            given: KEY,
            answers: vec![projects(ids)],
            ..Machine::default()
        };
        machine.fails(
            ErrorKind::Invalid,
            &[&format!("{} projects", ids.len()), "project_id"],
        );
    }
    for body in [
        json!({}),
        json!({"projects": 7}),
        json!({"projects": [{"name": "x"}]}),
    ] {
        let machine = Machine {
            given: KEY,
            answers: vec![(200, false, body)],
            ..Machine::default()
        };
        assert!(machine.run().1.is_err());
    }
    let machine = Machine {
        given: KEY,
        answers: vec![(
            401,
            false,
            json!({"error_code": "APIGW.0301", "error_msg": "No."}),
        )],
        ..Machine::default()
    };
    machine.fails(ErrorKind::Unauthorized, &["2026-11-22T01:37:49Z"]);
}

#[test]
fn a_user_gets_a_token() {
    let machine = Machine {
        given: USER,
        answers: vec![token(json!({"id": "p1", "name": "cn-north-4"}))],
        ..Machine::default()
    };
    let (sent, set, session) = machine.logs_in();
    let [step] = &*sent else { panic!("{sent:?}") };
    assert_eq!(
        target(step),
        "POST https://iam.cn-north-4.myhuaweicloud.com/v3/auth/tokens"
    );
    let body: Value = serde_json::from_str(&shown(&step.request.body)).expect("JSON");
    let user = json!({"domain": {"name": "<domain>"}, "name": "<username>", "password": "<password>"});
    let expected = json!({"auth": {
        "identity": {"methods": ["password"], "password": {"user": user}},
        "scope": {"project": {"name": "cn-north-4"}},
    }});
    assert_eq!(body, expected);
    // The password goes no further.
    assert_eq!(set.fields.keys().collect::<Vec<_>>(), ["token"]);
    assert_eq!(set.fields["token"], CredentialValue::Kept);
    assert_eq!(session.public["project_id"], "p1");
    assert_eq!(session.expires_at.as_deref(), Some("2026-11-23T01:37:49.123456Z"));
}

#[test]
fn a_token_may_be_for_a_project_that_the_account_names() {
    let machine = Machine {
        given: USER,
        settings: json!({"project_id": "p9"}),
        answers: vec![token(json!({"id": "p9"}))],
        ..Machine::default()
    };
    let (sent, _, session) = machine.logs_in();
    assert!(shown(&sent[0].request.body).ends_with(r#""scope":{"project":{"id":"p9"}}}}"#));
    assert_eq!(session.public["project_id"], "p9");
}

#[test]
fn a_token_without_a_project_is_asked_about_it() {
    let machine = Machine {
        given: USER,
        answers: vec![token(Value::Null), projects(&["p1"])],
        ..Machine::default()
    };
    let (sent, _, session) = machine.logs_in();
    assert_eq!(header(&sent[1], "x-auth-token").as_deref(), Some("<token>"));
    assert_eq!(session.public["project_id"], "p1");
    // So is one that the account gives.
    let machine = Machine {
        given: TOKEN,
        answers: vec![projects(&["p1"])],
        ..Machine::default()
    };
    let (sent, set, _) = machine.logs_in();
    assert_eq!(header(&sent[0], "x-auth-token").as_deref(), Some("<token>"));
    assert_eq!(set.fields["token"], CredentialValue::Kept);
}

#[test]
fn a_login_that_fails_says_why() {
    let with = |answers| Machine {
        given: USER,
        answers,
        ..Machine::default()
    };
    let refusal = json!({"error": {"code": 401, "message": "The username or password is wrong.", "title": "Unauthorized"}});
    with(vec![(401, false, refusal)]).fails(ErrorKind::Unauthorized, &["credentials"]);
    with(vec![(201, false, json!({"token": {}}))]).fails(ErrorKind::Internal, &["no token"]);
    with(Vec::new()).fails(ErrorKind::Unavailable, &["no route to host"]);
    let machine = Machine {
        given: &["username", "access_key_id"],
        ..Machine::default()
    };
    machine.fails(ErrorKind::Unauthorized, &["username, password and domain"]);
}

#[test]
fn iam_may_be_elsewhere() {
    let target_of = |settings, endpoint, environment: Value| {
        let machine = Machine {
            given: if environment.is_null() { KEY } else { &[] },
            settings,
            endpoint,
            environment,
            answers: vec![projects(&["p1"])],
            ..Machine::default()
        };
        target(&machine.logs_in().0[0])
    };
    let endpoint = Some("http://127.0.0.1:1/");
    assert_eq!(
        target_of(json!({}), endpoint, Value::Null),
        "GET http://127.0.0.1:1/v3/projects"
    );
    let setting = json!({"iam_endpoint": "https://iam.example.com/base/"});
    assert_eq!(
        target_of(setting.clone(), endpoint, Value::Null),
        "GET https://iam.example.com/base/v3/projects"
    );
    let mut environment = environment();
    environment["HUAWEICLOUD_SDK_IAM_ENDPOINT"] = json!("https://iam.env.example.com");
    assert_eq!(
        target_of(json!({}), None, environment),
        "GET https://iam.env.example.com/v3/projects"
    );
}

fn environment() -> Value {
    json!({"HUAWEICLOUD_SDK_AK": "AK-env", "HUAWEICLOUD_SDK_SK": handle("env-secret")})
}

fn file() -> Value {
    json!({"basic": {"ak": "AK-file", "sk": handle("file-secret"), "project_id": "p-file"}})
}

#[test]
fn the_environment_wins_over_the_file() {
    let mut machine = Machine {
        environment: environment(),
        file: file(),
        answers: vec![projects(&["p1"])],
        ..Machine::default()
    };
    machine.environment["HUAWEICLOUD_SDK_SECURITY_TOKEN"] = handle("env-token");
    let (sent, set, session) = machine.logs_in();
    assert_eq!(set.source, "environment");
    assert_eq!(
        set.fields["access_key_id"],
        CredentialValue::Text("AK-env".to_owned())
    );
    assert_eq!(
        set.fields["security_token"],
        CredentialValue::Handle("env-token".to_owned())
    );
    assert_eq!(session.public["project_id"], "p1");
    // The look-up is signed with what was found.
    assert_eq!(
        header(&sent[0], "x-security-token").as_deref(),
        Some("<env-token>")
    );
    let authorization = header(&sent[0], "authorization").expect("it is signed");
    assert!(
        authorization.contains("Access=AK-env,") && authorization.contains("env-secret"),
        "{authorization}"
    );
    machine.environment["HUAWEICLOUD_SDK_PROJECT_ID"] = json!("p-env");
    let (sent, _, session) = machine.logs_in();
    assert_eq!((sent.len(), &session.public["project_id"]), (0, &json!("p-env")));
}

#[test]
fn the_file_is_next() {
    let mut machine = Machine {
        environment: json!({"HUAWEICLOUD_SDK_AK": "half"}),
        file: file(),
        ..Machine::default()
    };
    let (_, set, session) = machine.logs_in();
    assert_eq!(set.source, "section [basic] of ~/.huaweicloud/credentials");
    assert_eq!(
        set.fields["access_key_secret"],
        CredentialValue::Handle("file-secret".to_owned())
    );
    assert_eq!(session.public["project_id"], "p-file");
    assert_eq!(
        set.attempts,
        ["environment: HUAWEICLOUD_SDK_AK and HUAWEICLOUD_SDK_SK are not both set"]
    );
    machine.file["basic"]["idp_id"] = json!("idp");
    machine.file["basic"]["id_token_file"] = json!("/token");
    machine.fails(
        ErrorKind::Unsupported,
        &["section [basic]", "idp_id", "not in this version"],
    );
}

#[test]
fn the_instance_is_asked_last() {
    let key = json!({"credential": {"access": "AK-vm", "secret": "s", "securitytoken": "t",
        "expires_at": "2026-11-23T01:37:49.000000Z"}});
    let machine = Machine {
        answers: vec![
            (200, false, json!("token-1")),
            (200, false, key.clone()),
            projects(&["p1"]),
        ],
        ..Machine::default()
    };
    let (sent, set, session) = machine.logs_in();
    assert_eq!(
        target(&sent[0]),
        "PUT http://169.254.169.254/meta-data/latest/api/token"
    );
    assert_eq!(
        header(&sent[0], "x-metadata-token-ttl-seconds").as_deref(),
        Some("60")
    );
    assert_eq!(
        target(&sent[1]),
        "GET http://169.254.169.254/openstack/latest/securitykey"
    );
    assert_eq!(header(&sent[1], "x-metadata-token").as_deref(), Some("token-1"));
    let authorization = header(&sent[2], "authorization").expect("it is signed");
    assert!(authorization.contains("Access=AK-vm,"), "{authorization}");
    assert_eq!(
        header(&sent[2], "x-security-token").as_deref(),
        Some("<security_token>")
    );
    assert_eq!(set.source, "agency of the instance");
    assert_eq!(set.fields["access_key_secret"], CredentialValue::Kept);
    assert_eq!(set.expires_at.as_deref(), Some("2026-11-23T01:37:49.000000Z"));
    assert_eq!(session.public["project_id"], "p1");
    // A service without tokens is asked without one.
    let machine = Machine {
        answers: vec![(404, false, json!("")), (200, false, key), projects(&["p1"])],
        ..Machine::default()
    };
    assert_eq!(header(&machine.logs_in().0[1], "x-metadata-token"), None);
}

#[test]
fn no_instance_is_the_end_of_the_chain() {
    for answers in [
        Vec::new(),
        vec![(401, false, json!(""))],
        vec![(200, false, json!("token")), (404, false, json!(""))],
    ] {
        let machine = Machine {
            answers,
            ..Machine::default()
        };
        machine.fails(
            ErrorKind::Unauthorized,
            &[
                "environment: ",
                "~/.huaweicloud/credentials: no such file",
                "metadata service: ",
                "~/.hcloud",
            ],
        );
    }
    let pod = Machine {
        environment: json!({"HC_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1"}),
        ..Machine::default()
    };
    pod.fails(
        ErrorKind::Unsupported,
        &["HC_CONTAINER_CREDENTIALS_FULL_URI", "not in this version"],
    );
}

#[test]
fn what_is_not_in_this_version_is_refused_where_it_would_win() {
    let with = |variables: [&str; 2]| {
        let mut environment = environment();
        for variable in variables {
            environment[variable] = json!("x");
        }
        Machine {
            environment,
            ..Machine::default()
        }
    };
    with(["HUAWEICLOUD_OIDC_PROVIDER_URN", "HUAWEICLOUD_OIDC_AGENCY_URN"])
        .fails(ErrorKind::Unsupported, &["OpenID Connect", "not in this version"]);
    with(["HUAWEICLOUD_SDK_IDP_ID", "HUAWEICLOUD_SDK_ID_TOKEN_FILE"]).fails(
        ErrorKind::Unsupported,
        &["identity provider", "not in this version"],
    );
    let profile = Machine {
        profile: Some("prod"),
        ..Machine::default()
    };
    profile.fails(ErrorKind::Invalid, &["no profiles", "prod"]);
}

#[test]
fn documents_and_answers_of_another_shape_are_no_panic() {
    for content in [
        json!([]),
        json!(7),
        json!("x"),
        json!({"basic": 7}),
        json!({"credential": []}),
    ] {
        let machine = Machine {
            environment: content.clone(),
            file: content.clone(),
            answers: vec![(200, false, json!("token")), (200, false, content)],
            ..Machine::default()
        };
        assert!(machine.run().1.is_err());
    }
}

#[test]
fn what_the_chain_finds_is_a_profile() {
    let profiles = |environment: Value, file: Value| -> Vec<Profile> {
        let machine = Machine {
            environment,
            file,
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
            match keyferry_huawei::profiles(&turn).expect("profiles are read") {
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
    let sources =
        |profiles: Vec<Profile>| -> Vec<String> { profiles.into_iter().map(|found| found.source).collect() };
    assert!(profiles(Value::Null, Value::Null).is_empty());
    assert_eq!(sources(profiles(environment(), file())), ["environment"]);
    assert_eq!(
        sources(profiles(json!({}), file())),
        ["section [basic] of ~/.huaweicloud/credentials"]
    );
}
