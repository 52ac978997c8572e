//! What ssh says to an agent of the session that it is in.

use crate::harness::*;

/// The signature of a key over some data, as SSH writes it, made by an agent of its own.
pub(crate) fn signature(key: &TestKey, data: &[u8], flags: u32) -> Vec<u8> {
    let running = Running::start();
    let mut client = running.connect();
    assert_eq!(client.ask(&add(&key.private, b"")), SUCCESS);
    let reply = client.ask(&sign(&key.public, data, flags));
    verified(&key.public, data, &reply);
    take_string(&mut &reply[1..]).to_vec()
}

pub(crate) fn bind(host_key: &[u8], session: &[u8], signature: &[u8], is_forwarding: bool) -> Vec<u8> {
    [
        &[27][..],
        &string(b"session-bind@openssh.com"),
        &string(host_key),
        &string(session),
        &string(signature),
        &[u8::from(is_forwarding)],
    ]
    .concat()
}

/// The message that binds to a session with a host, as it should be.
pub(crate) fn bind_to(host: &TestKey, session: &[u8], is_forwarding: bool) -> Vec<u8> {
    bind(&host.public, session, &signature(host, session, 4), is_forwarding)
}

/// What a client has signed to log in (RFC 4252 section 7), with the host key where it says which it met.
pub(crate) fn login(session: &[u8], key: &TestKey, host: Option<&TestKey>) -> Vec<u8> {
    let method: &[u8] = match host {
        Some(_) => b"publickey-hostbound-v00@openssh.com",
        None => b"publickey",
    };
    let kind = take_string(&mut &key.public[..]);
    let mut data = [
        &string(session)[..],
        &[50],
        &string(b"deploy"),
        &string(b"ssh-connection"),
        &string(method),
        &[1],
        &string(kind),
        &string(&key.public),
    ]
    .concat();
    if let Some(host) = host {
        data.extend(string(&host.public));
    }
    data
}

impl Client {
    /// The comments that the agent lists.
    pub(crate) fn comments(&mut self) -> Vec<String> {
        let text = |(_, comment): (_, Vec<u8>)| String::from_utf8(comment).unwrap();
        self.list().into_iter().map(text).collect()
    }

    #[track_caller]
    pub(crate) fn bound(mut self, host: &TestKey, session: &[u8]) -> Self {
        assert_eq!(self.ask(&bind_to(host, session, false)), SUCCESS);
        self
    }

    #[track_caller]
    pub(crate) fn signs(&mut self, key: &TestKey) {
        verified(&key.public, b"data", &self.ask(&sign(&key.public, b"data", 4)));
    }

    #[track_caller]
    pub(crate) fn refuses(&mut self, key: &TestKey) {
        assert_eq!(self.ask(&sign(&key.public, b"data", 4)), FAILURE);
    }
}
