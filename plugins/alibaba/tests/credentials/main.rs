//! The vendor's credential chain: which source wins, and what is said when none does.

use keyferry_plugin::Turn;
use keyferry_plugin::contract::{
    Context, CredentialSet, CredentialValue, Credentials, Document, ErrorKind, HttpStep, Outcome, Profile,
    ProviderError, Reply, Response, Step, TransportError,
};
use keyferry_plugin::recipe::Expr;
use serde_json::{Value, json};

mod roles;

/// A machine: what each source of the manifest holds, what the network answers, and the account's profile.
#[derive(Default)]
struct Machine {
    profile: Option<&'static str>,
    environment: Value,
    config: Value,
    ini: Value,
    /// The file with the token.
    token: Value,
    /// What the command of a profile prints.
    external: Value,
    /// Each request that is expected, in words, and what comes of it. Whatever else is sent gets no answer.
    network: Vec<(&'static str, Reply)>,
    /// The account's region.
    region: Option<&'static str>,
}

impl Machine {
    /// Runs the chain to its end, with everything that it sent.
    fn run(&self) -> (Result<CredentialSet, ProviderError>, Vec<HttpStep>) {
        let asked = Credentials {
            profile: self.profile.map(str::to_owned),
        };
        let context = Context {
            region: self.region.map(str::to_owned),
            time: "2026-11-22T01:36:49Z".to_owned(),
            ..Context::default()
        };
        let (mut state, mut reply) = (Value::Null, None);
        let mut sent = Vec::new();
        let mut network = self.network.iter();
        for _ in 0..40 {
            let turn = Turn {
                context: &context,
                state: &state,
                reply: reply.as_ref(),
            };
            let step = match keyferry_alibaba::credentials(&asked, &turn) {
                Ok(step) => step,
                Err(error) => return (Err(error), sent),
            };
            match step {
                Step::Read(read) => {
                    reply = Some(self.document(&read.source));
                    state = read.state;
                }
                Step::Run(run) => {
                    assert_eq!(run.source, "config");
                    assert!(run.field.starts_with("/profiles/") && run.field.ends_with("/process_command"));
                    reply = Some(self.document("external"));
                    state = run.state;
                }
                Step::Http(step) => {
                    let words = in_words(&step);
                    reply = Some(match network.next() {
                        Some((expected, reply)) => {
                            assert_eq!(words, *expected);
                            reply.clone()
                        }
                        None => unreachable_host(),
                    });
                    state = step.state.clone();
                    sent.push(*step);
                }
                Step::Done(done) => match done.outcome {
                    Outcome::Credentials(set) => {
                        assert!(network.next().is_none(), "not everything was asked");
                        return (Ok(set), sent);
                    }
                    other => panic!("{other:?}"),
                },
                other => panic!("{other:?}"),
            }
            assert!(
                !state.to_string().contains("in the clear"),
                "a secret is in the state"
            );
        }
        panic!("the chain has no end")
    }

    fn credentials(&self) -> Result<CredentialSet, ProviderError> {
        self.run().0
    }

    fn document(&self, source: &str) -> Reply {
        let (location, content) = match source {
            "environment" => ("environment", &self.environment),
            "config" => ("~/.aliyun/config.json", &self.config),
            "credentials_ini" => ("~/.alibabacloud/credentials.ini", &self.ini),
            "oidc_token" => ("/var/run/token", &self.token),
            "external" => ("the command", &self.external),
            other => panic!("no source {other}"),
        };
        Reply::Document(Document {
            source: source.to_owned(),
            location: location.to_owned(),
            found: !content.is_null() || location == "environment",
            content: content.clone(),
        })
    }

