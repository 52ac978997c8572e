//! `hosts`: where the public half is put.

use toml::de::DeValue;

use crate::config::destination::{Destination, MAX_HOSTS, Seen};
use crate::config::table::{Item, Table, Walk, shown};
use crate::desired::HostList;

impl<'t> Walk<'t> {
    pub(super) fn hosts(&mut self, root: &Table<'t>) -> Option<HostList> {
        let item = root.get("hosts")?;
        match item.value() {
            DeValue::Array(_) => self.listed_hosts(&item).map(HostList::Listed),
            DeValue::Table(_) => self.hosts_elsewhere(&item),
            _ => self.wrong_type(
                &item,
                "an array of strings, `{ file = \"...\" }` or `{ command = [\"...\"] }`",
            ),
        }
    }

    fn listed_hosts(&mut self, item: &Item<'t>) -> Option<Vec<String>> {
        if matches!(item.value(), DeValue::Array(values) if values.is_empty()) {
            self.note_value(item, "is empty: name at least one host, or take it out");
            return None;
        }
        let mut seen = Seen::default();
        let mut hosts = Vec::new();
        for (element, host) in self.strings(item)? {
            match Destination::parse(host) {
                Ok(destination) if !seen.insert(&destination) => {
                    self.note_value(&element, format!("names {} twice: keep one", shown(host)));
                }
                Ok(_) => hosts.push(host.to_owned()),
                Err(message) => self.note_value(&element, message),
            }
        }
        if seen.len() > MAX_HOSTS {
            self.note_value(
                item,
                format!("names more than {MAX_HOSTS} hosts: split them between several keys"),
            );
        }
        Some(hosts)
    }

    fn hosts_elsewhere(&mut self, item: &Item<'t>) -> Option<HostList> {
        let table = self.table(item)?;
        self.refuse_others(&table, &["command", "file"]);
        match (table.get("command"), table.get("file")) {
            (Some(_), Some(file)) => {
                self.note(
                    file.key_at(),
                    "`command` and `file` stand here both: hosts come from one place, keep one of them",
                );
                None
            }
            (Some(command), None) => self.command(&command).map(HostList::Command),
            (None, Some(file)) => self.path(&file).map(HostList::File),
            (None, None) => {
                if table.items().next().is_none() {
                    self.note_value(item, "is empty: name a `file` or a `command`, or take it out");
                }
                None
            }
        }
    }
}
