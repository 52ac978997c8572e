//! The admin interface.

use cloud_sim::{CreatedBy, Plant, RequestFilter, Service};

use crate::client::{ACCESS_KEY, DEADLINE, Unsigned, admin, call, send, start};
use crate::ecs::{P256, RSA};

const REGION: (&str, &str) = ("RegionId", "cn-hangzhou");

#[test]
fn pairs_show_who_made_them() {
    let cloud = start();
    let planted = admin(
        &cloud,
        "POST",
        "/pairs",
        &format!(
            r#"{{"service":"alibaba-ecs","region":"cn-hangzhou","name":"foreign","public_key":"{P256}"}}"#
        ),
    );
    assert_eq!(planted.json()["fingerprint"], "f0bc160887dee25ea8980e4b1e032cee");
    let made = Plant {
        service: Service::AlibabaEns,
        region: None,
        name: "made".into(),
        public_key: None,
    };
    assert_eq!(cloud.plant(made.clone()).unwrap().created_by, CreatedBy::Plant);
    assert!(cloud.plant(made).is_err());
    assert_eq!(
        admin(
            &cloud,
            "POST",
            "/pairs",
            r#"{"service":"alibaba-ecs","name":"x"}"#
        )
        .status,
        400
    );
    call(
        &cloud,
        Service::AlibabaEns,
        "ImportKeyPair",
        &[("KeyPairName", "web"), ("PublicKeyBody", RSA)],
    )
    .ok();

    let pairs = admin(&cloud, "GET", "/pairs", "").json();
    let ecs = &pairs["alibaba-ecs"][0];
    assert_eq!(
        (&ecs["region"], &ecs["name"], &ecs["created_by"]),
        (&"cn-hangzhou".into(), &"foreign".into(), &"plant".into())
    );
    assert_eq!(ecs["public_key"], P256);
    let ens = &pairs["alibaba-ens"][1];
    assert_eq!(
        (&ens["region"], &ens["name"], &ens["created_by"]),
        (&serde_json::Value::Null, &"web".into(), &"import".into())
    );
    assert!(humantime::parse_rfc3339(ens["created_at"].as_str().unwrap()).is_ok());
}

#[test]
fn requests_show_what_was_asked_but_no_signature_and_no_token() {
    let cloud = start();
    let token = "CAIS-the-token";
    let credential = cloud_sim::Credential {
        access_key: ACCESS_KEY.into(),
        secret_key: crate::client::SECRET_KEY.into(),
        session_token: Some(token.into()),
        expires_at: None,
    };
    cloud.add_credential(credential);
    let request = Unsigned {
        token: Some(token.into()),
        ..Unsigned::new(
            Service::AlibabaEcs,
            "ImportKeyPair",
            &[REGION, ("KeyPairName", "web"), ("PublicKeyBody", P256)],
        )
    };
    send(cloud.url(Service::AlibabaEcs), &request.v3()).unwrap().ok();
    cloud.forget_nonces();
    send(cloud.url(Service::AlibabaEcs), &request.v1())
        .unwrap()
        .expect(400, "KeyPair.AlreadyExist");

    let log = admin(&cloud, "GET", "/requests", "");
    assert!(
        !log.body.contains(token) && !log.body.contains("Signature"),
        "{}",
        log.body
    );
    let log = log.json();
    let (first, second) = (&log["requests"][0], &log["requests"][1]);
    assert_eq!(first["parameters"], second["parameters"]);
    assert_eq!(first["parameters"]["PublicKeyBody"], P256);
    assert_eq!(
        (&first["name"], &first["outcome"], &first["committed"]),
        (&"web".into(), &"ok".into(), &true.into())
    );
    assert_eq!(
        (&second["outcome"], &second["committed"]),
        (&"KeyPair.AlreadyExist".into(), &false.into())
    );
    assert_eq!(
        (&first["action"], &first["service"]),
        (&"ImportKeyPair".into(), &"alibaba-ecs".into())
    );
    assert_eq!(
        (&first["in_flight"], &log["max_in_flight"][ACCESS_KEY]),
        (&1.into(), &1.into())
    );
    assert!(humantime::parse_rfc3339(first["time"].as_str().unwrap()).is_ok());
    let one = admin(
        &cloud,
        "GET",
        "/requests?service=alibaba-ecs&name=web&outcome=ok&finished=true&committed=true",
        "",
    );
    assert_eq!(one.json()["requests"].as_array().unwrap().len(), 1);
    assert_eq!(admin(&cloud, "GET", "/requests?colour=red", "").status, 400);
    admin(&cloud, "DELETE", "/requests", "");
    assert!(cloud.requests().requests.is_empty());
}

