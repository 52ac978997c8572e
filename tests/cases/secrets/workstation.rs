//! A user's home, and what the user does with keys.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use cloud_sim::{CloudSim, Credential, Service};
use keyferry_tests::daemon::Daemon;
use keyferry_tests::home::Home;
use keyferry_tests::openssh::{self, Sshd};
use ssh_key::PrivateKey;

use crate::needles::Needles;

/// Accounts with each kind of credentials, and keys of each way to be made.
pub(crate) fn prepare(home: &Home, cloud: &CloudSim) {
    for (secret, token) in CREDENTIALS {
        cloud.add_credential(Credential {
            access_key: access_key(secret),
            secret_key: secret.to_owned(),
            session_token: token.map(str::to_owned),
            expires_at: None,
        });
    }
    let [(file, _), (command, command_token), (chain, chain_token)] = CREDENTIALS;
    let (ecs, ens) = (cloud.url(Service::AlibabaEcs), cloud.url(Service::AlibabaEns));
    private(
        home,
        "file.json",
        &serde_json::json!({
            "access_key_id": access_key(file), "access_key_secret": file,
        }),
    );
    private(
        home,
        "command.json",
        &serde_json::json!({
            "access_key_id": access_key(command), "access_key_secret": command, "security_token": command_token,
        }),
    );
    fs::create_dir(home.path(".aliyun")).unwrap();
    private(
        home,
        ".aliyun/config.json",
        &serde_json::json!({
            "current": "prod",
            "profiles": [{
                "name": "prod", "mode": "StsToken", "access_key_id": access_key(chain), "access_key_secret": chain,
                "sts_token": chain_token, "region_id": "cn-hangzhou", "language": "en",
            }],
        }),
    );
    let account = |name: &str, plugin: &str, endpoint: &str, credentials: &str| {
        let text = format!(
            "plugin = \"{plugin}\"\nregion = \"cn-hangzhou\"\nendpoint = \"{endpoint}\"\n[credentials]\n{credentials}\n"
        );
        home.write(&format!("accounts/{name}.toml"), &text);
    };
    account(
        "file",
        "alibaba-ecs",
        ecs,
        &format!("file = {:?}", home.path("file.json")),
    );
    account(
        "command",
        "alibaba-ens",
        ens,
        &format!("command = [\"/bin/cat\", {:?}]", home.path("command.json")),
    );
    account("chain", "alibaba-ecs", ecs, "profile = \"prod\"");
    let created = |account: &str| format!("account = \"{account}\"\ngenerated_by = \"provider\"\n");
    for account in ["file", "command", "chain"] {
        home.key(&format!("created-{account}"), &created(account));
    }
    home.key("imported-rsa", "account = \"file\"\nalgorithm = \"rsa-2048\"\n");
    home.key(
        "imported-p256",
        "account = \"file\"\nalgorithm = \"ecdsa-p256\"\n",
    );
}

/// A key that is added by hand: its path.
pub(crate) fn key_by_hand(home: &Home, needles: &mut Needles) -> String {
    let path = home.path("by-hand").display().to_string();
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "by hand", "-f", &path])
        .status()
        .unwrap();
    assert!(made.success());
    let key = PrivateKey::read_openssh_file(Path::new(&path)).unwrap();
    let pair = key.key_data().ed25519().unwrap();
    needles.add("the seed of the key added by hand", pair.private.as_ref());
    path
}

/// Everything that a user does with keys. What the agent listed at last.
pub(crate) fn use_keys(home: &Home, daemon: &Daemon, by_hand: &str) -> Vec<String> {
    let socket = home.agent_socket();
    daemon.wait_loaded(60);
    let added = openssh::ssh_add(&socket, &["-t", "1h", by_hand]);
    assert!(
        added.status.success(),
        "{}",
        String::from_utf8_lossy(&added.stderr)
    );
    let listed = openssh::wait_for_keys(&socket, 6, Duration::from_secs(10));
    let sshd = Sshd::start(&(listed.join("\n") + "\n"));
    let login = sshd.login(&socket, "echo in");
    assert_eq!(
        login.stdout,
        b"in\n",
        "{}",
        String::from_utf8_lossy(&login.stderr)
    );
    for (index, line) in listed.iter().enumerate() {
        let public = home.path(&format!("signer-{index}.pub"));
        fs::write(&public, line).unwrap();
        let document = home.path(&format!("document-{index}"));
        fs::write(&document, "something to sign\n").unwrap();
        let signed = Command::new("ssh-keygen")
            .args(["-q", "-Y", "sign", "-n", "file", "-f"])
            .args([&public, &document])
            .env("SSH_AUTH_SOCK", &socket)
            .output()
            .unwrap();
        assert!(
            signed.status.success(),
            "{line}: {}",
            String::from_utf8_lossy(&signed.stderr)
        );
    }
    // One is held and comes back; then all are, and the one added by hand is gone.
    let public = home.path("state/public/imported-rsa.pub").display().to_string();
    let held = openssh::ssh_add(&socket, &["-d", &public]);
    assert!(held.status.success(), "{}", String::from_utf8_lossy(&held.stderr));
    openssh::wait_for_keys(&socket, 5, Duration::from_secs(10));
    let all = openssh::ssh_add(&socket, &["-D"]);
    assert!(all.status.success());
    let resumed = daemon.keyferry(&["resume"]);
    assert!(
        resumed.status.success(),
        "{}",
        String::from_utf8_lossy(&resumed.stderr)
    );
    openssh::wait_for_keys(&socket, 5, Duration::from_secs(10))
}

pub(crate) fn log_in(socket: &Path, listed: &[String]) {
    let sshd = Sshd::start(&(listed.join("\n") + "\n"));
    let login = sshd.login(socket, "echo in");
    assert_eq!(
        login.stdout,
        b"in\n",
        "{}",
        String::from_utf8_lossy(&login.stderr)
    );
}

/// Of the accounts `file`, `command` and `chain`: access key secret and security token.
pub(crate) const CREDENTIALS: [(&str, Option<&str>); 3] = [
    ("FileSecret4q8w7e1r2t3y5u6i9o0p", None),
    (
        "CommSecret5z6x7c8v9b1n2m3a4s0d",
        Some("CAISecommandtoken7Hq2Lw9Rk4Tz8Vb1Nc6Xm3Jp5"),
    ),
    (
        "ChaiSecret1l2k3j4h5g6f7d8s9a0q",
        Some("CAISechaintoken0Wn5Yt3Uo8Ed2Gs7Fa4Kb9Ci6Zx1"),
    ),
];

/// Writes a file for its owner only.
fn private(home: &Home, name: &str, content: &serde_json::Value) {
    let path = home.path(name);
    fs::write(&path, content.to_string()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn access_key(secret: &str) -> String {
    format!("LTAI5t{}", &secret[..8])
}
