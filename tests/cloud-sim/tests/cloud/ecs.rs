//! The calls of ECS.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloud_sim::{CloudSim, CreatedBy, PrivateKeyForm, Service, Settings, UnknownDelete};
use rsa::RsaPrivateKey;
use rsa::pkcs1::DecodeRsaPrivateKey;
use rsa::pkcs8::DecodePrivateKey;
use rsa::traits::PublicKeyParts;
use serde_json::{Value, json};

use crate::client::{Reply, call, start};

const REGION: (&str, &str) = ("RegionId", "cn-hangzhou");

fn ecs(cloud: &CloudSim, action: &str, parameters: &[(&str, &str)]) -> Reply {
    call(
        cloud,
        Service::AlibabaEcs,
        action,
        &[&[REGION], parameters].concat(),
    )
}

fn names(list: &Value) -> Vec<&str> {
    list["KeyPairs"]["KeyPair"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pair| pair["KeyPairName"].as_str().unwrap())
        .collect()
}

fn set(cloud: &CloudSim, change: impl FnOnce(&mut Settings)) {
    let mut settings = cloud.settings(Service::AlibabaEcs);
    change(&mut settings);
    cloud.set_settings(Service::AlibabaEcs, settings);
}

#[test]
fn a_created_pair_is_one_pair_in_the_reply_the_list_and_the_cloud() {
    let cloud = start();
    let created = ecs(&cloud, "CreateKeyPair", &[("KeyPairName", "web")]).ok();
    let private = RsaPrivateKey::from_pkcs1_pem(created["PrivateKeyBody"].as_str().unwrap()).unwrap();
    assert_eq!(private.n().bits(), 2048);
    let public = ssh_key::public::RsaPublicKey::try_from(private.to_public_key()).unwrap();
    let public = ssh_key::PublicKey::from(ssh_key::public::KeyData::Rsa(public))
        .to_openssh()
        .unwrap();
    assert!(created["KeyPairId"].as_str().unwrap().starts_with("ssh-"));

    let listed = ecs(&cloud, "DescribeKeyPairs", &[("IncludePublicKey", "true")]).ok();
    let item = &listed["KeyPairs"]["KeyPair"][0];
    assert_eq!(item["PublicKey"], public);
    assert_eq!(item["KeyPairFingerPrint"], created["KeyPairFingerPrint"]);
    assert_eq!(
        item["CreationTime"].as_str().unwrap().len(),
        "2026-01-02T03:04Z".len()
    );
    assert!(item.get("KeyPairId").is_none());
    assert!(
        ecs(&cloud, "DescribeKeyPairs", &[]).ok()["KeyPairs"]["KeyPair"][0]
            .get("PublicKey")
            .is_none()
    );

    let pair = &cloud.pairs(Service::AlibabaEcs)[0];
    assert_eq!(
        (&*pair.public_key, pair.created_by),
        (&*public, CreatedBy::Create)
    );
    let second = ecs(&cloud, "CreateKeyPair", &[("KeyPairName", "web-2")]).ok();
    assert_ne!(second["KeyPairFingerPrint"], created["KeyPairFingerPrint"]);
}

#[test]
fn private_keys_come_in_every_form() {
    let cloud = start();
    let decoded = |text: &str| STANDARD.decode(text).unwrap();
    for (form, parse) in [
        (
            PrivateKeyForm::Base64,
            &(|t: &str| RsaPrivateKey::from_pkcs1_der(&decoded(t)).is_ok()) as &dyn Fn(&str) -> bool,
        ),
        (PrivateKeyForm::Base64Pkcs8, &|t| {
            RsaPrivateKey::from_pkcs8_der(&decoded(t)).is_ok()
        }),
        (PrivateKeyForm::Escaped, &|t| {
            !t.contains('\n') && RsaPrivateKey::from_pkcs1_pem(&t.replace("\\n", "\n")).is_ok()
        }),
        (PrivateKeyForm::OpenSsh, &|t| {
            ssh_key::PrivateKey::from_openssh(t).is_ok()
        }),
        (PrivateKeyForm::Pem, &|t| RsaPrivateKey::from_pkcs1_pem(t).is_ok()),
        (PrivateKeyForm::Pkcs8, &|t| {
            RsaPrivateKey::from_pkcs8_pem(t).is_ok()
        }),
    ] {
        set(&cloud, |settings| settings.private_key_form = form);
        let name = format!("key-{form:?}");
        let created = ecs(&cloud, "CreateKeyPair", &[("KeyPairName", &name)]).ok();
        assert!(parse(created["PrivateKeyBody"].as_str().unwrap()), "{form:?}");
    }
}

