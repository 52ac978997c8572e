//! The demo's config directory: the shipped one, and accounts at the providers that it has none for.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use keyferry_tests::build::workspace;
use keyferry_tests::home::Home;
use keyferry_tests::nova::Nova;
use serde_json::json;

use super::programs::Cloud;

/// An account that the demo adds, with a key that the provider makes.
struct Added {
    /// The account's name.
    name: &'static str,
    plugin: &'static str,
    region: &'static str,
    /// The plugin's name for the access key's secret.
    secret: &'static str,
    /// Whether it takes an Ed25519 key, which is quickly made here.
    imports: bool,
}

const ADDED: [Added; 4] = [
    Added {
        name: "aliyun-light",
        plugin: "alibaba-swas",
        region: "cn-hangzhou",
        secret: "access_key_secret",
        imports: false,
    },
    Added {
        name: "volcengine",
        plugin: "volcengine-ecs",
        region: "cn-beijing",
        secret: "access_key_secret",
        imports: false,
    },
    Added {
        name: "huawei",
        plugin: "huawei-ecs",
        region: "cn-north-4",
        secret: "access_key_secret",
        imports: false,
    },
    Added {
        name: "aws",
        plugin: "aws-ec2",
        region: "eu-central-1",
        secret: "secret_access_key",
        imports: true,
    },
];

/// The account at the genuine Nova.
pub(crate) const OPENSTACK: &str = "openstack";

/// Copies `config/`, adds endpoint and credentials to its accounts, and adds accounts and keys for the other providers.
pub(crate) fn write(home: &Home, cloud: &Cloud) -> Result<(), String> {
    copy(&workspace().join("config"), &home.config())
        .map_err(|error| format!("cannot copy config/: {error}"))?;
    let accounts = fs::read_dir(home.path("config/accounts")).map_err(|error| error.to_string())?;
    for entry in accounts.flatten() {
        let path = entry.path();
        let shipped = fs::read_to_string(&path).map_err(|error| error.to_string())?;
        let plugin = shipped
            .lines()
            .find_map(|line| line.strip_prefix("plugin = \"")?.split('"').next())
            .ok_or_else(|| format!("{} names no plugin", path.display()))?;
        // Ahead of the shipped text, since a TOML table runs until the next one begins.
        let text = format!("{}{shipped}", at_cloud(cloud, plugin, "access_key_secret")?);
        fs::write(&path, text).map_err(|error| error.to_string())?;
    }
    for account in &ADDED {
        let Added {
            name,
            plugin,
            region,
            secret,
            ..
        } = account;
        let place = at_cloud(cloud, plugin, secret)?;
        home.write(
            &format!("accounts/{name}.toml"),
            &format!("plugin = \"{plugin}\"\nregion = \"{region}\"\n{place}"),
        );
        write_keys(home, name, account.imports);
    }
    Ok(())
}

/// Adds an account at a genuine Nova and keys of it. Its credentials are in a private file: the daemon, which runs already,
/// has no variables for them.
pub(crate) fn write_openstack(home: &Home, nova: &Nova) -> Result<(), String> {
    let user = nova.user();
    let credentials = json!({"user_id": user.id, "password": user.password, "project_id": user.project_id});
    let file = home.path("openstack.json");
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&file)
        .and_then(|mut file| file.write_all(credentials.to_string().as_bytes()))
        .map_err(|error| format!("{}: {error}", file.display()))?;
    home.write(
        &format!("accounts/{OPENSTACK}.toml"),
        &format!(
            "plugin = \"openstack-nova\"\nregion = \"{}\"\ncredentials = {{ file = \"{}\" }}\n[settings]\nauth_url = \"{}\"\n",
            nova.regions()[0],
            file.display(),
            nova.auth_url()
        ),
    );
    write_keys(home, OPENSTACK, true);
    Ok(())
}

/// Endpoint and credentials of an account at the loopback cloud.
fn at_cloud(cloud: &Cloud, plugin: &str, secret: &str) -> Result<String, String> {
    Ok(format!(
        "endpoint = \"{}\"\ncredentials = {{ env = {{ access_key_id = \"DEMO_ACCESS_KEY_ID\", {secret} = \"DEMO_ACCESS_KEY_SECRET\" }} }}\n",
        cloud.url(plugin)?
    ))
}

/// One key that the provider makes, and where that is quick one that is made here.
fn write_keys(home: &Home, account: &str, imports: bool) {
    home.key(
        &format!("{account}-created"),
        &format!("account = \"{account}\"\ngenerated_by = \"provider\"\n"),
    );
    if imports {
        home.key(
            &format!("{account}-imported"),
            &format!("account = \"{account}\"\nalgorithm = \"ed25519\"\n"),
        );
    }
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
