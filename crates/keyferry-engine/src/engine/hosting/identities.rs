//! Who logs in, and what stands on a host: identities, lines and their markers.

use std::process::{Command, Stdio};

use keyferry_hosts::{Host, Identity, Line, Marker, Proof};

use crate::desired::{Deploy, LoginWith, Verify};
use crate::engine::Engine;
use crate::engine::failure::{Failure, Pace};
use crate::ledger::{Placement, PlacementState};
use crate::plan::{GenerationId, Subject, expiry, host_of};
use crate::private_key::PublicKey;

/// Who puts lines on hosts, as an auditor reads it there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::engine) struct Signature {
    /// The user's name.
    pub(super) owner: String,
    /// This machine's name and the installation, joined by `-`.
    pub(super) machine: String,
}

impl Signature {
    /// The user of this process, on this machine.
    pub(in crate::engine) fn new(installation: &str) -> Self {
        let host_name = crate::ledger::host_name().unwrap_or_default();
        Self {
            owner: owner(
                |name| std::env::var(name).ok(),
                rustix::process::getuid().as_raw(),
            ),
            machine: machine(&host_name, installation),
        }
    }
}

/// The user's name: as the environment has it, else as the system does, which a service may have to ask; else the number.
fn owner(variable: impl Fn(&str) -> Option<String>, uid: u32) -> String {
    let named = ["USER", "LOGNAME"].into_iter().filter_map(variable);
    let mut named = named.filter(|name| !name.is_empty());
    named
        .next()
        .or_else(|| keyferry_ownership::user_name(uid))
        .or_else(name_by_service)
        .unwrap_or_else(|| uid.to_string())
}

/// What id(1) calls the user of this process: it asks a directory service too.
fn name_by_service() -> Option<String> {
    let mut command = Command::new("id");
    command.arg("-un").env_clear().env("PATH", "/usr/bin:/bin");
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let name = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !name.is_empty()).then_some(name)
}

/// A host's name fitted to `[a-z0-9-]`, and the first six digits of the installation.
fn machine(host_name: &str, installation: &str) -> String {
    let first = host_name.split('.').next().unwrap_or_default();
    let fitted: String = first
        .to_ascii_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(LONGEST_NAME)
        .collect();
    let fitted = match fitted.trim_matches('-') {
        "" => "machine",
        fitted => fitted,
    };
    format!("{fitted}-{}", installation.get(..6).unwrap_or(installation))
}

impl Engine {
    /// How a key is put on its hosts.
    pub(super) fn deploy(&self, key: &str) -> Deploy {
        let spec = self.desired.keys.get(key);
        spec.map(|spec| spec.deploy.clone()).unwrap_or_default()
    }

    /// The file that a key's lines are put into, as the ledger has it.
    pub(in crate::engine) fn file_for(&self, key: &str) -> String {
        self.deploy(key).path.unwrap_or_else(|| USUAL_FILE.to_owned())
    }

    pub(super) fn proof(&self, key: &str) -> Proof {
        match self.deploy(key).verify {
            Verify::PublicKey => Proof::PublicKey,
            Verify::Session | Verify::Provider => Proof::Session,
        }
    }

    /// A host of a key, and how it is reached. Without the key's file: the file there into which its last line was put.
    pub(in crate::engine) fn host(&self, key: &str, address: &str) -> Host {
        let spec = self.desired.keys.get(key).map(AsRef::as_ref);
        let mut host = host_of(spec, &self.desired.daemon, address, &self.view);
        if spec.is_none() {
            let there = self.view.placements_of(key).filter(|line| line.host == address);
            let file = there.filter_map(|line| line.file.clone()).next_back();
            host.account.path = file.and_then(path_of);
        }
        host
    }

    /// A generation as something to log in with.
    pub(super) fn identity(&self, id: &GenerationId) -> Option<Identity> {
        Some(Identity::Generation {
            key: id.0.clone(),
            n: id.1,
            public_key: self.public_half(id)?,
        })
    }

