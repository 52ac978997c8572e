//! `[deploy]`: how lines come to their hosts.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use keyferry_hosts::HostKeys;

use super::options;
use crate::config::destination::Destination;
use crate::config::public_half::{is_key_type, public_key};
use crate::config::table::{Item, Table, Walk, shown};
use crate::config::{NAME_RULE, is_name};
use crate::desired::{Deploy, HostList, LoginWith, Verify};

impl<'t> Walk<'t> {
    /// `[deploy]` of the key of that name; without it, its defaults.
    pub(super) fn deploy(&mut self, root: &Table<'t>, key: &str, hosts: Option<&HostList>) -> Deploy {
        let mut deploy = Deploy::default();
        let Some((item, table)) = root
            .get("deploy")
            .and_then(|item| Some((item, self.table(&item)?)))
        else {
            return deploy;
        };
        self.refuse_others(&table, KNOWN);
        if root.get("hosts").is_none() && !root.misspells("hosts") {
            self.note_value(
                &item,
                "says how the key comes to its hosts, and there are none: add `hosts = [\"...\"]` in front of the first \
                 [table], or take [deploy] out",
            );
        }
        if let Some(item) = table.get("users") {
            deploy.users = self.users(&item, root, hosts);
        }
        deploy.path = table.get("path").and_then(|item| self.file_on_host(&item));
        deploy.login_user = table.get("login_user").and_then(|item| self.user(&item));
        let sudo = table.get("sudo");
        deploy.sudo = sudo.and_then(|item| self.boolean(&item)).unwrap_or_default();
        self.goes_together(&table, &deploy, hosts);
        deploy.expires = table
            .get("expires")
            .and_then(|item| self.time(&item, SHORTEST_EXPIRY..=LONGEST_EXPIRY, ""));
        if let Some(item) = table.get("login_with") {
            deploy.login_with = self.logins(&item, key);
        }
        let host_keys = table.get("host_keys").and_then(|item| {
            self.choice(
                &item,
                &[("known", HostKeys::Known), ("accept-new", HostKeys::AcceptNew)],
            )
        });
        deploy.host_keys = host_keys.unwrap_or_default();
        let verify = match table.get("verify") {
            Some(item) => self.verify(&item),
            None => Some(Verify::default()),
        };
        deploy.verify = verify.unwrap_or_default();
        if let (Some(item), Some(verify)) = (table.get("options"), verify)
            && let Some(line_options) = self.string(&item)
        {
            match options::check(line_options, verify) {
                Ok(()) => line_options.clone_into(&mut deploy.options),
                Err(message) => self.note_value(&item, message),
            }
        }
        if let Some(item) = table.get("command") {
            deploy.command = self.command(&item).unwrap_or_default();
            if let Some(other) = table.get("login_with") {
                self.note_value(
                    &other,
                    "is how keyferry logs in, and `command` puts the line there instead: keep one of them",
                );
            }
        }
        if let Some(item) = table.get("replaces") {
            deploy.replaces = self.replaces(&item);
        }
        if let Some(item) = table.get("also_trust") {
            deploy.also_trust = self.also_trust(&item);
        }
        let at_once = table.get("at_once").and_then(|item| self.integer(&item, 1..=256));
        let canary = table.get("canary").and_then(|item| self.integer(&item, 0..=100));
        let count = |asked: Option<i64>, default| {
            asked
                .and_then(|number| usize::try_from(number).ok())
                .unwrap_or(default)
        };
        deploy.at_once = count(at_once, deploy.at_once);
        deploy.canary = count(canary, deploy.canary);
        deploy
    }

