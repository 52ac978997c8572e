//! Files that others may write, and files that may not be read.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::config::fixture::{Directory, KEY, Manifests, set_mode};
use crate::config::{check as check_directory, read};
use crate::desired::{FileReport, FileState};

#[track_caller]
fn find<'r>(reports: &'r [FileReport], path: &Path) -> &'r FileReport {
    reports
        .iter()
        .find(|report| report.path == path)
        .expect("the path has a report")
}

#[test]
fn a_file_that_others_may_write_is_refused_until_it_is_mended() {
    let directory = Directory::new();
    directory.write("keys/a.toml", KEY);
    directory.write("keys/b.toml", KEY);
    let (path, plugins) = (directory.path().join("keys/a.toml"), Manifests::new());
    set_mode(&path, 0o646);
    let state = read(&directory.path(), &plugins, None);
    let desired = state.desired();
    let report = find(&desired.files, &path);
    assert_eq!(report.state, FileState::Refused);
    assert!(
        report
            .message
            .as_deref()
            .is_some_and(|message| message.contains("chmod go-w")),
        "{report:?}"
    );
    assert_eq!(desired.keys.keys().collect::<Vec<_>>(), ["b"]);
    set_mode(&path, 0o644);
    let state = read(&directory.path(), &plugins, Some(&state));
    assert_eq!(find(&state.desired().files, &path).state, FileState::Loaded);
    set_mode(&path, 0o646);
    let state = read(&directory.path(), &plugins, Some(&state));
    assert_eq!(find(&state.desired().files, &path).state, FileState::Kept);
    assert_eq!(state.desired().keys.len(), 2);
}

#[test]
fn a_folder_that_others_may_write_is_reported_once_and_changes_nothing() {
    let directory = Directory::new();
    directory.write("keys/a.toml", KEY);
    let plugins = Manifests::new();
    let state = read(&directory.path(), &plugins, None);
    for (folder, known) in [(directory.path().join("keys"), 1), (directory.path(), 1)] {
        set_mode(&folder, 0o757);
        let fresh = check_directory(&directory.path(), &plugins);
        assert_eq!(find(&fresh, &folder).state, FileState::Refused);
        fs::write(directory.path().join("keys/b.toml"), KEY).unwrap();
        let later = read(&directory.path(), &plugins, Some(&state));
        assert_eq!(later.desired().keys.len(), known);
        let desired = later.desired();
        let report = find(&desired.files, &folder);
        assert_eq!(report.state, FileState::Kept);
        assert!(
            report
                .message
                .as_deref()
                .is_some_and(|message| message.contains("chmod go-w")),
            "{report:?}"
        );
        set_mode(&folder, 0o755);
    }
    let state = read(&directory.path(), &plugins, Some(&state));
    assert_eq!(state.desired().keys.len(), 2);
}

#[test]
fn a_pipe_is_no_file_and_does_not_stop_the_reading() {
    let directory = Directory::new();
    directory.write("keys/a.toml", KEY);
    let path = directory.path().join("keys/pipe.toml");
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let reports = check_directory(&directory.path(), &Manifests::new());
    assert!(
        find(&reports, &path)
            .message
            .as_deref()
            .is_some_and(|message| message.contains("not a regular file"))
    );
    assert_eq!(
        find(&reports, &directory.path().join("keys/a.toml")).state,
        FileState::Loaded
    );
}

#[test]
fn what_may_not_be_read_is_named() {
    if let Some(path) = std::env::var_os(CHILD) {
        return unreadable(Path::new(&path));
    }
    let directory = Directory::new();
    set_mode(&directory.beside(""), 0o755);
    set_mode(&directory.path(), 0o755);
    directory.write("keys/a.toml", KEY);
    directory.write("keys/b.toml", KEY);
    set_mode(&directory.path().join("keys/a.toml"), 0);
    if !rustix::process::geteuid().is_root() {
        return unreadable(&directory.path());
    }
    // Root may read everything: another user looks.
    let test = "config::tests::trust::what_may_not_be_read_is_named";
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, directory.path())
        .uid(65534)
        .gid(65534)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

fn unreadable(config: &Path) {
    let path = config.join("keys/a.toml");
    let error = fs::File::open(&path).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
    let reports = check_directory(config, &Manifests::new());
    let report = find(&reports, &path);
    assert_eq!(report.state, FileState::Refused);
    let message = report.message.as_deref().unwrap();
    assert!(
        message.contains("Permission denied") && message.contains("chmod u+r"),
        "{message}"
    );
    assert_eq!(
        find(&reports, &config.join("keys/b.toml")).state,
        FileState::Loaded
    );
}

/// Tells the test that it is the other user, and where to look.
const CHILD: &str = "KEYFERRY_TEST_UNREADABLE";
