use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};

use super::*;

/// A folder whose parents are fine for the user who runs the tests.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

fn write(path: &Path, mode: u32) {
    fs::write(path, "x").unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[track_caller]
fn refused(path: &Path, expected: &str) {
    let message = check(path).unwrap_err().to_string();
    assert!(
        message.contains(expected),
        "{message:?} should contain {expected:?}"
    );
}

#[test]
fn own_files_below_a_sticky_root_folder_pass() {
    let folder = folder();
    let file = folder.path().join("a.toml");
    write(&file, 0o644);
    check(&file).unwrap();
    check(folder.path()).unwrap();
}

#[test]
fn a_file_or_a_parent_that_others_may_write_is_refused() {
    let folder = folder();
    let file = folder.path().join("a.toml");
    write(&file, 0o646);
    refused(&file, "chmod go-w");
    write(&file, 0o644);
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o757)).unwrap();
    refused(&file, "others may change it");
}

#[test]
fn group_write_counts_unless_the_group_is_private() {
    let folder = folder();
    let file = folder.path().join("a.toml");
    write(&file, 0o664);
    let gid = fs::metadata(&file).unwrap().gid();
    let uid = rustix::process::geteuid().as_raw();
    let as_if = |private_group| walk(&file, &Reader { uid, private_group });
    assert!(as_if(Some(gid)).is_ok());
    assert!(matches!(
        as_if(Some(gid + 1)),
        Err(Distrust::WritableByOthers { .. })
    ));
    assert!(matches!(as_if(None), Err(Distrust::WritableByOthers { .. })));
}

#[test]
fn of_a_link_the_target_and_its_parents_count() {
    let folder = folder();
    let open = folder.path().join("open");
    fs::create_dir(&open).unwrap();
    let target = open.join("target.toml");
    write(&target, 0o644);
    let link = folder.path().join("link.toml");
    symlink("open/../open/target.toml", &link).unwrap();
    check(&link).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    refused(&link, "/open has mode 0777");
}

#[test]
fn links_in_a_circle_and_missing_files_are_named() {
    let folder = folder();
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    symlink(&b, &a).unwrap();
    symlink(&a, &b).unwrap();
    refused(&a, "links");
    refused(&folder.path().join("missing"), "missing: No such file");
}

#[test]
fn another_users_file_is_refused() {
    let folder = folder();
    let file = folder.path().join("a.toml");
    write(&file, 0o600);
    let foreign = rustix::process::geteuid().as_raw() + 4242;
    // Only root can give a file away; other users look at a file of root's with another reader instead.
    if chown(&file, Some(foreign), None).is_ok() {
        refused(&file, &format!("belongs to uid {foreign}"));
        assert!(matches!(check_private(&file), Err(Distrust::ForeignOwner { .. })));
    } else {
        let reader = Reader {
            uid: foreign,
            private_group: None,
        };
        assert!(matches!(walk(&file, &reader), Err(Distrust::ForeignOwner { .. })));
    }
}

#[test]
fn a_secret_must_be_private() {
    let folder = folder();
    let file = folder.path().join("secret.json");
    write(&file, 0o640);
    assert!(
        check_private(&file)
            .unwrap_err()
            .to_string()
            .contains("chmod 600")
    );
    write(&file, 0o600);
    check_private(&file).unwrap();
    assert!(matches!(
        check_private(folder.path()),
        Err(Distrust::NotAFile { .. })
    ));
}

#[test]
fn only_a_regular_file_is_opened_and_nothing_is_waited_for() {
    let folder = folder();
    let (file, pipe) = (folder.path().join("file"), folder.path().join("pipe"));
    write(&file, 0o600);
    let (_, metadata) = open_regular(&file).unwrap();
    assert_eq!(metadata.len(), 1);
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    for other in [pipe.as_path(), folder.path(), Path::new("/dev/null")] {
        let path = other.to_owned();
        let (done, outcome) = std::sync::mpsc::channel();
        std::thread::spawn(move || done.send(open_regular(&path).map(drop)));
        let outcome = outcome.recv_timeout(std::time::Duration::from_secs(20));
        assert!(
            matches!(outcome, Ok(Err(OpenError::NotAFile))),
            "{}",
            other.display()
        );
    }
    assert!(matches!(
        open_regular(&folder.path().join("none")),
        Err(OpenError::Io(error)) if error.kind() == std::io::ErrorKind::NotFound
    ));
}
