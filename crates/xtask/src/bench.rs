//! `cargo xtask bench`: side by side with the installed ssh-agent.

use crate::requirements::{self, CLIENT};
use crate::run::cargo;

/// Builds with the release profile and measures.
pub(crate) fn run(arguments: &[&str]) -> Result<(), String> {
    requirements::ensure(&[CLIENT])?;
    let packages = [
        "keyferry",
        "cloud-sim",
        "keyferry-alibaba-ecs",
        "keyferry-alibaba-ens",
        "keyferry-hostile-plugin",
    ];
    let mut words = vec!["build", "--release"];
    words.extend(packages.iter().flat_map(|package| ["--package", package]));
    cargo(&words)?;
    let mut words = vec![
        "run",
        "--release",
        "--package",
        "keyferry-tests",
        "--bin",
        "bench",
        "--",
    ];
    words.extend(arguments);
    cargo(&words)
}
