//! The programs and libraries under test, built once with the profile of the caller.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Where the programs under test are.
#[derive(Clone, Debug)]
pub struct Built {
    /// The folder with `keyferry`, `cloud-sim` and the plugin libraries.
    pub folder: PathBuf,
}

impl Built {
    /// A program by name.
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The `keyferry` program.
    pub fn keyferry(&self) -> PathBuf {
        self.program("keyferry")
    }

    /// A plugin's library.
    pub fn plugin(&self, name: &str) -> PathBuf {
        let stem = name.replace('-', "_");
        self.folder.join(format!(
            "{}keyferry_{stem}{}",
            std::env::consts::DLL_PREFIX,
            std::env::consts::DLL_SUFFIX
        ))
    }
}

/// Builds what the cases need, once per process, with the profile that the caller was built with.
///
/// # Panics
/// When the build fails; cargo's own words are on standard error.
pub fn built() -> &'static Built {
    static BUILT: OnceLock<Built> = OnceLock::new();
    BUILT.get_or_init(|| {
        let folder = target_folder();
        if std::env::var_os("KEYFERRY_BUILT").is_none() {
            build();
        }
        Built { folder }
    })
}

/// Runs `cargo build` for everything, with the caller's profile: for a part of it cargo would choose other features of the
/// libraries below, and build those again.
fn build() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--workspace"]).current_dir(workspace());
    if target_folder().ends_with("release") {
        command.arg("--release");
    }
    let status = command.status().expect("cargo can be started");
    assert!(status.success(), "cargo build failed: {status}");
}

/// The root of the project.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ is in the workspace")
        .to_owned()
}

/// Where what is costly to make is kept for other runs: the target folder itself.
///
/// # Panics
/// When the running program is in no folder.
pub fn cache() -> PathBuf {
    let folder = target_folder();
    folder
        .parent()
        .expect("a profile's folder is in the target folder")
        .to_owned()
}

/// The folder of the profile that this program was built with: `target/debug` or `target/release`.
fn target_folder() -> PathBuf {
    let program = std::env::current_exe().expect("the running program has a path");
    let mut folder = program.parent().expect("a program is in a folder").to_owned();
    if folder.ends_with("deps") || folder.ends_with("examples") {
        folder.pop();
    }
    folder
}
