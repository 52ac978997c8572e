//! `cargo xtask bench`: what keyferry costs, side by side with the installed ssh-agent in one run.
//!
//! Figures are medians over rounds taken in turn, so that a machine whose speed drifts hits both alike. Nothing here
//! passes or fails: the numbers are for people, and the table says what we aim for.

use std::io::Write;
use std::process::ExitCode;

mod agents;
mod bare;
mod client;
mod idle;
mod interference;
mod saving;

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--")
        .collect();
    let parts: [(&str, fn()); 4] = [
        ("agents", agents::run),
        ("saving", saving::run),
        ("interference", interference::run),
        ("idle", idle::run),
    ];
    if let Some(unknown) = wanted
        .iter()
        .find(|name| !parts.iter().any(|(part, _)| part == name))
    {
        let names = parts.map(|(name, _)| name).join(", ");
        let _ = writeln!(std::io::stderr(), "no benchmark {unknown}; there are: {names}");
        return ExitCode::from(2);
    }
    for (name, part) in parts {
        if wanted.is_empty() || wanted.iter().any(|word| word == name) {
            part();
        }
    }
    ExitCode::SUCCESS
}

/// Prints a line.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// The value below which `part` (0 to 1) of the values lie.
fn quantile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values
        .get((last as f64 * part).round() as usize)
        .copied()
        .unwrap_or(f64::NAN)
}
