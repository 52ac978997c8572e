//! `keyferry ssh-agent`: the agent alone.

use std::time::Duration;

use keyferry_agent::{Agent, Limits, Listener, Options, serve};

use crate::cli::SshAgentArguments;
use crate::error::Error;
use crate::exit::Exit;
use crate::{harden, logging, signals};

/// Serves until SIGTERM, SIGINT or SIGHUP, as ssh-agent(1) does.
pub(crate) fn run(arguments: &SshAgentArguments) -> Result<Exit, Error> {
    harden::open_files();
    let _log = logging::start();
    let default_lifetime = arguments.lifetime.as_deref().map(parse_lifetime).transpose()?;
    let runtime = runtime()?;
    runtime.block_on(async {
        let stop = signals::hangup_or_end().map_err(Error::Start)?;
        let listener = Listener::bind(&arguments.path)?;
        tracing::info!(socket = %listener.path().display(), "ready");
        serve(
            listener,
            Agent::new(Options { default_lifetime }),
            Limits::default(),
            stop,
        )
        .await;
        Ok(Exit::Fine)
    })
}

/// A thread for the agent's socket. Clients are answered on further threads of the agent's own.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .thread_name("agent")
        .build()
        .map_err(Error::Start)
}

/// A time as sshd_config(5) writes it: seconds, or numbers with the units s, m, h, d, w, one after the other.
fn parse_lifetime(text: &str) -> Result<Duration, Error> {
    let wrong = || {
        Error::Usage(format!(
            "{text:?} is not a lifetime: write seconds, or a time such as 90m, 2h30m, 1d or 1w"
        ))
    };
    let mut total: u64 = 0;
    let mut number: Option<u64> = None;
    for character in text.chars() {
        if let Some(digit) = character.to_digit(10) {
            let grown = number
                .unwrap_or(0)
                .checked_mul(10)
                .and_then(|n| n.checked_add(u64::from(digit)));
            number = Some(grown.ok_or_else(wrong)?);
            continue;
        }
        let unit = match character.to_ascii_lowercase() {
            's' => 1,
            'm' => 60,
            'h' => 60 * 60,
            'd' => 24 * 60 * 60,
            'w' => 7 * 24 * 60 * 60,
            _ => return Err(wrong()),
        };
        let seconds = number
            .take()
            .and_then(|n| n.checked_mul(unit))
            .ok_or_else(wrong)?;
        total = total.checked_add(seconds).ok_or_else(wrong)?;
    }
    total = total.checked_add(number.unwrap_or(0)).ok_or_else(wrong)?;
    // As in ssh-agent: no lifetime of none at all, and none that a 32-bit count of seconds cannot hold.
    if total == 0 || total > u64::from(u32::MAX) {
        Err(wrong())
    } else {
        Ok(Duration::from_secs(total))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_read_as_sshd_config_writes_them() {
        for (text, seconds) in [
            ("5", 5),
            ("90s", 90),
            ("1h30m", 5400),
            ("1W", 604_800),
            ("1d5", 86_405),
        ] {
            assert_eq!(
                parse_lifetime(text).unwrap(),
                Duration::from_secs(seconds),
                "{text}"
            );
        }
        for text in [
            "",
            "0",
            "m",
            "1y",
            "-5",
            "1h m",
            "99999999999999999999",
            "4294967296",
        ] {
            assert!(parse_lifetime(text).is_err(), "{text}");
        }
    }
}
