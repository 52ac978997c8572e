//! Access keys that are issued for a time: by STS, the metadata service, a command, a URL.

use keyferry_plugin::contract::{CredentialSet, CredentialValue, ErrorKind, HttpStep, Reply, TransportError};
use keyferry_plugin::recipe::Expr;
use serde_json::{Value, json};

use super::{Machine, answer, config, environment, handle, unreachable_host};

const ARN: &str = "acs:ram::1234567890:role/deploy";
const PROVIDER: &str = "acs:ram::1234567890:oidc-provider/cluster";
const END: &str = "2026-11-22T02:36:49Z";
const ASSUME: &str = "POST sts.aliyuncs.com/ AssumeRole";
const TOKEN: &str = "PUT http://100.100.100.200/latest/api/token";
const ROLES: &str = "GET http://100.100.100.200/latest/meta-data/ram/security-credentials/";
const ROLE: &str = "GET http://100.100.100.200/latest/meta-data/ram/security-credentials/deploy";

fn issued(id: &str) -> Reply {
    let keys = json!({"AccessKeyId": id, "AccessKeySecret": "", "SecurityToken": "", "Expiration": END});
    answer(200, json!({"RequestId": "CAFE", "Credentials": keys}))
}

fn served(id: &str) -> Reply {
    answer(
        200,
        json!({"Code": "Success", "AccessKeyId": id, "AccessKeySecret": "", "SecurityToken": "", "Expiration": END}),
    )
}

fn with_profile(profile: Value) -> Machine {
    let mut profile = profile;
    profile["name"] = json!("p");
    Machine {
        config: json!({"current": "p", "profiles": [profile]}),
        ..Machine::default()
    }
}

/// The set is of an issued key: its secrets are what was captured.
#[track_caller]
fn finds(machine: &Machine, id: &str, source: &str) -> (CredentialSet, Vec<HttpStep>) {
    let (set, sent) = machine.run();
    let set = set.unwrap_or_else(|error| panic!("{}", error.message));
    assert_eq!(set.fields["access_key_id"], CredentialValue::Text(id.to_owned()));
    assert_eq!(set.fields["access_key_secret"], CredentialValue::Kept);
    assert_eq!(set.fields["security_token"], CredentialValue::Kept);
    assert_eq!(set.source, source);
    assert_eq!(set.expires_at.as_deref(), Some(END));
    let last = sent.last().expect("something was sent");
    let captured: Vec<&str> = last.capture.iter().map(|capture| &*capture.name).collect();
    assert_eq!(captured, ["access_key_secret", "security_token"]);
    (set, sent)
}

fn parameter(step: &HttpStep, name: &str) -> Option<Expr> {
    let found = step.request.query.iter().find(|(other, _)| other == name);
    found.map(|(_, value)| value.clone())
}

fn header(step: &HttpStep, name: &str) -> Option<Expr> {
    let found = step.request.headers.iter().find(|(other, _)| other == name);
    found.map(|(_, value)| value.clone())
}

fn no_answer() -> Reply {
    Reply::TransportError(TransportError {
        sent: true,
        message: "no answer in time".to_owned(),
    })
}

#[test]
fn a_profile_assumes_a_role_with_its_own_key() {
    let mut machine = with_profile(json!({
        "mode": "RamRoleArn", "access_key_id": "LTAI-p", "access_key_secret": handle("secret-p"),
        "ram_role_arn": ARN, "ram_session_name": "me", "expired_seconds": 900, "policy": "{}", "external_id": "x",
    }));
    machine.network = vec![(ASSUME, issued("STS.1"))];
    let (_, sent) = finds(
        &machine,
        "STS.1",
        &format!("role {ARN} by profile \"p\" of ~/.aliyun/config.json"),
    );
    for (name, value) in [
        ("RoleArn", ARN),
        ("RoleSessionName", "me"),
        ("DurationSeconds", "900"),
        ("Policy", "{}"),
        ("ExternalId", "x"),
    ] {
        assert_eq!(parameter(&sent[0], name), Some(Expr::text(value)), "{name}");
    }
    assert_eq!(header(&sent[0], "x-acs-version"), Some(Expr::text("2015-04-01")));
    assert_eq!(header(&sent[0], "x-acs-security-token"), None);
    let signed = format!("{:?}", header(&sent[0], "authorization"));
    assert!(
        signed.contains("Secret(\"secret-p\")") && signed.contains("Credential=LTAI-p"),
        "{signed}"
    );
}

