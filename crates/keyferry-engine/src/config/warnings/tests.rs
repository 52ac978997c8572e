use crate::config::fixture::{Directory, Manifests};
use crate::config::{read, warnings};

#[track_caller]
fn check(key: &str, daemon: &str, expected: &[&str]) {
    let directory = Directory::new();
    directory.write("keys/web.toml", format!("account = \"aliyun\"\n{key}"));
    directory.write("keys/other.toml", "account = \"aliyun\"");
    directory.write("keyferry.toml", daemon);
    let desired = read(&directory.path(), &Manifests::new(), None).desired();
    assert_eq!(
        warnings(&desired.keys["web"], &desired),
        expected,
        "{:#?}",
        desired.files
    );
}

#[test]
fn a_key_without_hosts_and_one_with_sound_settings_have_none() {
    check("", "", &[]);
    check(
        "hosts = [\"web\"]\nrotate.every = \"30d\"\ndeploy.expires = \"90d\"\n\
         deploy.login_with = [\"current\", \"key:other\", \"ssh-config\"]",
        "",
        &[],
    );
}

#[test]
fn an_expiry_leaves_time_to_notice() {
    check(
        "hosts = [\"web\"]\nrotate.every = \"30d\"\ndeploy.expires = \"89d\"",
        "",
        &[
            "`deploy.expires` is 89d, less than three times `rotate.every`: while this machine is away for so long, the \
             key's lines stop to work on every host; 90d gives time to notice",
        ],
    );
}

#[test]
fn there_is_a_way_in_after_a_restart() {
    let lost = "after a restart of this machine nothing that `deploy.login_with` names can log in to the key's hosts: name a \
                key that is always there, `[recovery] identity` in keyferry.toml, or add \"ssh-config\"";
    let key = "hosts = [\"web\"]\ndeploy.login_with = [\"current\", \"key:gone\"]";
    let gone = "`deploy.login_with` names key `gone`, and there is no keys/gone.toml";
    check(key, "", &[gone, lost]);
    let directory = Directory::new();
    let identity = directory.beside("id.pub");
    std::fs::write(
        &identity,
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ",
    )
    .unwrap();
    check(key, &format!("recovery.identity = {identity:?}"), &[gone]);
}