    /// The name of a user on a host.
    fn user(&mut self, item: &Item<'t>) -> Option<String> {
        let value = self.string(item)?;
        let sound = value.len() <= 64
            && value.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            && value
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "._-+".contains(c));
        if !sound {
            self.note_value(
                item,
                format!(
                    "{} is no user's name: write letters, digits, `.`, `_`, `-` and `+`, at most 64, beginning with a \
                     letter, a digit or `_`",
                    shown(value)
                ),
            );
            return None;
        }
        Some(value.to_owned())
    }

    fn users(&mut self, item: &Item<'t>, root: &Table<'t>, hosts: Option<&HostList>) -> Vec<String> {
        let mut users = Vec::new();
        for (element, _) in self.nonempty(item, "user") {
            if let Some(user) = self.user(&element) {
                self.once(&element, &mut users, user);
            }
        }
        if let (Some(HostList::Listed(hosts)), Some(place)) = (hosts, root.get("hosts")) {
            let with_user = hosts
                .iter()
                .filter_map(|host| Destination::parse(host).ok())
                .find(|host| host.user().is_some());
            if let Some(host) = with_user {
                self.note_value(
                    &place,
                    format!(
                        "{} names a user, and so does `deploy.users`: take the user out of the one or the other",
                        shown(host.as_str())
                    ),
                );
            }
        }
        users
    }

    /// The file that a line is put into.
    fn file_on_host(&mut self, item: &Item<'t>) -> Option<String> {
        let value = self.string(item)?;
        let single = value.replace("%%", "");
        let token = single
            .split('%')
            .skip(1)
            .find(|rest| !rest.starts_with(['h', 'u']));
        let wrong = if value.starts_with('~') {
            "begins with `~`: a path that does not begin with `/` is taken from the user's home".to_owned()
        } else if let Some(rest) = token {
            let token: String = rest.chars().take(1).collect();
            format!(
                "has {}: only `%u` (the user), `%h` (the home) and `%%` (`%`) are there",
                shown(&format!("%{token}"))
            )
        } else if value.contains(char::is_whitespace) {
            "contains a blank, and sshd takes that for two files: name one".to_owned()
        } else if value.split('/').any(|part| part == "..") {
            "contains `..`: write the path without it".to_owned()
        } else if value.len() > 1_000 {
            "is longer than 1000 bytes".to_owned()
        } else if value.ends_with('/') {
            "ends with `/`: name a file".to_owned()
        } else {
            return Some(value.to_owned());
        };
        self.note_value(item, wrong);
        None
    }

    /// Whose login changes whose file.
    fn goes_together(&mut self, table: &Table<'t>, deploy: &Deploy, hosts: Option<&HostList>) {
        let named = |name: &str| table.get(name).is_some();
        let is_absolute = deploy.path.as_deref().is_some_and(|path| path.starts_with('/'));
        if let Some(item) = table.get("sudo").filter(|_| deploy.sudo)
            && !named("login_user")
            && !named("users")
            && !is_absolute
        {
            self.note_value(
                &item,
                "nobody needs root for a file of one's own: name the `login_user` that runs sudo, or the `users` whose \
                 files are changed, or take it out",
            );
        }
        if let Some(item) = table.get("login_user")
            && let Some(user) = deploy.login_user.as_deref().filter(|user| *user != "root")
            && !deploy.sudo
            && !is_absolute
        {
            self.note_value(
                &item,
                format!(
                    "{} cannot change the files of others: add `sudo = true`, or log in as `root`",
                    shown(user)
                ),
            );
        }
        if let (Some(item), Some(HostList::Listed(hosts))) = (table.get("login_user"), hosts)
            && let Some(user) = &deploy.login_user
            && !named("users")
        {
            let mut parsed = hosts.iter().filter_map(|host| Destination::parse(host).ok());
            if let Some(host) = parsed.find(|host| host.user().is_none()) {
                self.note_value(
                    &item,
                    format!(
                        "{} names no user, and {} would change a file of its own there: say whose files are changed, with \
                         `users = [\"...\"]` or `user@host` in `hosts`",
                        shown(host.as_str()),
                        shown(user)
                    ),
                );
            }
        }
    }

    fn logins(&mut self, item: &Item<'t>, key: &str) -> Vec<LoginWith> {
        let mut logins = Vec::new();
        for (element, value) in self.nonempty(item, "way to log in") {
            let login = match value.split_once(':') {
                Some(("agent", fingerprint)) => {
                    check_fingerprint(fingerprint).map(|()| LoginWith::Agent(fingerprint.to_owned()))
                }
                Some(("key", name)) if name == key => Err("names this very key: write `current`".to_owned()),
                Some(("key", name)) if is_name(name) => Ok(LoginWith::Key(name.to_owned())),
                Some(("key", name)) => Err(format!("{} is no key's name: {NAME_RULE}", shown(name))),
                _ => match value {
                    "current" => Ok(LoginWith::Current),
                    "ssh-config" => Ok(LoginWith::SshConfig),
                    "run-command" => Err(
                        "`run-command` is not in this version: take it out; another login has to put the \
                                          line there"
                            .to_owned(),
                    ),
                    _ => Err(format!(
                        "unknown value {}{}",
                        shown(value),
                        crate::config::suggestion(
                            value,
                            ["current", "ssh-config", "key:NAME", "agent:SHA256:..."]
                        )
                    )),
                },
            };
            match login {
                Ok(login) if logins.contains(&login) => {
                    self.note_value(&element, format!("names {} twice: keep one", shown(value)));
                }
                Ok(login) => logins.push(login),
                Err(message) => self.note_value(&element, message),
            }
        }
        logins
    }

    fn verify(&mut self, item: &Item<'t>) -> Option<Verify> {
        if self.string(item)? == "provider" {
            self.note_value(
                item,
                "`provider` is not in this version: write \"session\", or \"publickey\" for hosts that want a second factor",
            );
            return None;
        }
        self.choice(
            item,
            &[("session", Verify::Session), ("publickey", Verify::PublicKey)],
        )
    }

    fn replaces(&mut self, item: &Item<'t>) -> Vec<String> {
        let mut fingerprints = Vec::new();
        for (element, value) in self.nonempty(item, "fingerprint") {
            match check_fingerprint(value) {
                Ok(()) => self.once(&element, &mut fingerprints, value.to_owned()),
                Err(message) => self.note_value(&element, message),
            }
        }
        fingerprints
    }

    /// Public halves: lines, and paths of `.pub` files.
    fn also_trust(&mut self, item: &Item<'t>) -> Vec<String> {
        let mut keys = Vec::new();
        for (element, value) in self.nonempty(item, "public key") {
            let is_line = value.split_ascii_whitespace().any(is_key_type);
            let key = if !is_line && (value.starts_with(['/', '~']) || value.ends_with(".pub")) {
                self.path(&element).and_then(|path| self.outside(&element, path))
            } else {
                public_key(value)
                    .map_err(|message| self.note_value(&element, message))
                    .ok()
            };
            if let Some(key) = key {
                self.once(&element, &mut keys, key);
            }
        }
        keys
    }

    /// The strings of a list that makes no sense without one.
    fn nonempty(&mut self, item: &Item<'t>, what: &str) -> Vec<(Item<'t>, &'t str)> {
        let is_fine = self.is_fine();
        let strings = self.strings(item);
        if is_fine && self.is_fine() && strings.as_ref().is_some_and(Vec::is_empty) {
            self.note_value(
                item,
                format!("is empty: name at least one {what}, or take it out"),
            );
        }
        strings.unwrap_or_default()
    }

    /// Adds what is not in a list yet.
    fn once(&mut self, element: &Item<'t>, list: &mut Vec<String>, value: String) {
        match list.contains(&value) {
            true => self.note_value(element, format!("names {} twice: keep one", shown(&value))),
            false => list.push(value),
        }
    }
}

/// Whether a text is a key's fingerprint: `SHA256:` and 43 characters of base64, as OpenSSH shows it.
///
/// # Errors
/// What is wrong with it, in words.
pub fn check_fingerprint(text: &str) -> Result<(), String> {
    let sound = text
        .strip_prefix("SHA256:")
        .and_then(|encoded| STANDARD_NO_PAD.decode(encoded).ok())
        .is_some_and(|digest| digest.len() == 32);
    match sound {
        true => Ok(()),
        false => Err(format!(
            "{} is no fingerprint: write `SHA256:` and 43 characters, as `ssh-keygen -l` shows it",
            shown(text)
        )),
    }
}

const KNOWN: &[&str] = &[
    "also_trust",
    "at_once",
    "canary",
    "command",
    "expires",
    "host_keys",
    "login_user",
    "login_with",
    "options",
    "path",
    "replaces",
    "sudo",
    "users",
    "verify",
];

const SHORTEST_EXPIRY: Duration = Duration::from_secs(24 * 60 * 60);
const LONGEST_EXPIRY: Duration = Duration::from_secs(3_650 * 24 * 60 * 60);