    /// The line that a generation gets now.
    pub(super) fn line(&self, id: &GenerationId) -> Option<Line> {
        let deploy = self.deploy(&id.0);
        let mut options = deploy.options;
        let expires = deploy.expires.map(|expires| self.clock.now().wall + expires);
        // One for a command has its end from the start.
        if let Some(at) = self.end_of_key_for_command(&id.0).or(expires) {
            if !options.is_empty() {
                options.push(',');
            }
            options.push_str(&expiry::option(at));
        }
        Some(Line {
            options,
            public_key: self.public_half(id)?,
            marker: self.marker(id),
        })
    }

    /// A line as it was put on a host. What was written counts: this machine may have had another name then, and the pair
    /// may be gone.
    pub(super) fn line_of(&self, placement: &Placement) -> Option<Line> {
        let id = (placement.key.clone(), placement.n);
        let written = placement.line.as_deref();
        let marker = written.and_then(|line| {
            let start = line.rfind(" keyferry ")?;
            line[start + 1..].parse().ok()
        });
        let public_key = written
            .and_then(public_key_of)
            .or_else(|| self.public_half(&id))?;
        Some(Line {
            options: String::new(),
            public_key,
            marker: marker.unwrap_or_else(|| self.marker(&id)),
        })
    }

    /// The ways to log in to a host where a generation's line is to be put, in the order of the key's file.
    pub(super) fn logins_for(&self, id: &GenerationId, host: &str) -> Vec<Identity> {
        let mut logins: Vec<Identity> = Vec::new();
        for login_with in self.deploy(&id.0).login_with {
            match login_with {
                // Keys that were added to keyferry's own agent are meant too, and there is always that one.
                LoginWith::Agent(fingerprint) => logins.push(Identity::Agent {
                    socket: self.user_agent.clone().unwrap_or_default(),
                    public_key: fingerprint,
                }),
                LoginWith::Current => {
                    // A key that is held signs nothing.
                    let of = self.pattern_of(id);
                    let current = self.current(&of, host).into_iter();
                    let current = current.filter(|_| !self.view.is_held(&of.0));
                    logins.extend(current.filter_map(|id| self.identity(&id)));
                }
                LoginWith::Key(name) => {
                    let active = self.observed.loaded.get(&name).map(|&n| (name.clone(), n));
                    let active = active.filter(|_| !self.view.is_held(&name));
                    logins.extend(active.and_then(|id| self.identity(&id)));
                }
                LoginWith::SshConfig => logins.push(Identity::SshConfig),
            }
        }
        logins.extend(self.recovery_identity_at(host));
        let mut distinct = Vec::new();
        for login in logins {
            if !distinct.contains(&login) {
                distinct.push(login);
            }
        }
        distinct
    }

    /// Who changes a file of a key's over a login that stays: that login itself, or where another user does it, whoever
    /// logs in as that one.
    pub(super) fn editors(&self, key: &str, host: &str, over: &Identity) -> Vec<Identity> {
        if self.host(key, host).account.editor.is_none() {
            return vec![over.clone()];
        }
        let n = self.observed.loaded.get(key).copied().unwrap_or_default();
        let mut editors = self.logins_for(&(key.to_owned(), n), host);
        for further in [over.clone(), Identity::SshConfig] {
            if !editors.contains(&further) {
                editors.push(further);
            }
        }
        editors
    }

    /// The key that is always there.
    pub(super) fn recovery_identity(&self) -> Option<Identity> {
        let recovery = self.desired.daemon.recovery.as_ref()?;
        let socket = recovery.agent.clone().or_else(|| self.user_agent.clone())?;
        Some(Identity::Agent {
            socket,
            public_key: recovery.public_key.clone(),
        })
    }

    /// The key's generations in the agent that may log in to a host: the one verified there last first, the active one in
    /// any case.
    fn current(&self, id: &GenerationId, host: &str) -> Vec<GenerationId> {
        let there = self.view.placements_of(&id.0).filter(|placement| {
            placement.host == host
                && self
                    .observed
                    .in_agent
                    .contains(&(placement.key.clone(), placement.n))
        });
        let mut there: Vec<&Placement> = there.collect();
        there.sort_by_key(|placement| {
            let is_verified = placement.state == PlacementState::Verified;
            std::cmp::Reverse((is_verified, placement.verified_at, placement.n))
        });
        let mut current: Vec<GenerationId> = there
            .into_iter()
            .map(|placement| (placement.key.clone(), placement.n))
            .collect();
        let active = self.observed.loaded.get(&id.0).map(|&n| (id.0.clone(), n));
        for active in active.into_iter().filter(|active| active != id) {
            if !current.contains(&active) {
                current.push(active);
            }
        }
        current
    }

