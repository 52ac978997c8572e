//! A line's whole life over every login shell.

use keyferry_hosts::{Identity, Reply, Work};
use keyferry_tests::fleet::{HostOptions, Shell};

use crate::fixture::{Bench, generation, line, put, put_over, remove};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_shell_and_rc_files_that_print() {
    let hosts = Shell::ALL.iter().map(|&shell| {
        let options = HostOptions::new(&format!("{shell:?}").to_lowercase(), shell);
        options.noisy()
    });
    let bench = Bench::new(hosts);
    for host in bench.fleet.hosts() {
        let name = host.name();
        let before = String::from_utf8(host.authorized_keys()).expect("text");

        let reply = bench.run(name, put(1)).await;
        let Ok(Reply::Put { over, already, .. }) = reply else {
            panic!("{name}: {reply:?}");
        };
        assert_eq!((over, already), (Identity::SshConfig, false), "{name}");
        assert_eq!(
            host.authorized_keys(),
            format!("{before}{}\n", line(1)).as_bytes(),
            "{name}"
        );

        let verified = Reply::Verified {
            host_key: bench.host_key(name),
        };
        assert_eq!(bench.verify(name, 1).await, Ok(verified.clone()), "{name}");

        // Again, over the key itself: nothing changes.
        let reply = bench.run(name, put(1)).await;
        assert!(
            matches!(&reply, Ok(Reply::Put { over, already: true, .. }) if *over == generation(1)),
            "{name}: {reply:?}"
        );

        let over = vec![generation(1)];
        bench
            .run(name, put_over(over, 2))
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(bench.verify(name, 2).await, Ok(verified), "{name}");

        let reply = bench.run(name, remove(2, 1)).await;
        assert!(matches!(reply, Ok(Reply::Removed { .. })), "{name}: {reply:?}");
        assert_eq!(
            host.authorized_keys(),
            format!("{before}{}\n", line(2)).as_bytes(),
            "{name}"
        );

        let over = vec![generation(1), generation(2)];
        assert_eq!(
            bench.run(name, Work::Inspect { over }).await,
            Ok(Reply::Marked {
                lines: vec![line(2)],
                others: 1
            }),
            "{name}"
        );
        let left: Vec<_> = std::fs::read_dir(host.home("deploy").join(".ssh"))
            .expect("it is there")
            .map(|entry| entry.expect("it can be read").file_name())
            .filter(|name| name != "rc")
            .collect();
        assert_eq!(left, ["authorized_keys"], "{name}");
    }
}
