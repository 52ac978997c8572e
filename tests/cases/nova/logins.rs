//! Every way to log in, where the tools keep clouds, and tokens that end.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use keyferry_tests::daemon::Daemon;
use keyferry_tests::home::Home;
use keyferry_tests::nova::{Nova, Options};
use keyferry_tests::{processes, wait};
use serde_json::json;

use crate::relay::Relay;
use crate::scene::{NOVA, account, assert_pairs, created, daemon_with, imported, password, wait_for_error};

#[test]
fn password_token_and_application_credential() {
    let user = NOVA.user();
    let (id, secret) = NOVA.application_credential(&user);
    let home = Home::new();
    let auth_url = NOVA.auth_url();
    account(&home, "password", auth_url, &password(&user), "");
    let by_names = json!({"user_id": user.id, "project_name": user.name, "project_domain_name": "Default", "password": user.password});
    account(&home, "names", auth_url, &by_names, "interface = \"internal\"");
    let token = json!({"token": NOVA.token(&user), "project_id": user.project_id});
    account(&home, "token", auth_url, &token, "");
    let by_id = json!({"application_credential_id": id, "application_credential_secret": secret});
    account(&home, "application", auth_url, &by_id, "");
    let by_name = json!({
        "application_credential_name": "keyferry", "application_credential_secret": secret,
        "username": user.name, "user_domain_name": "Default",
    });
    account(&home, "application-name", auth_url, &by_name, "");
    for account in ["password", "names", "token", "application", "application-name"] {
        created(&home, &format!("{account}-created"), account);
        imported(&home, &format!("{account}-imported"), account);
    }
    let daemon = Daemon::start(&home);
    daemon.wait_loaded(90);
    assert_pairs(&home, &NOVA, &user, &[]);
    let log = daemon.log();
    for secret in [&user.password, &secret] {
        assert!(!log.contains(secret.as_str()), "{log}");
    }
}

/// `clouds.yaml` and `secure.yaml` as OpenStack's own tools read them, and no word about credentials in the account.
#[test]
fn the_tools_own_files() {
    let user = NOVA.user();
    let home = Home::new();
    let folder = home.path(".config/openstack");
    fs::create_dir_all(&folder).unwrap();
    let clouds = format!(
        "# Written by hand.\nclouds:\n  prod:\n    auth:\n      auth_url: {}\n      username: {}\n      user_domain_name: Default\n      project_id: \"{}\"\n    region_name: RegionOne\n    verify: true\n  other:\n    auth: {{auth_url: \"http://127.0.0.1:1/v3\", username: nobody}}\n",
        NOVA.auth_url(),
        user.name,
        user.project_id
    );
    let secure = format!(
        "clouds:\n  prod:\n    auth:\n      password: '{}'\n",
        user.password
    );
    for (name, text) in [("clouds.yaml", clouds), ("secure.yaml", secure)] {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    home.write(
        "accounts/named.toml",
        "plugin = \"openstack-nova\"\n[credentials]\nprofile = \"prod\"\n",
    );
    home.write("accounts/unnamed.toml", "plugin = \"openstack-nova\"\n");
    created(&home, "by-profile", "named");
    imported(&home, "by-variable", "unnamed");
    let daemon = daemon_with(&home, &[("OS_CLOUD", "prod")]);
    daemon.wait_loaded(60);
    assert_pairs(&home, &NOVA, &user, &[]);
    drop(daemon);

    // Of two clouds none is chosen by chance.
    let daemon = Daemon::start(&home);
    let (code, _) = daemon.wait(60);
    assert_eq!(code, 1);
    wait_for_error(
        &daemon,
        "by-variable",
        "credentials",
        "several clouds (other, prod)",
    );
}

#[test]
fn variables_of_the_environment() {
    let user = NOVA.user();
    let home = Home::new();
    home.write("accounts/env.toml", "plugin = \"openstack-nova\"\n");
    created(&home, "web", "env");
    let daemon = daemon_with(
        &home,
        &[
            ("OS_AUTH_URL", NOVA.auth_url()),
            ("OS_USERNAME", &user.name),
            ("OS_USER_DOMAIN_NAME", "Default"),
            ("OS_PASSWORD", &user.password),
            ("OS_PROJECT_ID", &user.project_id),
            ("OS_REGION_NAME", "RegionTwo"),
            ("OS_INTERFACE", "public"),
        ],
    );
    daemon.wait_loaded(60);
    assert_pairs(&home, &NOVA, &user, &[]);
}

/// One new login, and then it goes on.
#[test]
fn a_revoked_token_is_replaced() {
    let user = NOVA.user();
    let keystone = Relay::start(NOVA.auth_url());
    let home = Home::new();
    account(&home, "cloud", &keystone.url(), &password(&user), "");
    created(&home, "first", "cloud");
    let daemon = Daemon::start(&home);
    daemon.wait_loaded(60);
    assert_eq!(keystone.exchanges().len(), 1);
    NOVA.revoke_tokens(&user);
    created(&home, "second", "cloud");
    imported(&home, "third", "cloud");
    daemon.wait_loaded(60);
    let logins = keystone.exchanges();
    assert_eq!(logins.len(), 2, "{logins:?}");
    assert!(logins.iter().all(|login| login.status == 201), "{logins:?}");
    assert_pairs(&home, &NOVA, &user, &[]);
}

#[test]
fn a_refused_login_is_told_once() {
    let user = NOVA.user();
    let keystone = Relay::start(NOVA.auth_url());
    let home = Home::new();
    let mut wrong = password(&user);
    wrong["password"] = json!("not the password");
    account(&home, "cloud", &keystone.url(), &wrong, "");
    imported(&home, "web", "cloud");
    let daemon = Daemon::start(&home);
    let error = wait_for_error(&daemon, "web", "unauthorized", "keystone refused the login");
    assert!(!error.to_string().contains("not the password"), "{error:#}");
    let (code, _) = daemon.wait(60);
    assert_eq!(code, 1);
    assert_eq!(
        keystone.exchanges().len(),
        1,
        "a user with too many failed logins is locked out"
    );
    account(&home, "cloud", &keystone.url(), &password(&user), "");
    daemon.keyferry(&["resume", "web"]);
    daemon.wait_loaded(60);
}

/// Tokens that last some seconds. Nova refuses them when they are over; the daemon has another by then. In the end the
/// program that runs the services is killed: they end too.
#[test]
fn tokens_that_expire() {
    let nova = Nova::start(Options {
        token_lifetime: 15,
        ..Options::default()
    });
    let user = nova.user();
    let home = Home::new();
    account(&home, "password", nova.auth_url(), &password(&user), "");
    let given = nova.token(&user);
    let token = json!({"token": given, "project_id": user.project_id});
    account(&home, "token", nova.auth_url(), &token, "");
    created(&home, "before", "password");
    let daemon = Daemon::start(&home);
    daemon.wait_loaded(60);
    let beside = nova.token(&user);
    wait::until("the tokens expire", Duration::from_secs(60), || {
        (!nova.takes(&given) && !nova.takes(&beside)).then_some(())
    });
    created(&home, "after", "password");
    imported(&home, "too-late", "token");
    wait_for_error(&daemon, "too-late", "unauthorized", "keystone refused the login");
    let (_, status) = daemon.wait(60);
    assert_eq!(
        keyferry_tests::daemon::find(&status, "after")["state"],
        "loaded",
        "{status:#}"
    );
    assert_pairs(&home, &nova, &user, &[]);

    assert!(nova.is_running());
    processes::kill(nova.pid());
    wait::until("the services end", Duration::from_secs(30), || {
        (!nova.is_running()).then_some(())
    });
}
