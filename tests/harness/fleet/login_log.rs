//! What sshd logs of logins with keys.

/// A line of sshd's log about a key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Login {
    /// What became of it.
    pub outcome: LoginOutcome,
    /// The user.
    pub user: String,
    /// The port that the client came from: lines of one connection have the same.
    pub client_port: u16,
    /// The key: `SHA256:...`.
    pub fingerprint: String,
}

/// What became of a key that a client showed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LoginOutcome {
    /// It let the client in.
    Accepted,
    /// It did not.
    Failed,
    /// Its signature was good, and something else is wanted besides.
    Partial,
    /// It may sign: what the client asks for before it does.
    Postponed,
}

/// Reads a log; lines about other things are left out.
pub(super) fn parse(log: &str) -> Vec<Login> {
    log.lines().filter_map(parse_line).collect()
}

/// `Accepted publickey for deploy from 127.0.0.1 port 40022 ssh2: ED25519 SHA256:...`
fn parse_line(line: &str) -> Option<Login> {
    let (outcome, rest) = line.trim_end().split_once(" publickey for ")?;
    let outcome = match outcome {
        "Accepted" => LoginOutcome::Accepted,
        "Failed" => LoginOutcome::Failed,
        "Partial" => LoginOutcome::Partial,
        "Postponed" => LoginOutcome::Postponed,
        _ => return None,
    };
    let words: Vec<&str> = rest.split_whitespace().collect();
    // `invalid user NAME` is another way to name one.
    let from = words.iter().position(|&word| word == "from")?;
    Some(Login {
        outcome,
        user: (*words.get(from.checked_sub(1)?)?).to_owned(),
        client_port: words.get(from + 3)?.parse().ok()?,
        fingerprint: (*words.iter().find(|word| word.starts_with("SHA256:"))?).to_owned(),
    })
}
