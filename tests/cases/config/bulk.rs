//! Hundreds of files at once.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use cloud_sim::{Credential, Fault, FaultKind, Service};
use keyferry_tests::daemon::Daemon;
use keyferry_tests::home::{ACCESS_KEY, Home};
use keyferry_tests::openssh;
use serde_json::json;

/// 500 keys of one account and 63 of another that allows three requests at a time: none is lost, and the cloud sees
/// exactly as many requests at once as each account allows.
#[test]
fn five_hundred_files_at_once_all_load_within_the_limits_of_their_accounts() {
    let cloud = keyferry_tests::cloud();
    let home = Home::new();
    let url = cloud.url(Service::AlibabaEcs);
    home.account("many", "alibaba-ecs", url);
    cloud.add_credential(Credential {
        access_key: "LTAI5tFewAtATime".to_owned(),
        secret_key: "FewAtATimeSecret".to_owned(),
        session_token: None,
        expires_at: None,
    });
    let file = home.path("few.json");
    let fields = json!({"access_key_id": "LTAI5tFewAtATime", "access_key_secret": "FewAtATimeSecret"});
    fs::write(&file, fields.to_string()).expect("a file can be written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("modes can be set");
    home.write(
        "accounts/few.toml",
        &format!(
            "plugin = \"alibaba-ecs\"\nregion = \"cn-shanghai\"\nendpoint = \"{url}\"\nmax_concurrent = 3\n[credentials]\nfile = \"{}\"\n",
            file.display()
        ),
    );
    // Long enough that requests meet, on a busy machine too.
    cloud.fault(Fault::new(FaultKind::Slow {
        delay: Duration::from_millis(150),
    }));
    let daemon = Daemon::start(&home);

    let mut names = BTreeSet::new();
    for number in 0..500 {
        let name = format!("many-{number:03}");
        home.key(&name, "account = \"many\"\nalgorithm = \"ecdsa-p256\"\n");
        names.insert(name);
        if number % 8 == 0 {
            let name = format!("few-{number:03}");
            home.key(&name, "account = \"few\"\nalgorithm = \"ecdsa-p256\"\n");
            names.insert(name);
        }
    }
    let status = daemon.wait_loaded(120);

    let keys = status["keys"].as_array().expect("keys is a list");
    let loaded: BTreeSet<String> = keys
        .iter()
        .filter(|key| key["state"] == "loaded")
        .map(|key| key["name"].as_str().expect("a name").to_owned())
        .collect();
    assert_eq!(loaded, names);
    let listed: BTreeSet<String> = openssh::listed(&home.agent_socket())
        .iter()
        .filter_map(|line| line.split(' ').nth(1).map(str::to_owned))
        .collect();
    let blobs: BTreeSet<String> = keys
        .iter()
        .filter_map(|key| key["public_key"].as_str()?.split(' ').nth(1).map(str::to_owned))
        .collect();
    assert_eq!(blobs.len(), names.len(), "keys share a public half");
    assert_eq!(listed, blobs);
    assert_eq!(cloud.pairs(Service::AlibabaEcs).len(), names.len());

    let requests = cloud.requests();
    assert_eq!(requests.max_in_flight.get(ACCESS_KEY), Some(&8), "max_concurrent");
    assert_eq!(
        requests.max_in_flight.get("LTAI5tFewAtATime"),
        Some(&3),
        "max_concurrent"
    );
    let imports = requests
        .requests
        .iter()
        .filter(|request| request.action == "ImportKeyPair");
    assert_eq!(imports.count(), names.len(), "no import twice");
}
