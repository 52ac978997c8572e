//! The vendor's credential chain: which source wins, and what is said when none does.

use keyferry_plugin::Turn;
use keyferry_plugin::contract::{
    Context, CredentialSet, CredentialValue, Credentials, Document, ErrorKind, Outcome, ProviderError, Reply,
    Step,
};
use serde_json::{Value, json};

/// A machine: what each source of the manifest holds, and the account's profile.
#[derive(Default)]
struct Machine {
    profile: Option<&'static str>,
    environment: Value,
    config: Value,
    ini: Value,
}

impl Machine {
    /// Runs the chain to its end.
    fn credentials(&self) -> Result<CredentialSet, ProviderError> {
        let asked = Credentials {
            profile: self.profile.map(str::to_owned),
        };
        let context = Context::default();
        let (mut state, mut reply) = (Value::Null, None);
        for _ in 0..4 {
            let turn = Turn {
                context: &context,
                state: &state,
                reply: reply.as_ref(),
            };
            match keyferry_alibaba::credentials(&asked, &turn)? {
                Step::Read(read) => {
                    let (location, content) = match &*read.source {
                        "environment" => ("environment", &self.environment),
                        "config" => ("~/.aliyun/config.json", &self.config),
                        "credentials_ini" => ("~/.alibabacloud/credentials.ini", &self.ini),
                        other => panic!("no source {other}"),
                    };
                    reply = Some(Reply::Document(Document {
                        source: read.source,
                        location: location.to_owned(),
                        found: !content.is_null() || location == "environment",
                        content: content.clone(),
                    }));
                    state = read.state;
                }
                Step::Done(done) => match done.outcome {
                    Outcome::Credentials(set) => return Ok(set),
                    other => panic!("{other:?}"),
                },
                other => panic!("{other:?}"),
            }
        }
        panic!("the chain has no end")
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
        {"name": "role", "mode": "RamRoleArn", "access_key_id": "LTAI-role", "access_key_secret": handle("x")},
        {"name": "empty", "mode": "AK", "access_key_id": ""},
    ]})
}

fn ini() -> Value {
    json!({
        "default": {"type": "access_key", "access_key_id": "LTAI-ini # mine", "access_key_secret": handle("ini-secret")},
        "prod/eu": {"type": "access_key", "access_key_id": "LTAI-prod", "access_key_secret": handle("prod-secret")},
        "machine": {"type": "ecs_ram_role"},
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
fn open_id_connect_is_refused_where_it_would_win() {
    let oidc = json!({
        "ALIBABA_CLOUD_ROLE_ARN": "acs:ram::1:role/x",
        "ALIBABA_CLOUD_OIDC_PROVIDER_ARN": "acs:ram::1:oidc-provider/x",
        "ALIBABA_CLOUD_OIDC_TOKEN_FILE": "/token",
    });
    let mut machine = Machine {
        environment: oidc,
        config: config(),
        ..Machine::default()
    };
    machine.fails(
        ErrorKind::Unsupported,
        &["OpenID Connect", "ALIBABA_CLOUD_ROLE_ARN", "not in this version"],
    );
    machine.profile = Some("default");
    machine.finds(
        "LTAI-default",
        "default-secret",
        None,
        "profile \"default\" of ~/.aliyun/config.json",
    );
    machine.profile = None;
    machine.environment["ALIBABA_CLOUD_OIDC_TOKEN_FILE"] = json!("");
    machine.finds(
        "LTAI-default",
        "default-secret",
        None,
        "profile \"default\" of ~/.aliyun/config.json",
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
    let machine = Machine {
        profile: Some("role"),
        config: config(),
        ini: ini(),
        ..Machine::default()
    };
    machine.fails(
        ErrorKind::Unsupported,
        &[
            "profile \"role\"",
            "~/.aliyun/config.json",
            "\"RamRoleArn\"",
            "AK",
        ],
    );
    let machine = Machine {
        profile: Some("machine"),
        ini: ini(),
        ..Machine::default()
    };
    machine.fails(
        ErrorKind::Unsupported,
        &["section [machine]", "credentials.ini", "\"ecs_ram_role\""],
    );
}

#[test]
fn every_attempt_is_listed_when_nothing_is_found() {
    Machine::default().fails(
        ErrorKind::Unauthorized,
        &[
            "environment: ALIBABA_CLOUD_ACCESS_KEY_ID is not set",
            "~/.aliyun/config.json: no such file",
            "~/.alibabacloud/credentials.ini: no such file",
            "metadata service",
            "ALIBABA_CLOUD_CREDENTIALS_URI",
            "aliyun configure",
        ],
    );
    let machine = Machine {
        profile: Some("nope"),
        config: config(),
        ini: ini(),
        environment: environment(),
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