#[test]
fn defaults_come_from_the_environment_and_are_an_hour() {
    let mut machine = with_profile(
        json!({"mode": "RamRoleArn", "access_key_id": "LTAI-p", "access_key_secret": handle("s")}),
    );
    machine.environment = json!({"ALIBABA_CLOUD_ROLE_ARN": ARN, "ALIBABA_CLOUD_ROLE_SESSION_NAME": "env"});
    machine.network = vec![(ASSUME, issued("STS.1"))];
    let (_, sent) = machine.run();
    assert_eq!(parameter(&sent[0], "RoleSessionName"), Some(Expr::text("env")));
    assert_eq!(parameter(&sent[0], "DurationSeconds"), Some(Expr::text("3600")));
    machine.environment = json!({"ALIBABA_CLOUD_ROLE_ARN": ARN});
    let (_, sent) = machine.run();
    assert_eq!(
        parameter(&sent[0], "RoleSessionName"),
        Some(Expr::text("keyferry"))
    );
    machine.environment = Value::Null;
    machine.network.clear();
    machine.fails(ErrorKind::Unauthorized, &["profile \"p\" has no ram_role_arn"]);
}

#[test]
fn the_host_of_sts_is_the_accounts_regions_or_the_central_one() {
    for (profile, environment, host) in [
        (
            json!({"sts_region": "cn-beijing"}),
            json!({}),
            "sts.cn-beijing.aliyuncs.com",
        ),
        (
            json!({"sts_region": "cn-beijing", "enable_vpc": true}),
            json!({}),
            "sts-vpc.cn-beijing.aliyuncs.com",
        ),
        (
            json!({}),
            json!({"ALIBABA_CLOUD_STS_REGION": "cn-beijing", "ALIBABA_CLOUD_VPC_ENDPOINT_ENABLED": "true"}),
            "sts-vpc.cn-beijing.aliyuncs.com",
        ),
        (
            json!({"enable_vpc": false}),
            json!({"ALIBABA_CLOUD_STS_REGION": "cn-beijing", "ALIBABA_CLOUD_VPC_ENDPOINT_ENABLED": "true"}),
            "sts.cn-beijing.aliyuncs.com",
        ),
        (
            json!({"sts_region": "cn-shanghai"}),
            json!({}),
            "sts.aliyuncs.com",
        ),
        (json!({}), json!({}), "sts.aliyuncs.com"),
        (json!({"enable_vpc": true}), json!({}), "sts.aliyuncs.com"),
    ] {
        let mut merged = json!({
            "mode": "RamRoleArn", "access_key_id": "LTAI-p", "access_key_secret": handle("s"), "ram_role_arn": ARN,
        });
        for (name, value) in profile.as_object().expect("an object") {
            merged[name] = value.clone();
        }
        let mut machine = with_profile(merged);
        machine.environment = environment;
        machine.region = Some("cn-beijing");
        let (_, sent) = machine.run();
        assert_eq!(sent[0].request.origin, format!("https://{host}"), "{profile}");
    }
    let mut machine = with_profile(json!({
        "mode": "RamRoleArn", "access_key_id": "LTAI-p", "access_key_secret": handle("s"), "ram_role_arn": ARN,
        "sts_region": "cn-shanghai", "enable_vpc": true,
    }));
    machine.region = Some("cn-beijing");
    machine.fails(ErrorKind::Unsupported, &["internal host", "another region"]);
}

