//! What an account's `[settings]` say of new pairs.

use cloud_sim::Service;
use keyferry_tests::daemon::Daemon;
use keyferry_tests::home::Home;
use keyferry_tests::ledger;

#[test]
fn tags_and_resource_group_reach_the_cloud() {
    let home = Home::new();
    let cloud = keyferry_tests::cloud();
    home.account("ecs", "alibaba-ecs", cloud.url(Service::AlibabaEcs));
    let file = home.config().join("accounts/ecs.toml");
    let account = std::fs::read_to_string(file).expect("the account was written");
    home.write(
        "accounts/ecs.toml",
        &format!(
            "{account}\n[settings]\nresource_group = \"rg-bp67acfmxazb4p\"\n\
             tags = {{ \"cost center\" = \"r&d/50%+tax\", team = \"web\" }}\n"
        ),
    );
    home.key("created", "account = \"ecs\"\ngenerated_by = \"provider\"\n");
    home.key("imported", "account = \"ecs\"\nalgorithm = \"ecdsa-p256\"\n");
    let daemon = Daemon::start(&home);
    daemon.wait_loaded(60);
    ledger::assert_matches_cloud(&home, &cloud);
    let pairs = cloud.pairs(Service::AlibabaEcs);
    assert_eq!(pairs.len(), 2);
    for pair in pairs {
        assert_eq!(pair.resource_group.as_deref(), Some("rg-bp67acfmxazb4p"));
        let tags: Vec<(&str, &str)> = pair.tags.iter().map(|tag| (&*tag.key, &*tag.value)).collect();
        assert_eq!(tags, [("cost center", "r&d/50%+tax"), ("team", "web")]);
    }
}
