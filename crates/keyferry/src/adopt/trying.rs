//! Where the adopted key logs in.

use std::time::{Duration, Instant};

use keyferry_engine::snapshot::StatusError;

use super::Adoption;
use super::holding::Adopted;
use crate::control::adopt::{AdoptAnswer, AdoptRequest, Tried};
use crate::control::client::{self, Conversation};
use crate::control::{Answer, Request};
use crate::error::Error;
use crate::progress::Progress;

impl Adoption<'_> {
    /// Where the adopted key logs in, in the order of the hosts.
    pub(super) fn tried(&self, adopted: &Adopted<'_>, hosts: &[String]) -> Result<Vec<Tried>, Error> {
        let mut tried: Vec<Tried> = Vec::new();
        let mut progress = Progress::new();
        for some in hosts.chunks(AT_ONCE) {
            let request = Request::Adopt(AdoptRequest::Try {
                fingerprint: adopted.fingerprint.clone(),
                hosts: some.to_vec(),
            });
            let mut conversation = Conversation::start(&self.door, &request)?;
            loop {
                progress.show(&format!("logging in: {} of {} hosts", tried.len(), hosts.len()));
                match conversation.next()? {
                    Answer::Adopt(AdoptAnswer::Tried(one)) => tried.push(one),
                    Answer::Adopt(AdoptAnswer::TriedAll) => break,
                    Answer::Refused(message) => return Err(Error::Refused(message)),
                    other => return Err(client::strange(&other)),
                }
            }
        }
        drop(progress);
        Ok(in_order(tried, hosts))
    }

    /// The hosts that still let the adopted key in, although its lines are to go. It takes a moment until they are gone.
    pub(super) fn still_let_in(&self, adopted: &Adopted<'_>, hosts: &[String]) -> Result<Vec<String>, Error> {
        let end = self.end.max(Instant::now() + REMOVAL_TIME);
        let mut left = hosts.to_vec();
        loop {
            let tried = self.tried(adopted, &left)?;
            left = tried
                .into_iter()
                // Where that cannot be told, it may.
                .filter(|tried| !tried.is_refused)
                .map(|tried| tried.host)
                .collect();
            if left.is_empty() || Instant::now() >= end {
                return Ok(left);
            }
            std::thread::sleep(REMOVAL_PAUSE);
        }
    }
}

/// One for each host that was asked about: a host that nothing was said of must not be forgotten.
fn in_order(mut tried: Vec<Tried>, hosts: &[String]) -> Vec<Tried> {
    for host in hosts {
        if !tried.iter().any(|one| one.host == *host) {
            tried.push(Tried {
                host: host.clone(),
                error: Some(StatusError {
                    kind: "internal".to_owned(),
                    code: None,
                    message: format!("{host}: the daemon did not say how the login came out"),
                    request_id: None,
                    remedy: Some("its log says why".to_owned()),
                    retry_at: None,
                }),
                is_refused: false,
            });
        }
    }
    tried.sort_by_key(|one| hosts.iter().position(|asked| *asked == one.host));
    tried
}

/// Each host's lines go over two logins.
const REMOVAL_TIME: Duration = Duration::from_secs(30);
const REMOVAL_PAUSE: Duration = Duration::from_secs(1);
/// Hosts in one request: each of them may take a while.
const AT_ONCE: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_nothing_was_said_of_is_not_forgotten() {
        let asked = ["a", "b", "c"].map(str::to_owned);
        let answered = ["c", "a"].map(|host| Tried {
            host: host.to_owned(),
            error: None,
            is_refused: false,
        });
        let tried = in_order(answered.into(), &asked);
        let hosts: Vec<&str> = tried.iter().map(|one| &*one.host).collect();
        assert_eq!(hosts, ["a", "b", "c"]);
        assert!(tried[1].error.is_some() && !tried[1].is_refused);
    }
}
