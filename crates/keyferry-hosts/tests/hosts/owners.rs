//! Files of other users than the one who logs in.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use keyferry_hosts::{Account, Host, HostErrorKind, Outcome, Reply};
use keyferry_tests::fleet::{HostOptions, Shell};

use crate::fixture::{Bench, line, put, remove, verify};

/// A host whose logins `root` and `deploy` change the files of `app`.
fn bench(shell: Shell) -> Bench {
    Bench::new([HostOptions {
        sudo: true,
        ..HostOptions::new("web-1", shell).with_users(&["deploy", "root", "app"])
    }])
}

fn app(bench: &Bench, editor: &str, path: Option<&Path>) -> Host {
    Host {
        account: Account {
            editor: Some(editor.to_owned()),
            owner: Some("app".to_owned()),
            sudo: editor != "root",
            path: path.map(|path| path.display().to_string()),
        },
        ..bench.host("app@web-1")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_users_folder_the_user_changes_the_file() {
    for shell in [Shell::Fish, Shell::Csh] {
        let bench = bench(shell);
        let host = bench.fleet.host("web-1");
        let uid = host.uid("app");
        let whole = host.home_inside("app").join(".ssh/authorized_keys");
        let file = host.authorized_keys_path("app");
        for (editor, path) in [("root", None), ("root", Some(&*whole)), ("deploy", Some(&*whole))] {
            // As root made it the group would be root's.
            fs::remove_dir_all(file.parent().expect("a folder")).expect("it is there");
            let account = app(&bench, editor, path);
            let reply = bench.run_on(account.clone(), put(1)).await;
            assert!(
                matches!(reply, Ok(Reply::Put { already: false, .. })),
                "{shell:?} {editor} {path:?}: {reply:?}"
            );
            for path in [&*file, file.parent().expect("a folder")] {
                let facts = fs::metadata(path).expect("it was made");
                assert_eq!(
                    (facts.uid(), facts.gid()),
                    (uid, uid),
                    "{editor}: {}",
                    path.display()
                );
            }
            assert!(bench.run_on(account.clone(), verify(1)).await.is_ok());
            bench.run_on(account.clone(), put(2)).await.expect("another line");
            let reply = bench.run_on(account, remove(1, 2)).await;
            assert!(matches!(reply, Ok(Reply::Removed { .. })), "{editor}: {reply:?}");
            assert_eq!(
                fs::read_to_string(&file).expect("it is there"),
                format!("{}\n", line(1))
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_link_of_a_users_leads_root_anywhere() {
    let bench = bench(Shell::Dash);
    let host = bench.fleet.host("web-1");
    let before = host.authorized_keys_of("root");
    // To where root alone may write, by a link on the way there and by one in the folder of the lock.
    let door = host.home("app").join("door");
    symlink(host.home_inside("root"), &door).expect("links can be made");
    let through = host.home_inside("app").join("door/.ssh/authorized_keys");
    let lock = host.home("app").join(".ssh/.keyferry-lock");
    fs::create_dir(&lock).expect("folders can be made");
    symlink(
        host.home_inside("root").join(".ssh/authorized_keys"),
        lock.join("new"),
    )
    .expect("links can be made");
    for path in [&door, &lock, &lock.join("new")] {
        std::os::unix::fs::lchown(path, Some(host.uid("app")), None).expect("owners can be set");
    }
    for editor in ["root", "deploy"] {
        for path in [&through, &host.home_inside("app").join(".ssh/authorized_keys")] {
            let result = bench.run_on(app(&bench, editor, Some(path)), put(1)).await;
            let error = result.expect_err("it is a trap");
            assert_eq!(error.outcome, Outcome::Unchanged, "{error:?}");
        }
    }
    assert_eq!(host.authorized_keys_of("root"), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roots_own_folder_stays_roots() {
    let bench = bench(Shell::Dash);
    let host = bench.fleet.host("web-1");
    let base = host.home_inside("app");
    let folder = base.ancestors().nth(2).expect("the host's folder").join("keys.d");
    for editor in ["root", "deploy"] {
        let account = app(&bench, editor, Some(&folder.join("%u")));
        bench.run_on(account.clone(), put(1)).await.expect("root may");
        let facts = |path: &Path| {
            let facts = fs::metadata(path).expect("it was made");
            (facts.mode() & 0o7777, facts.uid())
        };
        assert_eq!(facts(&folder), (0o755, 0));
        assert_eq!(facts(&folder.join("app")), (0o644, 0));

        // Once others can change it, root does not.
        let before = fs::read(folder.join("app")).expect("it is there");
        for (path, uid, mode) in [(&*folder, host.uid("deploy"), 0o755), (&*folder, 0, 0o775)] {
            chown(path, Some(uid), None).expect("owners can be set");
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("modes can be set");
            let error = bench
                .run_on(account.clone(), put(2))
                .await
                .expect_err("others may change it");
            assert_eq!(error.kind, HostErrorKind::File, "{error:?}");
            assert!(error.message.contains("root changes no file"), "{error:?}");
            assert!(!folder.join(".keyferry-lock").exists());
            assert_eq!(fs::read(folder.join("app")).expect("it is there"), before);
        }
        fs::remove_dir_all(&folder).expect("it is there");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_login_never_changes_its_own_file_instead() {
    let bench = bench(Shell::Dash);
    let host = bench.fleet.host("web-1");
    let before = (host.authorized_keys_of("root"), host.authorized_keys_of("deploy"));
    let account = Host {
        account: Account {
            editor: Some("root".to_owned()),
            ..Account::default()
        },
        ..bench.host("web-1")
    };
    for work in [put(1), remove(1, 2)] {
        let error = bench
            .run_on(account.clone(), work)
            .await
            .expect_err("it is not said whose file it is");
        assert_eq!(error.kind, HostErrorKind::Settings, "{error:?}");
        assert!(
            error.message.contains("`web-1` names no user") && error.remedy.contains("users"),
            "{error:?}"
        );
    }
    assert_eq!(
        (host.authorized_keys_of("root"), host.authorized_keys_of("deploy")),
        before
    );
}
