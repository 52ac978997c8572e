//! Where a cloud is found, and what a login needs and leads to.

#[path = "support/drive.rs"]
#[expect(dead_code, reason = "requests and replies have tests of their own")]
mod drive;

use std::collections::BTreeMap;

use keyferry_plugin::contract::{
    Context, Credentials, Document, ErrorKind, HttpStep, Operation, Outcome, Profile, Profiles,
    ProviderError, Reply, Step,
};
use serde_json::{Value, json};

use crate::drive::{account, credentials, evaluate, failure, http, log_in, response, step, token, versions};

/// A machine: what each source of the manifest holds.
#[derive(Default)]
struct Machine {
    profile: Option<&'static str>,
    environment: Value,
    clouds: Value,
    secure: Value,
}

impl Machine {
    /// Goes through the chain to the request of a login.
    fn log_in(&self, context: &Context) -> Result<HttpStep, ProviderError> {
        let profile = self.profile.map(str::to_owned);
        match self.read(&Operation::Credentials(Credentials { profile }), context) {
            Step::Http(step) => Ok(*step),
            other => Err(failure(other)),
        }
    }

    fn read(&self, operation: &Operation, context: &Context) -> Step {
        let mut next = step(operation, context, Value::Null, None);
        while let Step::Read(read) = next {
            let (location, content) = match &*read.source {
                "environment" => ("environment", &self.environment),
                "clouds" => ("/home/li/.config/openstack/clouds.yaml", &self.clouds),
                "secure" => ("/home/li/.config/openstack/secure.yaml", &self.secure),
                other => panic!("no source {other}"),
            };
            let document = Reply::Document(Document {
                source: read.source,
                location: location.to_owned(),
                found: !content.is_null() || location == "environment",
                content: content.clone(),
            });
            next = step(operation, context, read.state, Some(document));
        }
        next
    }

    /// The login's body, with handles as `<handle>`.
    #[track_caller]
    fn body(&self) -> Value {
        let step = self
            .log_in(&Context::default())
            .unwrap_or_else(|error| panic!("{}", error.message));
        body(&step)
    }

    #[track_caller]
    fn fails(&self, kind: ErrorKind, words: &[&str]) {
        let error = self.log_in(&Context::default()).expect_err("no login");
        assert_eq!(error.kind, kind, "{}", error.message);
        for word in words {
            assert!(error.message.contains(word), "{word}: {}", error.message);
        }
    }
}

fn body(step: &HttpStep) -> Value {
    let names = [
        "h1",
        "h2",
        "h3",
        "password",
        "token",
        "application_credential_secret",
        "username",
        "user_id",
        "project_id",
        "user_domain_name",
        "application_credential_name",
    ];
    let secrets: BTreeMap<String, String> = names
        .iter()
        .map(|name| ((*name).to_owned(), format!("<{name}>")))
        .collect();
    serde_json::from_str(&evaluate(&step.request.body, &secrets)).expect("a body is JSON")
}

fn handle(name: &str) -> Value {
    json!({"handle": name})
}

fn prod() -> Value {
    json!({
        "auth": {
            "auth_url": "https://keystone.example:5000/v3", "username": "li", "user_domain_name": "Default",
            "project_name": "web", "project_domain_name": "Default", "password": handle("h1"),
        },
        "region_name": "RegionOne",
    })
}

fn password_of(user: Value, project: Value) -> Value {
    json!({"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": {"project": project}}})
}

#[test]
fn the_environment_is_a_cloud() {
    let machine = Machine {
        environment: json!({
            "OS_AUTH_URL": "https://keystone.example/identity", "OS_USERNAME": "li", "OS_USER_DOMAIN_ID": "default",
            "OS_PASSWORD": handle("h1"), "OS_PROJECT_ID": "p1", "OS_REGION_NAME": "RegionOne",
        }),
        // Not looked at.
        clouds: json!({"clouds": {"prod": prod()}}),
        ..Machine::default()
    };
    let user = json!({"name": "li", "domain": {"id": "default"}, "password": "<h1>"});
    assert_eq!(machine.body(), password_of(user, json!({"id": "p1"})));
    let sent = machine.log_in(&Context::default()).unwrap();
    // The API's version is added where the URL has none.
    assert_eq!(
        (&*sent.request.origin, &*sent.request.path),
        ("https://keystone.example", "/identity/v3/auth/tokens")
    );
}

