//! The hostile plugin's imaginary provider, on the loopback.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .iter()
            .find_map(|(header, value)| (header == name).then_some(value.as_str()))
            .unwrap_or_default()
    }

    pub(crate) fn action(&self) -> &str {
        self.header("x-action")
    }
}

/// What to do with a request.
pub(crate) enum Reply {
    /// Status and body.
    Json(u16, String),
    /// Status, headers (each with its line end) and body.
    WithHeaders(u16, String, String),
    /// Close the connection.
    Close,
    /// Say nothing until the cloud is told to go on.
    Hold,
    /// The same, and then this.
    HoldThen(Box<Reply>),
}

type Handler = dyn Fn(&Request) -> Reply + Send + Sync;

/// Serves until the test ends.
pub(crate) struct Cloud {
    pub(crate) endpoint: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    requests: Vec<Request>,
    open: usize,
    most_open: usize,
    released: bool,
}

impl Cloud {
    pub(crate) fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::at("127.0.0.1:0", handler)
    }

    pub(crate) fn at(address: &str, handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared::default());
        let (handler, of_server): (Arc<Handler>, _) = (Arc::new(handler), Arc::clone(&shared));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (handler, shared) = (Arc::clone(&handler), Arc::clone(&of_server));
                std::thread::spawn(move || serve(stream.unwrap(), &*handler, &shared));
            }
        });
        Self { endpoint, shared }
    }

    /// All requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.state.lock().unwrap().requests.clone()
    }

    /// The calls so far, by name.
    pub(crate) fn actions(&self) -> Vec<String> {
        self.requests()
            .iter()
            .map(|request| request.action().to_owned())
            .collect()
    }

    /// The greatest number of requests that were open at the same time.
    pub(crate) fn most_open(&self) -> usize {
        self.shared.state.lock().unwrap().most_open
    }

    /// Waits until so many requests have come.
    pub(crate) fn wait_for(&self, count: usize) {
        let state = self.shared.state.lock().unwrap();
        let (state, timeout) = self
            .shared
            .changed
            .wait_timeout_while(state, Duration::from_secs(20), |state| {
                state.requests.len() < count
            })
            .unwrap();
        assert!(
            !timeout.timed_out(),
            "{} of {count} requests came",
            state.requests.len()
        );
    }

    /// Lets held requests end.
    pub(crate) fn release(&self) {
        self.shared.state.lock().unwrap().released = true;
        self.shared.changed.notify_all();
    }
}

fn serve(stream: TcpStream, handler: &Handler, shared: &Shared) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    while let Some(request) = read(&mut reader) {
        let mut state = shared.state.lock().unwrap();
        state.requests.push(request.clone());
        state.open += 1;
        state.most_open = state.most_open.max(state.open);
        drop(state);
        shared.changed.notify_all();
        let mut reply = handler(&request);
        if let Reply::Hold = reply {
            reply = Reply::HoldThen(Box::new(Reply::Json(200, pair("web-1"))));
        }
        if let Reply::HoldThen(then) = reply {
            let state = shared.state.lock().unwrap();
            drop(shared.changed.wait_while(state, |state| !state.released).unwrap());
            reply = *then;
        }
        shared.state.lock().unwrap().open -= 1;
        let (status, headers, body) = match reply {
            Reply::Json(status, body) => (status, String::new(), body),
            Reply::WithHeaders(status, headers, body) => (status, headers, body),
            Reply::Close | Reply::Hold | Reply::HoldThen(_) => return,
        };
        let length = body.len();
        // In one piece: the system would hold a second one back until the first is acknowledged.
        let whole = format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
        if stream.write_all(whole.as_bytes()).is_err() {
            return;
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|&count| count > 0)?;
        Some(line.trim_end().to_owned())
    };
    let first = line()?;
    let mut words = first.split(' ');
    let target = words.nth(1)?.to_owned();
    let mut headers = Vec::new();
    loop {
        let header = line()?;
        match header.split_once(": ") {
            Some((name, value)) => headers.push((name.to_lowercase(), value.to_owned())),
            None => break,
        }
    }
    let mut request = Request {
        target,
        headers,
        body: String::new(),
    };
    let length = request.header("content-length").parse().unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    request.body = String::from_utf8(body).unwrap();
    Some(request)
}

