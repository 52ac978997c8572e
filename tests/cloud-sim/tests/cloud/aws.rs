//! EC2 and STS: captured requests over HTTP, and what the service makes of requests signed here.

use std::time::{Duration, SystemTime};

use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloud_sim::vectors::{are_our_own, captured};
use cloud_sim::wire::Request;
use cloud_sim::{CloudSim, Credential, Fault, FaultKind, Instance, Options, Service, Settings};
use ssh_key::{HashAlg, PrivateKey, PublicKey};

use crate::client::{ACCESS_KEY, Reply, SECRET_KEY, send};
use crate::ecs::RSA;

const EC2: &str = "2016-11-15";
const STS: &str = "2011-06-15";
const ED25519: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJXErgRoyO7/t5uGlBPZrROr2R20quKJS90HsJYNm0f9 user name@host+tag";

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

fn form(action: &str, version: &str, fields: &[(&str, &str)]) -> Request {
    let more: String = fields
        .iter()
        .map(|(name, value)| format!("&{}={}", encode(name), encode(value)))
        .collect();
    let kind = "application/x-www-form-urlencoded; charset=utf-8";
    Request {
        method: "POST".to_owned(),
        target: "/".to_owned(),
        headers: vec![
            ("content-type".to_owned(), kind.to_owned()),
            ("host".to_owned(), "ec2.example.com".to_owned()),
        ],
        body: format!("Action={action}&Version={version}{more}").into_bytes(),
    }
}

/// Signs as the vendor's documents say.
fn signed(mut request: Request, key: &Credential, time: SystemTime, scope: &str) -> Request {
    let stamp: String = humantime::format_rfc3339_seconds(time)
        .to_string()
        .replace(['-', ':'], "");
    request.headers.push(("x-amz-date".to_owned(), stamp.clone()));
    if let Some(token) = &key.session_token {
        request
            .headers
            .push(("x-amz-security-token".to_owned(), token.clone()));
    }
    let lines: String = request
        .headers
        .iter()
        .map(|(name, value)| format!("{name}:{value}\n"))
        .collect();
    let names: Vec<&str> = request.headers.iter().map(|(name, _)| name.as_str()).collect();
    let names = names.join(";");
    let sha256 = |bytes: &[u8]| hex(digest::digest(&digest::SHA256, bytes).as_ref());
    let canonical = format!("POST\n/\n\n{lines}\n{names}\n{}", sha256(&request.body));
    let scope = format!("{}/{scope}/aws4_request", &stamp[..8]);
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}",
        sha256(canonical.as_bytes())
    );
    let sign = |key: &[u8], data: &str| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        hmac::sign(&key, data.as_bytes()).as_ref().to_vec()
    };
    let secret = format!("AWS4{}", key.secret_key).into_bytes();
    let derived = scope.split('/').fold(secret, |key, part| sign(&key, part));
    let signature = hex(&sign(&derived, &to_sign));
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
        key.access_key
    );
    request.headers.push(("Authorization".to_owned(), authorization));
    request
}

fn call(cloud: &CloudSim, action: &str, fields: &[(&str, &str)]) -> Reply {
    let request = signed(form(action, EC2, fields), &key(), now(), "us-east-1/ec2");
    send(cloud.url(Service::AwsEc2), &request).unwrap()
}

/// The text of the first element of this name.
fn text<'a>(reply: &'a Reply, name: &str) -> &'a str {
    let start = reply.body.find(&format!("<{name}>"));
    let rest = start.map_or("", |start| &reply.body[start + name.len() + 2..]);
    rest.split('<').next().unwrap_or_default()
}

#[track_caller]
fn refused(reply: &Reply, status: u16, code: &str) {
    assert_eq!(
        (reply.status, text(reply, "Code")),
        (status, code),
        "{}",
        reply.body
    );
}

#[track_caller]
fn ok(reply: Reply) -> Reply {
    assert_eq!((reply.status, text(&reply, "Code")), (200, ""), "{}", reply.body);
    reply
}