#[test]
fn a_cloud_is_chosen_as_the_tools_choose_it() {
    let user = json!({"name": "li", "domain": {"name": "Default"}, "password": "<h1>"});
    let expected = password_of(user, json!({"name": "web", "domain": {"name": "Default"}}));
    let mut lab = prod();
    lab["auth"]["username"] = json!("lab");
    let both = json!({"clouds": {"prod": prod(), "lab": lab}});
    let one = json!({"clouds": {"prod": prod()}});
    let url = json!({"OS_AUTH_URL": "https://other.example/v3"});
    for machine in [
        Machine {
            clouds: one.clone(),
            ..Machine::default()
        },
        Machine {
            clouds: both.clone(),
            environment: json!({"OS_CLOUD": "prod"}),
            ..Machine::default()
        },
        Machine {
            clouds: both.clone(),
            profile: Some("prod"),
            environment: url,
            ..Machine::default()
        },
        Machine {
            clouds: both.clone(),
            profile: Some("prod"),
            environment: json!({"OS_CLOUD": "lab"}),
            ..Machine::default()
        },
        // These two variables describe no cloud.
        Machine {
            clouds: one,
            environment: json!({"OS_REGION_NAME": "R", "OS_CLOUD_NAME": "mine"}),
            ..Machine::default()
        },
    ] {
        assert_eq!(machine.body(), expected);
    }
    let names = Machine {
        clouds: both.clone(),
        ..Machine::default()
    };
    names.fails(
        ErrorKind::Unauthorized,
        &["several clouds (lab, prod)", "`profile`", "environment: none of"],
    );
    let unknown = Machine {
        clouds: both,
        profile: Some("stage"),
        ..Machine::default()
    };
    unknown.fails(
        ErrorKind::Unauthorized,
        &["no cloud \"stage\", only lab, prod", "environment: left out"],
    );
    Machine::default().fails(
        ErrorKind::Unauthorized,
        &["clouds.yaml: no such file", "current directory"],
    );
}

#[test]
fn the_secure_file_counts_before_the_other() {
    let mut without = prod();
    without["auth"].as_object_mut().unwrap().remove("password");
    let machine = Machine {
        clouds: json!({"clouds": {"prod": without}}),
        secure: json!({"clouds": {"prod": {"auth": {"password": handle("h2")}}, "lab": {"auth": {"password": handle("h3")}}}}),
        ..Machine::default()
    };
    assert_eq!(
        machine.body()["auth"]["identity"]["password"]["user"]["password"],
        "<h2>"
    );
}

#[test]
fn every_way_to_log_in_has_its_body() {
    let cloud = |auth_type: &str, auth: Value| {
        let mut auth = auth;
        auth["auth_url"] = json!("https://keystone.example:5000/v3");
        let clouds = json!({"clouds": {"prod": {"auth_type": auth_type, "auth": auth}}});
        Machine {
            clouds,
            ..Machine::default()
        }
        .body()["auth"]
            .clone()
    };
    assert_eq!(
        cloud(
            "v3applicationcredential",
            json!({"application_credential_id": "a1", "application_credential_secret": handle("h1")})
        ),
        json!({"identity": {"methods": ["application_credential"], "application_credential": {"id": "a1", "secret": "<h1>"}}})
    );
    assert_eq!(
        cloud(
            "v3applicationcredential",
            json!({"application_credential_name": "a", "user_id": "u1", "application_credential_secret": handle("h1")})
        ),
        json!({"identity": {"methods": ["application_credential"], "application_credential": {"name": "a", "user": {"id": "u1"}, "secret": "<h1>"}}})
    );
    assert_eq!(
        cloud("token", json!({"token": handle("h1"), "project_id": "p1"})),
        json!({"identity": {"methods": ["token"], "token": {"id": "<h1>"}}, "scope": {"project": {"id": "p1"}}})
    );
    // Quotes and line ends stay inside their string.
    assert_eq!(
        cloud(
            "password",
            json!({"password": handle("h1"), "user_id": "u\"1\n", "project_id": "p1"})
        ),
        json!({"identity": {"methods": ["password"], "password": {"user": {"id": "u\"1\n", "password": "<h1>"}}}, "scope": {"project": {"id": "p1"}}})
    );
}

