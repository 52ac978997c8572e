//! Roles that moto's STS gives keys for.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use keyferry_tests::daemon::{Daemon, Options};
use keyferry_tests::home::Home;
use keyferry_tests::moto::Moto;

#[test]
fn a_role_is_assumed_with_what_a_command_prints() {
    let moto = Moto::start();
    let home = Home::new();
    let command = home.path("print-keys");
    fs::write(
        &command,
        "#!/bin/sh\nprintf '{\"Version\": 1, \"AccessKeyId\": \"AKIALOOPBACK\", \"SecretAccessKey\": \"loopback/secret\"}'\n",
    )
    .expect("a file can be written");
    fs::set_permissions(&command, fs::Permissions::from_mode(0o700)).expect("modes can be set");
    let config = home.path("config-of-aws");
    fs::write(
        &config,
        format!(
            "[profile base]\ncredential_process = {}\n\n[profile deploy]\nrole_arn = arn:aws:iam::123456789012:role/deploy\n\
             source_profile = base\nrole_session_name = keyferry-test\n",
            command.display()
        ),
    )
    .expect("a file can be written");
    home.write(
        "accounts/aws.toml",
        &format!(
            "plugin = \"aws-ec2\"\nregion = \"us-east-1\"\nendpoint = \"{}\"\n[credentials]\nprofile = \"deploy\"\n",
            moto.url()
        ),
    );
    home.key("web", "account = \"aws\"\n");
    let environment = [("AWS_CONFIG_FILE", &config)]
        .map(|(name, path)| (name.to_owned(), path.display().to_string()))
        .to_vec();
    let options = Options {
        environment,
        ..Options::default()
    };
    let daemon = Daemon::start_with(&home, &options);
    daemon.wait_loaded(60);
    assert_eq!(moto.pairs().len(), 1);
}
