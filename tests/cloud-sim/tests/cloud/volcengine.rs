//! Volcengine's ECS and STS: captured requests over HTTP, and what they make of requests signed here.

use std::time::{Duration, SystemTime};

use aws_lc_rs::{digest, hmac};
use cloud_sim::vectors::{are_our_own, captured};
use cloud_sim::wire::Request;
use cloud_sim::{CloudSim, Credential, Fault, FaultKind, Instance, Options, Refusal, Service, Settings};
use serde_json::{Value, json};

use crate::client::{ACCESS_KEY, Reply, SECRET_KEY, send};
use crate::ecs::RSA;

const SERVICE: Service = Service::VolcengineEcs;
const ECS: (&str, &str) = ("ecs", "2020-04-01");
const STS: (&str, &str) = ("sts", "2018-01-01");

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn start() -> CloudSim {
    let options = Options {
        key_stock: 0,
        ..Options::new(ACCESS_KEY, SECRET_KEY).clock(now())
    };
    CloudSim::start(options).unwrap()
}

fn key() -> Credential {
    Credential {
        access_key: ACCESS_KEY.to_owned(),
        secret_key: SECRET_KEY.to_owned(),
        session_token: None,
        expires_at: None,
    }
}

fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
            byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// Signs as the vendor's documents say.
fn signed(
    (service, version): (&str, &str),
    action: &str,
    parameters: &[(&str, &str)],
    key: &Credential,
    time: SystemTime,
) -> Request {
    let mut query: Vec<String> = [("Action", action), ("Version", version)]
        .iter()
        .chain(parameters)
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
        .collect();
    query.sort();
    let query = query.join("&");
    let stamp = humantime::format_rfc3339_seconds(time)
        .to_string()
        .replace(['-', ':'], "");
    let mut headers = vec![
        ("host".to_owned(), "open.volcengineapi.com".to_owned()),
        ("x-content-sha256".to_owned(), sha256(b"")),
        ("x-date".to_owned(), stamp.clone()),
    ];
    headers.extend(
        key.session_token
            .clone()
            .map(|token| ("x-security-token".to_owned(), token)),
    );
    let lines: String = headers
        .iter()
        .map(|(name, value)| format!("{name}:{value}\n"))
        .collect();
    let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
    let names = names.join(";");
    let canonical = format!("GET\n/\n{query}\n{lines}\n{names}\n{}", sha256(b""));
    let scope = format!("{}/cn-beijing/{service}/request", &stamp[..8]);
    let to_sign = format!("HMAC-SHA256\n{stamp}\n{scope}\n{}", sha256(canonical.as_bytes()));
    let mac = |key: &[u8], text: &str| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
    };
    let signing_key = [&stamp[..8], "cn-beijing", service, "request"]
        .iter()
        .fold(key.secret_key.as_bytes().to_vec(), |key, part| mac(&key, part));
    let signature = hex(&mac(&signing_key, &to_sign));
    let authorization = format!(
        "HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
        key.access_key
    );
    headers.push(("authorization".to_owned(), authorization));
    Request {
        method: "GET".to_owned(),
        target: format!("/?{query}"),
        headers,
        body: Vec::new(),
    }
}

fn call(cloud: &CloudSim, action: &str, parameters: &[(&str, &str)]) -> Reply {
    send(
        cloud.url(SERVICE),
        &signed(ECS, action, parameters, &key(), now()),
    )
    .unwrap()
}

fn error(reply: &Reply) -> String {
    let code = &reply.json()["ResponseMetadata"]["Error"]["Code"];
    code.as_str().unwrap_or_default().to_owned()
}

#[track_caller]
fn ok(reply: Reply) -> Value {
    assert_eq!((reply.status, &*error(&reply)), (200, ""), "{}", reply.body);
    reply.json()["Result"].clone()
}

#[track_caller]
fn refused(reply: Reply, status: u16, code: &str) {
    assert_eq!((reply.status, &*error(&reply)), (status, code), "{}", reply.body);
}