#[test]
fn what_is_not_in_this_version_is_named() {
    for (field, value, words) in [
        ("auth_type", "v3oidcpassword", "auth_type \"v3oidcpassword\""),
        ("profile", "vexxhost", "profile \"vexxhost\""),
        ("verify", "False", "`ca_file`"),
    ] {
        let mut cloud = prod();
        cloud[field] = json!(value);
        let machine = Machine {
            clouds: json!({"clouds": {"prod": cloud}}),
            ..Machine::default()
        };
        machine.fails(ErrorKind::Unsupported, &[words, "cloud \"prod\" of /home/li"]);
    }
    let mut cloud = prod();
    cloud["auth"]["auth_url"] = json!("https://keystone.example:5000/v2.0");
    Machine {
        clouds: json!({"clouds": {"prod": cloud}}),
        ..Machine::default()
    }
    .fails(ErrorKind::Unsupported, &["2.0"]);
}

#[test]
fn what_a_login_lacks_is_named() {
    let given = |fields: &[&str]| failure(step(&credentials(), &account(fields), Value::Null, None)).message;
    assert!(given(&["username", "password", "project_id"]).contains("user_domain_id or user_domain_name"));
    assert!(given(&["username", "user_domain_id", "password"]).contains("project_id, or project_name"));
    assert!(given(&["username", "user_domain_id"]).contains("none of password"));
    assert!(given(&["password", "token", "user_id", "project_id"]).contains("both password and token"));
    assert!(given(&["application_credential_secret"]).contains("application_credential_id"));
    let mut context = account(&["user_id", "password", "project_id"]);
    context.settings.clear();
    assert!(
        failure(step(&credentials(), &context, Value::Null, None))
            .message
            .contains("`auth_url`")
    );
    context
        .settings
        .insert("auth_url".to_owned(), json!("keystone.example"));
    assert!(
        failure(step(&credentials(), &context, Value::Null, None))
            .message
            .contains("is not a URL")
    );
}

#[test]
fn a_login_gives_only_the_token_to_later_operations() {
    let context = account(&["user_id", "password", "project_id"]);
    let sent = http(step(&credentials(), &context, Value::Null, None));
    let regions = [("RegionOne", "http://127.0.0.1:8774/v2.1/p1")];
    let ask = http(step(
        &credentials(),
        &context,
        sent.state,
        Some(response(201, token(&regions), &["token"])),
    ));
    // The version's document is above the project's part.
    assert_eq!(ask.request.path, "/v2.1");
    let done = match step(
        &credentials(),
        &context,
        ask.state,
        Some(response(200, versions("2.1", "2.103"), &[])),
    ) {
        Step::Done(done) => *done,
        other => panic!("{other:?}"),
    };
    let Outcome::Credentials(set) = done.outcome else {
        panic!("no credentials")
    };
    assert_eq!(set.fields.keys().collect::<Vec<_>>(), ["token"]);
    let session = done.session.unwrap();
    assert_eq!(session.captures, ["token"]);
    assert_eq!(session.expires_at.as_deref(), Some("2026-11-22T02:36:49.000000Z"));
    assert_eq!(
        session.urls,
        ["http://127.0.0.1:8774/v2.1/p1", "http://127.0.0.1:8774/v2.1"]
    );
    assert_eq!(session.public["microversion"], "2.92");
    assert_eq!(
        (&session.public["user_id"], &session.public["project_id"]),
        (&json!("u1"), &json!("p1"))
    );
}

#[test]
fn region_and_interface_choose_from_the_catalogue() {
    let two = || {
        token(&[
            ("RegionOne", "http://127.0.0.1:1/v2.1"),
            ("RegionTwo", "http://127.0.0.1:2/v2.1"),
        ])
    };
    let mut context = account(&["user_id", "password", "project_id"]);
    let message = |context: &Context, token| {
        log_in(context, token, versions("2.1", "2.103"))
            .unwrap_err()
            .message
    };
    assert!(message(&context, two()).contains("several regions (RegionOne, RegionTwo)"));
    context.region = Some("RegionTwo".to_owned());
    let session = log_in(&context, two(), versions("2.1", "2.103")).unwrap();
    assert_eq!(session.public["compute"]["url"], "http://127.0.0.1:2/v2.1");
    context.region = Some("Mars".to_owned());
    assert!(message(&context, two()).contains("no compute service in region \"Mars\""));
    context.settings.insert("interface".to_owned(), json!("admin"));
    assert!(message(&context, two()).contains("interface \"admin\""));
    assert!(message(&context, json!({"token": {"user": {"id": "u1"}}})).contains("for no project"));

    // A URL of the account's own needs no catalogue.
    context.settings.insert(
        "compute_endpoint_override".to_owned(),
        json!("http://127.0.0.1:3/compute/v2.1/"),
    );
    let session = log_in(&context, two(), versions("2.1", "2.103")).unwrap();
    assert_eq!(
        session.public["compute"]["url"],
        "http://127.0.0.1:3/compute/v2.1"
    );
}

