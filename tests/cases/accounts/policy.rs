//! `keyferry account policy`: the vendor's document, with what this account's keys need and no more.

use keyferry_tests::home::Home;
use serde_json::Value;

use crate::workstation::{keyferry, printed};

fn policy(home: &Home, name: &str) -> Value {
    let config = home.config().display().to_string();
    let output = keyferry(home, &["account", "policy", name, "--config", &config], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", printed(&output)))
}

fn actions(policy: &Value) -> Vec<&str> {
    let actions = policy["Statement"][0]["Action"]
        .as_array()
        .expect("a list of actions");
    actions
        .iter()
        .map(|action| action.as_str().expect("a name"))
        .collect()
}

#[test]
fn it_allows_what_the_keys_need_and_no_more() {
    let home = Home::new();
    home.write(
        "accounts/ecs.toml",
        "plugin = \"alibaba-ecs\"\nregion = \"cn-hangzhou\"\n",
    );
    home.write(
        "accounts/ec2.toml",
        "plugin = \"aws-ec2\"\nregion = \"eu-west-1\"\n",
    );
    let all = policy(&home, "ecs");
    assert_eq!(all["Version"], "1", "{all:#}");
    for action in [
        "ecs:CreateKeyPair",
        "ecs:ImportKeyPair",
        "ecs:DescribeKeyPairs",
        "ecs:DeleteKeyPairs",
    ] {
        assert!(actions(&all).contains(&action), "{all:#}");
    }
    assert!(
        !actions(&all).contains(&"ecs:AttachKeyPair"),
        "nobody asked for that: {all:#}"
    );
    assert_eq!(policy(&home, "ec2")["Version"], "2012-10-17");

    // A setting may need a permission of its own.
    let tagged = "plugin = \"aws-ec2\"\nregion = \"eu-west-1\"\n[settings]\ntags = { team = \"web\" }\n";
    assert!(!actions(&policy(&home, "ec2")).contains(&"ec2:CreateTags"));
    home.write("accounts/ec2.toml", tagged);
    assert!(actions(&policy(&home, "ec2")).contains(&"ec2:CreateTags"));

    // A role is assumed on the vendor's own chain alone.
    let own = "plugin = \"volcengine-ecs\"\nregion = \"cn-beijing\"\n";
    home.write("accounts/volc.toml", own);
    assert!(actions(&policy(&home, "volc")).contains(&"sts:AssumeRole"));
    home.write(
        "accounts/volc.toml",
        &format!("{own}[credentials]\nfile = \"~/x.json\"\n"),
    );
    assert!(!actions(&policy(&home, "volc")).contains(&"sts:AssumeRole"));

    home.key("web", "account = \"ecs\"\n");
    let imported = policy(&home, "ecs");
    assert!(actions(&imported).contains(&"ecs:ImportKeyPair"), "{imported:#}");
    assert!(!actions(&imported).contains(&"ecs:CreateKeyPair"), "{imported:#}");
}

#[test]
fn an_account_with_a_bad_file_is_told_what_is_wrong_with_it() {
    let home = Home::new();
    home.write("accounts/bad.toml", "plugin = \"alibaba-ecs\"\nregoin = \"x\"\n");
    let config = home.config().display().to_string();
    let output = keyferry(&home, &["account", "policy", "bad", "--config", &config], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        printed(&output).contains("did you mean `region`"),
        "{}",
        printed(&output)
    );
}