#[test]
fn imports_keep_the_key_and_report_its_md5() {
    let cloud = start();
    for (name, key, fingerprint) in [
        ("rsa.3072", RSA, "36e6c7e6665eaefd0d7dbbe1379ab1f0"),
        ("p256", P256, "f0bc160887dee25ea8980e4b1e032cee"),
        ("dsa", DSA, "6649808a3fbc080bab58594816dfa52b"),
    ] {
        let imported = ecs(
            &cloud,
            "ImportKeyPair",
            &[("KeyPairName", name), ("PublicKeyBody", key)],
        )
        .ok();
        assert_eq!(imported["KeyPairFingerPrint"], fingerprint);
        assert!(imported.get("KeyPairId").is_none());
        let found = ecs(
            &cloud,
            "DescribeKeyPairs",
            &[("KeyPairFingerPrint", fingerprint), ("IncludePublicKey", "true")],
        );
        let found = found.ok();
        assert_eq!(names(&found), [name]);
        assert_eq!(found["KeyPairs"]["KeyPair"][0]["PublicKey"], key);
    }
    for key in [ED25519, "ssh-rsa AAAA", "rubbish"] {
        ecs(
            &cloud,
            "ImportKeyPair",
            &[("KeyPairName", "other"), ("PublicKeyBody", key)],
        )
        .expect(400, "InvalidPublicKeyBody.Malformed");
    }
}

#[test]
fn what_is_missing_malformed_taken_or_too_much_is_refused() {
    let cloud = start();
    call(
        &cloud,
        Service::AlibabaEcs,
        "CreateKeyPair",
        &[("KeyPairName", "web")],
    )
    .expect(400, "MissingParameter");
    call(
        &cloud,
        Service::AlibabaEcs,
        "CreateKeyPair",
        &[("KeyPairName", "web"), ("RegionId", "nowhere")],
    )
    .expect(404, "InvalidRegionId.NotFound");
    ecs(&cloud, "CreateKeyPair", &[]).expect(400, "MissingParameter");
    ecs(&cloud, "ImportKeyPair", &[("KeyPairName", "web")]).expect(400, "MissingParameter");
    ecs(&cloud, "DeleteKeyPairs", &[]).expect(400, "MissingParameter");
    ecs(&cloud, "CreateKeyPair", &[("KeyPairName", "web.1")]).expect(400, "InvalidKeyPairName.Malformed");
    ecs(
        &cloud,
        "CreateKeyPair",
        &[("KeyPairName", "web"), ("ResourceGroupId", "x")],
    )
    .expect(404, "InvalidResourceGroup.NotFound");
    assert!(cloud.pairs(Service::AlibabaEcs).is_empty());

    let import = |name: &str| {
        ecs(
            &cloud,
            "ImportKeyPair",
            &[("KeyPairName", name), ("PublicKeyBody", P256)],
        )
    };
    import("web").ok();
    import("web").expect(400, "KeyPair.AlreadyExist");
    ecs(&cloud, "CreateKeyPair", &[("KeyPairName", "web")]).expect(400, "KeyPair.AlreadyExist");
    set(&cloud, |settings| settings.quota = 1);
    import("web-2").expect(403, "QuotaExceed.KeyPair");
    // Another region has its own names and its own quota.
    call(
        &cloud,
        Service::AlibabaEcs,
        "ImportKeyPair",
        &[
            ("RegionId", "eu-central-1"),
            ("KeyPairName", "web"),
            ("PublicKeyBody", P256),
        ],
    )
    .ok();
    assert_eq!(names(&ecs(&cloud, "DescribeKeyPairs", &[]).ok()), ["web"]);
}

