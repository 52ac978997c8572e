//! Options of a line of `authorized_keys`, sshd(8).

use std::collections::BTreeSet;

use crate::config::problem::suggestion;
use crate::config::table::shown;
use crate::desired::Verify;

/// Checks options that a line is to have: sshd takes no line with an option that it does not understand.
///
/// # Errors
/// What is wrong and the way out, in words.
pub(super) fn check(options: &str, verify: Verify) -> Result<(), String> {
    if options.len() > MAX_SIZE {
        return Err(format!(
            "has {} bytes: sshd takes lines of 8 KiB, of which at most {MAX_SIZE} bytes are for options",
            options.len()
        ));
    }
    let mut rest = options;
    let mut seen = BTreeSet::new();
    loop {
        let end = rest.find(['=', ',', '"']).unwrap_or(rest.len());
        let (name, behind) = rest.split_at(end);
        if name.contains(char::is_whitespace) {
            return Err("contains a blank outside of quotes: options are joined by `,` alone".to_owned());
        }
        if name.is_empty() {
            return Err(
                "has an option without a name: options are joined by one `,`, with none at the end"
                    .to_owned(),
            );
        }
        let known = KNOWN.iter().find(|known| known.name.eq_ignore_ascii_case(name));
        let Some(known) = known else {
            let known = suggestion(name, KNOWN.iter().map(|known| known.name));
            return Err(format!("unknown option {} of sshd{known}", shown(name)));
        };
        if let Some(problem) = known.refusal(verify) {
            return Err(format!("`{}` {problem}", known.name));
        }
        if !known.repeats && !seen.insert(known.name) {
            return Err(format!(
                "`{}` stands here twice, which sshd does not take: keep one",
                known.name
            ));
        }
        rest = match (behind.strip_prefix('='), known.takes_value) {
            (Some(value), true) => quoted(value).ok_or_else(|| {
                format!(
                    "`{0}` has no value in quotes: write `{0}=\"...\"`, with `\\\"` for a quote inside",
                    known.name
                )
            })?,
            (Some(_), false) => return Err(format!("`{0}` takes no value: write `{0}`", known.name)),
            (None, true) => return Err(format!("`{0}` needs a value: write `{0}=\"...\"`", known.name)),
            (None, false) => behind,
        };
        rest = match rest.strip_prefix(',') {
            Some(next) => next,
            None if rest.is_empty() => return Ok(()),
            None => {
                return Err(format!(
                    "has something right behind `{}`: options are joined by `,`",
                    known.name
                ));
            }
        };
    }
}

/// What follows a value in quotes.
fn quoted(text: &str) -> Option<&str> {
    let inside = text.strip_prefix('"')?;
    let mut escaped = false;
    for (at, c) in inside.char_indices() {
        match c {
            '"' if !escaped => return Some(&inside[at + 1..]),
            _ => escaped = c == '\\' && !escaped,
        }
    }
    None
}

/// An option that sshd knows.
struct Known {
    name: &'static str,
    takes_value: bool,
    repeats: bool,
}

impl Known {
    const fn flag(name: &'static str) -> Self {
        Self {
            name,
            takes_value: false,
            repeats: true,
        }
    }

    const fn once(name: &'static str) -> Self {
        Self {
            name,
            takes_value: true,
            repeats: false,
        }
    }

    const fn value(name: &'static str) -> Self {
        Self {
            name,
            takes_value: true,
            repeats: true,
        }
    }

    /// Why a line of keyferry's cannot have it.
    fn refusal(&self, verify: Verify) -> Option<&'static str> {
        match self.name {
            "cert-authority" | "principals" => Some(
                "makes the key an authority for certificates, and such a key logs nobody in itself: take it out",
            ),
            "command" if verify != Verify::PublicKey => Some(
                "lets nothing else run, so that no command's answer could prove a login with the key: write \
                 `verify = \"publickey\"` in [deploy], or take it out",
            ),
            "expiry-time" => {
                Some("is one moment, and lines are renewed: write `expires = \"90d\"` in [deploy] instead")
            }
            "no-touch-required" | "verify-required" => {
                Some("is for keys of hardware, which keyferry does not make: take it out")
            }
            _ => None,
        }
    }
}

const KNOWN: &[Known] = &[
    Known::flag("agent-forwarding"),
    Known::flag("cert-authority"),
    Known::once("command"),
    Known::value("environment"),
    Known::once("expiry-time"),
    Known::once("from"),
    Known::flag("no-agent-forwarding"),
    Known::flag("no-port-forwarding"),
    Known::flag("no-pty"),
    Known::flag("no-touch-required"),
    Known::flag("no-user-rc"),
    Known::flag("no-X11-forwarding"),
    Known::value("permitlisten"),
    Known::value("permitopen"),
    Known::flag("port-forwarding"),
    Known::once("principals"),
    Known::flag("pty"),
    Known::flag("restrict"),
    Known::once("tunnel"),
    Known::flag("user-rc"),
    Known::flag("verify-required"),
    Known::flag("X11-forwarding"),
];

/// A line has 8 KiB, and an RSA key of 16 Kibit nearly 3.
const MAX_SIZE: usize = 4 * 1024;
