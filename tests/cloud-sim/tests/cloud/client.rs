//! A client as plain as can be: signs after the vendor's documents, writes bytes to a socket.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloud_sim::wire::Request;
use cloud_sim::{CloudSim, Options, Service};
use serde_json::Value;

pub(crate) const ACCESS_KEY: &str = "LTAI5tTestAccessKey";
pub(crate) const SECRET_KEY: &str = "TestSecretAccessKey";
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// A cloud that knows the access key of these tests.
pub(crate) fn start() -> CloudSim {
    CloudSim::start(Options {
        key_stock: 1,
        ..Options::new(ACCESS_KEY, SECRET_KEY)
    })
    .unwrap()
}

fn version(service: Service) -> &'static str {
    match service {
        Service::AlibabaEcs => "2014-05-26",
        Service::AlibabaEns => "2017-11-10",
        Service::AlibabaSwas => "2020-06-01",
        other => panic!("{} is of another vendor", other.name()),
    }
}

/// A request that is yet to be signed. Fields are public so that tests can spoil them.
#[derive(Clone)]
pub(crate) struct Unsigned {
    pub(crate) service: Service,
    pub(crate) action: String,
    pub(crate) parameters: Vec<(String, String)>,
    pub(crate) method: String,
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
    pub(crate) token: Option<String>,
    pub(crate) time: SystemTime,
    pub(crate) nonce: String,
    pub(crate) format: Option<String>,
    /// None: the service's own.
    pub(crate) version: Option<String>,
    /// More headers to sign (V3).
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Unsigned {
    fn version(&self) -> &str {
        self.version.as_deref().unwrap_or(version(self.service))
    }

    pub(crate) fn new(service: Service, action: &str, parameters: &[(&str, &str)]) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        Self {
            service,
            action: action.into(),
            parameters: parameters
                .iter()
                .map(|(n, v)| ((*n).into(), (*v).into()))
                .collect(),
            method: "POST".into(),
            access_key: ACCESS_KEY.into(),
            secret_key: SECRET_KEY.into(),
            token: None,
            time: SystemTime::now(),
            nonce: format!("nonce-{}", COUNT.fetch_add(1, Ordering::Relaxed)),
            format: Some("JSON".into()),
            version: None,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    pub(crate) fn v3(&self) -> Request {
        let query = canonical_query(&self.parameters);
        let mut headers: Vec<(String, String)> = [
            ("host", "ecs.example.com"),
            ("x-acs-action", &self.action),
            ("x-acs-version", self.version()),
            ("x-acs-date", &self.timestamp()),
            ("x-acs-signature-nonce", &self.nonce),
            (
                "x-acs-content-sha256",
                &hex(digest::digest(&digest::SHA256, &self.body).as_ref()),
            ),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        if let Some(token) = &self.token {
            headers.push(("x-acs-accesskey-id".into(), self.access_key.clone()));
            headers.push(("x-acs-security-token".into(), token.clone()));
        }
        headers.extend(self.headers.clone());
        headers.sort();
        let names: Vec<&str> = headers.iter().map(|(name, _)| &**name).collect();
        let names = names.join(";");
        let lines: String = headers
            .iter()
            .map(|(name, value)| format!("{name}:{value}\n"))
            .collect();
        let hash = hex(digest::digest(&digest::SHA256, &self.body).as_ref());
        let canonical = format!("{}\n/\n{query}\n{lines}\n{names}\n{hash}", self.method);
        let to_sign = format!(
            "ACS3-HMAC-SHA256\n{}",
            hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref())
        );
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.secret_key.as_bytes());
        let signature = hex(hmac::sign(&key, to_sign.as_bytes()).as_ref());
        headers.push((
            "Authorization".into(),
            format!(
                "ACS3-HMAC-SHA256 Credential={},SignedHeaders={names},Signature={signature}",
                self.access_key
            ),
        ));
        Request {
            method: self.method.clone(),
            target: if query.is_empty() {
                "/".into()
            } else {
                format!("/?{query}")
            },
            headers,
            body: self.body.clone(),
        }
    }

    pub(crate) fn v1(&self) -> Request {
        let mut parameters = self.parameters.clone();
        let mut add = |name: &str, value: &str| parameters.push((name.into(), value.into()));
        add("Action", &self.action);
        add("Version", self.version());
        add("AccessKeyId", &self.access_key);
        add("SignatureMethod", "HMAC-SHA1");
        add("SignatureVersion", "1.0");
        add("SignatureType", "");
        add("SignatureNonce", &self.nonce);
        add("Timestamp", &self.timestamp());
        if let Some(format) = &self.format {
            add("Format", format);
        }
        if let Some(token) = &self.token {
            add("SecurityToken", token);
        }
        let query = canonical_query(&parameters);
        let to_sign = format!("{}&%2F&{}", self.method, encode(&query));
        let key = hmac::Key::new(
            hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            format!("{}&", self.secret_key).as_bytes(),
        );
        let signature = STANDARD.encode(hmac::sign(&key, to_sign.as_bytes()));
        Request {
            method: self.method.clone(),
            target: format!("/?{query}&Signature={}", encode(&signature)),
            headers: vec![("Host".into(), "ecs.example.com".into())],
            body: Vec::new(),
        }
    }

    pub(crate) fn timestamp(&self) -> String {
        humantime::format_rfc3339_seconds(self.time).to_string()
    }
}

/// Signs with V3 and sends; any answer will do.
pub(crate) fn call(cloud: &CloudSim, service: Service, action: &str, parameters: &[(&str, &str)]) -> Reply {
    send(
        cloud.url(service),
        &Unsigned::new(service, action, parameters).v3(),
    )
    .unwrap()
}

/// Sends and expects an answer to be read whole.
pub(crate) fn send(url: &str, request: &Request) -> io::Result<Reply> {
    let mut connection = Connection::open(url);
    connection.send(request)?;
    connection.receive()
}

/// One request of the admin interface.
pub(crate) fn admin(cloud: &CloudSim, method: &str, path: &str, body: &str) -> Reply {
    admin_at(&cloud.urls().admin, method, path, body)
}

/// The same for a cloud whose admin interface is at this URL.
pub(crate) fn admin_at(url: &str, method: &str, path: &str, body: &str) -> Reply {
    let request = Request {
        method: method.into(),
        target: path.into(),
        headers: vec![("Host".into(), "admin".into())],
        body: body.into(),
    };
    send(url, &request).unwrap()
}

/// A kept-alive connection.
pub(crate) struct Connection(BufReader<TcpStream>);

impl Connection {
    pub(crate) fn open(url: &str) -> Self {
        let stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self(BufReader::new(stream))
    }