#[test]
fn roles_are_chained_by_source_profile() {
    let second = "acs:ram::2:role/second";
    let mut machine = Machine {
        config: json!({"current": "last", "profiles": [
            {"name": "last", "mode": "ChainableRamRoleArn", "source_profile": "middle", "ram_role_arn": second},
            {"name": "middle", "mode": "RamRoleArn", "access_key_id": "LTAI-m", "access_key_secret": handle("m"),
             "ram_role_arn": ARN},
        ]}),
        network: vec![(ASSUME, issued("STS.1")), (ASSUME, issued("STS.2"))],
        ..Machine::default()
    };
    let (_, sent) = finds(
        &machine,
        "STS.2",
        &format!("role {second} by role {ARN} by profile \"last\" of ~/.aliyun/config.json"),
    );
    assert_eq!(parameter(&sent[0], "RoleArn"), Some(Expr::text(ARN)));
    assert_eq!(parameter(&sent[1], "RoleArn"), Some(Expr::text(second)));
    // The second is asked for with the first one's key, whose secrets were captured.
    assert_eq!(header(&sent[1], "x-acs-accesskey-id"), Some(Expr::text("STS.1")));
    assert_eq!(
        header(&sent[1], "x-acs-security-token"),
        Some(Expr::secret("security_token"))
    );
    let signed = format!("{:?}", header(&sent[1], "authorization"));
    assert!(signed.contains("Secret(\"access_key_secret\")"), "{signed}");

    machine.config["profiles"][1]["mode"] = json!("AK");
    machine.network = vec![(ASSUME, issued("STS.3"))];
    finds(
        &machine,
        "STS.3",
        &format!("role {second} by profile \"last\" of ~/.aliyun/config.json"),
    );
    machine.network.clear();
    machine.config["profiles"][0]["source_profile"] = json!("last");
    machine.fails(ErrorKind::Unsupported, &["profile \"last\"", "leads to itself"]);
    machine.config["profiles"][0]["source_profile"] = json!("nobody");
    machine.fails(ErrorKind::Unauthorized, &["no profile \"nobody\""]);
}

#[test]
fn a_token_stands_for_a_key() {
    let mut machine = Machine {
        environment: json!({
            "ALIBABA_CLOUD_ROLE_ARN": ARN,
            "ALIBABA_CLOUD_OIDC_PROVIDER_ARN": PROVIDER,
            "ALIBABA_CLOUD_OIDC_TOKEN_FILE": "/var/run/token",
        }),
        config: config(),
        token: handle("the-token"),
        network: vec![("GET sts.aliyuncs.com/ AssumeRoleWithOIDC", issued("STS.1"))],
        ..Machine::default()
    };
    let (_, sent) = finds(&machine, "STS.1", &format!("role {ARN} by environment"));
    assert_eq!(parameter(&sent[0], "OIDCToken"), Some(Expr::secret("the-token")));
    assert_eq!(parameter(&sent[0], "OIDCProviderArn"), Some(Expr::text(PROVIDER)));
    assert_eq!(header(&sent[0], "authorization"), None);
    machine.token = Value::Null;
    machine.network.clear();
    machine.fails(ErrorKind::Unauthorized, &["no token in /var/run/token"]);
    // The access key of the environment comes before; a profile of the account leaves both out.
    for (name, value) in environment().as_object().expect("an object") {
        machine.environment[name] = value.clone();
    }
    machine.finds("LTAI-env", "env-secret", None, "environment");
    machine.profile = Some("default");
    machine.finds(
        "LTAI-default",
        "default-secret",
        None,
        "profile \"default\" of ~/.aliyun/config.json",
    );
}

