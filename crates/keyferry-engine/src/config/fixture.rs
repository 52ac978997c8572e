//! For tests: a config directory of one's own, and plugins that are only manifests.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use keyferry_plugin::manifest::Manifest;

use super::{PluginProblem, Plugins};

/// A config directory in a temporary folder, with an account `aliyun` at ECS.
pub(crate) struct Directory {
    folder: tempfile::TempDir,
}

impl Directory {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Not the temporary folder itself, so that the config directory can vanish and come back.
        fs::create_dir(folder.path().join("config")).unwrap();
        let directory = Self { folder };
        directory.write("accounts/aliyun.toml", ACCOUNT);
        directory
    }

    /// The config directory.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("config")
    }

    /// A place beside the config directory.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        set_mode(&path, 0o644);
        set_mode(path.parent().unwrap(), 0o755);
    }

    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.path().join(name)).unwrap();
    }
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

pub(crate) const ACCOUNT: &str = "plugin = \"alibaba-ecs\"\nregion = \"cn-hangzhou\"\n";
pub(crate) const KEY: &str = "account = \"aliyun\"\n";

/// Plugins by name.
pub(crate) struct Manifests(pub(crate) Mutex<BTreeMap<String, Arc<Manifest>>>);

impl Manifests {
    /// `alibaba-ecs` needs a region, `alibaba-ens` does not, `bare` can only create and has no credential chain.
    pub(crate) fn new() -> Self {
        let manifests = [
            manifest(
                "alibaba-ecs",
                "required",
                &["rsa-2048"],
                &["rsa-3072", "ecdsa-p256"],
            ),
            manifest("alibaba-ens", "optional", &["rsa-2048"], &["rsa-3072"]),
            {
                let mut bare = manifest("bare", "optional", &["ed25519"], &[]);
                bare.hosts = vec!["api.bare.example".to_owned()];
                bare.operations
                    .retain(|operation, _| operation.name() == "create");
                bare
            },
        ];
        Self(Mutex::new(
            manifests
                .into_iter()
                .map(|manifest| (manifest.name.clone(), Arc::new(manifest)))
                .collect(),
        ))
    }
}

impl Plugins for Manifests {
    fn manifest(&self, plugin: &str) -> Result<Arc<Manifest>, PluginProblem> {
        self.0
            .lock()
            .unwrap()
            .get(plugin)
            .cloned()
            .ok_or(PluginProblem::Missing {
                searched: vec!["/one/plugins".into(), "/two/plugins".into()],
            })
    }

    fn names(&self) -> Vec<String> {
        self.0.lock().unwrap().keys().cloned().collect()
    }
}

fn manifest(name: &str, region: &str, create: &[&str], import: &[&str]) -> Manifest {
    serde_json::from_value(serde_json::json!({
        "name": name,
        "version": "1.0.0",
        "title": "for tests",
        "hosts": ["ecs.{region}.aliyuncs.com"],
        "region": region,
        "headers": [],
        "operations": {"create": {}, "import": {}, "delete": {}, "credentials": {}},
        "names": {
            "min_length": 2, "max_length": 30, "starts_with_letter": true, "punctuation": ":_-",
            "forbidden_prefixes": ["http://", "https://"],
        },
        "algorithms": {"create": create, "import": import},
        "settings": {
            "resource_group": {"type": "string", "help": "a group"},
            "page_size": {"type": "integer", "help": "a number"},
            "dry": {"type": "boolean", "help": "a switch"},
            "tags": {"type": "map", "help": "tags"},
            "auth_url": {"type": "url", "help": "an address"},
        },
        "credentials": {
            "access_key_id": {"class": "public"},
            "access_key_secret": {"class": "hmac_key"},
            "security_token": {"class": "bearer", "optional": true, "places": ["header:x-acs-security-token"]},
        },
        "fingerprints": ["md5"],
    }))
    .unwrap()
}