#[test]
fn lists_come_in_pages_of_up_to_fifty() {
    let cloud = start();
    let all: Vec<String> = (0..103).map(|number| format!("key-{number}")).collect();
    for name in &all {
        ecs(
            &cloud,
            "ImportKeyPair",
            &[("KeyPairName", name), ("PublicKeyBody", P256)],
        )
        .ok();
    }
    assert_eq!(names(&ecs(&cloud, "DescribeKeyPairs", &[]).ok()).len(), 10);
    let mut seen = Vec::new();
    for page in ["1", "2", "3", "4"] {
        let list = ecs(
            &cloud,
            "DescribeKeyPairs",
            &[("PageNumber", page), ("PageSize", "50")],
        )
        .ok();
        assert_eq!(list["TotalCount"], 103);
        seen.extend(names(&list).into_iter().map(str::to_owned));
    }
    assert_eq!(seen, all);
    ecs(&cloud, "DescribeKeyPairs", &[("PageSize", "51")]).expect(400, "InvalidParameter.PageSize");
    ecs(&cloud, "DescribeKeyPairs", &[("PageNumber", "0")]).expect(400, "InvalidParameter.PageNumber");
    let some = ecs(&cloud, "DescribeKeyPairs", &[("KeyPairName", "key-10*")]).ok();
    assert_eq!(names(&some), ["key-10", "key-100", "key-101", "key-102"]);
}

#[test]
fn deletion_takes_a_json_array_of_up_to_a_hundred_names() {
    let cloud = start();
    let import = |name: &str| {
        ecs(
            &cloud,
            "ImportKeyPair",
            &[("KeyPairName", name), ("PublicKeyBody", P256)],
        )
        .ok()
    };
    let delete = |list: &str| ecs(&cloud, "DeleteKeyPairs", &[("KeyPairNames", list)]);
    import("one");
    import("two");
    import("three");
    for wrong in ["one", "{}", "[]", "[1]"] {
        delete(wrong).expect(400, "InvalidKeyPairNames.ValueNotSupported");
    }
    let many: Vec<String> = (0..101).map(|number| format!("key-{number}")).collect();
    delete(&json!(many).to_string()).expect(403, "InstanceKeyPairLimitExceeded");
    delete("[ \"one\",\"unknown\" ]").ok();
    set(&cloud, |settings| settings.unknown_delete = UnknownDelete::Refuse);
    delete("[\"two\", \"unknown\"]").expect(404, "InvalidKeyPair.NotFound");
    let left: Vec<String> = cloud
        .pairs(Service::AlibabaEcs)
        .into_iter()
        .map(|pair| pair.name)
        .collect();
    assert_eq!(left, ["two", "three"]);
}

