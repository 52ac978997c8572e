//! A cloud that says nothing: a request that hangs, and ports where nobody listens.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use cloud_sim::{Fault, FaultKind, RequestFilter, Service};
use keyferry_tests::daemon::Daemon;
use keyferry_tests::home::Home;
use keyferry_tests::ledger;
use keyferry_tests::openssh::assert_signs;
use rustix::net::{self, AddressFamily, SocketType};

use crate::scene::{ALL, Declared, Scene, Shown, wait_for_error, wait_for_errors, wait_for_state};

/// The requests of one kind hang until the time limit is over, before or after the commit; the reply never comes.
/// All four kinds hang at the same time, so that the limit of 30 s is waited for once. Where nothing had arrived, the next
/// try hangs too, so that what status says of the first is there to be looked at.
#[test]
fn a_request_that_hangs_is_given_up_and_what_came_of_it_is_found_out() {
    let scene = Scene::new();
    for declared in &ALL {
        let (kind, times) = match has_arrived(declared) {
            true => (FaultKind::HangAfterCommit, 1),
            false => (FaultKind::HangBeforeCommit, 2),
        };
        let fault = Fault::new(kind).service(declared.service).action(declared.action);
        scene.cloud.fault(fault.count(times));
    }
    scene.declare(&ALL);
    for declared in &ALL {
        scene.wait_for_tries(declared, 1);
    }
    // Other keys of the same accounts do not wait for them.
    scene
        .home
        .key("beside", "account = \"ecs\"\nalgorithm = \"ecdsa-p521\"\n");
    wait_for_state(&scene.daemon, "beside", "loaded");
    let gone = RequestFilter {
        outcome: Some("client_gone".to_owned()),
        ..RequestFilter::default()
    };
    scene
        .cloud
        .wait_for_requests(&gone, 4, Duration::from_secs(50))
        .expect("the time limit ends all four");
    let unanswered = Shown {
        kind: "unavailable",
        code: None,
        words: "did not answer in time",
        again: true,
    };
    let hanging: Vec<_> = ALL.iter().filter(|declared| !has_arrived(declared)).collect();
    for declared in &hanging {
        scene.wait_for_tries(declared, 2);
    }
    let keys: Vec<_> = hanging
        .iter()
        .map(|declared| (declared.key, unanswered))
        .collect();
    wait_for_errors(&scene.daemon, &keys);
    scene.cloud.release();
    scene.assert_sound();
    for declared in &ALL {
        let states = ledger::states(&scene.home, declared.key);
        let tries = scene.tries(declared).len();
        match (declared.is_created(), has_arrived(declared)) {
            // Its private half was lost with the reply.
            (true, true) => assert_eq!(states, ["deleted", "live"]),
            // It may still arrive, so it is looked for again later.
            (true, false) => assert_eq!(states, ["doubtful", "live"]),
            (false, _) => assert_eq!(states, ["live"], "{}", declared.key),
        }
        // One that had arrived, and whose private half is here, is not sent twice.
        let is_found = !declared.is_created() && has_arrived(declared);
        let expected = if is_found { 1 } else { 2 };
        assert_eq!(tries, expected, "{}", declared.key);
    }
}

/// Whether the cloud does what is asked before it falls silent.
fn has_arrived(declared: &Declared) -> bool {
    declared.service == Service::AlibabaEcs
}

#[test]
fn a_hanging_request_holds_up_no_other() {
    let scene = Scene::new();
    let hung = &ALL[0];
    scene.cloud.fault(
        Fault::new(FaultKind::HangBeforeCommit)
            .service(hung.service)
            .action(hung.action)
            .count(1),
    );
    scene.declare([hung]);
    scene.wait_for_tries(hung, 1);
    scene.declare(&ALL);
    for declared in &ALL[1..] {
        wait_for_state(&scene.daemon, declared.key, "loaded");
    }
    let waiting = scene.daemon.key(hung.key);
    assert_eq!(waiting["state"], "creating", "{waiting:#}");
    assert!(waiting["error"].is_null(), "{waiting:#}");
    scene.cloud.release();
    scene.assert_sound();
    assert_eq!(scene.tries(hung).len(), 1);
}

