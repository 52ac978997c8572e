//! What the plugin sends.

#[path = "../../alibaba/tests/support/drive.rs"]
#[expect(dead_code, reason = "the replies have tests of their own")]
mod drive;
#[path = "../../alibaba/tests/support/requests.rs"]
mod requests;
#[path = "../../../crates/keyferry-plugin/tests/support/vector.rs"]
#[expect(dead_code, reason = "no test looks at everything")]
mod vector;

use keyferry_alibaba_ecs::AlibabaEcs;
use keyferry_plugin::contract::{
    Algorithm, Create, ErrorKind, FailStep, Import, List, Operation, PairReference, Step,
};
use keyferry_plugin::manifest::Manifest;

use crate::drive::{context, parameters, send, step};
use crate::requests::{check_against_vectors, check_manifest};

fn manifest() -> Manifest {
    requests::manifest(
        include_str!("../manifest.json"),
        env!("CARGO_PKG_NAME"),
        env!("CARGO_PKG_VERSION"),
    )
}

#[test]
fn requests_are_those_of_the_vectors() {
    check_against_vectors(AlibabaEcs, "alibaba-ecs", &manifest());
}

#[test]
fn new_pairs_belong_to_the_resource_group() {
    let mut context = context();
    context
        .settings
        .insert("resource_group".to_owned(), "rg-bp67acfmxazb4p".into());
    let name = "web".to_owned();
    for operation in [
        Operation::Create(Create {
            name: name.clone(),
            algorithm: Algorithm::Rsa2048,
        }),
        Operation::Import(Import {
            name,
            public_key: "ssh-rsa AAAA".to_owned(),
        }),
    ] {
        let step = send(AlibabaEcs, &operation, &context);
        let group = ("ResourceGroupId".to_owned(), "rg-bp67acfmxazb4p".to_owned());
        assert!(parameters(&step).contains(&group), "{:?}", parameters(&step));
        check_manifest(&manifest(), &operation, &step);
    }
}

#[test]
fn one_pair_is_asked_for_by_name_with_its_public_key() {
    let get = Operation::Get(PairReference {
        name: "web".to_owned(),
        id: None,
    });
    let step = send(AlibabaEcs, &get, &context());
    let expected = [
        ("IncludePublicKey", "true"),
        ("KeyPairName", "web"),
        ("PageNumber", "1"),
        ("PageSize", "50"),
        ("RegionId", "cn-hangzhou"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(parameters(&step), expected);
    check_manifest(&manifest(), &get, &step);
}

#[test]
fn regions_have_hosts() {
    let host = |region: &str| {
        let mut context = context();
        context.region = Some(region.to_owned());
        send(AlibabaEcs, &Operation::List(List::default()), &context)
            .request
            .origin
    };
    assert_eq!(host("eu-central-1"), "https://ecs.eu-central-1.aliyuncs.com");
    assert_eq!(host("cn-hangzhou"), "https://ecs-cn-hangzhou.aliyuncs.com");
    assert_eq!(host("cn-wuhan"), "https://ecs.aliyuncs.com");
    assert_eq!(host("cn-edge-1"), "https://ecs.cn-qingdao-nebula.aliyuncs.com");
}

#[test]
fn a_missing_region_is_named() {
    let mut context = context();
    context.region = None;
    match step(
        AlibabaEcs,
        &Operation::List(List::default()),
        &context,
        serde_json::Value::Null,
        None,
    ) {
        Step::Fail(FailStep { error }) => {
            assert_eq!(error.kind, ErrorKind::Invalid);
            assert!(error.message.contains("`region`"), "{}", error.message);
        }
        other => panic!("{other:?}"),
    }
}

fn with_tags(tags: serde_json::Value) -> Result<Vec<(String, String)>, String> {
    let mut context = context();
    context.settings.insert("tags".to_owned(), tags);
    let create = Operation::Create(Create {
        name: "web".to_owned(),
        algorithm: Algorithm::Rsa2048,
    });
    match step(AlibabaEcs, &create, &context, serde_json::Value::Null, None) {
        Step::Http(sent) => {
            check_manifest(&manifest(), &create, &sent);
            Ok(parameters(&sent))
        }
        Step::Fail(FailStep { error }) => {
            assert_eq!(error.kind, ErrorKind::Invalid);
            assert!(error.message.contains("`tags`"), "{}", error.message);
            Err(error.message)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn tags_are_numbered_by_their_keys() {
    let sent = with_tags(serde_json::json!({"team": "web", "empty": "", "Ключ": "é"})).unwrap();
    let tags: Vec<(&str, &str)> = sent
        .iter()
        .filter(|(name, _)| name.starts_with("Tag."))
        .map(|(name, value)| (&**name, &**value))
        .collect();
    assert_eq!(
        tags,
        [
            ("Tag.1.Key", "empty"),
            ("Tag.1.Value", ""),
            ("Tag.2.Key", "team"),
            ("Tag.2.Value", "web"),
            ("Tag.3.Key", "Ключ"),
            ("Tag.3.Value", "é"),
        ]
    );
}

#[test]
fn tags_that_the_vendor_does_not_take_are_refused() {
    let long = "t".repeat(129);
    let many: serde_json::Map<String, serde_json::Value> =
        (0..21).map(|n| (format!("t{n}"), "v".into())).collect();
    for (tags, words) in [
        (serde_json::json!({"acs:x": "v"}), "acs:"),
        (serde_json::json!({"aliyunx": "v"}), "aliyun"),
        (serde_json::json!({"x": "acs:v"}), "acs:"),
        (serde_json::json!({"x": "see https://example.com"}), "URL"),
        (serde_json::json!({"": "v"}), "no key"),
        (serde_json::json!({&long: "v"}), "128"),
        (serde_json::json!({"x": &long}), "128"),
        (serde_json::json!({"x": 7}), "not a text"),
        (many.into(), "21 tags"),
    ] {
        let message = with_tags(tags).unwrap_err();
        assert!(message.contains(words), "{words}: {message}");
    }
}

fn attach(count: usize) -> Operation {
    Operation::Attach(keyferry_plugin::contract::Attachment {
        pair: PairReference {
            name: "web".to_owned(),
            id: None,
        },
        instances: (0..count).map(|n| format!("i-{n}")).collect(),
    })
}

#[test]
fn a_call_takes_fifty_instances() {
    assert!(matches!(
        step(AlibabaEcs, &attach(50), &context(), serde_json::Value::Null, None),
        Step::Http(_)
    ));
    for (count, kind) in [(0, ErrorKind::Invalid), (51, ErrorKind::Unsupported)] {
        match step(
            AlibabaEcs,
            &attach(count),
            &context(),
            serde_json::Value::Null,
            None,
        ) {
            Step::Fail(failed) => assert_eq!(failed.error.kind, kind),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn names_follow_the_vendors_rules() {
    let names = manifest().names;
    for name in ["ab", "keyferry:web_1-a", &"a".repeat(128)] {
        assert_eq!(names.check(name), Ok(()), "{name}");
    }
    for name in [
        "a",
        "1ab",
        "-ab",
        "a.b",
        "a b",
        "测试",
        "http://a",
        &"a".repeat(129),
    ] {
        assert!(names.check(name).is_err(), "{name}");
    }
}