#[test]
fn tags_and_resource_group_come_back() {
    let cloud = start();
    let import = |name: &str, more: &[(&str, &str)]| {
        ecs(
            &cloud,
            "ImportKeyPair",
            &[&[("KeyPairName", name), ("PublicKeyBody", P256)], more].concat(),
        )
    };
    import(
        "web",
        &[
            ("ResourceGroupId", "rg-1"),
            ("Tag.1.Key", "env"),
            ("Tag.1.Value", "prod"),
        ],
    )
    .ok();
    import("plain", &[]).ok();
    let list = ecs(
        &cloud,
        "DescribeKeyPairs",
        &[("Tag.1.Key", "env"), ("Tag.1.Value", "prod")],
    )
    .ok();
    assert_eq!(names(&list), ["web"]);
    let item = &list["KeyPairs"]["KeyPair"][0];
    assert_eq!(
        item["Tags"]["Tag"][0],
        json!({ "TagKey": "env", "TagValue": "prod" })
    );
    assert_eq!(item["ResourceGroupId"], "rg-1");
    assert_eq!(
        names(&ecs(&cloud, "DescribeKeyPairs", &[("ResourceGroupId", "rg-1")]).ok()),
        ["web"]
    );
    import("bad", &[("Tag.1.Key", "aliyun-x")]).expect(400, "InvalidTagKey.Malformed");
    import("bad", &[("Tag.1.Value", "x")]).expect(400, "MissingParameter");
}

pub(crate) const RSA: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQDQ3cbFVweRV7l0nf/9vduO+qFTOjJbkAbCv2M/RYjRyNgcIYY9wwjPkl0rQyVSoUeo43lkPNBek7D4PL61Z7KNtZK6NsYKHxFVKHj389aH4LNg+ldKL2ueOZUaiFghlBtMa8H4A0ZdA27VApTQTxlhUQMbdqytPinz0nnbZtouFZJ6wR5+EblWuJVZi8I3Ph64GSjrqhIdEn8eMRdwpRFignDqxIr/1YXtMEMSL2+s3CfQ1mPvQfpq21v/iFqqlEruDHyjyQGTZiNojFPGpVLPTM15qRhTWO8lUugfwdgGdVJJ8KgPL8bR7zwMfMu4eZwjPbcuXAGa69zsEtYY5K4qrZn5KyOuq3UwikUg+rjy9/7cli1HkW9eG982goyTOQ+sN57cMXRHBnD4DxhW36/T1Xg+24WSrg+pwIB1Ueg/FcP9ap8qb+WFvX1K/ivVvTXI8v+ciQdmYxUF0hIfKNzyHdPSYSa3s8ezehggJvBRyA5LARF4a6dmzWS108Uiqek= someone@example";
pub(crate) const P256: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBNxin1COot992g484cS/c32cj52PkbcspHTtqFTxuZtvS5YN2sXxsf9phXcxkSSLRj+0FdTB6tzOXvLJheaKa9Y= someone@example";
const ED25519: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO7HVtYeQ1d+s6sSQix3eilPPHXEcXZUfxZbORmAKVGy someone@example";
const DSA: &str = "ssh-dss AAAAB3NzaC1kc3MAAACBAJz1A5XmEb0Tt1xR6B6J3YcmQpmH1V9owHSDe+YyM/zD1X8a0wNbKp5dvww/TBAz3cJHKs7qN0WnaFUtah8ucmM2rgjvj17soBJOMcepYvEcAugjN1qPBoeu1tEURVnoKXPGFyuJMuCh0V3OD6Fp4L+3i5Pu6iOBeVy4CfaeNjUPAAAAFQDrxx6kYoq+2T/Br/Mj2/S12fpkIQAAAIAJfifNpWKp0zNjSQ5jvaxEhrru0NEAhOi+nrtQB1Av70I2G15PdQMvbvP9vu51Tvtx/G8hJXyO8rPkrWo0YbBoa3sF/e3yDL0e6NClKNFlVBevWPTgxFzWuMTwVXmfp3LFrY+s4C4ua1r+UQVOE0wttHLDE3XyA0VdBuOgjsydSgAAAIBw0DGFJV12X9j0JVp4ENMe7p9TBigy8HHTIvZ48U0KsaL/CHXEZyJbpIAFPfgkUinSMMnDH2zWA+bfrdApqMocYlsawYfgrY1cBOXP99QlrK2h37uUV5bo0tfHafnZ7lzlc0YWfg7Kv1h9RajNtBLWbe2jOqwjw+Fo9vgbnUHSoQ== someone@example";
