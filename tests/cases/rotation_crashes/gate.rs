//! The program that stands before the daemon's ssh, and stops logins where a test wants them to stop.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The gate of one world. Logins that wait at it end with its folder.
pub(crate) struct Gate {
    folder: PathBuf,
}

/// A login that asks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Knock {
    /// The gate's process, which is the leader of its own group.
    pid: String,
    /// Whether the file is to be changed over it; else it is only to be seen that the key logs in.
    pub(crate) is_edit: bool,
    /// The host, as ssh is told.
    pub(crate) host: String,
}

impl Gate {
    pub(crate) fn new(folder: PathBuf) -> Self {
        fs::create_dir(&folder).expect("a folder can be made");
        let program = folder.join("gate");
        fs::write(&program, include_str!("gate.sh")).expect("a file can be written");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("modes can be set");
        Self { folder }
    }

    /// `[ssh] command` of keyferry.toml.
    pub(crate) fn command(&self, ssh_config: &Path) -> String {
        format!(
            "[ssh]\ncommand = [\"{}\", \"ssh\", \"-F\", \"{}\"]\n",
            self.folder.join("gate").display(),
            ssh_config.display()
        )
    }

    /// From now on logins ask.
    pub(crate) fn arm(&self) {
        fs::write(self.folder.join("armed"), "").expect("a file can be written");
    }

    /// Logins are let through from now on, those that wait too.
    pub(crate) fn disarm(&self) {
        // It may not be armed.
        let _ = fs::remove_file(self.folder.join("armed"));
    }

    /// Those that wait for an answer.
    pub(crate) fn knocks(&self) -> Vec<Knock> {
        let knocks = self.told("knock").into_iter();
        knocks
            .filter(|(pid, _)| !self.folder.join(format!("answer.{pid}")).exists())
            .filter_map(|(pid, text)| {
                let (kind, host) = text.trim().split_once(' ')?;
                Some(Knock {
                    pid,
                    is_edit: kind == "edit",
                    host: host.to_owned(),
                })
            })
            .collect()
    }

    /// `pass`, `end` (as if no connection came to be), or the word at whose line the host's answer is held back.
    pub(crate) fn answer(&self, knock: &Knock, word: &str) {
        self.say("answer", &knock.pid, word);
    }

    /// Whether the host's answer is held back now.
    pub(crate) fn has_reached(&self, knock: &Knock) -> bool {
        self.folder.join(format!("reached.{}", knock.pid)).exists()
    }

    /// Whether that login is still under way.
    pub(crate) fn is_under_way(&self, knock: &Knock) -> bool {
        Path::new("/proc").join(&knock.pid).exists()
    }

    /// The answer that is held back goes on.
    pub(crate) fn deliver(&self, knock: &Knock) {
        self.say("verdict", &knock.pid, "deliver");
    }

    /// The answer that is held back is lost, and the connection with it.
    pub(crate) fn lose(&self, knock: &Knock) {
        self.say("verdict", &knock.pid, "lose");
    }

    fn told(&self, what: &str) -> Vec<(String, String)> {
        let entries = fs::read_dir(&self.folder).expect("the folder is there");
        entries
            .filter_map(|entry| {
                let name = entry.ok()?.file_name();
                let pid = name.to_str()?.strip_prefix(what)?.strip_prefix('.')?.to_owned();
                let text = fs::read_to_string(self.folder.join(name)).ok()?;
                Some((pid, text))
            })
            .collect()
    }

    fn say(&self, what: &str, pid: &str, word: &str) {
        let draft = self.folder.join(format!(".{what}.{pid}"));
        fs::write(&draft, format!("{word}\n")).expect("a file can be written");
        fs::rename(&draft, self.folder.join(format!("{what}.{pid}"))).expect("a file can be renamed");
    }
}