#[test]
fn captured_requests_over_http() {
    let mut count = 0;
    for vector in captured() {
        if vector.service != Service::AwsEc2 {
            continue;
        }
        let cloud = start();
        let url = cloud.url(vector.service).to_owned();
        cloud.add_credential(vector.credential.clone());
        cloud.set_clock(Some(vector.time));
        if vector.operation == "show" {
            let made = form(
                "CreateKeyPair",
                EC2,
                &[("KeyName", "probe-created"), ("KeyType", "ed25519")],
            );
            ok(send(
                &url,
                &signed(made, &vector.credential, vector.time, "us-east-1/ec2"),
            )
            .unwrap());
        }
        let mut changed = vector.request.clone();
        *changed.body.last_mut().unwrap() ^= 1;
        refused(&send(&url, &changed).unwrap(), 403, "SignatureDoesNotMatch");
        if vector.credential.session_token.is_some() {
            let mut other = vector.credential.clone();
            other.session_token = Some("another".to_owned());
            cloud.add_credential(other);
            refused(&send(&url, &vector.request).unwrap(), 401, "AuthFailure");
            cloud.add_credential(vector.credential.clone());
        }
        let reply = ok(send(&url, &vector.request).unwrap());
        assert!(reply.body.contains("<requestId>"), "{}", reply.body);
        if vector.id == "aws-ec2-import-basic" {
            // The fingerprint that the capture shows of this key.
            assert_eq!(
                text(&reply, "keyFingerprint"),
                "81:fd:09:62:62:99:e9:0c:ea:83:76:da:ad:da:6f:a6"
            );
        }
        cloud.set_clock(Some(vector.time + Duration::from_secs(15 * 60 + 1)));
        refused(&send(&url, &vector.request).unwrap(), 400, "RequestExpired");
        count += 1;
    }
    assert!(count >= 12 || !are_our_own(), "{count}");
}

#[test]
fn made_pairs_have_the_vendors_fingerprints() {
    let cloud = start();
    let reply = ok(call(
        &cloud,
        "CreateKeyPair",
        &[("KeyName", "e"), ("KeyType", "ed25519")],
    ));
    let private = PrivateKey::from_openssh(text(&reply, "keyMaterial")).unwrap();
    let fingerprint = private.fingerprint(HashAlg::Sha256).to_string();
    assert_eq!(
        text(&reply, "keyFingerprint").trim_end_matches('='),
        fingerprint.trim_start_matches("SHA256:")
    );
    let described = ok(call(
        &cloud,
        "DescribeKeyPairs",
        &[("KeyName.1", "e"), ("IncludePublicKey", "true")],
    ));
    let public = PublicKey::from_openssh(text(&described, "publicKey")).unwrap();
    assert_eq!(public.key_data(), private.public_key().key_data());

    let reply = ok(call(&cloud, "CreateKeyPair", &[("KeyName", "r")]));
    assert!(text(&reply, "keyMaterial").starts_with("-----BEGIN RSA PRIVATE KEY-----"));
    assert_eq!(text(&reply, "keyFingerprint").split(':').count(), 20);
    assert_eq!(cloud.private_keys().len(), 2);
    assert_eq!(
        cloud.private_keys()[0].trim_end(),
        private.to_openssh(ssh_key::LineEnding::LF).unwrap().trim_end()
    );
}

#[test]
fn pairs_are_imported_listed_and_deleted() {
    let cloud = start();
    let material = |line: &str| STANDARD.encode(line);
    let import = |name: &str, line: &str| {
        call(
            &cloud,
            "ImportKeyPair",
            &[
                ("KeyName", name),
                ("PublicKeyMaterial", &material(line)),
                ("TagSpecification.1.ResourceType", "key-pair"),
                ("TagSpecification.1.Tag.1.Key", "team"),
                ("TagSpecification.1.Tag.1.Value", "web & co"),
            ],
        )
    };
    let reply = ok(import("a", ED25519));
    assert_eq!(
        text(&reply, "keyFingerprint"),
        "YK5UEdgSbW1xZAtqRqeTt+o934wM1/uEtjgNJqfzdXw="
    );
    refused(&import("a", RSA), 400, "InvalidKeyPair.Duplicate");
    ok(import("b", RSA));
    refused(&import("c", "ssh-dss AAAA"), 400, "InvalidKey.Format");
    refused(&import(&"n".repeat(256), RSA), 400, "InvalidParameterValue");
    let listed = ok(call(&cloud, "DescribeKeyPairs", &[]));
    assert_eq!(listed.body.matches("<keyName>").count(), 2);
    assert!(!listed.body.contains("publicKey") && listed.body.contains("web &amp; co"));
    refused(
        &call(&cloud, "DescribeKeyPairs", &[("KeyName.1", "c")]),
        400,
        "InvalidKeyPair.NotFound",
    );
    // Another region has pairs of its own.
    let elsewhere = signed(form("DescribeKeyPairs", EC2, &[]), &key(), now(), "eu-west-1/ec2");
    let reply = send(cloud.url(Service::AwsEc2), &elsewhere).unwrap();
    assert!(!reply.body.contains("<keyName>"));

    let instance = Instance {
        region: Some("us-east-1".to_owned()),
        id: "i-07".to_owned(),
        pair: Some("a".to_owned()),
        running: true,
    };
    cloud.add_instance(Service::AwsEc2, instance).unwrap();
    let found = |name: &str| {
        let fields = [("Filter.1.Name", "key-name"), ("Filter.1.Value.1", name)];
        ok(call(&cloud, "DescribeInstances", &fields))
    };
    assert_eq!(text(&found("a"), "instanceId"), "i-07");
    assert_eq!(text(&found("b"), "instanceId"), "");

    for _ in 0..2 {
        let reply = ok(call(&cloud, "DeleteKeyPair", &[("KeyName", "a")]));
        assert_eq!(text(&reply, "return"), "true");
    }
    assert_eq!(cloud.pairs(Service::AwsEc2).len(), 1);
}

