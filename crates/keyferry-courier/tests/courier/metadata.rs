//! An instance's metadata service, at its own address: in a network of the test's own, so that nothing else is disturbed.

#![cfg(target_os = "linux")]

use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use keyferry_courier::{JobResult, Network};
use keyferry_plugin::contract::{Credentials, Operation};
use rustix::thread::UnshareFlags;

use crate::cloud::{Cloud, LOGIN_TOKEN, Reply, honest, login};
use crate::fixture::{hooks, job, library, list, one, setup};

/// Runs a test on a thread that has a network of its own, with nothing but the loopback and these addresses on it.
fn in_own_network(addresses: &[&str], test: impl AsyncFnOnce() + Send + 'static) {
    let addresses: Vec<String> = addresses.iter().map(|&address| address.to_owned()).collect();
    let own = std::thread::spawn(move || {
        #[expect(
            deprecated,
            reason = "its successor is unsafe for the sake of other flags; a network is no memory"
        )]
        rustix::thread::unshare(UnshareFlags::NEWNET).unwrap();
        let ip = |args: &[&str]| assert!(Command::new("ip").args(args).status().unwrap().success());
        ip(&["link", "set", "lo", "up"]);
        for address in addresses {
            ip(&["address", "add", &format!("{address}/32"), "dev", "lo"]);
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(test());
    });
    own.join().unwrap();
}

#[test]
fn credentials_ask_the_metadata_service_itself() {
    library();
    in_own_network(&["169.254.169.254"], async || {
        let service = Cloud::at("169.254.169.254:80", |request| match request.target.as_str() {
            "/metadata/credentials" => {
                let body = serde_json::json!({"id": "AKIDINSTANCE", "key": "instance-key-0123", "token": LOGIN_TOKEN});
                Reply::Json(200, body.to_string())
            }
            _ => Reply::Json(404, "{}".to_owned()),
        });
        let cloud = Cloud::start(honest);
        let proxy = Cloud::start(|_| login(LOGIN_TOKEN, &[]));
        let mut setup = setup(&cloud.endpoint, "metadata");
        // No proxy is asked: it would tell of its own machine.
        setup.network = Network {
            proxy: Some(proxy.endpoint.clone()),
            ..Network::default()
        };
        one(setup.clone(), hooks(), job(list())).await.unwrap();
        let sent = cloud.requests().remove(0);
        assert!(sent.header("authorization").starts_with("HOSTILE AKIDINSTANCE:"));
        assert_eq!(sent.header("x-security-token"), LOGIN_TOKEN);
        assert_eq!(service.requests().len(), 1);
        assert!(proxy.requests().is_empty());
        let job = job(Operation::Credentials(Credentials::default()));
        assert!(matches!(
            one(setup, hooks(), job).await,
            Ok(JobResult::Credentials { .. })
        ));
    });
}

#[test]
fn where_there_is_no_metadata_service_the_chain_goes_on_soon() {
    library();
    in_own_network(&["169.254.169.254"], async || {
        // Who connects waits: nobody accepts, and no more may queue. So it is where a router throws such packets away.
        let silent = TcpListener::bind("169.254.169.254:80").unwrap();
        rustix::net::listen(&silent, 0).unwrap();
        let address = silent.local_addr().unwrap();
        let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(300));
        let queued: Vec<_> = std::iter::repeat_with(connect).map_while(Result::ok).collect();
        assert!(!queued.is_empty());
        let cloud = Cloud::start(honest);
        let begun = Instant::now();
        let mut setup = setup(&cloud.endpoint, "metadata");
        setup.limits.connect_time = Duration::from_secs(100);
        setup.limits.request_time = Duration::from_secs(100);
        setup.limits.job_time = Duration::from_secs(200);
        one(setup, hooks(), job(list())).await.unwrap();
        assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
        // The environment, which the plugin reads next, has the key.
        assert!(
            cloud.requests()[0]
                .header("authorization")
                .starts_with("HOSTILE AKIDEXAMPLE:")
        );
    });
}
