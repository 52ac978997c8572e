//! The calls of ENS, where they differ from those of ECS.

use cloud_sim::{CloudSim, Service, Settings, UnknownDelete};
use rsa::RsaPrivateKey;
use rsa::pkcs1::DecodeRsaPrivateKey;

use crate::client::{Reply, call, start};
use crate::ecs::{P256, RSA};

fn ens(cloud: &CloudSim, action: &str, parameters: &[(&str, &str)]) -> Reply {
    call(cloud, Service::AlibabaEns, action, parameters)
}

#[test]
fn a_created_pair_has_an_escaped_private_key_and_its_id_in_the_list() {
    let cloud = start();
    let created = ens(
        &cloud,
        "CreateKeyPair",
        &[("KeyPairName", "web"), ("RegionId", "cn-hangzhou")],
    )
    .ok();
    let body = created["PrivateKeyBody"].as_str().unwrap();
    assert!(!body.contains('\n') && RsaPrivateKey::from_pkcs1_pem(&body.replace("\\n", "\n")).is_ok());
    let list = ens(&cloud, "DescribeKeyPairs", &[("IncludePublicKey", "true")]).ok();
    let item = &list["KeyPairs"]["KeyPair"][0];
    assert_eq!(item["KeyPairId"], created["KeyPairId"]);
    assert_eq!(item["KeyPairFingerPrint"], created["KeyPairFingerPrint"]);
    assert!(item.get("PublicKey").is_none());
    let id = created["KeyPairId"].as_str().unwrap();
    assert_eq!(
        ens(&cloud, "DescribeKeyPairs", &[("KeyPairId", id)]).ok()["TotalCount"],
        1
    );
    assert_eq!(
        ens(&cloud, "DescribeKeyPairs", &[("KeyPairId", "ssh-other")]).ok()["TotalCount"],
        0
    );
    assert_eq!(cloud.pairs(Service::AlibabaEns)[0].region, None);
    assert!(cloud.pairs(Service::AlibabaEcs).is_empty());
}

#[test]
fn only_rsa_keys_are_imported_and_names_are_unique() {
    let cloud = start();
    let import = |name: &str, key: &str| {
        ens(
            &cloud,
            "ImportKeyPair",
            &[("KeyPairName", name), ("PublicKeyBody", key)],
        )
    };
    import("web", P256).expect(400, "InvalidParameter.PublicKeyBody");
    let imported = import("web", RSA).ok();
    assert_eq!(imported["KeyPairFingerPrint"], "36e6c7e6665eaefd0d7dbbe1379ab1f0");
    import("web", RSA).expect(400, "PubKeyNameExisted");
    import("web.1", RSA).expect(400, "InvalidParameter.KeyPairName");
    ens(&cloud, "ImportKeyPair", &[("KeyPairName", "x1")]).expect(400, "MissingParameter");
    let settings = Settings {
        quota: 1,
        ..cloud.settings(Service::AlibabaEns)
    };
    cloud.set_settings(Service::AlibabaEns, settings);
    import("web-2", RSA).expect(400, "QuotaExceed.KeyPair");
}

#[test]
fn one_pair_is_deleted_by_name_or_by_id() {
    let cloud = start();
    for name in ["one", "two", "three"] {
        ens(
            &cloud,
            "ImportKeyPair",
            &[("KeyPairName", name), ("PublicKeyBody", RSA)],
        )
        .ok();
    }
    let id = cloud.pairs(Service::AlibabaEns)[1].id.clone();
    ens(&cloud, "DeleteKeyPairs", &[]).expect(400, "MissingParameter");
    ens(&cloud, "DeleteKeyPairs", &[("KeyPairNames", "[\"one\"]")]).expect(400, "MissingParameter");
    ens(
        &cloud,
        "DeleteKeyPairs",
        &[("KeyPairName", "one"), ("KeyPairId", &id)],
    )
    .ok();
    assert_eq!(cloud.pairs(Service::AlibabaEns).len(), 3);
    ens(&cloud, "DeleteKeyPairs", &[("KeyPairName", "one")]).ok();
    ens(&cloud, "DeleteKeyPairs", &[("KeyPairId", &id)]).ok();
    ens(&cloud, "DeleteKeyPairs", &[("KeyPairId", &id)]).ok();
    let settings = Settings {
        unknown_delete: UnknownDelete::Refuse,
        ..cloud.settings(Service::AlibabaEns)
    };
    cloud.set_settings(Service::AlibabaEns, settings);
    ens(&cloud, "DeleteKeyPairs", &[("KeyPairId", &id)]).expect(400, "InvalidParameter.KeyPairId");
    assert_eq!(cloud.pairs(Service::AlibabaEns)[0].name, "three");
}