    /// Without a public half nothing can be done on a host. That is a fault, and is not tried for ever.
    pub(super) fn has_no_public_half(&mut self, id: &GenerationId, host: &str) {
        let message = format!("the ledger's public half of generation {} cannot be read", id.1);
        let remedy = "nothing: the next generation has a new one";
        let failure = Failure::local("internal", message, remedy, Pace::Never);
        self.fail(Subject::Host(id.0.clone(), host.to_owned()), &failure);
    }

    /// `TYPE BASE64`.
    fn public_half(&self, id: &GenerationId) -> Option<String> {
        let row = self.view.generations.get(id)?;
        let public = PublicKey::from_blob(row.blob.as_deref()?)?;
        Some(public.line("").trim_end().to_owned())
    }

    fn marker(&self, id: &GenerationId) -> Marker {
        Marker {
            owner: self.signature.owner.clone(),
            machine: self.signature.machine.clone(),
            key: id.0.clone(),
            n: Some(id.1),
        }
    }
}

/// `TYPE BASE64` of a line that keyferry wrote: the last two words before its marker.
fn public_key_of(line: &str) -> Option<String> {
    let end = line.rfind(" keyferry ")?;
    let mut words = line[..end].rsplitn(3, ' ');
    let (base64, kind) = (words.next()?, words.next()?);
    Some(format!("{kind} {base64}"))
}

/// The options of a line that keyferry wrote: what stands before its key; none: it is no such line.
pub(super) fn options_of(line: &str) -> Option<&str> {
    let end = line.rfind(" keyferry ")?;
    let mut words = line[..end].rsplitn(3, ' ');
    words.next().and(words.next())?;
    Some(words.next().unwrap_or_default())
}

/// A file of the ledger's as a path that is asked for; none: the usual one.
pub(super) fn path_of(file: String) -> Option<String> {
    (file != USUAL_FILE).then_some(file)
}

/// Where lines are put if no `path` is said, in the home of whose file it is.
const USUAL_FILE: &str = ".ssh/authorized_keys";

const LONGEST_NAME: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_is_named_without_help_of_the_environment() {
        let nothing = |_: &str| None;
        let root = owner(nothing, 0);
        assert_eq!(root, "root");
        let own = |name: &str| (name == "LOGNAME").then(|| "li".to_owned());
        assert_eq!(owner(own, 0), "li");
        // Nobody's number, and id(1) tells the user of this process.
        assert_eq!(Some(owner(nothing, 4_294_967_000)), name_by_service());
    }

    #[test]
    fn a_machine_has_a_plain_name() {
        assert_eq!(machine("li-thinkpad", "7f3a1c99aa00"), "li-thinkpad-7f3a1c");
        assert_eq!(machine("Li's Mac.local", "7f3a1c99aa00"), "li-s-mac-7f3a1c");
        assert_eq!(machine("", "7f3a1c99aa00"), "machine-7f3a1c");
        assert_eq!(machine("..", "7f3a1c99aa00"), "machine-7f3a1c");
    }

    #[test]
    fn a_written_line_tells_its_key() {
        for expiry in ["202611230336", "20261122033649Z"] {
            let line = format!(
                "from=\"a b\",expiry-time=\"{expiry}\" ssh-ed25519 AAAA keyferry owner=li machine=m-7f3a1c key=web gen=1"
            );
            assert_eq!(public_key_of(&line).as_deref(), Some("ssh-ed25519 AAAA"));
            let options = format!("from=\"a b\",expiry-time=\"{expiry}\"");
            assert_eq!(options_of(&line), Some(options.as_str()));
        }
        let plain = "ssh-ed25519 AAAA keyferry owner=li machine=m-7f3a1c key=web gen=1";
        assert_eq!(options_of(plain), Some(""));
        assert_eq!(options_of("ssh-ed25519 AAAA somebody"), None);
        assert_eq!(public_key_of("ssh-ed25519 AAAA somebody"), None);
    }
}
