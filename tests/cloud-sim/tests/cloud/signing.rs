//! What is accepted and refused at the gate, with requests signed here.

use std::time::{Duration, SystemTime};

use cloud_sim::{Credential, Options, Service};

use crate::client::{ACCESS_KEY, SECRET_KEY, Unsigned, call, send, start};

fn list() -> Unsigned {
    Unsigned::new(
        Service::AlibabaEcs,
        "DescribeKeyPairs",
        &[("RegionId", "cn-hangzhou")],
    )
}

#[test]
fn both_versions_are_accepted_with_awkward_parameters() {
    let cloud = start();
    let mut request = list();
    request
        .parameters
        .push(("Tag.1.Key".into(), "a+b & c=d~e*f(é)".into()));
    request.parameters.push(("OwnerAccount".into(), String::new()));
    let url = cloud.url(Service::AlibabaEcs);
    send(url, &request.v3()).unwrap().ok();
    request.nonce.push('2');
    send(url, &request.v1()).unwrap().ok();
    request.nonce.push('3');
    request.method = "GET".into();
    send(url, &request.v3()).unwrap().ok();
}

#[test]
fn a_wrong_secret_is_told_what_the_server_signed() {
    let cloud = start();
    let mut request = list();
    request.secret_key = "wrong".into();
    let url = cloud.url(Service::AlibabaEcs);
    let v1 = send(url, &request.v1()).unwrap();
    assert_eq!(v1.status, 400);
    let error = v1.json();
    assert_eq!(error["Code"], "SignatureDoesNotMatch");
    assert_eq!(error["HostId"], "ecs.example.com");
    assert_eq!(error["RequestId"].as_str(), v1.header("x-acs-request-id"));
    let (_, signed) = error["Message"].as_str().unwrap().split_once(':').unwrap();
    assert!(signed.starts_with("POST&%2F&AccessKeyId%3D"), "{signed}");
    let v3 = send(url, &request.v3())
        .unwrap()
        .expect(400, "SignatureDoesNotMatch");
    assert!(
        v3["Message"]
            .as_str()
            .unwrap()
            .contains("server string to sign is:ACS3-HMAC-SHA256\n")
    );
    assert_ne!(v3["RequestId"], error["RequestId"]);
    assert!(!v1.body.contains(SECRET_KEY));
}

#[test]
fn an_unknown_access_key_is_not_found() {
    let cloud = start();
    let mut request = list();
    request.access_key = "LTAI5tSomebodyElse".into();
    send(cloud.url(Service::AlibabaEcs), &request.v3())
        .unwrap()
        .expect(404, "InvalidAccessKeyId.NotFound");
    send(cloud.url(Service::AlibabaEcs), &request.v1())
        .unwrap()
        .expect(404, "InvalidAccessKeyId.NotFound");
}

#[test]
fn the_clock_may_be_fifteen_minutes_off_and_no_more() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let cloud = cloud_sim::CloudSim::start(Options::new(ACCESS_KEY, SECRET_KEY).clock(now)).unwrap();
    let limit = Duration::from_secs(15 * 60);
    let second = Duration::from_secs(1);
    for (time, code) in [
        (now + limit, ""),
        (now - limit, ""),
        (now + limit + second, "InvalidTimeStamp.Expired"),
        (now - limit - second, "InvalidTimeStamp.Expired"),
    ] {
        for v3 in [true, false] {
            let request = Unsigned { time, ..list() };
            let request = if v3 { request.v3() } else { request.v1() };
            assert_eq!(
                send(cloud.url(Service::AlibabaEcs), &request).unwrap().code(),
                code
            );
        }
    }
}

#[test]
fn a_time_of_another_form_is_refused() {
    let cloud = start();
    let mut request = list().v3();
    for (name, value) in &mut request.headers {
        if name == "x-acs-date" {
            *value = value.replace('-', "");
        }
    }
    send(cloud.url(Service::AlibabaEcs), &request)
        .unwrap()
        .expect(400, "InvalidTimeStamp.Format");
}

#[test]
fn a_nonce_is_good_once_and_not_used_up_by_a_bad_signature() {
    let cloud = start();
    let url = cloud.url(Service::AlibabaEcs);
    let good = list();
    let bad = Unsigned {
        secret_key: "wrong".into(),
        ..good.clone()
    };
    send(url, &bad.v3()).unwrap().expect(400, "SignatureDoesNotMatch");
    send(url, &good.v3()).unwrap().ok();
    send(url, &good.v3()).unwrap().expect(400, "SignatureNonceUsed");
    send(url, &good.v1()).unwrap().expect(400, "SignatureNonceUsed");
    cloud.forget_nonces();
    send(url, &good.v1()).unwrap().ok();
}

