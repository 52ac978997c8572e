use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::Duration;

use keyferry_plugin::contract::OperationKind;

use super::*;
use crate::enforce::hosts::Origin;

/// Answers connections one after the other with these bytes, and tells what it was sent.
fn server(answers: Vec<&'static [u8]>) -> (Origin, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = Origin::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut chunk = [0; 4096];
            while !request.windows(4).any(|window| window == b"\r\n\r\n") {
                match stream.read(&mut chunk).unwrap() {
                    0 => break,
                    count => request.extend_from_slice(&chunk[..count]),
                }
            }
            let _ = sender.send(String::from_utf8(request).unwrap());
            let _ = stream.write_all(answer);
        }
    });
    (origin, receiver)
}

fn request(origin: &Origin, method: &str) -> EvaluatedRequest {
    let value = |text: &str| Zeroizing::new(text.as_bytes().to_vec());
    EvaluatedRequest {
        method: method.to_owned(),
        origin: origin.clone(),
        path: "/a%20b".to_owned(),
        query: vec![("Name".to_owned(), value("a b/ü"))],
        headers: vec![("x-acs-action".to_owned(), value("List"))],
        body: value(""),
    }
}

fn client(network: &Network) -> Client {
    let limits = Limits {
        connect_time: Duration::from_secs(5),
        ..Limits::default()
    };
    Client::new(network, &limits).unwrap()
}

fn send(network: &Network, request: &EvaluatedRequest, time: Duration) -> Result<RawReply, SendError> {
    client(network).send(
        request,
        Destination::LoopbackEndpoint,
        OperationKind::Create,
        time,
    )
}

const LONG: Duration = Duration::from_secs(10);

#[track_caller]
fn check_failure(result: Result<RawReply, SendError>, expected_sent: bool, expected: &str) {
    match result {
        Err(SendError::Transport { sent, message }) => {
            assert!(message.contains(expected), "{message}");
            assert_eq!(sent, expected_sent, "{message}");
        }
        Err(SendError::Forbidden(message)) => panic!("{message}"),
        Ok(reply) => panic!("status {}", reply.status),
    }
}

#[test]
fn a_request_is_sent_as_it_was_signed() {
    let (origin, sent) = server(vec![
        b"HTTP/1.1 200 OK\r\nX-Request: 7\r\nContent-Length: 2\r\n\r\nhi",
    ]);
    let reply = send(&Network::default(), &request(&origin, "POST"), LONG).unwrap();
    assert_eq!((reply.status, reply.body.as_slice()), (200, b"hi".as_slice()));
    let is_seven = |(name, value): &(String, Zeroizing<Vec<u8>>)| name == "x-request" && **value == *b"7";
    assert!(reply.headers.iter().any(is_seven));
    let sent = sent.recv().unwrap();
    assert!(
        sent.starts_with("POST /a%20b?Name=a%20b%2F%C3%BC HTTP/1.1\r\n"),
        "{sent}"
    );
    let lower = sent.to_lowercase();
    assert_eq!(lower.matches("\r\nhost: ").count(), 1, "{sent}");
    assert!(
        lower.contains(&format!("\r\nhost: {}\r\n", origin.authority())),
        "{sent}"
    );
    assert!(lower.contains("\r\ncontent-length: 0\r\n"), "{sent}");
    assert!(lower.contains("\r\nx-acs-action: list\r\n"), "{sent}");
    assert!(!lower.contains("accept-encoding"), "{sent}");
}

#[test]
fn errors_of_the_provider_and_redirects_are_replies() {
    let (origin, _sent) = server(vec![
        b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbusy",
        b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    ]);
    let network = Network::default();
    assert_eq!(
        send(&network, &request(&origin, "GET"), LONG).unwrap().status,
        503
    );
    assert_eq!(
        send(&network, &request(&origin, "DELETE"), LONG).unwrap().status,
        302
    );
}

#[test]
fn it_is_told_whether_anything_was_sent() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = Origin::parse(&format!("http://{free}")).unwrap();
    check_failure(
        send(&Network::default(), &request(&nobody, "POST"), LONG),
        false,
        "refused the connection",
    );

    let (origin, _sent) = server(vec![b""]);
    check_failure(
        send(&Network::default(), &request(&origin, "POST"), LONG),
        true,
        "the connection to 127.0.0.1",
    );

    let (origin, _sent) = server(vec![b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"]);
    check_failure(
        send(&Network::default(), &request(&origin, "POST"), LONG),
        true,
        "broke before the whole reply",
    );

    let (origin, _sent) = server(vec![b"SSH-2.0-OpenSSH_9.2\r\n\r\n"]);
    check_failure(
        send(&Network::default(), &request(&origin, "POST"), LONG),
        true,
        "127.0.0.1",
    );
}

#[test]
fn time_and_size_are_limited() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = Origin::parse(&format!("http://{}", silent.local_addr().unwrap())).unwrap();
    check_failure(
        send(
            &Network::default(),
            &request(&origin, "POST"),
            Duration::from_millis(200),
        ),
        true,
        "did not answer in time",
    );
    let long: &'static [u8] = Box::leak(
        [
            b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n".as_slice(),
            &vec![b'x'; 2_000_000],
        ]
        .concat()
        .into_boxed_slice(),
    );
    let (origin, _sent) = server(vec![long]);
    check_failure(
        send(&Network::default(), &request(&origin, "POST"), LONG),
        true,
        "has more than 1048576 bytes",
    );
}

