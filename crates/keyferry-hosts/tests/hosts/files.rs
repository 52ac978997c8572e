//! Files that are not as one would like them, compared byte for byte.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::time::{Duration, Instant};

use keyferry_hosts::{Account, HostErrorKind, Identity, Line, Outcome, Proof, Reply, Work};
use keyferry_tests::fleet::{HostOptions, Shell};

use crate::fixture::{Bench, append, generation, line, public_key, put, remove, verify};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_else_stays_byte_for_byte() {
    let bench = Bench::of_one();
    let host = bench.fleet.host("web-1");
    let admin = bench.admin_and("");
    let admin = admin.trim_end();
    let ours = line(1);
    let stranger = format!("{} somebody's {}", public_key(7), ours.marker);
    let many: String = (0..10_000)
        .map(|n| {
            format!(
                "from=\"10.0.0.1,192.168.*\",command=\"echo \\\"{n} x\\\"\" {} user-{n}\n",
                public_key(n % 200)
            )
        })
        .collect();
    for (name, before, joint) in [
        ("no last newline", admin.to_owned(), "\n"),
        ("CRLF", format!("# here\r\n{admin}\r\n\r\n"), ""),
        ("CRLF, no last newline", format!("# here\r\n{admin}"), "\n"),
        (
            "our marker in a comment",
            format!("{stranger}\n# {ours}\n{admin}\n"),
            "",
        ),
        (
            "bytes and tabs",
            format!("\t \u{feff}\u{1}garbage \"\n{admin}\n"),
            "",
        ),
        ("10,000 lines", format!("{many}{admin}\n"), ""),
    ] {
        host.set_authorized_keys(before.as_bytes());
        let began = Instant::now();
        let reply = bench.run("web-1", put(1)).await;
        assert!(
            matches!(reply, Ok(Reply::Put { already: false, .. })),
            "{name}: {reply:?}"
        );
        assert_eq!(
            host.authorized_keys(),
            format!("{before}{joint}{ours}\n").as_bytes(),
            "{name}"
        );
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{name}: {:?}",
            began.elapsed()
        );
        // With the next one in, ours goes again.
        append(host, &format!("{}\n", line(2)));
        let reply = bench.run("web-1", remove(2, 1)).await;
        assert!(matches!(reply, Ok(Reply::Removed { .. })), "{name}: {reply:?}");
        assert_eq!(
            host.authorized_keys(),
            format!("{before}{joint}{}\n", line(2)).as_bytes(),
            "{name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mode_and_owner_stay() {
    let bench = Bench::of_one();
    let host = bench.fleet.host("web-1");
    let path = host.authorized_keys_path("deploy");
    for (n, mode) in [(1, 0o640), (2, 0o400)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("modes can be set");
        bench.run("web-1", put(n)).await.expect("the admin's key logs in");
        let facts = fs::metadata(&path).expect("it is there");
        assert_eq!(
            (facts.mode() & 0o7777, facts.uid(), facts.gid()),
            (mode, host.uid("deploy"), host.uid("deploy"))
        );
    }
    let reply = bench.run("web-1", remove(2, 1)).await;
    assert!(matches!(reply, Ok(Reply::Removed { .. })), "{reply:?}");
    assert_eq!(fs::metadata(&path).expect("it is there").mode() & 0o7777, 0o400);
}

async fn assert_refused(bench: &Bench, work: Work, case: &str, words: &str) {
    let before = bench.file();
    let error = bench.run("web-1", work).await.expect_err(case);
    assert_eq!(error.kind, HostErrorKind::File, "{case}: {error:?}");
    assert_eq!(error.outcome, Outcome::Unchanged, "{case}");
    assert!(
        error.message.contains("web-1") && error.message.contains(words),
        "{case}: {error:?}"
    );
    assert_eq!(bench.file(), before, "{case}");
    let lock = bench
        .fleet
        .host("web-1")
        .home("deploy")
        .join(".ssh/.keyferry-lock");
    assert!(!lock.exists(), "{case}: the lock stays");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_changed_is_refused_with_the_reason() {
    for shell in [Shell::Dash, Shell::Busybox] {
        let bench = Bench::new([HostOptions {
            home_size: Some(256 << 10),
            ..HostOptions::new("web-1", shell)
        }]);
        let host = bench.fleet.host("web-1");
        append(host, &format!("{}\n{}\n", line(2), line(3)));
        let path = host.authorized_keys_path("deploy");
        let folder = path.parent().expect("a folder").to_owned();
        let uid = host.uid("deploy");
        let works = || [put(1), remove(2, 3)];

        host.set_read_only("deploy", true);
        for work in works() {
            assert_refused(&bench, work, "read-only", "Read-only file system").await;
        }
        host.set_read_only("deploy", false);

        host.fill("deploy");
        for work in works() {
            assert_refused(&bench, work, "full", "No space left").await;
        }
        host.make_room("deploy");

        let elsewhere = folder.join("elsewhere");
        fs::rename(&path, &elsewhere).expect("it can be renamed");
        symlink("elsewhere", &path).expect("links can be made");
        for work in works() {
            assert_refused(&bench, work, "a link", "symbolic link").await;
        }
        assert!(path.is_symlink());
        fs::rename(&elsewhere, &path).expect("it can be renamed");

        chown(&path, Some(0), None).expect("owners can be set");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("modes can be set");
        for work in works() {
            assert_refused(&bench, work, "root's", "belongs to another user").await;
        }
        chown(&path, Some(uid), None).expect("owners can be set");

        chown(&folder, Some(0), None).expect("owners can be set");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("modes can be set");
        for work in works() {
            assert_refused(&bench, work, "root's folder", "Permission denied").await;
        }
        chown(&folder, Some(uid), None).expect("owners can be set");

        // A full file system's leftovers would be in the way of nobody.
        bench
            .run("web-1", put(1))
            .await
            .expect("nothing is wrong with it any more");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_immutable_file_stays() {
    let bench = Bench::of_one();
    let host = bench.fleet.host("web-1");
    append(host, &format!("{}\n{}\n", line(2), line(3)));
    host.set_immutable("deploy", true);
    for work in [put(1), remove(2, 3)] {
        assert_refused(&bench, work, "immutable", "Operation not permitted").await;
    }
    host.set_immutable("deploy", false);
    bench.run("web-1", put(1)).await.expect("it can be changed again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_others_may_write_is_refused() {
    // sshd itself would let nobody in.
    let bench = Bench::new([HostOptions::new("web-1", Shell::Dash).with_sshd_config("StrictModes no\n")]);
    let host = bench.fleet.host("web-1");
    let path = host.authorized_keys_path("deploy");
    for (path, mode, back) in [
        (path.clone(), 0o660, 0o600),
        (path.clone(), 0o602, 0o600),
        (path.parent().expect("a folder").to_owned(), 0o770, 0o700),
    ] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("modes can be set");
        assert_refused(&bench, put(1), "writable", "others may write").await;
        fs::set_permissions(&path, fs::Permissions::from_mode(back)).expect("modes can be set");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_file_and_another_user() {
    let options = HostOptions {
        sudo: true,
        ..HostOptions::new("web-1", Shell::Bash).with_users(&["deploy", "app"])
    };
    let bench = Bench::new([options
        .with_sshd_config("Match User app\n  AuthorizedKeysFile .ssh/keys-of-%u .ssh/authorized_keys\n")]);
    let host = bench.fleet.host("web-1");
    let mut app = bench.host("app@web-1");
    app.account = Account {
        editor: Some("deploy".to_owned()),
        owner: Some("app".to_owned()),
        sudo: true,
        path: Some(".ssh/keys-of-%u".to_owned()),
    };
    let reply = bench.run_on(app.clone(), put(1)).await;
    assert!(
        matches!(reply, Ok(Reply::Put { already: false, .. })),
        "{reply:?}"
    );
    let path = host.home("app").join(".ssh/keys-of-app");
    assert_eq!(
        fs::read_to_string(&path).expect("it was made"),
        format!("{}\n", line(1))
    );
    let facts = fs::metadata(&path).expect("it is there");
    assert_eq!((facts.mode() & 0o7777, facts.uid()), (0o600, host.uid("app")));
    assert!(bench.run_on(app.clone(), verify(1)).await.is_ok());
    bench.run_on(app.clone(), put(2)).await.expect("another line");
    let reply = bench.run_on(app, remove(1, 2)).await;
    assert!(matches!(reply, Ok(Reply::Removed { .. })), "{reply:?}");
    assert_eq!(
        fs::read_to_string(&path).expect("it is there"),
        format!("{}\n", line(1))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn folder_and_file_are_made() {
    let bench = Bench::new([HostOptions::new("web-1", Shell::Fish)
        .with_sshd_config("AuthorizedKeysFile .ssh/authorized_keys .other_keys\n")]);
    let host = bench.fleet.host("web-1");
    let ssh = host.home("deploy").join(".ssh");
    fs::rename(
        ssh.join("authorized_keys"),
        host.home("deploy").join(".other_keys"),
    )
    .expect("it can be renamed");
    fs::remove_dir(&ssh).expect("it is empty");
    let over = vec![Identity::SshConfig];
    let reply = bench.run("web-1", Work::Inspect { over }).await;
    assert_eq!(
        reply,
        Ok(Reply::Marked {
            lines: Vec::new(),
            others: 0
        })
    );
    assert!(!ssh.exists(), "looking makes nothing");
    bench.run("web-1", put(1)).await.expect("it is made");
    assert_eq!(bench.file(), format!("{}\n", line(1)).as_bytes());
    let mode = |path: &std::path::Path| fs::metadata(path).expect("it is there").mode() & 0o7777;
    assert_eq!((mode(&ssh), mode(&ssh.join("authorized_keys"))), (0o700, 0o600));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_is_waited_for_and_an_abandoned_one_is_not() {
    let bench = Bench::of_one();
    let host = bench.fleet.host("web-1");
    let lock = host.home("deploy").join(".ssh/.keyferry-lock");
    let make = |holder: &str| {
        fs::create_dir(&lock).expect("folders can be made");
        fs::write(lock.join("holder"), holder).expect("files can be written");
        for path in [lock.clone(), lock.join("holder")] {
            chown(&path, Some(host.uid("deploy")), None).expect("owners can be set");
        }
    };
    let node = fs::read_to_string("/proc/sys/kernel/hostname").expect("the machine's name");
    make(&format!("{} 4194305\n", node.trim()));
    bench.run("web-1", put(1)).await.expect("nobody holds it");
    assert!(!lock.exists());
    make("elsewhere 1\n");
    let error = bench.run("web-1", put(2)).await.expect_err("somebody holds it");
    assert_eq!(
        (error.kind, error.outcome),
        (HostErrorKind::Busy, Outcome::Unchanged),
        "{error:?}"
    );
    assert!(lock.exists(), "it is somebody else's");
    assert_eq!(
        bench.file(),
        bench.admin_and(&format!("{}\n", line(1))).as_bytes()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn options_stand_before_the_key_and_are_renewed() {
    let bench = Bench::of_one();
    let with_key = |options: &str, itself: Option<Identity>| Work::Put {
        over: vec![Identity::SshConfig],
        line: Line {
            options: options.to_owned(),
            ..line(1)
        },
        itself,
        proof: Proof::Session,
    };
    let with = |options: &str| with_key(options, Some(generation(1)));
    for options in [
        "from=\"127.0.0.0/8,::1\"",
        "expiry-time=\"20990101Z\",no-pty",
        "expiry-time=\"209901010000\",no-pty",
    ] {
        bench
            .run("web-1", with(options))
            .await
            .expect("the admin's key logs in");
        let expected = bench.admin_and(&format!("{options} {}\n", line(1)));
        assert_eq!(bench.file(), expected.as_bytes());
        assert!(bench.verify("web-1", 1).await.is_ok());
    }
    let before = bench.file();
    let error = bench
        .run("web-1", with("from=\"a\nb\""))
        .await
        .expect_err("two lines");
    assert_eq!(error.kind, HostErrorKind::Settings);
    assert_eq!(bench.file(), before);

    // With what would not let the key in any more the line stays as it was.
    for options in [
        "from=\"10.9.9.9\"",
        "expiry-time=\"20200101\"",
        "expiry-time=\"soon\"",
    ] {
        let error = bench
            .run("web-1", with(options))
            .await
            .expect_err("it does not log in");
        assert_eq!(error.outcome, Outcome::Restored, "{error:?}");
        assert!(
            error.message.contains("put back") && error.remedy.contains("`options`"),
            "{error:?}"
        );
        assert_eq!(bench.file(), before, "{options}");
        assert!(bench.verify("web-1", 1).await.is_ok(), "{options}");
    }
    bench.sockets.agent.unload("web", 1);
    assert!(
        bench.run("web-1", with("no-pty")).await.is_err(),
        "without the key nothing is proven"
    );
    assert_eq!(bench.file(), before);

    // A key that is somebody else's is not tried.
    bench
        .run("web-1", with_key("from=\"10.9.9.9\"", None))
        .await
        .expect("the admin's key logs in");
    let expected = bench.admin_and(&format!("from=\"10.9.9.9\" {}\n", line(1)));
    assert_eq!(bench.file(), expected.as_bytes());
}
