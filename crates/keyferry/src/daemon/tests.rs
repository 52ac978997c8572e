//! A daemon whose engine is gone.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use keyferry_engine::desired::Desired;
use keyferry_engine::engine::{KeyRing as _, Offer};
use keyferry_engine::private_key::PrivateKey;
use keyferry_plugin::contract::Algorithm;

use super::*;
use crate::cli::RuntimeArguments;
use crate::control::client::{Conversation, Door};
use crate::control::{Answer, Request};

/// What `ssh-add -l` says, and its exit code.
fn listed(socket: &Path) -> (Option<i32>, String) {
    let output = Command::new("ssh-add")
        .arg("-l")
        .env("SSH_AUTH_SOCK", socket)
        .output()
        .expect("ssh-add can be started (Debian: openssh-client)");
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

/// A signature by the agent's key, verified.
fn assert_signs(folder: &Path, socket: &Path, public_key: &str) {
    let key = folder.join("web.pub");
    std::fs::write(&key, public_key).unwrap();
    std::fs::write(folder.join("text"), "signed").unwrap();
    let output = Command::new("ssh-keygen")
        .args(["-Y", "sign", "-n", "test", "-f"])
        .args([&key, &folder.join("text")])
        .env("SSH_AUTH_SOCK", socket)
        .output()
        .expect("ssh-keygen can be started (Debian: openssh-client)");
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn without_its_engine_it_goes_on_serving_the_agent_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (agent_socket, control_socket) = (
        folder.path().join("agent.sock"),
        folder.path().join("control.sock"),
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let agent = Agent::new(Options::default());
        let listener = Listener::bind(&agent_socket).unwrap();
        let mut served = tokio::spawn(serve(
            listener,
            agent.clone(),
            Limits::default(),
            std::future::pending(),
        ));
        let half = PrivateKey::generate(Algorithm::Ed25519).unwrap();
        let public_key = half.public_key().line("web");
        let ring = AgentKeyRing(agent.clone());
        ring.load("web", 1, half.into_blob(), "web", Offer::Everywhere)
            .unwrap();

        let catalogue = Arc::new(Catalogue::new(&[folder.path().to_owned()], None).unwrap());
        let (_files, wanted) = watch::channel(Arc::<Desired>::default());
        let couriers = Arc::new(Couriers::new(Arc::clone(&catalogue), wanted.clone()));
        let state_directory = folder.path().join("state");
        let (hosts, questions) = SshHosts::new(
            agent.clone(),
            runtime.handle().clone(),
            &agent_socket,
            folder.path(),
        )
        .unwrap();
        let hosts = Arc::new(hosts);
        let (engine, mut engine_task) = Engine::start(Parts {
            ledger: Ledger::open(&state_directory).unwrap(),
            state_directory,
            desired: wanted.clone(),
            plugins: catalogue.clone(),
            clouds: Arc::clone(&couriers) as Arc<_>,
            key_ring: Arc::new(ring),
            hosts: Arc::clone(&hosts) as Arc<_>,
            user_agent: None,
            clock: Arc::new(SystemClock),
        })
        .unwrap();
        let reason = Arc::new(OnceLock::new());
        let (rescan, _rescans) = mpsc::channel(1);
        let control = Control {
            agent_socket: agent_socket.clone(),
            config_directory: std::path::PathBuf::new(),
            desired: wanted,
            hosts,
            questions,
            state_directory: std::path::PathBuf::new(),
            engine,
            engine_ended: Arc::clone(&reason),
            couriers,
            catalogue,
            plugins: server::SeenPlugins::default(),
            rescan,
        };
        let control_listener = Listener::bind(&control_socket).unwrap();
        let answering = tokio::spawn(server::serve(control_listener, Arc::new(control)));

        // As good as killing it.
        engine_task.abort();
        let (stop, stopped) = oneshot::channel::<()>();
        let end = async {
            let _ = stopped.await;
        };
        let known = Arc::clone(&reason);
        let (agent_path, place) = (agent_socket.clone(), folder.path().to_owned());
        let door = Door::of(&RuntimeArguments {
            runtime: Some(place.clone()),
        });
        let door = door.unwrap();
        let users = tokio::task::spawn_blocking(move || {
            let end = std::time::Instant::now() + Duration::from_secs(20);
            while known.get().is_none() {
                assert!(
                    std::time::Instant::now() < end,
                    "nobody noticed that the engine is gone"
                );
                std::thread::yield_now();
            }
            let (code, keys) = listed(&agent_path);
            assert_eq!(code, Some(0), "{keys}");
            assert_eq!(keys.lines().count(), 1);
            assert_signs(&place, &agent_path, &public_key);

            let ask = |request: &Request| {
                let mut conversation = Conversation::start(&door, request).unwrap();
                conversation.next().unwrap()
            };
            assert!(matches!(ask(&Request::Status), Answer::Status(_)));
            let refused = ask(&Request::Survey { names: Vec::new() });
            assert!(
                matches!(&refused, Answer::Refused(message) if message.contains("loaded keys go on serving")),
                "{refused:?}"
            );
            drop(stop);
        });
        let result = until_the_end(end, &mut engine_task, &mut served, &reason).await;
        users.await.unwrap();
        assert!(result.unwrap_err().contains("the engine crashed"));
        assert!(!served.is_finished(), "the agent is ended by whoever called");
        answering.abort();
        served.abort();
    });
}