#[test]
fn who_waits_for_requests_is_answered_when_they_are_there() {
    let cloud = start();
    let list = || call(&cloud, Service::AlibabaEcs, "DescribeKeyPairs", &[REGION]).ok();
    let action = RequestFilter::action("DescribeKeyPairs");
    std::thread::scope(|scope| {
        let over_http =
            scope.spawn(|| admin(&cloud, "GET", "/requests?at_least=3&action=DescribeKeyPairs", ""));
        let here = scope.spawn(|| cloud.wait_for_requests(&action, 3, DEADLINE));
        call(
            &cloud,
            Service::AlibabaEns,
            "DeleteKeyPairs",
            &[("KeyPairName", "x")],
        )
        .ok();
        for _ in 0..3 {
            list();
        }
        assert_eq!(
            over_http.join().unwrap().json()["requests"]
                .as_array()
                .unwrap()
                .len(),
            3
        );
        assert_eq!(here.join().unwrap().unwrap().len(), 3);
    });
    let few = admin(
        &cloud,
        "GET",
        "/requests?at_least=4&action=DescribeKeyPairs&timeout_ms=20",
        "",
    )
    .json();
    assert_eq!(few["requests"].as_array().unwrap().len(), 3);
    let missed = cloud
        .wait_for_requests(&action, 4, std::time::Duration::from_millis(20))
        .unwrap_err();
    assert_eq!(missed.to_string(), "3 of 4 requests were seen in 20 ms");
}

#[test]
fn the_clock_is_set_freed_and_nonces_are_forgotten() {
    let cloud = start();
    let set = admin(&cloud, "POST", "/clock", r#"{"time":"2026-01-02T03:04:05Z"}"#);
    assert_eq!(set.json()["time"], "2026-01-02T03:04:05.000Z");
    call(&cloud, Service::AlibabaEns, "DescribeKeyPairs", &[]).expect(400, "InvalidTimeStamp.Expired");
    admin(&cloud, "POST", "/clock", r#"{"forget_nonces":true}"#);
    assert_eq!(
        admin(&cloud, "GET", "/clock", "").json()["time"],
        "2026-01-02T03:04:05.000Z"
    );
    admin(&cloud, "POST", "/clock", r#"{"time":null}"#);
    let request = Unsigned::new(Service::AlibabaEns, "DescribeKeyPairs", &[]).v3();
    send(cloud.url(Service::AlibabaEns), &request).unwrap().ok();
    send(cloud.url(Service::AlibabaEns), &request)
        .unwrap()
        .expect(400, "SignatureNonceUsed");
    admin(&cloud, "POST", "/clock", r#"{"forget_nonces":true}"#);
    send(cloud.url(Service::AlibabaEns), &request).unwrap().ok();
    assert_eq!(
        admin(&cloud, "POST", "/clock", r#"{"time":"yesterday"}"#).status,
        400
    );
}

#[test]
fn settings_and_credentials() {
    let cloud = start();
    let changed = admin(
        &cloud,
        "POST",
        "/settings",
        r#"{"service":"alibaba-ens","quota":3,"private_key_form":"pkcs8","unknown_delete":"refuse"}"#,
    );
    assert_eq!(changed.status, 200, "{}", changed.body);
    let settings = admin(&cloud, "GET", "/settings", "").json();
    assert_eq!(
        (
            &settings["alibaba-ens"]["quota"],
            &settings["alibaba-ecs"]["quota"]
        ),
        (&3.into(), &500.into())
    );
    call(
        &cloud,
        Service::AlibabaEns,
        "DeleteKeyPairs",
        &[("KeyPairName", "x")],
    )
    .expect(400, "InvalidParameter.KeyPairName");
    admin(
        &cloud,
        "POST",
        "/credentials",
        r#"{"access_key":"another","secret_key":"its secret"}"#,
    );
    let other = Unsigned {
        access_key: "another".into(),
        secret_key: "its secret".into(),
        ..Unsigned::new(Service::AlibabaEns, "DescribeKeyPairs", &[])
    };
    send(cloud.url(Service::AlibabaEns), &other.v1()).unwrap().ok();
    assert_eq!(cloud.requests().max_in_flight.len(), 2);
}

#[test]
fn an_unknown_path_is_told_the_known_ones() {
    let cloud = start();
    let reply = admin(&cloud, "GET", "/pears", "");
    assert_eq!(reply.status, 404);
    assert!(
        reply.json()["paths"]
            .as_array()
            .unwrap()
            .contains(&"GET /pairs".into())
    );
    assert_eq!(
        admin(&cloud, "GET", "/", "").json()["paths"],
        reply.json()["paths"]
    );
}
