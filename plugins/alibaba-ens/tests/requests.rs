//! What the plugin sends.

#[path = "../../alibaba/tests/support/drive.rs"]
#[expect(dead_code, reason = "the replies have tests of their own")]
mod drive;
#[path = "../../alibaba/tests/support/requests.rs"]
mod requests;
#[path = "../../../crates/keyferry-plugin/tests/support/vector.rs"]
#[expect(dead_code, reason = "no test looks at everything")]
mod vector;

use keyferry_alibaba_ens::AlibabaEns;
use keyferry_plugin::contract::{Delete, Operation, PairReference};
use keyferry_plugin::manifest::Manifest;

use crate::drive::{context, parameters, send};
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
    check_against_vectors(AlibabaEns, "alibaba-ens", &manifest());
}

#[test]
fn a_pair_with_a_known_id_is_deleted_by_it() {
    let pair = PairReference {
        name: "web".to_owned(),
        id: Some("ssh-50cynkq42".to_owned()),
    };
    let delete = Operation::Delete(Delete {
        pairs: vec![pair.clone()],
    });
    let step = send(AlibabaEns, &delete, &context());
    assert_eq!(
        parameters(&step),
        [("KeyPairId".to_owned(), "ssh-50cynkq42".to_owned())]
    );
    check_manifest(&manifest(), &delete, &step);

    let get = Operation::Get(pair);
    let step = send(AlibabaEns, &get, &context());
    check_manifest(&manifest(), &get, &step);
}

#[test]
fn regions_near_the_centre_share_a_host() {
    let host = |region: Option<&str>| {
        let mut context = context();
        context.region = region.map(str::to_owned);
        let delete = Delete {
            pairs: vec![PairReference {
                name: "web".to_owned(),
                id: None,
            }],
        };
        send(AlibabaEns, &Operation::Delete(delete), &context)
            .request
            .origin
    };
    assert_eq!(host(None), "https://ens.aliyuncs.com");
    assert_eq!(host(Some("cn-hangzhou")), "https://ens.aliyuncs.com");
    assert_eq!(
        host(Some("eu-central-1")),
        "https://ens.eu-central-1.aliyuncs.com"
    );
}
