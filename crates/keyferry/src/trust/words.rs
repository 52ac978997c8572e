//! What `keyferry grant`, `revoke` and `recover` say.

use std::time::SystemTime;

use keyferry_engine::ledger::Selector;
use keyferry_engine::snapshot::{
    LineState, Recovered, RevocationPreview, RevokedStatus, StatusError, Timestamp, TrustedStatus,
};

use crate::table::{Style, Table};
use crate::when;

/// What is wrong with something, and what to do; nothing where nothing is.
pub(super) fn problem(what: &str, error: Option<&StatusError>, style: Style) -> String {
    let Some(error) = error else { return String::new() };
    let mut text = format!("\n{}: {}\n", style.bad(what), error.message);
    if let Some(at) = error.retry_at {
        text.push_str(&format!("  tried again at {at}\n"));
    }
    if let Some(remedy) = &error.remedy {
        text.push_str(&format!("  what to do: {remedy}\n"));
    }
    text
}

pub(super) fn granted(
    lines: &[TrustedStatus],
    key: &str,
    until: Timestamp,
    now: SystemTime,
    style: Style,
) -> String {
    let there = lines.iter().filter(|line| line.error.is_none()).count();
    let mut text = format!(
        "let in on {there} of {} hosts of key {key} until {until} ({})\n",
        lines.len(),
        when::from_now(until, now)
    );
    for line in lines {
        text.push_str(&problem(&line.host, line.error.as_ref(), style));
    }
    if let Some(line) = lines.iter().find(|line| super::is_grant(line)) {
        text.push_str(&format!(
            "to end it before: keyferry revoke --grant {}",
            line.fingerprint
        ));
    }
    text.trim_end().to_owned()
}

pub(super) fn preview(preview: &RevocationPreview, selector: &Selector, style: Style) -> String {
    let mut text = String::new();
    let mut table = Table::new(&["HOST", "LINE", "WITHOUT IT"]);
    let (mut lines, mut left) = (0, Vec::new());
    for host in &preview.hosts {
        let afterwards = match (host.has_others, host.accepted) {
            (true, _) => "others are let in",
            (false, true) => "nobody may be let in: accepted",
            (false, false) => "nobody would be let in: left",
        };
        for line in &host.lines {
            lines += 1;
            table.row(vec![host.host.clone(), shortened(line), afterwards.to_owned()]);
        }
        if !host.lines.is_empty() && !host.has_others && !host.accepted {
            left.push(host.host.as_str());
        }
    }
    for line in &preview.own {
        lines += 1;
        let what = format!("{} ({})", line.fingerprint, line.purpose.name());
        table.row(vec![
            line.host.clone(),
            what,
            "key stays: ".to_owned() + &line.key,
        ]);
    }
    match lines {
        0 => text.push_str(&format!(
            "no line of {selector} was found on {} hosts{}\n",
            preview.hosts.len(),
            match preview.hosts.iter().any(|host| host.own > 0) {
                true => " besides this machine's own",
                false => "",
            }
        )),
        _ => text.push_str(&table.render(style)),
    }
    for host in preview.hosts.iter().filter(|host| host.error.is_some()) {
        text.push_str(&problem(&host.host, host.error.as_ref(), style));
        text.push_str(
            "  it is looked at again until it was seen, and what is found there is taken off then\n",
        );
    }
    for host in left {
        text.push_str(&format!(
            "\n{host} is left as it is: put another key there, or say --accept-loss {host}\n"
        ));
    }
    if let Some(key) = &preview.retires {
        text.push_str(&format!(
            "\nkey {key} of this machine is retired: taken off its hosts, its pairs deleted (`keyferry plan {key}` tells more)\n"
        ));
    }
    if !matches!(selector, Selector::Grant(_)) {
        text.push_str(
            "\npairs that other machines made at a provider are not touched: `keyferry orphans` lists them with their names; \
             delete them in the provider's console\n",
        );
    }
    text.trim_end().to_owned()
}

/// A line with its base64 cut, so that it fits beside the host.
fn shortened(line: &str) -> String {
    let words = line.split(' ').map(|word| match word.get(..8) {
        Some("AAAAB3Nz" | "AAAAC3Nz" | "AAAAE2Vj" | "AAAAGnNr" | "AAAAInNr") => {
            let end = word.len().saturating_sub(8);
            format!("...{}", word.get(end..).unwrap_or_default())
        }
        _ => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

pub(super) fn revoked(revoked: &[RevokedStatus], own: &[TrustedStatus], style: Style) -> String {
    let mut text = String::new();
    for row in revoked {
        match &row.error {
            None if row.state == LineState::Removed => text.push_str(&format!("revoked: {}\n", row.host)),
            None => text.push_str(&format!("under way: {}\n", row.host)),
            error @ Some(_) if row.state == LineState::Removed => {
                text.push_str(&problem(&format!("revoked: {}", row.host), error.as_ref(), style));
            }
            Some(_) => text.push_str(&problem(
                &format!("not yet: {}", row.host),
                row.error.as_ref(),
                style,
            )),
        }
    }
    for line in own {
        match (&line.error, line.state) {
            (None, LineState::Removed) => text.push_str(&format!("taken off: {}\n", line.host)),
            (None, _) => text.push_str(&format!("under way: {}\n", line.host)),
            (error, LineState::Removed) => {
                text.push_str(&problem(
                    &format!("taken off: {}", line.host),
                    error.as_ref(),
                    style,
                ));
            }
            _ => text.push_str(&problem(
                &format!("not yet: {}", line.host),
                line.error.as_ref(),
                style,
            )),
        }
    }
    let is_over = |state: LineState| matches!(state, LineState::Left | LineState::Removed);
    if revoked.iter().any(|row| !is_over(row.state))
        || own.iter().any(|line| line.state != LineState::Removed)
    {
        text.push_str("\nwhat is not done is tried again until it is: `keyferry grant --list` shows it\n");
    }
    text.trim_end().to_owned()
}

pub(super) fn recovered(hosts: &[Recovered], style: Style) -> String {
    if hosts.is_empty() {
        return "no key has hosts yet: there is nothing to recover".to_owned();
    }
    let mut table = Table::new(&["HOST", "KEY", "LOGS IN", "RECOVERY IDENTITY"]);
    for host in hosts {
        table.row(vec![
            host.host.clone(),
            host.key.clone(),
            host.generation
                .map_or("-".to_owned(), |n| format!("generation {n}")),
            match host.recovery_verified_at {
                Some(at) => format!("logged in at {at}"),
                None => "was not seen to log in".to_owned(),
            },
        ]);
    }
    let mut text = table.render(style);
    for host in hosts {
        text.push_str(&problem(&host.host, host.error.as_ref(), style));
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use keyferry_engine::snapshot::Revocable;

    use super::*;

    fn host(own: usize) -> Revocable {
        Revocable {
            host: "web-1".to_owned(),
            lines: Vec::new(),
            own,
            has_others: true,
            accepted: false,
            error: None,
        }
    }

    #[test]
    fn our_own_lines_are_told_from_none() {
        let selector = Selector::Owner("li".to_owned());
        for (own, words) in [
            (0, "no line of owner=li was found on 1 hosts\n"),
            (
                2,
                "no line of owner=li was found on 1 hosts besides this machine's own\n",
            ),
        ] {
            let looked_at = RevocationPreview {
                hosts: vec![host(own)],
                ..RevocationPreview::default()
            };
            let text = preview(&looked_at, &selector, Style::Plain);
            assert!(text.starts_with(words), "{text}");
        }
    }
}
