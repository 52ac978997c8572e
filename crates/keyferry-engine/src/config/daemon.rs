//! `keyferry.toml`.

use super::entry::Checked;
use super::file::Text;
use super::table::{Item, Table, Walk, shown};
use super::value::{Origin, is_host};
use crate::desired::{DaemonSettings, NetworkSettings, Recovery};

/// Checks `keyferry.toml`.
pub(super) fn check(text: &Text) -> Checked<DaemonSettings> {
    let mut walk = Walk::new(text);
    let mut settings = DaemonSettings::default();
    let parsed = walk.parse();
    if let Some(parsed) = &parsed {
        let root = Table::root(parsed.get_ref());
        walk.refuse_others(&root, KNOWN);
        if let Some(item) = root.get("plugin_dirs") {
            for (element, _) in walk.strings(&item).unwrap_or_default() {
                settings.plugin_dirs.extend(walk.path(&element));
            }
        }
        if let Some(table) = root.get("agent").and_then(|item| walk.table(&item)) {
            walk.refuse_others(&table, &["socket"]);
            settings.agent_socket = table.get("socket").and_then(|item| walk.socket(&item));
        }
        if let Some(table) = root.get("network").and_then(|item| walk.table(&item)) {
            settings.network = walk.network(&table);
        }
        if let Some(table) = root.get("plugins").and_then(|item| walk.table(&item)) {
            walk.refuse_others(&table, &["require_pins"]);
            let required = table.get("require_pins").and_then(|item| walk.boolean(&item));
            settings.require_pins = required.unwrap_or_default();
        }
        if let Some(table) = root.get("defaults").and_then(|item| walk.table(&item)) {
            walk.refuse_others(&table, &["check_every", "max_concurrent", "max_per_second"]);
            settings.max_concurrent = table
                .get("max_concurrent")
                .and_then(|item| walk.max_concurrent(&item));
            settings.max_per_second = table
                .get("max_per_second")
                .and_then(|item| walk.max_per_second(&item));
            settings.check_every = table.get("check_every").and_then(|item| walk.check_every(&item));
        }
        settings.notify = root.get("notify").and_then(|item| walk.boolean(&item));
        if let Some(item) = root.get("on_event") {
            settings.on_event = walk.command(&item).unwrap_or_default();
        }
        if let Some(table) = root.get("ssh").and_then(|item| walk.table(&item)) {
            walk.refuse_others(&table, &["command"]);
            let command = table.get("command").and_then(|item| walk.command(&item));
            settings.ssh_command = command.unwrap_or_default();
        }
        settings.recovery = root.get("recovery").and_then(|item| walk.recovery(&item));
    }
    let good = walk.is_fine().then_some(settings);
    walk.finish(good, None)
}

const KNOWN: &[&str] = &[
    "agent",
    "defaults",
    "network",
    "notify",
    "on_event",
    "plugin_dirs",
    "plugins",
    "recovery",
    "ssh",
];

impl<'t> Walk<'t> {
    fn network(&mut self, table: &Table<'t>) -> NetworkSettings {
        self.refuse_others(table, &["ca_file", "no_proxy", "proxy"]);
        let mut network = NetworkSettings::default();
        if let Some(item) = table.get("proxy")
            && let Some(value) = self.string(&item)
        {
            match Origin::parse(value, &["http", "socks5"]) {
                Ok(origin) if origin.port.is_some() => network.proxy = Some(value.to_owned()),
                Ok(_) => self.note_value(
                    &item,
                    "names no port: write it, as in `http://proxy.example.com:3128`",
                ),
                Err(message) => self.note_value(&item, message),
            }
        }
        if let Some(item) = table.get("no_proxy") {
            for (element, value) in self.strings(&item).unwrap_or_default() {
                let bare = value.strip_prefix('.').unwrap_or(value);
                if is_host(bare) || value.parse::<std::net::IpAddr>().is_ok() {
                    network.no_proxy.push(value.to_owned());
                } else {
                    self.note_value(
                        &element,
                        format!(
                            "{} is no host name and no domain suffix such as `.example.com`",
                            shown(value)
                        ),
                    );
                }
            }
        }
        network.ca_file = table.get("ca_file").and_then(|item| self.path(&item));
        network
    }

    fn recovery(&mut self, item: &Item<'t>) -> Option<Recovery> {
        let table = self.table(item)?;
        self.refuse_others(&table, &["agent", "identity"]);
        let agent = table.get("agent").and_then(|item| self.socket(&item));
        let Some(identity) = table.get("identity") else {
            if !table.misspells("identity") {
                self.note_value(
                    item,
                    "names no key: add `identity = \"~/.ssh/....pub\"`, or take the table out",
                );
            }
            return None;
        };
        let path = self.path(&identity)?;
        let public_key = self.outside(&identity, path)?;
        Some(Recovery { public_key, agent })
    }
}