#[test]
fn tls_failures_send_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = Origin::parse(&format!("https://{}", listener.local_addr().unwrap())).unwrap();
    std::thread::spawn(move || {
        for answer in [b"".as_slice(), b"HTTP/1.1 400 Bad Request\r\n\r\n"] {
            let (mut stream, _) = listener.accept().unwrap();
            // What a client of TLS says first is longer.
            stream.read_exact(&mut [0; 64]).unwrap();
            stream.write_all(answer).unwrap();
        }
    });
    for expected in ["127.0.0.1", "TLS with 127.0.0.1"] {
        let result = client(&Network::default()).send(
            &request(&origin, "POST"),
            Destination::Endpoint,
            OperationKind::Create,
            LONG,
        );
        check_failure(result, false, expected);
    }
}

#[test]
fn forbidden_addresses_are_refused_after_resolution() {
    let origin = Origin::parse("https://localhost").unwrap();
    let result = client(&Network::default()).send(
        &request(&origin, "POST"),
        Destination::Vendor,
        OperationKind::List,
        LONG,
    );
    match result {
        Err(SendError::Forbidden(message)) => assert!(message.contains("is on this machine"), "{message}"),
        _ => panic!("not refused"),
    }
}

#[test]
fn a_proxy_that_fails_sends_nothing() {
    let (proxy, asked) = server(vec![b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"]);
    let network = Network {
        proxy: Some(format!("http://{}", proxy.authority())),
        ..Network::default()
    };
    let origin = Origin::parse("https://cloud.example").unwrap();
    let result = client(&network).send(
        &request(&origin, "POST"),
        Destination::Vendor,
        OperationKind::Create,
        LONG,
    );
    check_failure(result, false, "proxy does not connect to cloud.example");
    let asked = asked.recv().unwrap();
    assert!(
        asked.starts_with("CONNECT cloud.example:443 HTTP/1.1\r\n"),
        "{asked}"
    );

    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let network = Network {
        proxy: Some(format!("http://{free}")),
        ..Network::default()
    };
    let result = client(&network).send(
        &request(&origin, "POST"),
        Destination::Vendor,
        OperationKind::Create,
        LONG,
    );
    check_failure(result, false, "refused the connection");
}

#[test]
fn the_proxies_that_the_config_takes_are_taken() {
    for proxy in [
        "http://proxy.example.com:3128",
        "socks5://127.0.0.1:1080",
        "http://[::1]:3128",
    ] {
        client(&Network {
            proxy: Some(proxy.to_owned()),
            ..Network::default()
        });
    }
}

#[test]
fn hosts_of_no_proxy_and_the_loopback_go_without() {
    let network = Network {
        proxy: Some("http://127.0.0.1:1".to_owned()),
        no_proxy: vec![".lan".to_owned()],
        ca_file: None,
    };
    let (origin, _sent) = server(vec![b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]);
    let result = client(&network).send(
        &request(&origin, "POST"),
        Destination::Endpoint,
        OperationKind::Create,
        LONG,
    );
    assert_eq!(result.ok().map(|reply| reply.status), Some(200));
}

#[test]
fn wrong_network_settings_are_named_without_their_values() {
    let with = |proxy: Option<&str>, ca_file: Option<&str>| {
        let network = Network {
            proxy: proxy.map(str::to_owned),
            no_proxy: Vec::new(),
            ca_file: ca_file.map(Into::into),
        };
        Client::new(&network, &Limits::default()).err().unwrap()
    };
    for wrong in [
        "gopher://x:1",
        "http://me:sesame@x:1",
        "https://x:1",
        "socks4://x:1",
        "socks5://sesame@x:1",
        "socks5h://x:1",
        "x:1",
        "",
    ] {
        let message = with(Some(wrong), None);
        assert!(
            message.contains("[network] proxy") && !message.contains("sesame"),
            "{message}"
        );
    }
    assert!(with(None, Some("/nowhere/ca.pem")).contains("/nowhere/ca.pem"));
    let directory = tempfile::tempdir().unwrap();
    let empty = directory.path().join("ca.pem");
    std::fs::write(&empty, "nothing").unwrap();
    assert!(with(None, Some(empty.to_str().unwrap())).contains("holds no certificate"));
}
