//! Pairs and instances of ECS and ENS.

use cloud_sim::{CloudSim, Instance, Service};

use crate::client::{call, start};
use crate::ecs::RSA;

fn prepare(service: Service, region: Option<&str>, running: bool) -> CloudSim {
    let cloud = start();
    for id in ["i-1", "i-2"] {
        let instance = Instance {
            region: region.map(str::to_owned),
            id: id.to_owned(),
            pair: None,
            running,
        };
        cloud.add_instance(service, instance).unwrap();
    }
    for name in ["web", "other"] {
        let mut parameters = vec![("KeyPairName", name), ("PublicKeyBody", RSA)];
        parameters.extend(region.map(|region| ("RegionId", region)));
        call(&cloud, service, "ImportKeyPair", &parameters).ok();
    }
    cloud
}

#[test]
fn ecs_replaces_what_was_attached() {
    let cloud = prepare(Service::AlibabaEcs, Some("cn-hangzhou"), true);
    let ask = |action: &str, more: &[(&str, &str)]| {
        let parameters = [&[("RegionId", "cn-hangzhou")], more].concat();
        call(&cloud, Service::AlibabaEcs, action, &parameters)
    };
    let ids = r#"["i-1","i-2","i-3"]"#;
    let attached = ask("AttachKeyPair", &[("KeyPairName", "web"), ("InstanceIds", ids)]).ok();
    assert_eq!(
        (&attached["TotalCount"], &attached["FailCount"]),
        (&"3".into(), &"1".into())
    );
    assert_eq!(attached["Results"]["Result"][0]["Success"], "true");
    ask(
        "AttachKeyPair",
        &[("KeyPairName", "other"), ("InstanceIds", r#"["i-2"]"#)],
    )
    .ok();
    let named = |pair: &str| {
        let answer = ask("DescribeInstances", &[("KeyPairName", pair)]).ok();
        answer["Instances"]["Instance"].clone()
    };
    assert_eq!(named("web")[0]["InstanceId"], "i-1");
    assert_eq!(named("web").as_array().unwrap().len(), 1);
    assert_eq!(named("other")[0]["KeyPairName"], "other");
    ask("DeleteKeyPairs", &[("KeyPairNames", r#"["web"]"#)])
        .expect(400, "InvalidParameter.KeypairAlreadyAttachedInstance");
    ask(
        "DetachKeyPair",
        &[("KeyPairName", "web"), ("InstanceIds", r#"["i-1"]"#)],
    )
    .ok();
    ask("DeleteKeyPairs", &[("KeyPairNames", r#"["web"]"#)]).ok();
    ask(
        "AttachKeyPair",
        &[("KeyPairName", "web"), ("InstanceIds", r#"["i-1"]"#)],
    )
    .expect(404, "InvalidKeyPair.NotFound");
    let many: Vec<String> = (0..51).map(|n| format!("i-{n}")).collect();
    let many = serde_json::to_string(&many).unwrap();
    ask(
        "AttachKeyPair",
        &[("KeyPairName", "other"), ("InstanceIds", &many)],
    )
    .expect(400, "InvalidParameter.InstanceIds");
}

#[test]
fn ecs_lists_instances_page_by_page() {
    let cloud = prepare(Service::AlibabaEcs, Some("cn-hangzhou"), true);
    for n in 10..30 {
        let instance = Instance {
            region: Some("cn-hangzhou".to_owned()),
            id: format!("i-{n}"),
            pair: Some("web".to_owned()),
            running: true,
        };
        cloud.add_instance(Service::AlibabaEcs, instance).unwrap();
    }
    let mut token = String::new();
    let mut count = 0;
    loop {
        let parameters = [
            ("RegionId", "cn-hangzhou"),
            ("KeyPairName", "web"),
            ("NextToken", &token),
        ];
        let page = call(&cloud, Service::AlibabaEcs, "DescribeInstances", &parameters).ok();
        count += page["Instances"]["Instance"].as_array().unwrap().len();
        token = page["NextToken"].as_str().unwrap().to_owned();
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(count, 20);
}

#[test]
fn ens_attaches_to_stopped_instances() {
    for (running, failed) in [(true, 1), (false, 0)] {
        let cloud = prepare(Service::AlibabaEns, None, running);
        let ask =
            |action: &str, parameters: &[(&str, &str)]| call(&cloud, Service::AlibabaEns, action, parameters);
        let one = ("InstanceIds", r#"["i-1"]"#);
        let attached = ask("AttachKeyPair", &[("KeyPairName", "web"), one]).ok();
        assert_eq!(attached["FailCount"], failed);
        assert_eq!(attached["Results"][0]["Success"], failed == 0);
        if running {
            continue;
        }
        ask("DeleteKeyPairs", &[("KeyPairName", "web")]).expect(400, "PubKeyAttachedWithInstance");
        let id = attached["KeyPairId"].as_str().unwrap();
        assert_eq!(
            ask("DetachKeyPair", &[("KeyPairId", id), one]).ok()["FailCount"],
            0
        );
        ask("DeleteKeyPairs", &[("KeyPairId", id)]).ok();
    }
}
