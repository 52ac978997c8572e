//! Huawei Cloud's ECS and IAM: captured requests over HTTP, and what they make of requests signed here.

use std::time::{Duration, SystemTime};

use aws_lc_rs::{digest, hmac};
use cloud_sim::vectors::{are_our_own, captured};
use cloud_sim::wire::Request;
use cloud_sim::{CloudSim, Fault, FaultKind, Options, Plant, Service, Settings};
use serde_json::{Value, json};

use crate::client::{ACCESS_KEY, Reply, SECRET_KEY, send};
use crate::ecs::RSA;

const SERVICE: Service = Service::HuaweiEcs;
const REGION: &str = "cn-north-4";
const PROJECT: &str = "0123456789abcdef0123456789abcdef";

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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &Value) -> Request {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let mut all = vec![("host".to_owned(), "ecs.example.com".to_owned())];
    all.extend(
        headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    );
    Request {
        method: method.to_owned(),
        target: target.to_owned(),
        headers: all,
        body: body.into_bytes(),
    }
}

/// Signs as the vendor's documents say; the targets of these tests are canonical but for the slash at the path's end.
fn signed(mut request: Request, access_key: &str, secret_key: &str, time: SystemTime) -> Request {
    let stamp = humantime::format_rfc3339_seconds(time)
        .to_string()
        .replace(['-', ':'], "");
    request.headers.push(("x-sdk-date".to_owned(), stamp.clone()));
    request.headers.sort();
    let lines: String = request
        .headers
        .iter()
        .map(|(name, value)| format!("{name}:{value}\n"))
        .collect();
    let names: Vec<&str> = request.headers.iter().map(|(name, _)| name.as_str()).collect();
    let names = names.join(";");
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let canonical = format!(
        "{}\n{path}/\n{query}\n{lines}\n{names}\n{}",
        request.method,
        sha256(&request.body)
    );
    let to_sign = format!("SDK-HMAC-SHA256\n{stamp}\n{}", sha256(canonical.as_bytes()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret_key.as_bytes());
    let signature = hex(hmac::sign(&key, to_sign.as_bytes()).as_ref());
    let authorization =
        format!("SDK-HMAC-SHA256 Access={access_key}, SignedHeaders={names}, Signature={signature}");
    request.headers.push(("authorization".to_owned(), authorization));
    request
}

fn call_at(cloud: &CloudSim, version: Option<&str>, method: &str, below: &str, body: &Value) -> Reply {
    let target = format!("/v2.1/{PROJECT}/os-keypairs{below}");
    let version: Vec<_> = version
        .map(|version| ("openstack-api-version", version))
        .into_iter()
        .collect();
    let request = request(method, &target, &version, body);
    send(
        cloud.url(SERVICE),
        &signed(request, ACCESS_KEY, SECRET_KEY, now()),
    )
    .unwrap()
}

fn call(cloud: &CloudSim, method: &str, below: &str, body: &Value) -> Reply {
    call_at(cloud, None, method, below, body)
}

/// The gateway's code, or the fault's name.
fn code(reply: &Reply) -> String {
    let body: Value = serde_json::from_str(&reply.body).unwrap_or_default();
    let name = body.as_object().and_then(|body| body.keys().next()).cloned();
    body["error_code"]
        .as_str()
        .map(str::to_owned)
        .or(name)
        .unwrap_or_default()
}

#[track_caller]
fn refused(reply: Reply, status: u16, expected: &str) {
    assert_eq!(
        (reply.status, &*code(&reply)),
        (status, expected),
        "{}",
        reply.body
    );
}

#[track_caller]
fn ok(reply: Reply, status: u16) -> Value {
    assert_eq!(reply.status, status, "{}", reply.body);
    serde_json::from_str(&reply.body).unwrap_or_default()
}

fn named(name: &str) -> Value {
    json!({"keypair": {"name": name}})
}

#[test]
fn captured_requests_over_http() {
    let cloud = start();
    let mut count = 0;
    for vector in captured().into_iter().filter(|vector| vector.service == SERVICE) {
        cloud.add_credential(vector.credential.clone());
        cloud.set_clock(Some(vector.time));
        cloud.forget_pairs(SERVICE);
        for name in ["probe-created", "my key+1", "a/b c?d#e%20+f", "测试密钥-Ключ_é:1"] {
            let is_for_it = vector.operation != "create" && vector.operation != "import";
            let plant = Plant {
                service: SERVICE,
                region: Some(REGION.to_owned()),
                name: name.to_owned(),
                public_key: Some(RSA.to_owned()),
            };
            if is_for_it {
                cloud.plant(plant).unwrap();
            }
        }
        let reply = send(cloud.url(SERVICE), &vector.request).unwrap();
        assert!(
            (200..300).contains(&reply.status),
            "{}: {}",
            vector.id,
            reply.body
        );

        let mut changed = vector.request.clone();
        let at = changed
            .headers
            .iter()
            .position(|(name, _)| name == "Authorization")
            .unwrap();
        let value = &mut changed.headers[at].1;
        let digit = value.pop();
        value.push(if digit == Some('0') { '1' } else { '0' });
        refused(send(cloud.url(SERVICE), &changed).unwrap(), 401, "APIGW.0301");

        cloud.set_clock(Some(vector.time + Duration::from_secs(15 * 60 + 1)));
        refused(
            send(cloud.url(SERVICE), &vector.request).unwrap(),
            401,
            "APIGW.0301",
        );
        count += 1;
    }
    assert!(count == 14 || !are_our_own(), "{count}");
}

#[test]
fn pairs_are_made_shown_and_deleted() {
    let cloud = start();
    let made = ok(call(&cloud, "POST", "", &named("web")), 200);
    let keypair = &made["keypair"];
    assert!(
        keypair["private_key"]
            .as_str()
            .unwrap()
            .starts_with("-----BEGIN RSA PRIVATE KEY-----")
    );
    assert!(
        keypair["public_key"]
            .as_str()
            .unwrap()
            .ends_with(" Generated-by-Nova\n")
    );
    assert_eq!(keypair["fingerprint"].as_str().unwrap().len(), 47);
    assert_eq!(keypair["type"], Value::Null);
    let typed = json!({"keypair": {"name": "typed", "type": "ssh", "public_key": RSA}});
    refused(call(&cloud, "POST", "", &typed), 400, "badRequest");
    let made = ok(call_at(&cloud, Some("2.2"), "POST", "", &typed), 201);
    assert_eq!(
        (&made["keypair"]["private_key"], &made["keypair"]["type"]),
        (&Value::Null, &json!("ssh"))
    );
    assert!(made["keypair"]["public_key"].as_str().unwrap().ends_with("\\n\n"));
    let for_a_user = json!({"keypair": {"name": "of-user", "user_id": "u1"}});
    refused(
        call_at(&cloud, Some("2.9"), "POST", "", &for_a_user),
        400,
        "badRequest",
    );
    ok(call_at(&cloud, Some("2.10"), "POST", "", &for_a_user), 201);
    refused(
        call_at(&cloud, Some("2.61"), "POST", "", &named("x")),
        406,
        "computeFault",
    );
    refused(
        call_at(&cloud, Some("compute 2.2"), "POST", "", &named("x")),
        406,
        "computeFault",
    );

    let shown = ok(call(&cloud, "GET", "/web", &Value::Null), 200);
    assert!(shown["keypair"]["id"].is_u64() && shown["keypair"]["private_key"].is_null());
    ok(call(&cloud, "DELETE", "/web", &Value::Null), 202);
    ok(
        call_at(&cloud, Some("2.2"), "DELETE", "/typed", &Value::Null),
        204,
    );
    refused(call(&cloud, "DELETE", "/web", &Value::Null), 404, "itemNotFound");
    refused(call(&cloud, "GET", "/web", &Value::Null), 404, "itemNotFound");
    refused(call(&cloud, "PUT", "/web", &Value::Null), 404, "APIGW.0101");
}

#[test]
fn a_pair_belongs_to_a_user() {
    let cloud = start();
    let of_user = |name: &str| json!({"keypair": {"name": name, "user_id": "u1", "public_key": RSA}});
    let get = |version, below: &str| call_at(&cloud, version, "GET", below, &Value::Null);
    let delete = |version, below: &str| call_at(&cloud, version, "DELETE", below, &Value::Null);
    let names = |version, below: &str| -> Vec<String> {
        let found = ok(get(version, below), 200);
        let pairs = found["keypairs"].as_array().unwrap().iter();
        pairs
            .map(|pair| pair["keypair"]["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let since = Some("2.10");
    let made = ok(call_at(&cloud, since, "POST", "", &of_user("theirs")), 201);
    assert_eq!(made["keypair"]["user_id"], "u1");
    let settings = cloud.settings(SERVICE);
    cloud.set_settings(SERVICE, Settings { quota: 1, ..settings });
    ok(call(&cloud, "POST", "", &named("ours")), 200);
    refused(
        call_at(&cloud, since, "POST", "", &of_user("more")),
        403,
        "forbidden",
    );

    assert_eq!(names(since, ""), ["ours"]);
    assert_eq!(names(since, "?user_id=u1"), ["theirs"]);
    assert_eq!(names(Some("2.35"), "?limit=9&user_id=u1"), ["theirs"]);
    refused(get(since, "/theirs"), 404, "itemNotFound");
    // Before 2.10 nobody is named.
    refused(get(Some("2.9"), "/theirs?user_id=u1"), 404, "itemNotFound");
    refused(delete(since, "/theirs"), 404, "itemNotFound");
    refused(delete(None, "/theirs?user_id=u1"), 404, "itemNotFound");
    refused(get(since, "/ours?user_id=u1"), 404, "itemNotFound");
    let shown = ok(get(since, "/theirs?user_id=u1"), 200);
    assert_eq!(shown["keypair"]["user_id"], "u1");
    ok(delete(since, "/theirs?user_id=u1"), 204);
    // A name is one user's alone.
    ok(call_at(&cloud, since, "POST", "", &of_user("ours")), 201);
    ok(delete(since, "/ours?user_id=u1"), 204);
    assert_eq!(names(None, ""), ["ours"]);
}

#[test]
fn pages_come_with_their_microversion() {
    let cloud = start();
    for name in ["c", "a", "d", "b"] {
        ok(
            call(
                &cloud,
                "POST",
                "",
                &json!({"keypair": {"name": name, "public_key": RSA}}),
            ),
            200,
        );
    }
    let names = |version, below: &str| -> Vec<String> {
        let found = ok(call_at(&cloud, version, "GET", below, &Value::Null), 200);
        let pairs = found["keypairs"].as_array().unwrap().iter();
        pairs
            .map(|pair| pair["keypair"]["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(None, "?limit=2"), ["c", "a", "d", "b"]);
    assert_eq!(names(Some("2.35"), "?limit=2"), ["a", "b"]);
    assert_eq!(names(Some("2.35"), "?limit=2&marker=b"), ["c", "d"]);
    assert_eq!(names(Some("2.35"), "?limit=2&marker=d"), [""; 0]);
    refused(
        call_at(&cloud, Some("2.35"), "GET", "?marker=nope", &Value::Null),
        400,
        "badRequest",
    );
}

#[test]
fn what_a_pair_may_not_be_is_refused() {
    let cloud = start();
    let long = "a".repeat(256);
    for name in ["", "a.b", "a/b", "ä", " a", &*long] {
        refused(call(&cloud, "POST", "", &named(name)), 400, "badRequest");
    }
    for body in [json!({}), json!([]), json!({"keypair": {"name": 7}})] {
        refused(call(&cloud, "POST", "", &body), 400, "badRequest");
    }
    let long = format!("{RSA} {}", "x".repeat(1024));
    for public_key in ["ssh-rsa x", "", &*long] {
        let body = json!({"keypair": {"name": "web", "public_key": public_key}});
        refused(call(&cloud, "POST", "", &body), 400, "badRequest");
    }
    ok(call(&cloud, "POST", "", &named("web")), 200);
    refused(call(&cloud, "POST", "", &named("web")), 409, "conflictingRequest");
    let settings = cloud.settings(SERVICE);
    cloud.set_settings(SERVICE, Settings { quota: 1, ..settings });
    refused(call(&cloud, "POST", "", &named("more")), 403, "forbidden");
}

#[test]
fn who_signs_must_be_known_and_the_project_its_own() {
    let cloud = start();
    let target = format!("/v2.1/{PROJECT}/os-keypairs");
    let list = |headers: &[(&str, &str)], access_key: &str, secret_key: &str, time| {
        let request = request("GET", &target, headers, &Value::Null);
        send(cloud.url(SERVICE), &signed(request, access_key, secret_key, time)).unwrap()
    };
    ok(
        list(&[("x-project-id", PROJECT)], ACCESS_KEY, SECRET_KEY, now()),
        200,
    );
    refused(
        list(&[("x-project-id", "other")], ACCESS_KEY, SECRET_KEY, now()),
        403,
        "forbidden",
    );
    refused(list(&[], "nobody", SECRET_KEY, now()), 401, "APIGW.0301");
    refused(list(&[], ACCESS_KEY, "wrong", now()), 401, "APIGW.0301");
    refused(
        list(&[("x-security-token", "t")], ACCESS_KEY, SECRET_KEY, now()),
        401,
        "APIGW.0301",
    );
    let late = now() + Duration::from_secs(15 * 60 + 1);
    refused(list(&[], ACCESS_KEY, SECRET_KEY, late), 401, "APIGW.0301");
    let mut unsigned = signed(
        request("GET", &target, &[], &Value::Null),
        ACCESS_KEY,
        SECRET_KEY,
        now(),
    );
    unsigned
        .headers
        .push(("x-project-id".to_owned(), PROJECT.to_owned()));
    refused(send(cloud.url(SERVICE), &unsigned).unwrap(), 401, "APIGW.0301");
    let elsewhere = request(
        "GET",
        "/v2.1/ffffffffffffffffffffffffffffffff/os-keypairs",
        &[],
        &Value::Null,
    );
    let reply = send(
        cloud.url(SERVICE),
        &signed(elsewhere, ACCESS_KEY, SECRET_KEY, now()),
    )
    .unwrap();
    refused(reply, 403, "forbidden");
}

fn log_in(cloud: &CloudSim, password: &str, project: Value) -> Reply {
    let user = json!({"name": ACCESS_KEY, "password": password, "domain": {"name": "acme"}});
    let body = json!({"auth": {
        "identity": {"methods": ["password"], "password": {"user": user}},
        "scope": {"project": project},
    }});
    send(
        cloud.url(SERVICE),
        &request("POST", "/v3/auth/tokens", &[], &body),
    )
    .unwrap()
}

#[test]
fn a_token_is_good_for_its_project_until_it_ends() {
    let cloud = start();
    let login = log_in(&cloud, SECRET_KEY, json!({"name": REGION}));
    let token = login.header("x-subject-token").unwrap().to_owned();
    let body = ok(login, 201);
    assert_eq!(body["token"]["project"], json!({"id": PROJECT, "name": REGION}));
    assert_eq!(body["token"]["expires_at"], "2027-01-16T08:00:00.000000Z");
    let list = |token: &str, project: &str| {
        let target = format!("/v2.1/{project}/os-keypairs");
        send(
            cloud.url(SERVICE),
            &request("GET", &target, &[("x-auth-token", token)], &Value::Null),
        )
        .unwrap()
    };
    ok(list(&token, PROJECT), 200);
    let other = ok(log_in(&cloud, SECRET_KEY, json!({"name": "cn-east-3"})), 201);
    refused(
        list(&token, other["token"]["project"]["id"].as_str().unwrap()),
        403,
        "forbidden",
    );
    // Every byte of it counts.
    for at in 0..token.len() {
        let mut changed = token.clone();
        changed.replace_range(at..=at, if &token[at..=at] == "0" { "1" } else { "0" });
        refused(list(&changed, PROJECT), 401, "APIGW.0301");
    }
    cloud.set_clock(Some(now() + Duration::from_secs(24 * 60 * 60)));
    refused(list(&token, PROJECT), 401, "APIGW.0301");
}

#[test]
fn a_login_must_be_right() {
    let cloud = start();
    refused(log_in(&cloud, "wrong", json!({"name": REGION})), 401, "error");
    refused(
        log_in(&cloud, SECRET_KEY, json!({"name": "nowhere-1"})),
        400,
        "error",
    );
    refused(log_in(&cloud, SECRET_KEY, json!({})), 400, "error");
    ok(log_in(&cloud, SECRET_KEY, json!({"id": PROJECT})), 201);
    let reply = send(
        cloud.url(SERVICE),
        &request("POST", "/v3/auth/tokens", &[], &json!({})),
    )
    .unwrap();
    refused(reply, 400, "error");
    // The log holds no password.
    let log = format!("{:?}", cloud.requests());
    assert!(log.contains(ACCESS_KEY) && !log.contains(SECRET_KEY), "{log}");
}

#[test]
fn a_region_has_one_project() {
    let cloud = start();
    let projects = |query: &str| {
        let request = request("GET", &format!("/v3/projects{query}"), &[], &Value::Null);
        let reply = send(
            cloud.url(SERVICE),
            &signed(request, ACCESS_KEY, SECRET_KEY, now()),
        )
        .unwrap();
        ok(reply, 200)["projects"].as_array().unwrap().clone()
    };
    let found = projects(&format!("?name={REGION}"));
    assert_eq!((found.len(), &found[0]["id"]), (1, &json!(PROJECT)));
    assert!(projects("?name=nowhere-1").is_empty());
    assert!(projects("").len() > 1);
}

#[test]
fn faults_have_the_vendors_form() {
    let cloud = start();
    let with = |kind: FaultKind| {
        cloud.clear_faults();
        cloud.fault(Fault::new(kind).service(SERVICE).action("NovaListKeypairs"));
        call(&cloud, "GET", "", &Value::Null)
    };
    let throttled = with(FaultKind::Throttling {
        retry_after_ms: Some(500),
    });
    assert_eq!(throttled.header("retry-after"), Some("1"));
    refused(throttled, 429, "APIGW.0308");
    refused(with(FaultKind::ServerError), 500, "computeFault");
    refused(with(FaultKind::Unavailable), 503, "serviceUnavailable");
    refused(with(FaultKind::Quota), 403, "forbidden");
}
