//! A home with the files that the vendors' own tools write, and no word about keyferry.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use keyferry_tests::build::built;
use keyferry_tests::daemon::NO_METADATA;
use keyferry_tests::home::{ACCESS_KEY, Home, SECRET_KEY};

/// Below the home: its path and its text.
pub(crate) fn write(home: &Home, below: &str, text: &str) {
    let path = home.path(below);
    fs::create_dir_all(path.parent().expect("a folder")).expect("folders can be made");
    fs::write(&path, text).expect("a file can be written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("modes can be set");
}

/// The files of every vendor's tool, each with the access key that the loopback cloud knows.
pub(crate) fn write_all(home: &Home) {
    let aliyun = format!(
        r#"{{"current": "work", "profiles": [
            {{"name": "work", "mode": "AK", "access_key_id": "{ACCESS_KEY}", "access_key_secret": "{SECRET_KEY}",
              "region_id": "cn-hangzhou", "output_format": "json", "language": "en"}},
            {{"name": "role", "mode": "RamRoleArn", "access_key_id": "{ACCESS_KEY}", "access_key_secret": "{SECRET_KEY}",
              "ram_role_arn": "acs:ram::1234567890:role/keys", "ram_session_name": "laptop", "expired_seconds": 3600,
              "region_id": "cn-beijing"}},
            {{"name": "browser", "mode": "CloudSSO", "region_id": "cn-beijing"}}
        ]}}"#
    );
    write(home, ".aliyun/config.json", &aliyun);
    let aws = format!(
        "[default]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n\n\
         [ci]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n"
    );
    write(home, ".aws/credentials", &aws);
    write(
        home,
        ".aws/config",
        "[default]\nregion = eu-west-1\n\n[profile ci]\nregion = us-east-1\n\n\
         [profile admin]\nrole_arn = arn:aws:iam::123456789012:role/admin\nsource_profile = default\nregion = eu-west-1\n",
    );
    let volcengine = format!(
        r#"{{"current": "lab", "profiles": {{"lab": {{"name": "lab", "mode": "ak", "access-key": "{ACCESS_KEY}",
            "secret-key": "{SECRET_KEY}", "region": "cn-beijing", "session-token": ""}}}}}}"#
    );
    write(home, ".volcengine/config.json", &volcengine);
    let huawei = format!("[basic]\nak = {ACCESS_KEY}\nsk = {SECRET_KEY}\n");
    write(home, ".huaweicloud/credentials", &huawei);
    write(
        home,
        ".config/openstack/clouds.yaml",
        "clouds:\n  campus:\n    auth:\n      auth_url: http://127.0.0.1:9/v3\n      username: demo\n      password: secret\n      \
         project_name: demo\n      user_domain_name: Default\n      project_domain_name: Default\n    region_name: RegionOne\n",
    );
}

/// Runs keyferry in this home, with nothing else in its environment but these variables.
pub(crate) fn keyferry(home: &Home, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let output = Command::new(built().keyferry())
        .args(arguments)
        .env_clear()
        .env("HOME", home.root())
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs(NO_METADATA)
        .envs(variables.iter().copied())
        .output();
    output.expect("keyferry can be started")
}

/// What it printed.
pub(crate) fn printed(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
