//! Everything going wrong around the agent at once: a plugin that loops, a cloud that is down, 500 files.

use std::net::TcpListener;
use std::path::PathBuf;

use cloud_sim::{CloudSim, Service, Settings};

use crate::home::{ACCESS_KEY, Home, SECRET_KEY};

/// A home with one key that loads at once (`calm`), and accounts whose troubles wait for [`begin`].
///
/// # Panics
/// When files cannot be written.
pub fn prepare(home: &Home, cloud: &CloudSim) {
    let settings = cloud.settings(Service::AlibabaEcs);
    cloud.set_settings(
        Service::AlibabaEcs,
        Settings {
            quota: 2000,
            ..settings
        },
    );
    home.account("ecs", "alibaba-ecs", cloud.url(Service::AlibabaEcs));
    // The vendor raised it; otherwise the last key would not be asked for.
    let path = home.config().join("accounts/ecs.toml");
    let account = std::fs::read_to_string(path).expect("the account has a file");
    home.write("accounts/ecs.toml", &format!("max_pairs = 2000\n{account}"));
    home.account("down", "alibaba-ens", &closed_port());
    let hostile = crate::build::built().plugin("hostile");
    assert!(hostile.exists(), "{} is not built", hostile.display());
    let secret = home.path("loops.json");
    let fields = serde_json::json!({"access_key_id": ACCESS_KEY, "access_key_secret": SECRET_KEY, "security_token": "t"});
    std::fs::write(&secret, fields.to_string()).expect("credentials can be written");
    set_private(&secret);
    home.write(
        "accounts/loops.toml",
        &format!(
            "plugin = \"hostile\"\nendpoint = \"{}\"\n[settings]\nbehaviour = \"loop\"\n[credentials]\nfile = \"{}\"\n",
            closed_port(),
            secret.display()
        ),
    );
    home.key("calm", "account = \"ecs\"\nalgorithm = \"ecdsa-p256\"\n");
}

/// Writes the key files: five for the plugin that loops, five for the cloud that is down, `files` that load.
pub fn begin(home: &Home, files: usize) {
    for number in 0..5 {
        home.key(
            &format!("loops-{number}"),
            "account = \"loops\"\nalgorithm = \"ecdsa-p256\"\n",
        );
        home.key(
            &format!("down-{number}"),
            "account = \"down\"\ngenerated_by = \"provider\"\n",
        );
    }
    for number in 0..files {
        home.key(
            &format!("arrives-{number}"),
            "account = \"ecs\"\nalgorithm = \"ecdsa-p256\"\n",
        );
    }
}

/// An origin on loopback where nothing listens.
fn closed_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    format!(
        "http://{}",
        listener.local_addr().expect("a bound socket has an address")
    )
}

fn set_private(path: &PathBuf) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("modes can be set");
}
