//! Key pairs of SWAS.

use cloud_sim::{CloudSim, Service};

use crate::client::{Reply, admin, call, start};
use crate::ecs::{P256, RSA};

const REGION: (&str, &str) = ("RegionId", "cn-hangzhou");

fn ask(cloud: &CloudSim, action: &str, parameters: &[(&str, &str)]) -> Reply {
    call(
        cloud,
        Service::AlibabaSwas,
        action,
        &[&[REGION], parameters].concat(),
    )
}

#[test]
fn a_pair_is_made_listed_and_deleted() {
    let cloud = start();
    let made = ask(&cloud, "CreateKeyPair", &[("KeyPairName", "web")]).ok();
    let body = made["PrivateKeyBody"].as_str().unwrap();
    assert!(body.starts_with("MII") && !body.contains("BEGIN"), "bare base64");
    assert!(made.get("KeyPairId").is_none() && made.get("KeyPairFingerPrint").is_none());
    ask(
        &cloud,
        "ImportKeyPair",
        &[("KeyPairName", "imported"), ("PublicKeyBody", RSA)],
    )
    .ok();
    ask(
        &cloud,
        "ImportKeyPair",
        &[("KeyPairName", "curve"), ("PublicKeyBody", P256)],
    )
    .expect(400, "InvalidParameter.PublicKeyBody");

    let listed = ask(&cloud, "ListKeyPairs", &[("KeyPairName", "imp*")]).ok();
    assert_eq!(listed["TotalCount"], 1);
    assert_eq!(listed["KeyPairs"][0]["PublicKey"], RSA);

    ask(
        &cloud,
        "DeleteKeyPairs",
        &[("KeyPairNames.1", "web"), ("KeyPairNames.2", "imported")],
    )
    .ok();
    assert!(cloud.pairs(Service::AlibabaSwas).is_empty());
    ask(&cloud, "DeleteKeyPairs", &[]).expect(400, "InvalidParameter.KeyPairNames");
}

#[test]
fn a_token_has_one_effect_and_one_answer() {
    let cloud = start();
    let again = || {
        ask(
            &cloud,
            "CreateKeyPair",
            &[("KeyPairName", "web"), ("ClientToken", "one")],
        )
    };
    let (first, second) = (again().ok(), again().ok());
    assert_eq!(first["PrivateKeyBody"], second["PrivateKeyBody"]);
    assert_eq!(cloud.pairs(Service::AlibabaSwas).len(), 1);
    assert_eq!(cloud.private_keys().len(), 1);
    ask(
        &cloud,
        "CreateKeyPair",
        &[("KeyPairName", "other"), ("ClientToken", "one")],
    )
    .expect(400, "IdempotentParameterMismatch");
    ask(
        &cloud,
        "CreateKeyPair",
        &[("KeyPairName", "web"), ("ClientToken", "two")],
    )
    .expect(400, "KeyPairNameAlreadyExist");
    let long = "t".repeat(65);
    ask(
        &cloud,
        "CreateKeyPair",
        &[("KeyPairName", "long"), ("ClientToken", &long)],
    )
    .expect(400, "InvalidParameter.ClientToken");
}

#[test]
fn a_region_has_ten_pairs() {
    let cloud = start();
    let import = |region: &str, n: usize| {
        let name = format!("web-{n}");
        call(
            &cloud,
            Service::AlibabaSwas,
            "ImportKeyPair",
            &[
                ("RegionId", region),
                ("KeyPairName", &name),
                ("PublicKeyBody", RSA),
            ],
        )
    };
    for n in 0..10 {
        import("cn-hangzhou", n).ok();
    }
    import("cn-hangzhou", 10).expect(403, "QuotaExceed.KeyPair");
    import("cn-beijing", 10).ok();
}

#[test]
fn a_pair_is_attached_detached_and_then_deleted() {
    let cloud = start();
    ask(
        &cloud,
        "ImportKeyPair",
        &[("KeyPairName", "web"), ("PublicKeyBody", RSA)],
    )
    .ok();
    admin(
        &cloud,
        "POST",
        "/instances",
        r#"{"service":"alibaba-swas","region":"cn-hangzhou","id":"one","running":true}"#,
    )
    .ok();
    let both = [
        ("KeyPairName", "web"),
        ("InstanceIds.1", "one"),
        ("InstanceIds.2", "two"),
    ];
    let attached = ask(&cloud, "AttachKeyPair", &both).ok();
    assert_eq!(
        (&attached["TotalCount"], &attached["FailCount"]),
        (&2.into(), &1.into())
    );
    assert_eq!(attached["Results"][0]["Success"], "true");
    assert_eq!(attached["Results"][1]["Code"], "InvalidInstanceId.NotFound");
    let listed = ask(&cloud, "ListKeyPairs", &[]).ok();
    assert_eq!(listed["KeyPairs"][0]["InstanceIds"], serde_json::json!(["one"]));
    ask(&cloud, "DeleteKeyPairs", &[("KeyPairNames.1", "web")]).expect(400, "KeyPairAttachedToInstance");

    let detach = || ask(&cloud, "DetachKeyPair", &both[..2]).ok();
    assert_eq!(detach()["FailCount"], 0);
    assert_eq!(detach()["FailCount"], 1);
    assert_eq!(cloud.instances(Service::AlibabaSwas)[0].pair, None);
    ask(&cloud, "DeleteKeyPairs", &[("KeyPairNames.1", "web")]).ok();
}
