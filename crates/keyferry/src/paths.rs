//! Where things are: the XDG base directories, and what flags say instead.

use std::env;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// The config directory.
pub(crate) fn config(flag: Option<&Path>) -> Result<PathBuf, Error> {
    chosen(flag, "XDG_CONFIG_HOME", ".config")
}

/// The state directory.
pub(crate) fn state(flag: Option<&Path>) -> Result<PathBuf, Error> {
    chosen(flag, "XDG_STATE_HOME", ".local/state")
}

/// The runtime directory.
pub(crate) fn runtime(flag: Option<&Path>) -> Result<PathBuf, Error> {
    if let Some(path) = flag {
        return absolute(path);
    }
    match variable("XDG_RUNTIME_DIR") {
        Some(base) => Ok(base.join("keyferry")),
        None => {
            let uid = rustix::process::geteuid().as_raw();
            Ok(env::temp_dir().join(format!("keyferry-{uid}")))
        }
    }
}

/// The agent's socket in a runtime directory.
pub(crate) fn agent_socket(runtime: &Path) -> PathBuf {
    runtime.join("agent.sock")
}

/// The control socket in a runtime directory.
pub(crate) fn control_socket(runtime: &Path) -> PathBuf {
    runtime.join("control.sock")
}

/// Where plugins are looked for: the flag's directories, else keyferry.toml's, else the built-in places.
pub(crate) fn plugin_dirs(flag: &[PathBuf], configured: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    if !flag.is_empty() {
        return flag.iter().map(|path| absolute(path)).collect();
    }
    if !configured.is_empty() {
        return Ok(configured.to_vec());
    }
    let mut directories = Vec::new();
    if let Some(folder) = env::current_exe().ok().as_deref().and_then(Path::parent) {
        directories.push(folder.join("plugins"));
        directories.push(folder.to_owned());
    }
    directories.extend(user_plugins());
    directories.push(PathBuf::from("/usr/local/lib/keyferry/plugins"));
    directories.push(PathBuf::from("/usr/lib/keyferry/plugins"));
    Ok(directories)
}

/// The user's own plugins.
pub(crate) fn user_plugins() -> Result<PathBuf, Error> {
    match variable("XDG_DATA_HOME") {
        Some(base) => Ok(base.join("keyferry/plugins")),
        None => Ok(home()?.join(".local/share/keyferry/plugins")),
    }
}

/// The path from the root, links left as they are.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(|source| Error::Path {
        path: path.to_owned(),
        source,
    })
}

fn chosen(flag: Option<&Path>, base: &str, below_home: &str) -> Result<PathBuf, Error> {
    match (flag, variable(base)) {
        (Some(path), _) => absolute(path),
        (None, Some(base)) => Ok(base.join("keyferry")),
        (None, None) => Ok(home()?.join(below_home).join("keyferry")),
    }
}

fn home() -> Result<PathBuf, Error> {
    env::home_dir()
        .filter(|home| home.is_absolute())
        .ok_or(Error::NoHome)
}

/// An XDG variable; the specification has relative ones ignored.
fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
}