pub(crate) const PUBLIC_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEzXSTLPNQ4EBeAVPnYbVRIPYGYBqBUGLfWKzFPNZUtB";

/// In the form of a key, and none.
pub(crate) fn private_key() -> String {
    let lines: Vec<String> = (0..8)
        .map(|line| format!("MIIEowIBAAKCAQEAnotAKeyAtAll/+{line}").repeat(2))
        .collect();
    format!(
        "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----\n",
        lines.join("\n")
    )
}

/// The reply about one pair.
pub(crate) fn pair(name: &str) -> String {
    let pair = serde_json::json!({
        "name": name, "id": "pair-7", "fingerprint": "7880c1ad4687fdbf7a6da21312345678", "public_key": format!("{PUBLIC_KEY} a comment"),
    });
    serde_json::json!({ "pair": pair, "pairs": [pair] }).to_string()
}

/// The provider as it should be.
pub(crate) fn honest(request: &Request) -> Reply {
    if request.header("x-echo") == "headers" {
        let echoed: String = request
            .headers
            .iter()
            .map(|(name, value)| format!("{name}={value};"))
            .collect();
        return Reply::Json(200, serde_json::to_string(&echoed).unwrap());
    }
    if request.target == "/login" {
        return login(LOGIN_TOKEN, &[]);
    }
    if request.target == "/form-login" {
        // Repeated, as it is and escaped.
        let escaped = LOGIN_TOKEN.replace('=', "&#61;").replace('+', "&#x2B;");
        return Reply::Json(
            200,
            format!(
                "<Login><Token>{escaped}</Token><Again>{LOGIN_TOKEN}</Again><Again>{escaped}</Again></Login>"
            ),
        );
    }
    match (request.action(), request.header("x-format")) {
        ("CreatePair", "xml") => {
            let key = private_key().replace('\n', "&#xA;");
            let body = format!("<CreatePair><Pair>web-1</Pair><PrivateKey>{key}</PrivateKey></CreatePair>");
            return Reply::WithHeaders(200, "Content-Type: text/xml\r\n".to_owned(), body);
        }
        ("CreatePair", "header") => {
            let key: String = private_key()
                .lines()
                .filter(|line| !line.starts_with('-'))
                .collect();
            return Reply::WithHeaders(200, format!("X-Private-Key: {key}\r\n"), pair("web-1"));
        }
        ("ListInstances", _) => {
            return Reply::Json(200, r#"{"instances":["i-1\u001b[2J","i-2"]}"#.to_owned());
        }
        _ => {}
    }
    let body = match request.action() {
        "CreatePair" => {
            let mut body: serde_json::Value = serde_json::from_str(&pair("web-1")).unwrap();
            body["private_key"] = private_key().into();
            body.to_string()
        }
        _ => pair("web-1"),
    };
    Reply::Json(200, body)
}

pub(crate) const LOGIN_TOKEN: &str = "gAAAAABlogin-token+0123456789==";

/// The reply to a login that went well. It names URLs besides that nothing is ever sent to.
pub(crate) fn login(token: &str, urls: &[&str]) -> Reply {
    let catalog: Vec<_> = urls.iter().map(|url| serde_json::json!({ "url": url })).collect();
    let weak = serde_json::json!({
        "link_local": "https://169.254.1.1/v2",
        "plain_http": "http://catalogue.hostile.example/v2",
    });
    let body = serde_json::json!({ "token": token, "project": "p-1", "catalog": catalog, "weak": weak });
    Reply::Json(200, body.to_string())
}