    #[track_caller]
    fn finds(&self, id: &str, secret: &str, token: Option<&str>, source: &str) {
        let set = self
            .credentials()
            .unwrap_or_else(|error| panic!("{}", error.message));
        assert_eq!(set.fields["access_key_id"], CredentialValue::Text(id.to_owned()));
        assert_eq!(
            set.fields["access_key_secret"],
            CredentialValue::Handle(secret.to_owned())
        );
        let token = token.map(|token| CredentialValue::Handle(token.to_owned()));
        assert_eq!(set.fields.get("security_token"), token.as_ref());
        assert_eq!(set.source, source);
    }

    #[track_caller]
    fn fails(&self, kind: ErrorKind, words: &[&str]) {
        let error = self.credentials().expect_err("no credentials");
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

/// Method, origin and path, and the action where it is one of STS.
fn in_words(step: &HttpStep) -> String {
    let request = &step.request;
    let of_header = request.headers.iter().find(|(name, _)| name == "x-acs-action");
    let of_query = request.query.iter().find(|(name, _)| name == "Action");
    let action = match of_header.or(of_query) {
        Some((_, Expr::Text(action))) => format!(" {action}"),
        _ => String::new(),
    };
    format!(
        "{} {}{}{action}",
        request.method,
        request.origin.trim_start_matches("https://"),
        request.path
    )
}

fn unreachable_host() -> Reply {
    Reply::TransportError(TransportError {
        sent: false,
        message: "no route to host".to_owned(),
    })
}

/// An answer; `access_key_secret` and `security_token` were lifted out of it.
fn answer(status: u16, body: impl ToString) -> Reply {
    Reply::Response(Response {
        status,
        headers: Vec::new(),
        body: body.to_string(),
        captured: vec!["access_key_secret".to_owned(), "security_token".to_owned()],
    })
}

fn handle(name: &str) -> Value {
    json!({"handle": name})
}

fn environment() -> Value {
    json!({"ALIBABA_CLOUD_ACCESS_KEY_ID": "LTAI-env", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": handle("env-secret")})
}

fn config() -> Value {
    json!({"current": "default", "profiles": [
        {"name": "default", "mode": "AK", "access_key_id": "LTAI-default", "access_key_secret": handle("default-secret")},
        {"name": "sts", "mode": "StsToken", "access_key_id": "STS.id", "access_key_secret": handle("sts-secret"),
         "sts_token": handle("sts-token")},
        {"name": "sso", "mode": "CloudSSO"},
        {"name": "oauth", "mode": "OAuth"},
        {"name": "empty", "mode": "AK", "access_key_id": ""},
    ]})
}

fn ini() -> Value {
    json!({
        "default": {"type": "access_key", "access_key_id": "LTAI-ini # mine", "access_key_secret": handle("ini-secret")},
        "prod/eu": {"type": "access_key", "access_key_id": "LTAI-prod", "access_key_secret": handle("prod-secret")},
        "rsa": {"type": "rsa_key_pair"},
    })
}

#[test]
fn the_environment_wins() {
    let mut machine = Machine {
        environment: environment(),
        config: config(),
        ini: ini(),
        ..Machine::default()
    };
    machine.finds("LTAI-env", "env-secret", None, "environment");
    machine.environment["ALIBABA_CLOUD_SECURITY_TOKEN"] = handle("env-token");
    machine.finds("LTAI-env", "env-secret", Some("env-token"), "environment");
}

#[test]
fn half_an_access_key_in_the_environment_does_not_count() {
    let environment = json!({"ALIBABA_CLOUD_ACCESS_KEY_ID": "LTAI-env"});
    let machine = Machine {
        environment,
        config: config(),
        ..Machine::default()
    };
    machine.finds(
        "LTAI-default",
        "default-secret",
        None,
        "profile \"default\" of ~/.aliyun/config.json",
    );
    let environment =
        json!({"ALIBABA_CLOUD_ACCESS_KEY_ID": " ", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": handle("x")});
    let machine = Machine {
        environment,
        ..Machine::default()
    };
    machine.fails(
        ErrorKind::Unauthorized,
        &["ALIBABA_CLOUD_ACCESS_KEY_ID is not set"],
    );
}

#[test]
fn the_profile_is_the_accounts_then_the_environments_then_the_files() {
    let source = "profile \"sts\" of ~/.aliyun/config.json";
    let environment_profile = json!({"ALIBABA_CLOUD_PROFILE": "sts"});
    let machine = Machine {
        environment: environment_profile,
        config: config(),
        ini: ini(),
        ..Machine::default()
    };
    machine.finds("STS.id", "sts-secret", Some("sts-token"), source);
    // An account that names a profile means that one: an access key in the environment does not win.
    let mut environment = environment();
    environment["ALIBABA_CLOUD_PROFILE"] = json!("default");
    let machine = Machine {
        profile: Some("sts"),
        environment,
        config: config(),
        ini: ini(),
        ..Machine::default()
    };
    machine.finds("STS.id", "sts-secret", Some("sts-token"), source);
}

#[test]
fn the_second_file_is_asked_where_the_first_has_nothing() {
    let source = "section [default] of ~/.alibabacloud/credentials.ini";
    Machine {
        ini: ini(),
        ..Machine::default()
    }
    .finds("LTAI-ini", "ini-secret", None, source);
    let disabled = json!({"ALIBABA_CLOUD_CLI_PROFILE_DISABLED": "TRUE"});
    let machine = Machine {
        environment: disabled,
        config: config(),
        ini: ini(),
        ..Machine::default()
    };
    machine.finds("LTAI-ini", "ini-secret", None, source);
    let source = "section [prod/eu] of ~/.alibabacloud/credentials.ini";
    let machine = Machine {
        profile: Some("prod/eu"),
        config: config(),
        ini: ini(),
        ..Machine::default()
    };
    machine.finds("LTAI-prod", "prod-secret", None, source);
    let environment = json!({"ALIBABA_CLOUD_PROFILE": "prod/eu"});
    Machine {
        environment,
        ini: ini(),
        ..Machine::default()
    }
    .finds("LTAI-prod", "prod-secret", None, source);
}

#[test]
fn other_modes_and_types_are_refused_by_name() {
    for (profile, words) in [
        (
            "sso",
            [
                "profile \"sso\"",
                "~/.aliyun/config.json",
                "\"CloudSSO\"",
                "External",
            ],
        ),
        (
            "oauth",
            ["profile \"oauth\"", "~/.aliyun/config.json", "\"OAuth\"", "AK"],
        ),
        (
            "rsa",
            [
                "section [rsa]",
                "credentials.ini",
                "\"rsa_key_pair\"",
                "access_key",
            ],
        ),
    ] {
        let machine = Machine {
            profile: Some(profile),
            config: config(),
            ini: ini(),
            ..Machine::default()
        };
        machine.fails(ErrorKind::Unsupported, &words);
    }
}

#[test]
fn every_attempt_is_listed_when_nothing_is_found() {
    Machine::default().fails(
        ErrorKind::Unauthorized,
        &[
            "environment: ALIBABA_CLOUD_ACCESS_KEY_ID is not set",
            "~/.aliyun/config.json: no such file",
            "~/.alibabacloud/credentials.ini: no such file",
            "OpenID Connect: its variables are not all set",
            "metadata service: no route to host",
            "ALIBABA_CLOUD_CREDENTIALS_URI: not set",
            "aliyun configure",
        ],
    );
    let machine = Machine {
        profile: Some("nope"),
        config: config(),
        ini: ini(),
        environment: environment(),
        ..Machine::default()
    };
    machine.fails(
        ErrorKind::Unauthorized,
        &[
            "environment: left out",
            "config.json: no profile \"nope\"",
            "credentials.ini: no section [nope]",
        ],
    );
    let machine = Machine {
        profile: Some("empty"),
        config: config(),
        ..Machine::default()
    };
    machine.fails(
        ErrorKind::Unauthorized,
        &["profile \"empty\" has no access_key_id"],
    );
    let environment = json!({"ALIBABA_CLOUD_CLI_PROFILE_DISABLED": "true"});
    let machine = Machine {
        environment,
        config: config(),
        ..Machine::default()
    };
    machine.fails(
        ErrorKind::Unauthorized,
        &["switched off by ALIBABA_CLOUD_CLI_PROFILE_DISABLED"],
    );
}

#[test]
fn documents_of_another_shape_are_no_panic() {
    for content in [
        json!([]),
        json!(7),
        json!("x"),
        json!({"profiles": 7, "current": []}),
        json!({"default": 7}),
    ] {
        let environment = content.clone();
        let machine = Machine {
            environment,
            config: content.clone(),
            ini: content,
            ..Machine::default()
        };
        assert!(machine.credentials().is_err());
    }
    let config = json!({"current": "a", "profiles": [7, null, {"name": "a", "mode": 7}]});
    Machine {
        config,
        ..Machine::default()
    }
    .fails(ErrorKind::Unsupported, &["mode"]);
}

#[test]
fn a_secret_that_is_no_handle_is_not_taken() {
    let config = json!({"current": "a", "profiles": [
        {"name": "a", "mode": "AK", "access_key_id": "LTAI", "access_key_secret": "in the clear"},
    ]});
    Machine {
        config,
        ..Machine::default()
    }
    .fails(ErrorKind::Unauthorized, &["has no access_key_secret"]);
}

#[test]
fn what_was_tried_before_is_told_with_what_won() {
    let machine = Machine {
        ini: ini(),
        ..Machine::default()
    };
    let set = machine
        .credentials()
        .unwrap_or_else(|error| panic!("{}", error.message));
    assert_eq!(
        set.attempts,
        [
            "environment: ALIBABA_CLOUD_ACCESS_KEY_ID is not set",
            "OpenID Connect: its variables are not all set",
            "~/.aliyun/config.json: no such file",
        ]
    );
}

/// All profiles that the vendor's tools have.
fn profiles(machine: &Machine) -> Vec<Profile> {
    let context = Context::default();
    let (mut state, mut reply) = (Value::Null, None);
    for _ in 0..5 {
        let turn = Turn {
            context: &context,
            state: &state,
            reply: reply.as_ref(),
        };
        match keyferry_alibaba::profiles(&turn) {
            Ok(Step::Read(read)) => {
                reply = Some(machine.document(&read.source));
                state = read.state;
            }
            Ok(Step::Done(done)) => match done.outcome {
                Outcome::Profiles(profiles) => return profiles,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }
    panic!("the profiles have no end")
}

#[test]
fn profiles_are_listed_in_the_chains_order() {
    let mut config = config();
    config["current"] = json!("sts");
    config["profiles"][1]["region_id"] = json!("cn-beijing");
    let mut machine = Machine {
        environment: environment(),
        config,
        ini: ini(),
        ..Machine::default()
    };
    let found = profiles(&machine);
    let names: Vec<Option<&str>> = found.iter().map(|profile| profile.name.as_deref()).collect();
    assert_eq!(
        names,
        [
            None,
            Some("sts"),
            Some("default"),
            Some("sso"),
            Some("oauth"),
            Some("empty"),
            Some("default"),
            Some("prod/eu"),
            Some("rsa")
        ]
    );
    assert_eq!(found[0].source, "environment");
    assert_eq!(found[1].source, "profile \"sts\" of ~/.aliyun/config.json");
    assert_eq!(found[1].region.as_deref(), Some("cn-beijing"));
    assert_eq!(
        found[6].source,
        "section [default] of ~/.alibabacloud/credentials.ini"
    );
    let unusable: Vec<bool> = found.iter().map(|profile| profile.unusable.is_some()).collect();
    assert_eq!(
        unusable,
        [false, false, false, true, true, false, false, false, true]
    );

    machine.environment = json!({"ALIBABA_CLOUD_CLI_PROFILE_DISABLED": "true"});
    assert_eq!(profiles(&machine).len(), 3);
    assert_eq!(profiles(&Machine::default()), []);
}
