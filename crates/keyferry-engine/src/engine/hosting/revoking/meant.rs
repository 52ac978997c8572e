//! Which lines of a host are meant by what the user wants off it, and how they are shown.

use keyferry_hosts::Line;

use crate::ledger::{Selector, fingerprint};

/// What a host's file has.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(in crate::engine) struct Marked {
    /// Lines that are meant.
    pub(in crate::engine) lines: Vec<Line>,
    /// How many more would be, were they not this installation's own.
    pub(in crate::engine) own: usize,
    /// Whether somebody is let in without them.
    pub(in crate::engine) has_others: bool,
}

/// Tells lines that are to go from others.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Meant {
    pub(super) selector: Selector,
    pub(super) machine: String,
    pub(super) installation: String,
}

impl Meant {
    /// The lines of a host that are meant. Those of this installation never are: they have ways of their own. `others` keys
    /// without a marker are let in there besides, and `is_verified` is whether one of ours is.
    pub(in crate::engine) fn among(&self, lines: Vec<Line>, others: usize, is_verified: bool) -> Marked {
        let (lines, stay): (Vec<Line>, Vec<Line>) = lines
            .into_iter()
            .partition(|line| !self.is_own(&line.marker.machine) && self.is_selected(line));
        let own = stay.iter().filter(|line| self.is_selected(line)).count();
        // One that ends by itself is no way in to rely on.
        let stays = stay.iter().any(|line| !line.options.contains("expiry-time="));
        Marked {
            lines,
            own,
            has_others: others > 0 || stays || is_verified,
        }
    }

    /// Whether a marker's machine is this installation, whatever the machine was called then.
    pub(super) fn is_own(&self, machine: &str) -> bool {
        let end = machine.rsplit_once('-').map(|(_, end)| end);
        machine == self.machine || end == Some(&self.installation)
    }

    fn is_selected(&self, line: &Line) -> bool {
        let marker = &line.marker;
        match &self.selector {
            Selector::Grant(named) => marker.n.is_none() && fingerprint(&line.public_key) == *named,
            Selector::Key(key) => marker.key == *key,
            Selector::Machine(machine) => marker.machine == *machine,
            Selector::Owner(owner) => marker.owner == *owner,
        }
    }
}

/// A line as a terminal may have it: its options are whatever somebody wrote there.
pub(in crate::engine) fn shown(line: &Line) -> String {
    let text = line.to_string();
    // Nor what changes the order of others there.
    let is_direction =
        |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars()
        .map(|c| match c.is_control() || is_direction(c) {
            true => char::REPLACEMENT_CHARACTER,
            false => c,
        })
        .collect()
}

/// What is kept of a line: whose key it lets in, and its marker. Its options are another's, and may hold secrets.
pub(super) fn kept(line: &Line) -> String {
    format!("{} {}", fingerprint(&line.public_key), line.marker)
}

#[cfg(test)]
mod tests {
    use keyferry_hosts::Marker;

    use super::*;

    fn line(owner: &str, machine: &str, n: Option<u64>, options: &str) -> Line {
        Line {
            options: options.to_owned(),
            public_key: "ssh-ed25519 AAAA".to_owned(),
            marker: Marker {
                owner: owner.to_owned(),
                machine: machine.to_owned(),
                key: "web".to_owned(),
                n,
            },
        }
    }

    fn meant(selector: Selector) -> Meant {
        Meant {
            selector,
            machine: "li-thinkpad-7f3a1c".to_owned(),
            installation: "7f3a1c".to_owned(),
        }
    }

    #[test]
    fn a_line_is_fit_to_be_shown() {
        let shown = shown(&line(
            "li",
            "pc-aaaaaa",
            Some(1),
            "command=\"a\u{1b}[2J\u{202e}b\"",
        ));
        assert!(shown.starts_with("command=\"a\u{fffd}[2J\u{fffd}b\""), "{shown}");
    }

    #[test]
    fn lines_of_this_installation_are_never_meant() {
        let lines = vec![
            line("li", "li-thinkpad-7f3a1c", Some(1), ""),
            line("li", "its-former-name-7f3a1c", Some(1), ""),
            line("li", "li-desktop-aaaaaa", Some(1), ""),
            line("bob", "bobs-pc-bbbbbb", Some(1), ""),
        ];
        for (selector, count, own) in [
            (Selector::Owner("li".to_owned()), 1, 2),
            (Selector::Key("web".to_owned()), 2, 2),
            (Selector::Machine("bobs-pc-bbbbbb".to_owned()), 1, 0),
            (Selector::Machine("li-thinkpad-7f3a1c".to_owned()), 0, 1),
            (Selector::Grant("ssh-ed25519 AAAA".to_owned()), 0, 0),
        ] {
            let marked = meant(selector.clone()).among(lines.clone(), 0, false);
            assert_eq!((marked.lines.len(), marked.own), (count, own), "{selector}");
            assert!(marked.has_others);
        }
    }

    #[test]
    fn a_line_that_ends_by_itself_is_no_way_in() {
        let going = line("bob", "bobs-pc-bbbbbb", Some(1), "");
        let guest = line(
            "li",
            "li-thinkpad-7f3a1c",
            None,
            "expiry-time=\"20991231000000Z\"",
        );
        let owner = || meant(Selector::Owner("bob".to_owned()));
        assert!(!owner().among(vec![going.clone(), guest], 0, false).has_others);
        assert!(owner().among(vec![going.clone()], 1, false).has_others);
        assert!(owner().among(vec![going], 0, true).has_others);
    }

    #[test]
    fn what_somebody_wrote_does_not_reach_a_terminal() {
        let shown = shown(&line(
            "bob",
            "bobs-pc-bbbbbb",
            Some(1),
            "command=\"\u{1b}]0;x\u{7}\"",
        ));
        assert!(!shown.chars().any(char::is_control), "{shown:?}");
    }
}
