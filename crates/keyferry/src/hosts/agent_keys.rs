//! Keys that are named by their fingerprints: those that were added to keyferry's own agent, and those of the user's.

use std::io;
use std::path::Path;
use std::time::Duration;

use keyferry_agent::Agent;
use keyferry_hosts::{Identity, Task, Work, fingerprint, public_key};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// How a fingerprint begins.
pub(super) const SHA256: &str = "SHA256:";

/// The task with public halves in place of fingerprints. A key that no agent has stays as it is named.
pub(super) async fn resolved(agent: &Agent, mut task: Task) -> Task {
    for identity in identities(&mut task.work) {
        let Identity::Agent {
            socket,
            public_key: named,
        } = identity
        else {
            continue;
        };
        if named.starts_with(SHA256)
            && let Some(found) = find(agent, socket, named).await
        {
            *named = found;
        }
    }
    task
}

/// The public half, `TYPE BASE64`, of a key that was added to keyferry's own agent.
pub(super) fn added(agent: &Agent, named: &str) -> Option<String> {
    matching(agent.added(), named)
}

fn identities(work: &mut Work) -> Vec<&mut Identity> {
    match work {
        Work::Inspect { over } | Work::Put { over, .. } | Work::RemoveLast { over, .. } => {
            over.iter_mut().collect()
        }
        Work::Remove { over, editors, .. } => std::iter::once(over).chain(editors).collect(),
        Work::Verify { identity, .. } => vec![identity],
        Work::Resolve => Vec::new(),
    }
}

async fn find(agent: &Agent, socket: &Path, named: &str) -> Option<String> {
    if let Some(own) = added(agent, named) {
        return Some(own);
    }
    if socket.as_os_str().is_empty() {
        return None;
    }
    match timeout(LIST_TIME, listed(socket)).await {
        Ok(Ok(keys)) => matching(keys, named),
        Ok(Err(error)) => {
            tracing::debug!(%error, "the user's agent does not list its keys");
            None
        }
        Err(_) => {
            tracing::debug!("the user's agent does not list its keys in time");
            None
        }
    }
}

/// A certificate has its key's fingerprint; the key itself is meant.
fn matching(keys: Vec<Vec<u8>>, named: &str) -> Option<String> {
    let mut lines = keys
        .iter()
        .filter(|blob| fingerprint(blob) == named)
        .filter_map(|blob| public_key(blob));
    lines.find(|line| !line.contains(CERTIFICATE))
}

/// The public blobs that an agent lists (RFC 9987 section 5.4).
async fn listed(socket: &Path) -> io::Result<Vec<Vec<u8>>> {
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(&[0, 0, 0, 1, REQUEST_IDENTITIES]).await?;
    let length = stream.read_u32().await?;
    if length > MAX_LIST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "its list is too long"));
    }
    // It grows with what comes, not with what was announced.
    let mut reply = Vec::new();
    (&mut stream)
        .take(u64::from(length))
        .read_to_end(&mut reply)
        .await?;
    parse(&reply).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "its list is malformed"))
}

fn parse(reply: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (number, rest) = reply.split_first()?;
    let (count, mut rest) = rest.split_first_chunk::<4>()?;
    if *number != IDENTITIES_ANSWER {
        return None;
    }
    let mut keys = Vec::new();
    for _ in 0..u32::from_be_bytes(*count) {
        keys.push(string(&mut rest)?.to_vec());
        let _comment = string(&mut rest)?;
    }
    Some(keys)
}

fn string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, behind) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (string, behind) = behind.split_at_checked(length)?;
    *rest = behind;
    Some(string)
}

const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const CERTIFICATE: &str = "-cert-v01@openssh.com ";
/// As OpenSSH's own client has it.
const MAX_LIST: u32 = 256 * 1024;
const LIST_TIME: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn list(count: u32, strings: &[&[u8]]) -> Vec<u8> {
        let mut reply = vec![IDENTITIES_ANSWER];
        reply.extend(count.to_be_bytes());
        for string in strings {
            reply.extend(u32::try_from(string.len()).unwrap().to_be_bytes());
            reply.extend_from_slice(string);
        }
        reply
    }

    #[test]
    fn a_list_is_read_whatever_it_announces() {
        let good = list(2, &[b"one", b"comment", b"two", b""]);
        assert_eq!(parse(&good), Some(vec![b"one".to_vec(), b"two".to_vec()]));
        assert_eq!(parse(&list(u32::MAX, &[b"one", b"comment"])), None);
        assert_eq!(parse(&good[..good.len() - 1]), None);
        assert_eq!(parse(&[5]), None);
        assert_eq!(parse(&[]), None);
    }

    #[test]
    fn a_certificate_is_not_taken_for_its_key() {
        let string = |bytes: &[u8]| [&[0, 0, 0, u8::try_from(bytes.len()).unwrap()], bytes].concat();
        let point = string(&[7; 32]);
        let key = [string(b"ssh-ed25519"), point.clone()].concat();
        let certificate = [
            string(b"ssh-ed25519-cert-v01@openssh.com"),
            string(&[1; 32]),
            point,
            vec![0; 8],
        ]
        .concat();
        let named = fingerprint(&key);
        assert_eq!(fingerprint(&certificate), named);
        assert_eq!(matching(vec![certificate.clone()], &named), None);
        let found = matching(vec![certificate, key.clone()], &named);
        assert_eq!(found, public_key(&key));
    }
}
