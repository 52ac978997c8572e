//! A home of its own for a daemon: config, state and runtime directories below a temporary folder.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// The access key that tests give to the loopback cloud and to the daemon.
pub const ACCESS_KEY: &str = "LTAI5tLoopbackAccessKey";
/// Its secret.
pub const SECRET_KEY: &str = "LoopbackSecret0123456789abcdefghij";

/// A temporary home.
#[derive(Debug)]
pub struct Home {
    folder: TempDir,
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

impl Home {
    /// A home with empty `config/accounts` and `config/keys`.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("keyferry-")
            .tempdir()
            .expect("a temporary folder can be made");
        let home = Self { folder };
        for name in ["config/accounts", "config/keys", "run", "state"] {
            fs::create_dir_all(home.path(name)).expect("folders can be made");
        }
        for name in ["run", "state"] {
            fs::set_permissions(home.path(name), fs::Permissions::from_mode(0o700))
                .expect("modes can be set");
        }
        home
    }

    /// A path below the home.
    pub fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    /// The home itself.
    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    /// The config directory.
    pub fn config(&self) -> PathBuf {
        self.path("config")
    }

    /// The agent's socket.
    pub fn agent_socket(&self) -> PathBuf {
        self.path("run/agent.sock")
    }

    /// The ledger.
    pub fn ledger(&self) -> PathBuf {
        self.path("state/ledger.sqlite")
    }

    /// Writes a file of the config directory, as an editor does: a new file renamed over the old one.
    pub fn write(&self, below_config: &str, text: &str) {
        let path = self.config().join(below_config);
        let draft = path.with_file_name(format!(
            ".{}.draft",
            path.file_name().expect("a file name").to_string_lossy()
        ));
        fs::write(&draft, text).expect("config files can be written");
        fs::rename(&draft, &path).expect("config files can be renamed");
    }

    /// Writes `accounts/NAME.toml` for a loopback cloud, with credentials from a private file.
    pub fn account(&self, name: &str, plugin: &str, endpoint: &str) {
        self.account_with(name, plugin, endpoint, SECRET_KEY);
    }

    /// As [`Home::account`], with a secret of the caller's choice.
    pub fn account_with(&self, name: &str, plugin: &str, endpoint: &str, secret: &str) {
        let credentials = self.path(&format!("{name}.json"));
        let text = serde_json::json!({"access_key_id": ACCESS_KEY, "access_key_secret": secret});
        fs::write(&credentials, text.to_string()).expect("credentials can be written");
        fs::set_permissions(&credentials, fs::Permissions::from_mode(0o600)).expect("modes can be set");
        self.write(
            &format!("accounts/{name}.toml"),
            &format!(
                "plugin = \"{plugin}\"\nregion = \"cn-hangzhou\"\nendpoint = \"{endpoint}\"\n\n[credentials]\nfile = \"{}\"\n",
                credentials.display()
            ),
        );
    }

    /// Writes `keys/NAME.toml`.
    pub fn key(&self, name: &str, text: &str) {
        self.write(&format!("keys/{name}.toml"), text);
    }
}