    /// Headers are written as they are, in their order; a length is added where there is none.
    pub(crate) fn send(&mut self, request: &Request) -> io::Result<()> {
        let mut head = format!("{} {} HTTP/1.1\r\n", request.method, request.target);
        for (name, value) in &request.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if request.header("content-length").is_none() {
            head.push_str(&format!("Content-Length: {}\r\n", request.body.len()));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend(&request.body);
        self.0.get_mut().write_all(&bytes)
    }

    pub(crate) fn receive(&mut self) -> io::Result<Reply> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            if line == "\r\n" {
                break;
            }
            lines.push(line.trim_end().to_owned());
        }
        let status = lines[0].split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<(String, String)> = lines[1..]
            .iter()
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let mut reply = Reply {
            status,
            headers,
            body: String::new(),
        };
        let length = reply.header("content-length").unwrap().parse().unwrap();
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        reply.body = String::from_utf8(body).unwrap();
        Ok(reply)
    }
}

pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| &**value)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The vendor's error code; empty for success.
    pub(crate) fn code(&self) -> String {
        self.json()["Code"].as_str().unwrap_or_default().to_owned()
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16, code: &str) -> Value {
        assert_eq!((self.status, &*self.code()), (status, code), "{}", self.body);
        self.json()
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        self.expect(200, "")
    }
}

fn canonical_query(parameters: &[(String, String)]) -> String {
    let mut parameters = parameters.to_vec();
    parameters.sort();
    let pairs: Vec<String> = parameters
        .iter()
        .map(|(n, v)| format!("{}={}", encode(n), encode(v)))
        .collect();
    pairs.join("&")
}

fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
            byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
