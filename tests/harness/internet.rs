//! The vendors' own host names, led to the loopback cloud: a proxy that answers CONNECT and speaks TLS as they would.
//!
//! What a daemon is given of it is what a user behind a company's proxy has: `[network] proxy` and `ca_file`. So accounts
//! reach the cloud under the vendors' names, over https, without a line of their own about it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use cloud_sim::{CloudSim, Service};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustix::event::{PollFd, PollFlags, poll};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection};

/// A running proxy. Ended on drop.
#[derive(Debug)]
pub struct Internet {
    port: u16,
    authority: String,
    asked: Arc<Mutex<Vec<String>>>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Internet {
    /// Leads the hosts of every service of this cloud to it.
    ///
    /// # Panics
    /// When loopback has no free port.
    pub fn leading_to(cloud: &CloudSim) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let port = listener
            .local_addr()
            .expect("a bound socket has an address")
            .port();
        let urls = Service::ALL.map(|service| (service, cloud.url(service).to_owned()));
        let issuer = Arc::new(Authority::new());
        let (asked, stopping) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        Self {
            port,
            authority: issuer.certificate(),
            asked: Arc::clone(&asked),
            stopping: Arc::clone(&stopping),
            thread: Some(std::thread::spawn(move || {
                for stream in listener.incoming() {
                    if stopping.load(Ordering::Relaxed) {
                        return;
                    }
                    let (Ok(stream), urls) = (stream, urls.clone()) else {
                        continue;
                    };
                    let (issuer, asked) = (Arc::clone(&issuer), Arc::clone(&asked));
                    // Who goes away in the middle of it is the case's own affair.
                    std::thread::spawn(move || {
                        let _ = answer(stream, &urls, &issuer, &asked);
                    });
                }
            })),
        }
    }

    /// Writes the certificate authority to a file, and says what keyferry.toml needs of it.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn settings(&self, ca_file: &Path) -> String {
        std::fs::write(ca_file, &self.authority).expect("a certificate can be written");
        format!(
            "[network]\nproxy = \"http://127.0.0.1:{}\"\nca_file = \"{}\"\n",
            self.port,
            ca_file.display()
        )
    }

    /// The hosts that were asked for so far, in order.
    ///
    /// # Panics
    /// When a thread of it panicked.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no thread panics with it").clone()
    }
}

impl Drop for Internet {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        // It waits for a connection.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The service that answers under this name in the world.
fn service_of(host: &str) -> Option<Service> {
    Some(match host {
        "ens.aliyuncs.com" => Service::AlibabaEns,
        _ if host.starts_with("swas.") && host.ends_with(".aliyuncs.com") => Service::AlibabaSwas,
        // The logins of a vendor are at each of its services here.
        _ if host.ends_with(".aliyuncs.com") => Service::AlibabaEcs,
        _ if host.ends_with(".amazonaws.com") => Service::AwsEc2,
        _ if host.ends_with(".myhuaweicloud.com") => Service::HuaweiEcs,
        _ if host.ends_with(".volcengineapi.com") => Service::VolcengineEcs,
        _ => return None,
    })
}

fn answer(
    stream: TcpStream,
    urls: &[(Service, String)],
    issuer: &Authority,
    asked: &Mutex<Vec<String>>,
) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let host = line
        .strip_prefix("CONNECT ")
        .and_then(|rest| rest.split(':').next())
        .unwrap_or_default()
        .to_owned();
    while line.trim_end() != "" {
        line.clear();
        reader.read_line(&mut line)?;
    }
    asked.lock().map_err(|_| io::ErrorKind::Other)?.push(host.clone());
    let mut stream = reader.into_inner();
    let url = service_of(&host).and_then(|service| urls.iter().find(|(known, _)| *known == service));
    let Some((_, url)) = url else {
        return stream.write_all(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n");
    };
    let cloud = TcpStream::connect(url.trim_start_matches("http://"))?;
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    let tls = ServerConnection::new(issuer.configuration(&host)).map_err(io::Error::other)?;
    pump(stream, tls, cloud)
}

/// Passes bytes on in both directions until one side is done.
fn pump(mut client: TcpStream, mut tls: ServerConnection, mut cloud: TcpStream) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    loop {
        while tls.wants_write() {
            tls.write_tls(&mut client)?;
        }
        let mut waiting = [
            PollFd::new(&client, PollFlags::IN),
            PollFd::new(&cloud, PollFlags::IN),
        ];
        poll(&mut waiting, None)?;
        let [from_client, from_cloud] = waiting.map(|waiting| !waiting.revents().is_empty());
        if from_client {
            if tls.read_tls(&mut client)? == 0 {
                return Ok(());
            }
            let state = tls.process_new_packets().map_err(io::Error::other)?;
            let mut left = state.plaintext_bytes_to_read();
            while left > 0 {
                let count = tls.reader().read(&mut buffer)?;
                cloud.write_all(&buffer[..count])?;
                left -= count;
            }
        }
        if from_cloud {
            let count = cloud.read(&mut buffer)?;
            if count == 0 {
                tls.send_close_notify();
                tls.write_tls(&mut client)?;
                return Ok(());
            }
            tls.writer().write_all(&buffer[..count])?;
        }
    }
}

/// A certificate authority of its own.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key can be made");
        let issuer = CertifiedIssuer::self_signed(parameters, key).expect("a certificate can be made");
        Self { issuer }
    }

    /// As PEM.
    fn certificate(&self) -> String {
        self.issuer.pem()
    }

    /// A server of this name.
    fn configuration(&self, host: &str) -> Arc<ServerConfig> {
        let key = KeyPair::generate().expect("a key can be made");
        let parameters = CertificateParams::new(vec![host.to_owned()]).expect("a host's name");
        let certificate = parameters
            .signed_by(&key, &self.issuer)
            .expect("a certificate can be signed");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let configuration = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has the protocol's versions")
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            )
            .expect("key and certificate belong together");
        Arc::new(configuration)
    }
}