#[test]
fn a_cloud_that_is_down_and_comes_back() {
    let cloud = keyferry_tests::cloud();
    let home = Home::new();
    let mut ecs = Relay::prepare(cloud.url(Service::AlibabaEcs));
    let mut ens = Relay::prepare(cloud.url(Service::AlibabaEns));
    home.account("ecs", "alibaba-ecs", &ecs.url());
    home.account("ens", "alibaba-ens", &ens.url());
    let daemon = Daemon::start(&home);
    let scene = Scene { daemon, home, cloud };
    scene.declare(&ALL);
    let shown = Shown {
        kind: "unavailable",
        code: None,
        words: "refused the connection",
        again: true,
    };
    wait_for_errors(
        &scene.daemon,
        &ALL.each_ref().map(|declared| (declared.key, shown)),
    );
    assert_eq!(scene.cloud.requests().requests.len(), 0);

    ecs.up();
    ens.up();
    for declared in &ALL {
        wait_for_state(&scene.daemon, declared.key, "loaded");
    }
    scene.assert_sound();

    // Down again: the keys that are there sign on, and only the new one shows it.
    ecs.down();
    scene
        .home
        .key("later", "account = \"ecs\"\nalgorithm = \"ecdsa-p256\"\n");
    wait_for_error(&scene.daemon, "later", &shown);
    for declared in &ALL {
        let key = scene.daemon.key(declared.key);
        assert_eq!(key["state"], "loaded", "{key:#}");
        assert!(key["error"].is_null(), "{key:#}");
        let public = scene.home.path(&format!("state/public/{}.pub", declared.key));
        assert_signs(&scene.home.agent_socket(), &public);
    }
    ecs.up();
    wait_for_state(&scene.daemon, "later", "loaded");
    scene.assert_sound();
}

/// A port that can be opened and closed, with the cloud behind it.
struct Relay {
    port: u16,
    /// Bound to the port, so that nobody else is given it while nobody listens there.
    _reserved: OwnedFd,
    target: String,
    running: Option<Running>,
}

struct Running {
    stop: Arc<AtomicBool>,
    /// Gives back its connections.
    thread: JoinHandle<Vec<TcpStream>>,
}

impl Relay {
    /// A port where nobody listens yet.
    fn prepare(target: &str) -> Self {
        let reserved = net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        // Whoever listens there later says so too; of two that do, only one may listen.
        net::sockopt::set_socket_reuseaddr(&reserved, true).expect("it takes the option");
        net::bind(&reserved, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
        let address = net::getsockname(&reserved).expect("a bound socket has an address");
        let port = SocketAddrV4::try_from(address).expect("it is IPv4").port();
        let target = target.trim_start_matches("http://").to_owned();
        Self {
            port,
            _reserved: reserved,
            target,
            running: None,
        }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn up(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).expect("the port is ours");
        let (stop, target) = (Arc::new(AtomicBool::new(false)), self.target.clone());
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut connections = Vec::new();
            for client in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(client) = client else { continue };
                let Ok(server) = TcpStream::connect(&target) else {
                    continue;
                };
                pass_on(&client, &server);
                pass_on(&server, &client);
                connections.push(client);
            }
            connections
        });
        self.running = Some(Running { stop, thread });
    }

    /// Closes the port and the connections.
    fn down(&mut self) {
        if let Some(Running { stop, thread }) = self.running.take() {
            stop.store(true, Ordering::SeqCst);
            // Wakes it up.
            let _ = TcpStream::connect(("127.0.0.1", self.port));
            for connection in thread.join().expect("the relay ends") {
                let _ = connection.shutdown(std::net::Shutdown::Both);
            }
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.down();
    }
}

/// Copies until either side ends, on a thread of its own.
fn pass_on(from: &TcpStream, to: &TcpStream) {
    let (Ok(mut from), Ok(mut to)) = (from.try_clone(), to.try_clone()) else {
        return;
    };
    thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Write);
    });
}