#[test]
fn quota_and_faults_speak_as_the_vendor() {
    let cloud = start();
    let settings = Settings {
        quota: 1,
        ..cloud.settings(Service::AwsEc2)
    };
    cloud.set_settings(Service::AwsEc2, settings);
    let create = |name: &str| {
        call(
            &cloud,
            "CreateKeyPair",
            &[("KeyName", name), ("KeyType", "ed25519")],
        )
    };
    ok(create("a"));
    refused(&create("b"), 400, "KeyPairLimitExceeded");
    cloud.fault(Fault::new(FaultKind::Throttling {
        retry_after_ms: Some(1500),
    }));
    let reply = create("c");
    refused(&reply, 503, "RequestLimitExceeded");
    assert_eq!(reply.header("retry-after"), Some("2"));
    cloud.clear_faults();
    refused(&call(&cloud, "RunInstances", &[]), 400, "InvalidAction");
    let mut stranger = key();
    stranger.access_key = "AKIASTRANGER".to_owned();
    let request = signed(
        form("DescribeKeyPairs", EC2, &[]),
        &stranger,
        now(),
        "us-east-1/ec2",
    );
    refused(
        &send(cloud.url(Service::AwsEc2), &request).unwrap(),
        401,
        "AuthFailure",
    );
}

#[test]
fn keys_of_a_role_work_until_they_expire() {
    let cloud = start();
    let url = cloud.url(Service::AwsEc2);
    let role = [
        ("RoleArn", "arn:aws:iam::123456789012:role/deploy"),
        ("RoleSessionName", "keyferry"),
        ("DurationSeconds", "900"),
    ];
    let request = signed(form("AssumeRole", STS, &role), &key(), now(), "us-east-1/sts");
    let reply = ok(send(url, &request).unwrap());
    let end = now() + Duration::from_secs(900);
    assert_eq!(
        text(&reply, "Expiration"),
        humantime::format_rfc3339_seconds(end).to_string()
    );
    let temporary = Credential {
        access_key: text(&reply, "AccessKeyId").to_owned(),
        secret_key: text(&reply, "SecretAccessKey").to_owned(),
        session_token: Some(text(&reply, "SessionToken").to_owned()),
        expires_at: None,
    };
    let list = |time| {
        let request = signed(
            form("DescribeKeyPairs", EC2, &[]),
            &temporary,
            time,
            "us-east-1/ec2",
        );
        send(url, &request).unwrap()
    };
    ok(list(now()));
    cloud.set_clock(Some(end));
    refused(&list(end), 400, "RequestExpired");
    cloud.set_clock(Some(now()));

    let wrong = [("RoleArn", "deploy"), ("RoleSessionName", "keyferry")];
    let request = signed(form("AssumeRole", STS, &wrong), &key(), now(), "us-east-1/sts");
    let reply = send(url, &request).unwrap();
    refused(&reply, 400, "ValidationError");
    assert!(reply.body.contains("<ErrorResponse"), "{}", reply.body);
    // Signed for one service, sent to the other.
    let request = signed(form("AssumeRole", STS, &role), &key(), now(), "us-east-1/ec2");
    refused(&send(url, &request).unwrap(), 400, "InvalidAction");
}

#[test]
fn a_web_identity_is_known_by_its_token() {
    let cloud = start();
    let url = cloud.url(Service::AwsEc2);
    let arn = "arn:aws:iam::123456789012:role/pod";
    cloud.add_credential(Credential {
        access_key: arn.to_owned(),
        secret_key: "a.jwt".to_owned(),
        session_token: None,
        expires_at: None,
    });
    let ask = |token: &str| {
        let fields = [
            ("RoleArn", arn),
            ("RoleSessionName", "keyferry"),
            ("WebIdentityToken", token),
        ];
        send(url, &form("AssumeRoleWithWebIdentity", STS, &fields)).unwrap()
    };
    assert!(text(&ok(ask("a.jwt")), "AccessKeyId").starts_with("ASIA"));
    refused(&ask("b.jwt"), 400, "InvalidIdentityToken");
    let log = cloud.requests().requests;
    assert!(
        log.iter()
            .all(|record| !record.parameters.contains_key("WebIdentityToken"))
    );
}