#[test]
fn a_profile_with_a_token_reads_it_where_the_variable_says() {
    let mut machine = with_profile(json!({
        "mode": "OIDC", "ram_role_arn": ARN, "oidc_provider_arn": PROVIDER, "oidc_token_file": "/var/run/token",
        "role_session_name": "me",
    }));
    machine.token = handle("the-token");
    machine.fails(
        ErrorKind::Unsupported,
        &["/var/run/token", "ALIBABA_CLOUD_OIDC_TOKEN_FILE"],
    );
    machine.environment = json!({"ALIBABA_CLOUD_OIDC_TOKEN_FILE": "/var/run/token"});
    machine.network = vec![("GET sts.aliyuncs.com/ AssumeRoleWithOIDC", issued("STS.1"))];
    let (_, sent) = finds(
        &machine,
        "STS.1",
        &format!("role {ARN} by profile \"p\" of ~/.aliyun/config.json"),
    );
    assert_eq!(parameter(&sent[0], "RoleSessionName"), Some(Expr::text("me")));
}

#[test]
fn a_profile_may_run_a_command() {
    let mut machine = with_profile(json!({"mode": "External", "process_command": true}));
    machine.external = json!({
        "mode": "StsToken", "access_key_id": "STS.x", "access_key_secret": handle("x-secret"),
        "sts_token": handle("x-token"), "expiration": END,
    });
    machine.finds(
        "STS.x",
        "x-secret",
        Some("x-token"),
        "profile \"p\" of ~/.aliyun/config.json",
    );
    let set = machine
        .credentials()
        .unwrap_or_else(|error| panic!("{}", error.message));
    assert_eq!(set.expires_at.as_deref(), Some(END));
    machine.external =
        json!({"mode": "AK", "access_key_id": "LTAI-x", "access_key_secret": handle("x-secret")});
    machine.finds(
        "LTAI-x",
        "x-secret",
        None,
        "profile \"p\" of ~/.aliyun/config.json",
    );
    machine.external = json!({"mode": "StsToken", "access_key_id": "a", "access_key_secret": handle("s")});
    machine.fails(ErrorKind::Unauthorized, &["profile \"p\"", "no sts_token"]);
    machine.external = json!({"mode": "AK"});
    machine.fails(ErrorKind::Unauthorized, &["no access_key_id"]);
}

#[test]
fn the_instance_has_a_role() {
    let machine = Machine {
        network: vec![
            (TOKEN, answer(200, "metadata-token")),
            (ROLES, answer(200, "deploy")),
            (ROLE, served("STS.i")),
        ],
        ..Machine::default()
    };
    let (set, sent) = finds(&machine, "STS.i", "the RAM role of the instance");
    assert!(
        header(&sent[0], "x-aliyun-ecs-metadata-token-ttl-seconds").is_some()
            && header(&sent[0], "x-aliyun-ecs-metadata-token").is_none()
    );
    for step in &sent[1..] {
        assert_eq!(
            header(step, "x-aliyun-ecs-metadata-token"),
            Some(Expr::text("metadata-token"))
        );
    }
    assert_eq!(set.attempts.len(), 4, "{:?}", set.attempts);
    let machine = Machine {
        environment: json!({"ALIBABA_CLOUD_ECS_METADATA": "deploy"}),
        network: vec![(TOKEN, answer(200, "metadata-token")), (ROLE, served("STS.i"))],
        ..Machine::default()
    };
    finds(&machine, "STS.i", "the RAM role of the instance");
}

#[test]
fn version_1_of_the_metadata_service_is_asked_unless_it_is_forbidden() {
    let mut machine = Machine {
        network: vec![
            (TOKEN, answer(404, "")),
            (ROLES, answer(200, "deploy")),
            (ROLE, served("STS.i")),
        ],
        ..Machine::default()
    };
    let (_, sent) = finds(&machine, "STS.i", "the RAM role of the instance");
    assert_eq!(header(&sent[1], "x-aliyun-ecs-metadata-token"), None);
    machine.network = vec![
        (TOKEN, answer(200, "t")),
        (ROLES, answer(403, "")),
        (ROLES, answer(200, "deploy")),
        (ROLE, served("STS.i")),
    ];
    finds(&machine, "STS.i", "the RAM role of the instance");
    machine.environment = json!({"ALIBABA_CLOUD_IMDSV1_DISABLED": "true"});
    machine.network = vec![(TOKEN, answer(404, ""))];
    let (set, sent) = machine.run();
    assert_eq!(sent.len(), 1);
    let error = set.expect_err("no credentials");
    assert!(
        error
            .message
            .contains("metadata service: the service answered with status 404"),
        "{}",
        error.message
    );
}