#[test]
fn captured_requests_over_http() {
    let cloud = start();
    let mut count = 0;
    for vector in captured().into_iter().filter(|vector| vector.service == SERVICE) {
        cloud.add_credential(vector.credential.clone());
        cloud.set_clock(Some(vector.time));
        cloud.forget_pairs(SERVICE);
        let reply = send(cloud.url(SERVICE), &vector.request).unwrap();
        // Some name what is not there, or what the service does not take.
        let about_the_pair = [
            "InvalidKeyPairName.Malformed",
            "InvalidKeyPair.NotFound",
            "InvalidPublicKey.Malformed",
        ];
        let expected = error(&reply).is_empty() || about_the_pair.contains(&&*error(&reply));
        let is_here = vector.operation != "modify";
        assert!(expected || !is_here, "{}: {}", vector.id, reply.body);

        let mut changed = vector.request.clone();
        let last = changed.headers.last_mut().unwrap();
        assert!(last.0 == "Authorization", "{}", vector.id);
        let digit = last.1.pop();
        last.1.push(if digit == Some('0') { '1' } else { '0' });
        refused(
            send(cloud.url(SERVICE), &changed).unwrap(),
            401,
            "SignatureDoesNotMatch",
        );

        cloud.set_clock(Some(vector.time + Duration::from_secs(15 * 60 + 1)));
        refused(
            send(cloud.url(SERVICE), &vector.request).unwrap(),
            400,
            "InvalidTimestamp",
        );
        count += 1;
    }
    assert!(count == 14 || !are_our_own(), "{count}");
}