#[test]
fn a_security_token_must_be_there_right_and_fresh() {
    let cloud = start();
    let url = cloud.url(Service::AlibabaEcs);
    let with = |token: Option<&str>| {
        let request = Unsigned {
            token: token.map(str::to_owned),
            ..list()
        };
        let codes = [send(url, &request.v3()).unwrap().code(), {
            cloud.forget_nonces();
            send(url, &request.v1()).unwrap().code()
        }];
        assert_eq!(codes[0], codes[1]);
        codes[0].clone()
    };
    assert_eq!(
        with(Some("unasked")),
        "InvalidSecurityToken.MismatchWithAccessKey"
    );
    let mut credential = Credential {
        access_key: ACCESS_KEY.into(),
        secret_key: SECRET_KEY.into(),
        session_token: Some("CAIS+/token==".into()),
        expires_at: None,
    };
    cloud.add_credential(credential.clone());
    assert_eq!(with(Some("CAIS+/token==")), "");
    assert_eq!(with(Some("CAIS+/token=")), "InvalidSecurityToken.Malformed");
    assert_eq!(with(None), "InvalidSecurityToken.Malformed");
    credential.expires_at = Some(SystemTime::now() - Duration::from_secs(1));
    assert!(!format!("{credential:?}").contains("CAIS") && !format!("{credential:?}").contains(SECRET_KEY));
    cloud.add_credential(credential);
    assert_eq!(with(Some("CAIS+/token==")), "InvalidSecurityToken.Expired");
}

#[test]
fn v3_must_sign_the_host_and_every_x_acs_header() {
    let cloud = start();
    let url = cloud.url(Service::AlibabaEcs);
    let mut extra = list().v3();
    extra.headers.push(("x-acs-extra".into(), "1".into()));
    send(url, &extra).unwrap().expect(400, "IncompleteSignature");
    let mut typed = list().v3();
    typed
        .headers
        .push(("Content-Type".into(), "application/json".into()));
    send(url, &typed).unwrap().expect(400, "IncompleteSignature");
    let mut plain = list().v3();
    plain.headers.push(("X-Unrelated".into(), "1".into()));
    send(url, &plain).unwrap().ok();
    let signed = Unsigned {
        headers: vec![("x-acs-extra".into(), "1".into())],
        ..list()
    };
    send(url, &signed.v3()).unwrap().ok();
    let mut spaced = list().v3();
    let authorization = &mut spaced.headers.last_mut().unwrap().1;
    *authorization = authorization.replace(",Signature", ", Signature");
    send(url, &spaced).unwrap().expect(400, "IncompleteSignature");
}

#[test]
fn v3_covers_the_body() {
    let cloud = start();
    let request = Unsigned {
        body: b"{}".to_vec(),
        ..list()
    };
    let url = cloud.url(Service::AlibabaEcs);
    let mut changed = request.v3();
    changed.body = b"[]".to_vec();
    send(url, &changed).unwrap().expect(400, "SignatureDoesNotMatch");
    send(url, &request.v3()).unwrap().ok();
}

#[test]
fn an_unsigned_request_and_a_half_signed_one_say_what_is_missing() {
    let cloud = start();
    let url = cloud.url(Service::AlibabaEcs);
    let mut request = list().v3();
    request.headers.retain(|(name, _)| name != "Authorization");
    let error = send(url, &request).unwrap();
    assert!(
        error.body.contains("<Code>MissingParameter</Code>"),
        "{}",
        error.body
    );
    let mut half = list().v1();
    half.target = half.target.replace("Timestamp=", "Time=");
    let error = send(url, &half).unwrap().expect(400, "MissingParameter");
    assert!(error["Message"].as_str().unwrap().contains("Timestamp"));
}

#[test]
fn v1_answers_in_xml_unless_asked_for_json() {
    let cloud = start();
    let url = cloud.url(Service::AlibabaEcs);
    let reply = send(
        url,
        &Unsigned {
            format: None,
            ..list()
        }
        .v1(),
    )
    .unwrap();
    assert_eq!(reply.header("content-type"), Some("text/xml;charset=utf-8"));
    assert!(
        reply.body.contains("<DescribeKeyPairsResponse>"),
        "{}",
        reply.body
    );
    assert!(
        reply.body.contains("<TotalCount>0</TotalCount>"),
        "{}",
        reply.body
    );
    send(
        url,
        &Unsigned {
            format: Some("json".into()),
            ..list()
        }
        .v1(),
    )
    .unwrap()
    .ok();
}

#[test]
fn unknown_actions_versions_and_paths() {
    let cloud = start();
    call(
        &cloud,
        Service::AlibabaEcs,
        "MakeKeyPair",
        &[("RegionId", "cn-hangzhou")],
    )
    .expect(404, "InvalidAction.NotFound");
    call(&cloud, Service::AlibabaEns, "MakeKeyPair", &[]).expect(404, "InvalidAction.NotFound");
    // Signed for ECS, sent to ENS.
    send(cloud.url(Service::AlibabaEns), &list().v3())
        .unwrap()
        .expect(400, "InvalidVersion");
    let put = Unsigned {
        method: "PUT".into(),
        ..list()
    };
    send(cloud.url(Service::AlibabaEcs), &put.v3())
        .unwrap()
        .expect(405, "UnsupportedHTTPMethod");
}