#[test]
fn the_metadata_service_may_be_switched_off_or_have_nothing() {
    let off = json!({"ALIBABA_CLOUD_ECS_METADATA_DISABLED": "true"});
    let machine = Machine {
        environment: off.clone(),
        ..Machine::default()
    };
    let (set, sent) = machine.run();
    assert!(sent.is_empty());
    let message = set.expect_err("no credentials").message;
    assert!(
        message.contains("switched off by ALIBABA_CLOUD_ECS_METADATA_DISABLED"),
        "{message}"
    );
    let mut machine = with_profile(json!({"mode": "EcsRamRole", "ram_role_name": "deploy"}));
    machine.environment = off;
    machine.fails(ErrorKind::Unauthorized, &["switches off"]);

    machine.environment = Value::Null;
    machine.network = vec![(TOKEN, answer(200, "t")), (ROLE, served("STS.i"))];
    finds(&machine, "STS.i", "profile \"p\" of ~/.aliyun/config.json");
    // What a profile asks for is not passed over.
    machine.network = vec![(TOKEN, unreachable_host())];
    machine.fails(ErrorKind::Unavailable, &["profile \"p\"", "no route to host"]);
    // A token that is not answered may be kept from a container, whose requests without one arrive.
    machine.network = vec![(TOKEN, no_answer()), (ROLE, served("STS.i"))];
    finds(&machine, "STS.i", "profile \"p\" of ~/.aliyun/config.json");
    for (body, words) in [
        (json!({"Code": "Failed"}), "gave no credentials"),
        (json!({"Code": "Success"}), "AccessKeyId"),
        (json!("<html>"), "gave no credentials"),
    ] {
        machine.network = vec![(TOKEN, answer(200, "t")), (ROLE, answer(200, body))];
        let error = machine.credentials().expect_err("no credentials");
        assert!(error.message.contains(words), "{}", error.message);
    }
}

#[test]
fn a_url_has_credentials_when_nothing_else_has() {
    let uri = "http://127.0.0.1:8080/credentials";
    let mut machine = Machine {
        environment: json!({"ALIBABA_CLOUD_CREDENTIALS_URI": uri, "ALIBABA_CLOUD_ECS_METADATA_DISABLED": "true"}),
        network: vec![("GET http://127.0.0.1:8080/credentials", served("STS.u"))],
        ..Machine::default()
    };
    finds(&machine, "STS.u", "ALIBABA_CLOUD_CREDENTIALS_URI");
    for (reply, kind) in [
        (answer(500, ""), ErrorKind::Unavailable),
        (unreachable_host(), ErrorKind::Unavailable),
        (answer(200, json!({"Code": "Failed"})), ErrorKind::Unauthorized),
        (answer(200, "[]"), ErrorKind::Unauthorized),
    ] {
        machine.network = vec![("GET http://127.0.0.1:8080/credentials", reply)];
        machine.fails(kind, &[uri, "ALIBABA_CLOUD_CREDENTIALS_URI"]);
    }
    machine.network = vec![("GET http://helper/", served("STS.u"))];
    machine.environment["ALIBABA_CLOUD_CREDENTIALS_URI"] = json!("http://helper");
    finds(&machine, "STS.u", "ALIBABA_CLOUD_CREDENTIALS_URI");
    machine.network.clear();
    for uri in [
        "file:///etc/passwd",
        "http://helper/?a=b",
        "http://u:p@helper/",
        "helper",
    ] {
        machine.environment["ALIBABA_CLOUD_CREDENTIALS_URI"] = json!(uri);
        machine.fails(ErrorKind::Unsupported, &["ALIBABA_CLOUD_CREDENTIALS_URI"]);
    }
    machine.profile = Some("p");
    machine.fails(ErrorKind::Unauthorized, &["config.json: no such file"]);
}