#[test]
fn pairs_are_made_listed_and_deleted() {
    let cloud = start();
    let made = ok(call(
        &cloud,
        "CreateKeyPair",
        &[
            ("KeyPairName", "web-1"),
            ("Tags.1.Key", "team"),
            ("Tags.1.Value", "a"),
        ],
    ));
    assert!(
        made["PrivateKey"]
            .as_str()
            .unwrap()
            .starts_with("-----BEGIN RSA PRIVATE KEY-----")
    );
    assert!(made["KeyPairId"].as_str().unwrap().starts_with("kp-"));
    let imported = ok(call(
        &cloud,
        "ImportKeyPair",
        &[("KeyPairName", "web-2"), ("PublicKey", RSA)],
    ));
    assert_eq!(imported["PrivateKey"], Value::Null);
    ok(call(
        &cloud,
        "ImportKeyPair",
        &[("KeyPairName", "other"), ("PublicKey", RSA)],
    ));
    let names = |parameters: &[(&str, &str)]| -> Vec<String> {
        let found = ok(call(&cloud, "DescribeKeyPairs", parameters));
        let pairs = found["KeyPairs"].as_array().unwrap().iter();
        pairs
            .map(|pair| pair["KeyPairName"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&[("KeyPairName", "web")]), ["web-1", "web-2"]);
    assert_eq!(
        names(&[("KeyPairNames.1", "web-2"), ("KeyPairNames.2", "other")]),
        ["web-2", "other"]
    );
    let first = ok(call(&cloud, "DescribeKeyPairs", &[("MaxResults", "2")]));
    assert_eq!(
        first["KeyPairs"][0]["Tags"],
        json!([{"Key": "team", "Value": "a"}])
    );
    assert_eq!(first["KeyPairs"][0]["PublicKey"], Value::Null);
    let next = first["NextToken"].as_str().unwrap();
    let second = ok(call(
        &cloud,
        "DescribeKeyPairs",
        &[("MaxResults", "2"), ("NextToken", next)],
    ));
    assert_eq!(
        (second["KeyPairs"].as_array().unwrap().len(), &second["NextToken"]),
        (1, &json!(""))
    );
    refused(
        call(&cloud, "DescribeKeyPairs", &[("MaxResults", "501")]),
        400,
        "InvalidMaxResults.Malformed",
    );

    let gone = ok(call(
        &cloud,
        "DeleteKeyPairs",
        &[("KeyPairNames.1", "web-1"), ("KeyPairNames.2", "nope")],
    ));
    assert_eq!(gone["OperationDetails"][0]["Error"], Value::Null);
    assert_eq!(
        gone["OperationDetails"][1]["Error"]["Code"],
        "InvalidKeyPairName.NotFound"
    );
    assert_eq!(names(&[]), ["web-2", "other"]);
}

#[test]
fn what_a_pair_may_not_be_is_refused() {
    let cloud = start();
    let create = |parameters: &[(&str, &str)]| call(&cloud, "CreateKeyPair", parameters);
    let long = "a".repeat(65);
    refused(create(&[]), 400, "MissingParameter.KeyPairName");
    for name in ["a", "-a", "a-", ".a", "a.", "a--b", "a..b", "a b", "ä1", &*long] {
        refused(
            create(&[("KeyPairName", name)]),
            400,
            "InvalidKeyPairName.Malformed",
        );
    }
    for description in ["1st", "a/b"] {
        let parameters = [("KeyPairName", "web"), ("Description", description)];
        refused(create(&parameters), 400, "InvalidKeyPairDescription.Malformed");
    }
    refused(
        create(&[("KeyPairName", "web"), ("ProjectName", "a b")]),
        404,
        "InvalidProject.NotFound",
    );
    refused(
        create(&[("KeyPairName", "web"), ("ClientToken", &long)]),
        400,
        "InvalidClientToken.Malformed",
    );
    ok(create(&[
        ("KeyPairName", "ssh_key_pair"),
        ("Description", "ssh_key_pair description"),
    ]));
    refused(
        create(&[("KeyPairName", "ssh_key_pair")]),
        409,
        "InvalidKeyPairName.Conflict",
    );
    let settings = cloud.settings(SERVICE);
    cloud.set_settings(SERVICE, Settings { quota: 1, ..settings });
    refused(
        create(&[("KeyPairName", "web")]),
        400,
        "LimitExceeded.MaximumKeyPairs",
    );
    refused(
        call(
            &cloud,
            "ImportKeyPair",
            &[("KeyPairName", "web"), ("PublicKey", "ssh-rsa x")],
        ),
        400,
        "LimitExceeded.MaximumKeyPairs",
    );
    refused(call(&cloud, "CreateKeypair", &[]), 404, "InvalidActionOrVersion");
    let old = signed(("ecs", "2019-01-01"), "CreateKeyPair", &[], &key(), now());
    refused(
        send(cloud.url(SERVICE), &old).unwrap(),
        404,
        "InvalidActionOrVersion",
    );
    let other = signed(("vpc", "2020-04-01"), "DescribeVpcs", &[], &key(), now());
    refused(send(cloud.url(SERVICE), &other).unwrap(), 404, "ServiceNotFound");
}

#[test]
fn a_token_gives_the_first_answer_again() {
    let cloud = start();
    let create = |name: &str| {
        call(
            &cloud,
            "CreateKeyPair",
            &[("KeyPairName", name), ("ClientToken", "t1")],
        )
    };
    let first = ok(create("web"));
    assert_eq!(ok(create("web")), first);
    refused(create("other"), 400, "IdempotentParameterMismatch");
    assert_eq!(cloud.pairs(SERVICE).len(), 1);
}

#[test]
fn pairs_are_bound_and_released() {
    let cloud = start();
    let instance = Instance {
        region: Some("cn-beijing".to_owned()),
        id: "i-1".to_owned(),
        pair: None,
        running: true,
    };
    cloud.add_instance(SERVICE, instance).unwrap();
    let id = ok(call(&cloud, "CreateKeyPair", &[("KeyPairName", "web")]))["KeyPairId"].clone();
    ok(call(&cloud, "CreateKeyPair", &[("KeyPairName", "other")]));
    let both = [("InstanceIds.1", "i-1"), ("InstanceIds.2", "i-9")];
    // The id wins over the name.
    let by_id = [
        ("KeyPairId", id.as_str().unwrap()),
        ("KeyPairName", "other"),
        both[0],
        both[1],
    ];
    let attached = ok(call(&cloud, "AttachKeyPair", &by_id));
    assert_eq!(
        attached["OperationDetails"][0],
        json!({"InstanceId": "i-1", "Error": null})
    );
    assert_eq!(
        attached["OperationDetails"][1]["Error"]["Code"],
        "InvalidInstance.NotFound"
    );
    let named = ok(call(&cloud, "DescribeInstances", &[("KeyPairName", "web")]));
    assert_eq!(
        named["Instances"],
        json!([{"InstanceId": "i-1", "KeyPairName": "web"}])
    );
    let kept = ok(call(&cloud, "DeleteKeyPairs", &[("KeyPairNames.1", "web")]));
    assert_eq!(
        kept["OperationDetails"][0]["Error"]["Code"],
        "InvalidKeyPair.InUse"
    );
    ok(call(&cloud, "DetachKeyPair", &[("KeyPairName", "web"), both[0]]));
    assert_eq!(cloud.instances(SERVICE)[0].pair, None);
    let gone = ok(call(&cloud, "DeleteKeyPairs", &[("KeyPairNames.1", "web")]));
    assert_eq!(gone["OperationDetails"][0]["Error"], Value::Null);
    refused(
        call(&cloud, "AttachKeyPair", &[("KeyPairName", "web"), both[0]]),
        404,
        "InvalidKeyPair.NotFound",
    );
}

#[test]
fn who_signs_must_be_known() {
    let cloud = start();
    let with = |key: Credential, time| {
        send(
            cloud.url(SERVICE),
            &signed(ECS, "DescribeKeyPairs", &[], &key, time),
        )
        .unwrap()
    };
    let stranger = Credential {
        access_key: "AKLT-nobody".to_owned(),
        ..key()
    };
    refused(with(stranger, now()), 401, "InvalidAccessKey");
    let wrong = Credential {
        secret_key: "wrong".to_owned(),
        ..key()
    };
    refused(with(wrong, now()), 401, "SignatureDoesNotMatch");
    let token = Credential {
        session_token: Some("t".to_owned()),
        ..key()
    };
    refused(with(token, now()), 401, "InvalidSecurityToken");
    for seconds in [15 * 60 + 1, 24 * 60 * 60] {
        refused(
            with(key(), now() - Duration::from_secs(seconds)),
            400,
            "InvalidTimestamp",
        );
        refused(
            with(key(), now() + Duration::from_secs(seconds)),
            400,
            "InvalidTimestamp",
        );
    }
    let mut unsigned = signed(ECS, "DescribeKeyPairs", &[], &key(), now());
    unsigned.headers.push(("x-other".to_owned(), "1".to_owned()));
    refused(
        send(cloud.url(SERVICE), &unsigned).unwrap(),
        401,
        "MissingSignature",
    );
    unsigned.headers.retain(|(name, _)| name == "host");
    refused(
        send(cloud.url(SERVICE), &unsigned).unwrap(),
        401,
        "MissingSignature",
    );
}

#[test]
fn a_role_is_assumed_for_a_time() {
    let cloud = start();
    let assume = |role: &str, seconds: &str| {
        let parameters = [
            ("RoleTrn", role),
            ("RoleSessionName", "case"),
            ("DurationSeconds", seconds),
        ];
        send(
            cloud.url(SERVICE),
            &signed(STS, "AssumeRole", &parameters, &key(), now()),
        )
        .unwrap()
    };
    for (role, seconds) in [
        ("role", "900"),
        ("trn:iam::1:role/", "900"),
        ("trn:iam::1:role/x", "899"),
    ] {
        refused(assume(role, seconds), 400, "InvalidParameter");
    }
    let answer = ok(assume("trn:iam::2100000000:role/deploy", "900"));
    let text = |name: &str| answer["Credentials"][name].as_str().unwrap().to_owned();
    assert_eq!(text("ExpiredTime"), "2027-01-15T16:15:00+08:00");
    let temporary = Credential {
        access_key: text("AccessKeyId"),
        secret_key: text("SecretAccessKey"),
        session_token: Some(text("SessionToken")),
        expires_at: None,
    };
    let list = |key: &Credential, time| {
        send(
            cloud.url(SERVICE),
            &signed(ECS, "DescribeKeyPairs", &[], key, time),
        )
        .unwrap()
    };
    ok(list(&temporary, now()));
    let bare = Credential {
        session_token: None,
        ..temporary.clone()
    };
    refused(list(&bare, now()), 401, "InvalidSecurityToken");
    let end = now() + Duration::from_secs(900);
    cloud.set_clock(Some(end));
    refused(list(&temporary, end), 401, "InvalidSecurityToken");
}

#[test]
fn faults_have_the_vendors_form() {
    let cloud = start();
    let with = |kind: FaultKind| {
        cloud.clear_faults();
        cloud.fault(Fault::new(kind).service(SERVICE));
        call(&cloud, "DescribeKeyPairs", &[])
    };
    let throttled = with(FaultKind::Throttling {
        retry_after_ms: Some(1500),
    });
    assert_eq!(throttled.header("retry-after"), Some("2"));
    refused(throttled, 429, "AccountFlowLimitExceeded");
    refused(with(FaultKind::ServerError), 500, "InternalError");
    refused(with(FaultKind::Unavailable), 503, "ServiceUnavailable");
    refused(with(FaultKind::Quota), 400, "LimitExceeded.MaximumKeyPairs");
    let error = Refusal::new(200, "InternalError", "An internal error has occurred.");
    refused(
        with(FaultKind::Error {
            error,
            after_commit: false,
        }),
        200,
        "InternalError",
    );
}
