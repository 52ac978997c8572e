//! Any text as a config file. The first byte says which file; a second reading must find nothing to do.

#![no_main]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use keyferry_engine::config::{self, PluginProblem, Plugins};
use keyferry_plugin::manifest::Manifest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&which, text)) = input.split_first() else {
        return;
    };
    let directory = directory();
    let file = FILES[usize::from(which) % FILES.len()];
    fs::write(directory.join(file), text).expect("a file can be written");

    let first = config::read(&directory, &Shipped, None);
    for report in &first.desired().files {
        // Places are told from 1, and only together with words.
        assert!(report.line != Some(0) && report.column != Some(0), "{report:?}");
        assert!(report.line.is_none() || report.message.is_some(), "{report:?}");
    }
    let second = config::read(&directory, &Shipped, Some(&first));
    assert_eq!(first.desired(), second.desired());
    fs::remove_file(directory.join(file)).expect("a file can be removed");
});

const FILES: [&str; 3] = ["keyferry.toml", "accounts/fuzzed.toml", "keys/fuzzed.toml"];

/// A config directory with one sound account.
fn directory() -> PathBuf {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for name in ["accounts", "keys"] {
            let path = folder.path().join(name);
            fs::create_dir(&path).expect("a folder can be made");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("modes can be set");
        }
        fs::write(
            folder.path().join("accounts/aliyun.toml"),
            "plugin = \"alibaba-ecs\"\nregion = \"cn-hangzhou\"\n",
        )
        .expect("a file can be written");
        folder
    });
    folder.path().to_owned()
}

/// The plugins of this repository, as their manifests say.
struct Shipped;

impl Plugins for Shipped {
    fn manifest(&self, plugin: &str) -> Result<Arc<Manifest>, PluginProblem> {
        let text = match plugin {
            "alibaba-ecs" => include_str!("../../../plugins/alibaba-ecs/manifest.json"),
            "alibaba-ens" => include_str!("../../../plugins/alibaba-ens/manifest.json"),
            _ => return Err(PluginProblem::Missing { searched: Vec::new() }),
        };
        Ok(Arc::new(
            serde_json::from_str(text).expect("a shipped manifest is sound"),
        ))
    }

    fn names(&self) -> Vec<String> {
        vec!["alibaba-ecs".to_owned(), "alibaba-ens".to_owned()]
    }
}
