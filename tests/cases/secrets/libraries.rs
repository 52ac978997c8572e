//! A provider stays small: its source is read in one sitting, its library holds nothing but what it does.
//!
//! What a plugin is built from is tested with the plugins (`plugins/alibaba/tests/dependencies.rs`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use keyferry_tests::build::workspace;

/// Bytes of a library in release.
const MAX_LIBRARY: u64 = 1_000_000;
/// Lines of a provider's source, tests not counted.
const MAX_LINES: usize = 300;

#[test]
fn every_library_is_small_in_release() {
    let providers = providers();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--release", "--message-format", "json"])
        .current_dir(workspace());
    for provider in &providers {
        cargo.args(["--package", &package(provider)]);
    }
    let output = cargo.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for provider in &providers {
        let library = library(&output.stdout, &package(provider));
        let size = fs::metadata(&library).unwrap().len();
        assert!(size < MAX_LIBRARY, "{} has {size} bytes", library.display());
        // An empty file would be small too.
        let content = fs::read(&library).unwrap();
        assert!(content.starts_with(b"\x7fELF") || cfg!(not(target_os = "linux")));
        let manifest = fs::read(provider.join("manifest.json")).unwrap();
        let name: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        let name = name["name"].as_str().unwrap().as_bytes();
        assert!(
            content.windows(name.len()).any(|bytes| bytes == name),
            "{} is another library",
            library.display()
        );
    }
}

#[test]
fn every_provider_is_short() {
    for provider in providers() {
        let mut lines = 0;
        let mut folders = vec![provider.join("src")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    lines += fs::read_to_string(&path).unwrap().lines().count();
                }
            }
        }
        assert!(
            (20..MAX_LINES).contains(&lines),
            "{} has {lines} lines",
            provider.display()
        );
    }
}

/// The folders of all plugins: those with a manifest. The others hold what plugins share.
fn providers() -> Vec<PathBuf> {
    let providers: Vec<PathBuf> = fs::read_dir(workspace().join("plugins"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("manifest.json").exists())
        .collect();
    assert!(providers.len() >= 2, "{providers:?}");
    providers
}

fn package(provider: &Path) -> String {
    format!("keyferry-{}", provider.file_name().unwrap().to_str().unwrap())
}

/// Where cargo says that it put a package's library.
fn library(messages: &[u8], package: &str) -> PathBuf {
    let target = package.replace('-', "_");
    let files = messages
        .split(|&byte| byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == *target)
        .filter_map(|message| message["filenames"].as_array().cloned())
        .flatten()
        .filter_map(|file| file.as_str().map(PathBuf::from));
    let mut libraries = files.filter(|file| {
        file.extension()
            .is_some_and(|end| end == std::env::consts::DLL_EXTENSION)
    });
    libraries
        .next()
        .unwrap_or_else(|| panic!("cargo built no library of {package}"))
}