#[test]
fn what_sts_refuses_ends_the_chain() {
    let mut machine = with_profile(json!({
        "mode": "RamRoleArn", "access_key_id": "LTAI-p", "access_key_secret": handle("s"), "ram_role_arn": ARN,
    }));
    for (status, code, kind) in [
        (404, "EntityNotExist.Role", ErrorKind::Unauthorized),
        (403, "NoPermission", ErrorKind::Unauthorized),
        (400, "SignatureDoesNotMatch", ErrorKind::Unauthorized),
        (400, "InvalidTimeStamp.Expired", ErrorKind::Unavailable),
        (400, "Throttling.User", ErrorKind::Throttled),
        (500, "InternalError", ErrorKind::Unavailable),
        (400, "InvalidParameter.DurationSeconds", ErrorKind::Invalid),
    ] {
        let body = json!({"RequestId": "CAFE", "Code": code, "Message": "No."});
        machine.network = vec![(ASSUME, answer(status, body))];
        machine.fails(kind, &["profile \"p\" of ~/.aliyun/config.json: "]);
    }
    let permission = json!({"RequestId": "CAFE", "Code": "NoPermission", "Message": "No."});
    machine.network = vec![(ASSUME, answer(403, permission))];
    machine.fails(ErrorKind::Unauthorized, &["sts:AssumeRole"]);
    for body in [
        json!({"RequestId": "CAFE"}),
        json!({"RequestId": "CAFE", "Credentials": {"AccessKeyId": "a"}}),
        json!({"RequestId": "CAFE", "Credentials": 7}),
        json!([]),
    ] {
        machine.network = vec![(ASSUME, answer(200, body))];
        assert_eq!(
            machine.credentials().expect_err("no credentials").kind,
            ErrorKind::Internal
        );
    }
}

#[test]
fn sections_assume_roles_too() {
    let section = |section: Value| Machine {
        ini: json!({"default": section}),
        ..Machine::default()
    };
    let source = "section [default] of ~/.alibabacloud/credentials.ini";
    let mut machine = section(json!({
        "type": "ram_role_arn", "access_key_id": "LTAI-i # mine", "access_key_secret": handle("i"),
        "role_arn": format!("{ARN} # deploys"), "role_session_name": "me", "policy": "{}",
    }));
    machine.network = vec![(ASSUME, issued("STS.1"))];
    let (_, sent) = finds(&machine, "STS.1", &format!("role {ARN} by {source}"));
    assert_eq!(parameter(&sent[0], "RoleArn"), Some(Expr::text(ARN)));
    assert_eq!(parameter(&sent[0], "Policy"), Some(Expr::text("{}")));

    let mut machine = section(json!({"type": "ecs_ram_role", "role_name": "deploy"}));
    machine.network = vec![(TOKEN, answer(200, "t")), (ROLE, served("STS.i"))];
    finds(&machine, "STS.i", source);

    let mut machine = section(json!({
        "type": "oidc_role_arn", "role_arn": ARN, "oidc_provider_arn": PROVIDER,
        "oidc_token_file_path": "/var/run/token",
    }));
    machine.environment = json!({"ALIBABA_CLOUD_OIDC_TOKEN_FILE": "/var/run/token"});
    machine.token = handle("the-token");
    machine.network = vec![("GET sts.aliyuncs.com/ AssumeRoleWithOIDC", issued("STS.1"))];
    finds(&machine, "STS.1", &format!("role {ARN} by {source}"));
}
