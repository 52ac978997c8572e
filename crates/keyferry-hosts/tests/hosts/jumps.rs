//! Hosts that are reached through others.

use keyferry_hosts::{HostErrorKind, Reply, Work};
use keyferry_tests::fleet::{HostOptions, Shell};

use crate::fixture::{Bench, line, put, verify};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jump_host_takes_the_users_own_key() {
    let bench = Bench::new([
        HostOptions::new("web-1", Shell::Fish),
        HostOptions::new("gate", Shell::Bash),
    ]);
    bench.set_config(&format!(
        "Host web-1\n  ProxyJump gate\nHost *\n  IdentityFile {}\n  LogLevel DEBUG1",
        bench.fleet.admin_key().display()
    ));
    let reply = bench.run("web-1", put(1)).await;
    assert!(
        matches!(reply, Ok(Reply::Put { already: false, .. })),
        "{reply:?}"
    );
    assert_eq!(
        bench.file(),
        bench.admin_and(&format!("{}\n", line(1))).as_bytes()
    );
    let verified = Reply::Verified {
        host_key: bench.host_key("web-1"),
    };
    assert_eq!(bench.verify("web-1", 1).await, Ok(verified));
    // The gate has never seen our key, and it lets the user's in: that is no proof for the host behind it.
    let error = bench.verify("web-1", 2).await.expect_err("not there");
    assert_eq!(error.kind, HostErrorKind::AnotherKey, "{error:?}");
    let gate = bench.fleet.host("gate").log();
    assert!(gate.contains("Accepted publickey"), "{gate}");

    // A gate that lets nobody in says nothing about the host behind it.
    bench.set_config(&format!(
        "Host web-1\n  ProxyJump gate\nHost gate\n  PubkeyAuthentication no\nHost *\n  IdentityFile {}",
        bench.fleet.admin_key().display()
    ));
    for work in [put(1), verify(1)] {
        let error = bench.run("web-1", work).await.expect_err("the gate is shut");
        assert_eq!(error.kind, HostErrorKind::JumpRefused, "{error:?}");
        assert!(error.message.contains("jump host"), "{error:?}");
    }
    bench.set_config(&format!(
        "Host web-1\n  ProxyJump gate\nHost *\n  IdentityFile {}",
        bench.fleet.admin_key().display()
    ));

    // What the gate does not get through to is unreachable, whatever the gate thinks of keys.
    bench.fleet.host("web-1").stop();
    let error = bench.run("web-1", verify(1)).await.expect_err("it is down");
    assert_eq!(error.kind, HostErrorKind::Unreachable, "{error:?}");
    bench.fleet.host("web-1").start();
    bench.fleet.host("gate").stop();
    let error = bench.run("web-1", verify(1)).await.expect_err("the gate is down");
    assert_eq!(error.kind, HostErrorKind::Unreachable, "{error:?}");
    assert!(error.message.contains("refused"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_is_resolved() {
    let bench = Bench::of_one();
    bench.set_config("Host web-1\n  HostKeyAlias the-web\n  RemoteCommand false");
    assert_eq!(
        bench.run("web-1", Work::Resolve).await,
        Ok(Reply::Resolved {
            host_name: "127.0.0.1".to_owned(),
            port: bench.fleet.host("web-1").port(),
            user: "deploy".to_owned(),
            host_key_alias: Some("the-web".to_owned()),
        })
    );
    for (destination, kind) in [
        ("-oProxyCommand=false", HostErrorKind::Settings),
        ("", HostErrorKind::Settings),
    ] {
        let error = bench
            .run(destination, Work::Resolve)
            .await
            .expect_err(destination);
        assert_eq!(error.kind, kind);
    }
    bench.set_config("Nonsense yes");
    let error = bench.run("web-1", Work::Resolve).await.expect_err("bad settings");
    assert_eq!(error.kind, HostErrorKind::Settings, "{error:?}");
    let error = bench.verify("web-1", 1).await.expect_err("bad settings");
    assert_eq!(error.kind, HostErrorKind::Settings, "{error:?}");
    assert!(error.message.contains("nonsense"), "{error:?}");
}
