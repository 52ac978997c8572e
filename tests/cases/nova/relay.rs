//! Stands between keyferry and a service: notes each request, and can lose a reply, answer in the service's place, or
//! change a body on the way.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// One request and what the service answered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Exchange {
    pub(crate) method: String,
    /// With its query.
    pub(crate) path: String,
    /// The status code.
    pub(crate) status: u16,
    /// The microversion that was asked for; empty: none.
    pub(crate) microversion: String,
    pub(crate) body: String,
}

/// A relay to one service. Its thread ends with the process.
pub(crate) struct Relay {
    address: SocketAddr,
    path: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    exchanges: Vec<Exchange>,
    faults: Vec<Fault>,
    change: Option<(String, String)>,
}

/// What goes wrong with a request with this method and this text in its body.
struct Fault {
    method: &'static str,
    body_has: &'static str,
    /// What is answered without asking the service; none: the service answers, and its reply is lost.
    reply: Option<String>,
}

impl Relay {
    /// A relay to the service at this URL.
    pub(crate) fn start(url: &str) -> Self {
        let rest = url.strip_prefix("http://").unwrap();
        let (target, path) = rest.split_at(rest.find('/').unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let (target, shared) = (target.to_owned(), Arc::clone(&state));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (target, shared) = (target.clone(), Arc::clone(&shared));
                thread::spawn(move || pass(client, &target, &shared));
            }
        });
        Self {
            address,
            path: path.to_owned(),
            state,
        }
    }

    /// The service's URL through this relay.
    pub(crate) fn url(&self) -> String {
        format!("http://{}{}", self.address, self.path)
    }

    /// Loses the reply to the next request with this method and this text in its body; the service has answered.
    pub(crate) fn lose(&self, method: &'static str, body_has: &'static str) {
        self.fail(method, body_has, None);
    }

    /// Answers the next request with this method and this text in its body; the service never hears of it.
    pub(crate) fn refuse(&self, method: &'static str, body_has: &'static str, status: &str, body: &Value) {
        let body = body.to_string();
        let length = body.len();
        let reply = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        self.fail(method, body_has, Some(reply));
    }

    fn fail(&self, method: &'static str, body_has: &'static str, reply: Option<String>) {
        let fault = Fault {
            method,
            body_has,
            reply,
        };
        self.state.lock().unwrap().faults.push(fault);
    }

    /// Changes this text in all bodies to another of the same length.
    pub(crate) fn change(&self, from: &str, to: &str) {
        assert_eq!(from.len(), to.len());
        self.state.lock().unwrap().change = Some((from.to_owned(), to.to_owned()));
    }

    /// Passes bodies on as they are.
    pub(crate) fn change_nothing(&self) {
        self.state.lock().unwrap().change = None;
    }

    /// What passed through so far.
    pub(crate) fn exchanges(&self) -> Vec<Exchange> {
        self.state.lock().unwrap().exchanges.clone()
    }
}

/// Passes one request on, and its reply back. Each has a connection of its own.
fn pass(mut client: TcpStream, target: &str, state: &Mutex<State>) -> Option<()> {
    client.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
    let (head, mut body) = read_request(&mut client)?;
    if let Some((from, to)) = &state.lock().unwrap().change {
        body = body.replace(from, to);
    }
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(':'));
        let found = lines.find(|(other, _)| other.eq_ignore_ascii_case(name));
        found
            .map(|(_, value)| value.trim().to_owned())
            .unwrap_or_default()
    };
    let mut words = head.split(' ').map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let fault = {
        let mut state = state.lock().unwrap();
        let hit = |fault: &Fault| fault.method == method && body.contains(fault.body_has);
        let index = state.faults.iter().position(hit);
        index.map(|index| state.faults.remove(index))
    };
    let reply = match fault.as_ref().and_then(|fault| fault.reply.clone()) {
        Some(reply) => reply.into_bytes(),
        None => ask(target, &head, &body)?,
    };
    let exchange = Exchange {
        method,
        path,
        status: String::from_utf8_lossy(reply.get(9..12)?).parse().ok()?,
        microversion: header("x-openstack-nova-api-version"),
        body,
    };
    state.lock().unwrap().exchanges.push(exchange);
    if fault.is_none_or(|fault| fault.reply.is_some()) {
        client.write_all(&reply).ok()?;
    }
    client.shutdown(Shutdown::Both).ok()
}

/// The service's whole reply.
fn ask(target: &str, head: &str, body: &str) -> Option<Vec<u8>> {
    let kept = head
        .lines()
        .filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    let head_lines: Vec<&str> = kept.filter(|line| !line.is_empty()).collect();
    let request = format!("{}\r\nconnection: close\r\n\r\n{body}", head_lines.join("\r\n"));
    let mut service = TcpStream::connect(target).ok()?;
    service.write_all(request.as_bytes()).ok()?;
    let mut reply = Vec::new();
    service.read_to_end(&mut reply).ok()?;
    Some(reply)
}

/// The head of a request, without the empty line, and its body.
fn read_request(client: &mut TcpStream) -> Option<(String, String)> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 16 << 10];
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length")
                    .then(|| value.trim().parse().ok())?
            });
            if body.len() >= length.unwrap_or(0) {
                return Some((head.to_owned(), body.to_owned()));
            }
        }
        match client.read(&mut chunk).ok()? {
            0 => return None,
            count => bytes.extend_from_slice(&chunk[..count]),
        }
    }
}
