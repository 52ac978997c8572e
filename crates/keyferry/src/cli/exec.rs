//! Options of `keyferry exec`.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;

use super::RuntimeArguments;

/// Options of `keyferry exec`.
#[derive(Args, Debug)]
pub(crate) struct ExecArguments {
    #[command(flatten)]
    pub(crate) runtime: RuntimeArguments,
    /// The key after whose pattern the command's own is made, and on whose hosts it is put
    #[arg(long, value_name = "KEY")]
    pub(crate) key: String,
    /// When the command's key ends at the latest, counted from now: 90s, 15m, 2h; 24h at most
    #[arg(long = "for", value_name = "DURATION", default_value = "1h", value_parser = life)]
    pub(crate) life: Duration,
    /// How long to wait until the key is seen to log in. Without any host where it was, COMMAND is not started; hosts
    /// that are missing then, or cannot be reached, are named and done without
    #[arg(
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        default_value = "120",
        default_missing_value = "120",
        require_equals = true
    )]
    pub(crate) wait: u64,
    /// Start COMMAND only when the key was seen to log in at every host of KEY
    #[arg(long)]
    pub(crate) all_hosts: bool,
    /// The command and its arguments
    #[arg(value_name = "COMMAND", required = true, last = true)]
    pub(crate) command: Vec<OsString>,
}

/// What `--help` says about the end.
pub(super) const AFTER: &str = "\
COMMAND has the standard streams, and gets SIGINT, SIGTERM and SIGHUP that keyferry exec gets. When its key's time is
over while it runs, it goes on without the key.

The exit code is COMMAND's own, or 128 + N where signal N ended it. Where COMMAND was never started, a message says so,
and the exit code is keyferry's own.";

fn life(text: &str) -> Result<Duration, String> {
    let life = humantime::parse_duration(text).ok();
    let is_fit = |life: &Duration| (Duration::from_secs(1)..=LONGEST).contains(life);
    life.filter(is_fit)
        .ok_or_else(|| "a duration of 24h at most is expected, as 90s, 15m or 2h".to_owned())
}

const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_is_a_day_at_most() {
        assert_eq!(life("15m"), Ok(Duration::from_secs(900)));
        assert_eq!(life("24h"), Ok(LONGEST));
        for wrong in ["", "15", "0s", "25h", "2 days", "soon", "-1h"] {
            assert!(life(wrong).is_err(), "{wrong}");
        }
    }
}
