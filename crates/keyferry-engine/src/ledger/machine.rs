//! Whose ledger it is. A copy of the state directory on another machine (a cloned disk, a restored snapshot, a home that
//! is kept in step) would take that machine's pairs for its own, and delete them.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;

use aws_lc_rs::hmac;

/// What tells a machine from others, as far as it is known.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Machine {
    /// Hex digits made from `/etc/machine-id`: not that number itself, as machine-id(5) asks. None where there is none.
    pub(super) id: Option<String>,
    /// The host's name.
    pub(super) host_name: Option<String>,
    /// The user.
    pub(super) uid: u32,
    /// Hex digits made from the addresses that its network cards were built with. Empty where none is known. A copy of a whole
    /// disk has the same machine id, and other cards.
    pub(super) hardware: BTreeSet<String>,
    /// Hex digits made from what cloud-init calls the instance; none where there is no such thing.
    pub(super) instance: Option<String>,
}

impl Machine {
    /// This one.
    pub(super) fn here() -> Self {
        Self {
            id: machine_id(&fs::read_to_string("/etc/machine-id").unwrap_or_default()),
            host_name: host_name().filter(|name| !name.is_empty()),
            uid: rustix::process::getuid().as_raw(),
            hardware: network_cards().iter().map(|address| digest(address)).collect(),
            instance: instance(),
        }
    }

    /// Whether it is the same machine. Its id decides; host name and user do where one side has no id. But one of which no
    /// network card is left, or that is another instance of a cloud's, is a copy. What is not known is no difference.
    pub(super) fn is(&self, other: &Self) -> bool {
        let knows_both = !self.hardware.is_empty() && !other.hardware.is_empty();
        if knows_both && self.hardware.is_disjoint(&other.hardware) {
            return false;
        }
        if let (Some(ours), Some(theirs)) = (&self.instance, &other.instance)
            && ours != theirs
        {
            return false;
        }
        if let (Some(ours), Some(theirs)) = (&self.id, &other.id) {
            return ours == theirs;
        }
        match (&self.host_name, &other.host_name) {
            (Some(ours), Some(theirs)) => ours == theirs && self.uid == other.uid,
            _ => true,
        }
    }

    /// These facts, and the other's where these say nothing.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            id: self.id.or(other.id),
            host_name: self.host_name.or(other.host_name),
            uid: self.uid,
            // A card that is not plugged in now is this machine's all the same.
            hardware: self.hardware.union(&other.hardware).cloned().collect(),
            instance: self.instance.or(other.instance),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.host_name.as_deref().unwrap_or("without a name");
        write!(f, "machine {name} (")?;
        if let Some(id) = &self.id {
            write!(f, "id {}, ", id.get(..8).unwrap_or(id))?;
        }
        write!(f, "user {}", self.uid)?;
        if let Some(card) = self.hardware.first() {
            write!(f, ", network card {}", card.get(..8).unwrap_or(card))?;
        }
        if let Some(instance) = &self.instance {
            write!(f, ", instance {}", instance.get(..8).unwrap_or(instance))?;
        }
        f.write_str(")")
    }
}

/// An empty file, or one that says `uninitialized`, has no number.
fn machine_id(file: &str) -> Option<String> {
    let id = file.trim();
    let is_number = id.len() == 32 && id.bytes().all(|octet| octet.is_ascii_hexdigit());
    is_number.then(|| digest(id))
}

/// What is noted of a number that tells machines apart.
fn digest(id: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, id.as_bytes());
    let tag = hmac::sign(&key, b"keyferry installation");
    let start = tag.as_ref().iter().take(16);
    start.map(|octet| format!("{octet:02x}")).collect()
}

/// The addresses of network cards as they were built: of what is no card (a bridge, a tunnel) and of addresses that were set
/// or drawn nothing follows.
#[cfg(target_os = "linux")]
fn network_cards() -> Vec<String> {
    let interfaces = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let addresses = interfaces.filter_map(|interface| {
        let path = interface.path();
        let read = |name: &str| fs::read_to_string(path.join(name)).ok();
        let is_card = path.join("device").symlink_metadata().is_ok();
        let is_permanent = read("addr_assign_type")?.trim() == "0";
        let address = read("address")?.trim().to_ascii_lowercase();
        let is_some = address.bytes().any(|octet| !matches!(octet, b'0' | b':'));
        (is_card && is_permanent && is_some).then_some(address)
    });
    addresses.collect()
}

/// Elsewhere nothing is known.
#[cfg(not(target_os = "linux"))]
fn network_cards() -> Vec<String> {
    Vec::new()
}

/// The cloud's name for this machine, as cloud-init left it.
fn instance() -> Option<String> {
    let id = fs::read_to_string("/var/lib/cloud/data/instance-id").ok()?;
    let id = id.trim();
    (!id.is_empty()).then(|| digest(id))
}

/// The name of this machine, as the system tells it.
pub(crate) fn host_name() -> Option<String> {
    #[cfg(target_os = "linux")]
    {
        let name = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
        Some(name.trim().to_owned())
    }
    #[cfg(not(target_os = "linux"))]
    {
        let system = rustix::system::uname();
        Some(system.nodename().to_str().ok()?.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(id: Option<&str>, host_name: Option<&str>, uid: u32) -> Machine {
        Machine {
            id: id.map(str::to_owned),
            host_name: host_name.map(str::to_owned),
            uid,
            hardware: BTreeSet::new(),
            instance: None,
        }
    }

    #[test]
    fn a_copy_of_the_whole_machine_is_another() {
        let with = |cards: &[&str], instance: Option<&str>| Machine {
            hardware: cards.iter().map(|card| (*card).to_owned()).collect(),
            instance: instance.map(str::to_owned),
            ..machine(Some("aa"), Some("web"), 1000)
        };
        let here = with(&["01", "02"], Some("i-1"));
        for (other, same) in [
            (with(&["02", "03"], Some("i-1")), true),
            (with(&["03"], Some("i-1")), false),
            (with(&[], Some("i-1")), true),
            (with(&["01"], Some("i-2")), false),
            (with(&["01"], None), true),
        ] {
            assert_eq!(here.is(&other), same, "{other}");
            assert_eq!(other.is(&here), same, "{other}");
        }
        let known = here.or(with(&["03"], None));
        assert_eq!(known, with(&["01", "02", "03"], Some("i-1")));
    }

    #[test]
    fn machines_are_told_apart() {
        let here = machine(Some("aa"), Some("web"), 1000);
        for (other, same) in [
            (machine(Some("aa"), Some("renamed"), 1000), true),
            (machine(Some("bb"), Some("web"), 1000), false),
            (machine(None, Some("web"), 1000), true),
            (machine(None, Some("web"), 1001), false),
            (machine(None, Some("db"), 1000), false),
            (machine(None, None, 1000), true),
        ] {
            assert_eq!(here.is(&other), same, "{other}");
            assert_eq!(other.is(&here), same, "{other}");
        }
    }

    #[test]
    fn a_machine_id_is_not_stored_as_it_is() {
        let file = "0123456789abcdef0123456789abcdef\n";
        let id = machine_id(file).unwrap();
        assert_eq!(id.len(), 32);
        assert_ne!(id, file.trim());
        assert_eq!(machine_id("uninitialized\n"), None);
        assert_eq!(machine_id(""), None);
    }
}