#[test]
fn a_refused_login_says_what_to_check() {
    let context = account(&["user_id", "password", "project_id"]);
    let sent = http(step(&credentials(), &context, Value::Null, None));
    let answer = |status, body: Value| {
        failure(step(
            &credentials(),
            &context,
            sent.state.clone(),
            Some(response(status, body, &[])),
        ))
    };
    let fault = |message: &str| json!({"error": {"code": 401, "message": message, "title": "Unauthorized"}});
    let error = answer(401, fault("The request you have made requires authentication."));
    assert_eq!(
        (error.kind, error.code.as_deref()),
        (ErrorKind::Unauthorized, Some("Unauthorized"))
    );
    assert!(error.message.contains("check user, project"), "{}", error.message);
    let error = answer(
        401,
        fault("The password is expired and needs to be changed for user: u1."),
    );
    assert!(
        error.message.contains("the password is expired"),
        "{}",
        error.message
    );
    assert!(error.message.contains("with a password"), "{}", error.message);
    assert_eq!(answer(404, json!(null)).kind, ErrorKind::Invalid);
    assert_eq!(answer(404, fault("Not Found")).kind, ErrorKind::Invalid);
    assert_eq!(answer(300, json!({"versions": {}})).kind, ErrorKind::Invalid);
    assert_eq!(answer(503, json!(null)).kind, ErrorKind::Unavailable);
    assert_eq!(answer(429, json!(null)).kind, ErrorKind::Throttled);
    // A success without a token is none.
    assert_eq!(answer(201, token(&[])).kind, ErrorKind::Internal);
}

#[test]
fn a_token_that_has_ended_is_refused() {
    let context = account(&["token", "project_id"]);
    let sent = http(step(&credentials(), &context, Value::Null, None));
    let fault = json!({"error": {"code": 404, "message": "Failed to validate token", "title": "Not Found"}});
    let answer = response(404, fault, &[]);
    let error = failure(step(&credentials(), &context, sent.state, Some(answer)));
    assert_eq!(error.kind, ErrorKind::Unauthorized);
    assert!(
        error.message.contains("a token (failed to validate token)"),
        "{}",
        error.message
    );
}

#[test]
fn microversions_out_of_reach_are_named() {
    let mut context = account(&["user_id", "password", "project_id"]);
    let one = || token(&[("RegionOne", "http://127.0.0.1:1/v2.1")]);
    let error = |context: &Context, versions| log_in(context, one(), versions).unwrap_err();
    assert!(
        error(&context, json!({"versions": []}))
            .message
            .contains("announces no microversions")
    );
    assert!(
        error(&context, versions("", ""))
            .message
            .contains("announces no microversions")
    );
    assert!(
        error(&context, versions("2.100", "2.200"))
            .message
            .contains("keyferry knows up to 2.92")
    );
    for (pinned, words) in [
        ("2.70", "this nova has 2.1 to 2.60"),
        ("2.95", "knows up to 2.92"),
        ("latest", "no microversion like 2.10"),
    ] {
        context.settings.insert("microversion".to_owned(), json!(pinned));
        let message = error(&context, versions("2.1", "2.60")).message;
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn the_clouds_of_a_machine_are_offered() {
    let mut lab = prod();
    lab["auth_type"] = json!("v3kerberos");
    let machine = Machine {
        environment: json!({"OS_CLOUD": "prod", "OS_AUTH_URL": "https://other.example/v3"}),
        clouds: json!({"clouds": {"lab": lab, "prod": prod()}}),
        ..Machine::default()
    };
    let profiles = |machine: &Machine| -> Vec<Profile> {
        match machine.read(&Operation::Profiles(Profiles {}), &Context::default()) {
            Step::Done(done) => match done.outcome {
                Outcome::Profiles(profiles) => profiles,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    };
    let found = profiles(&machine);
    let names: Vec<Option<&str>> = found.iter().map(|profile| profile.name.as_deref()).collect();
    assert_eq!(names, [Some("prod"), Some("lab"), None]);
    assert_eq!(found[0].region.as_deref(), Some("RegionOne"));
    assert!(found[0].unusable.is_none());
    assert!(found[1].unusable.as_ref().unwrap().contains("v3kerberos"));
    assert_eq!(profiles(&Machine::default()), []);
}
