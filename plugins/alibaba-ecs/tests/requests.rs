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
        check_manifest(&manifest(), &operation, &step.request.headers, &parameters(&step));
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
    check_manifest(&manifest(), &get, &step.request.headers, &parameters(&step));
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
