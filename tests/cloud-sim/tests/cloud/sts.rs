//! Access keys for a time.

use std::time::{Duration, SystemTime};

use cloud_sim::wire::Request;
use cloud_sim::{CloudSim, Credential, Options, Service};
use serde_json::Value;

use crate::client::{ACCESS_KEY, Reply, SECRET_KEY, Unsigned, send};

const ROLE: (&str, &str) = ("RoleArn", "acs:ram::1234567890:role/deploy");

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

fn assume(cloud: &CloudSim, service: Service, more: &[(&str, &str)]) -> Reply {
    let parameters = [&[ROLE, ("RoleSessionName", "keyferry")], more].concat();
    let request = Unsigned {
        time: now(),
        version: Some("2015-04-01".to_owned()),
        ..Unsigned::new(service, "AssumeRole", &parameters)
    };
    send(cloud.url(service), &request.v3()).unwrap()
}

fn list(cloud: &CloudSim, keys: &Value, time: SystemTime) -> Reply {
    let text = |name: &str| keys[name].as_str().unwrap().to_owned();
    let request = Unsigned {
        access_key: text("AccessKeyId"),
        secret_key: text("AccessKeySecret"),
        token: Some(text("SecurityToken")),
        time,
        ..Unsigned::new(Service::AlibabaEns, "DescribeKeyPairs", &[])
    };
    send(cloud.url(Service::AlibabaEns), &request.v3()).unwrap()
}

#[test]
fn an_issued_key_works_at_every_service_until_it_expires() {
    let cloud = start();
    for service in [Service::AlibabaEcs, Service::AlibabaEns, Service::AlibabaSwas] {
        let answer = assume(&cloud, service, &[("DurationSeconds", "900")]).ok();
        let keys = &answer["Credentials"];
        cloud.set_clock(Some(now()));
        list(&cloud, keys, now()).ok();
        let end = now() + Duration::from_secs(900);
        assert_eq!(
            keys["Expiration"],
            humantime::format_rfc3339_seconds(end).to_string()
        );
        cloud.set_clock(Some(end));
        list(&cloud, keys, end).expect(400, "InvalidSecurityToken.Expired");
        cloud.set_clock(Some(now()));
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    let cloud = start();
    for (more, code) in [
        (("DurationSeconds", "899"), "InvalidParameter.DurationSeconds"),
        (("DurationSeconds", "soon"), "InvalidParameter.DurationSeconds"),
    ] {
        assume(&cloud, Service::AlibabaEcs, &[more]).expect(400, code);
    }
    let mut request = Unsigned {
        time: now(),
        ..Unsigned::new(
            Service::AlibabaEcs,
            "AssumeRole",
            &[ROLE, ("RoleSessionName", "keyferry")],
        )
    };
    send(cloud.url(Service::AlibabaEcs), &request.v3())
        .unwrap()
        .expect(400, "InvalidVersion");
    request.version = Some("2015-04-01".to_owned());
    request.secret_key = "wrong".to_owned();
    send(cloud.url(Service::AlibabaEcs), &request.v3())
        .unwrap()
        .expect(400, "SignatureDoesNotMatch");
}

#[test]
fn a_token_of_open_id_connect_stands_for_a_signature() {
    let cloud = start();
    let provider = "acs:ram::1234567890:oidc-provider/cluster";
    cloud.add_credential(Credential {
        access_key: provider.to_owned(),
        secret_key: "header.claims.signature".to_owned(),
        session_token: None,
        expires_at: None,
    });
    let ask = |token: &str, time: SystemTime| {
        let time = humantime::format_rfc3339_seconds(time);
        let target = format!(
            "/?Action=AssumeRoleWithOIDC&Version=2015-04-01&Format=JSON&Timestamp={time}&RoleArn={}&OIDCProviderArn={provider}\
             &OIDCToken={token}&RoleSessionName=keyferry",
            ROLE.1
        );
        let request = Request {
            method: "GET".to_owned(),
            target,
            headers: vec![("host".to_owned(), "sts.example.com".to_owned())],
            body: Vec::new(),
        };
        send(cloud.url(Service::AlibabaEcs), &request).unwrap()
    };
    let answer = ask("header.claims.signature", now()).ok();
    list(&cloud, &answer["Credentials"], now()).ok();
    ask("header.claims.signaturf", now()).expect(400, "AuthenticationFail.OIDCToken.Invalid");
    ask("", now()).expect(400, "AuthenticationFail.OIDCToken.Invalid");
    let late = now() + Duration::from_secs(3600);
    ask("header.claims.signature", late).expect(400, "InvalidTimeStamp.Expired");
    let log = serde_json::to_string(&cloud.requests()).unwrap();
    assert!(!log.contains("header.claims"), "{log}");
}
