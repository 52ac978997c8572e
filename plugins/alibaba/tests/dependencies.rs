//! What the plugins of this repository are built from: nothing that could reach a network.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Every package that a plugin may be built from. A new one is a decision: none of TLS, HTTP, async or sockets.
const ALLOWED: &[&str] = &[
    "itoa",
    "memchr",
    "proc-macro2",
    "quote",
    "roxmltree",
    "serde",
    "serde_core",
    "serde_derive",
    "serde_json",
    "syn",
    "thiserror",
    "thiserror-impl",
    "unicode-ident",
    "zmij",
];

#[test]
fn plugins_are_built_from_the_allowed_packages() {
    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut count = 0;
    for entry in std::fs::read_dir(plugins).unwrap() {
        let package = format!("keyferry-{}", entry.unwrap().file_name().to_str().unwrap());
        let output = Command::new(env!("CARGO"))
            .args([
                "tree",
                "--edges",
                "normal",
                "--prefix",
                "none",
                "--format",
                "{p}",
                "--package",
                &package,
            ])
            .current_dir(plugins)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let tree = String::from_utf8(output.stdout).unwrap();
        let packages: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
        assert!(
            packages.contains(&*package) && packages.contains("serde_json"),
            "{tree}"
        );
        for name in packages {
            assert!(
                name.starts_with("keyferry-") || ALLOWED.contains(&name),
                "{package} is built from {name}"
            );
        }
        count += 1;
    }
    assert!(count >= 3, "{count} plugins");
}
