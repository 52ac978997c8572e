//! Finding out which hosts a key has, where a file or a program says so.

use crate::engine::failure::{Failure, Pace};
use crate::engine::{Engine, Finished, Task};
use crate::plan::Subject;

impl Engine {
    pub(super) fn begin_listing_hosts(&mut self, key: String) {
        let spec = self.desired.keys.get(&key);
        let Some(list) = spec.and_then(|spec| spec.hosts.clone()) else {
            return;
        };
        let listing = self.hosts.list(list);
        let task = self
            .tasks
            .spawn(async move { Finished::HostsListed(listing.await) });
        self.observed.listing_hosts.insert(key.clone());
        self.running.insert(task.id(), Task::ListHosts { key });
    }

    /// A list came, or did not: then the last one stays in force.
    pub(in crate::engine) fn hosts_listed(&mut self, key: String, finished: Finished) {
        self.observed.listing_hosts.remove(&key);
        let listed = match finished {
            Finished::HostsListed(listed) => listed,
            _ => Err("the list was given up inside keyferry".to_owned()),
        };
        let subject = Subject::HostList(key.clone());
        match listed.and_then(checked) {
            Ok(hosts) => {
                self.observed.retries.remove(&subject);
                let now = self.clock.now().uptime;
                self.observed.host_lists.insert(key, (hosts, now));
            }
            Err(message) => {
                let remedy = format!("mend what hosts in keys/{key}.toml names: keyferry tries again");
                let failure = Failure::local("host_list", message, &remedy, Pace::Soon);
                self.fail(subject, &failure);
            }
        }
    }
}

/// One wrong line refuses the list: it may be the beginning of something else.
fn checked(mut hosts: Vec<String>) -> Result<Vec<String>, String> {
    for host in &hosts {
        keyferry_hosts::check_destination(host)
            .map_err(|problem| format!("the list of hosts has {host:?}: {problem}"))?;
    }
    hosts.sort();
    hosts.dedup();
    Ok(hosts)
}
