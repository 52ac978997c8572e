//! What of the machine a plugin's sources may be, and which secrets of them may be used.

use std::path::Path;

use keyferry_courier::{Hooks, JobError, Setup};

use crate::cloud::{Cloud, honest};
use crate::fixture::{PASSWORD, SECRET, environment, hooks, job, list, one, setup};

/// The error of credentials that these variables cannot give. Nothing is sent.
async fn failure(setup: Setup, cloud: &Cloud, hooks: Hooks) -> String {
    let error = one(setup, hooks, job(list())).await.unwrap_err();
    assert!(matches!(error, JobError::Credentials { .. }), "{error:?}");
    assert!(cloud.requests().is_empty());
    error.to_string()
}

fn naming(profile: &Path) -> Hooks {
    environment(&[
        ("HOSTILE_PROFILE", profile.to_str().unwrap()),
        ("HOSTILE_ACCESS_KEY_SECRET", SECRET),
    ])
}

#[tokio::test]
async fn what_a_variable_names_is_never_below_the_places_of_keys() {
    let cloud = Cloud::start(honest);
    let home = tempfile::tempdir().unwrap();
    let mut setup = setup(&cloud.endpoint, "login");
    setup.home = Some(home.path().to_owned());
    let text = format!("p: {{id: AKIDPROFILE, key: {SECRET}, password: '{PASSWORD}'}}\n");
    let write = |path: &str| {
        let path = home.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
        path
    };
    for place in [".ssh", ".gnupg", ".local/state/keyferry", ".config/keyferry"] {
        let path = write(&format!("{place}/deep/profile.yaml"));
        let message = failure(setup.clone(), &cloud, naming(&path)).await;
        let expected = format!("{}: no plugin may read what lies below ~/{place}", path.display());
        assert!(message.contains(&expected), "{message}");
        let way_out = "put it elsewhere, and name that in HOSTILE_PROFILE";
        assert!(message.contains(way_out), "{message}");
    }

    // However it is named.
    let inside = home.path().join(".ssh/deep/profile.yaml");
    let link = home.path().join("link.yaml");
    std::os::unix::fs::symlink(&inside, &link).unwrap();
    let around = home.path().join(".hostile/../.ssh/deep/profile.yaml");
    std::fs::create_dir(home.path().join(".hostile")).unwrap();
    for path in [link, around, "~/.ssh/deep/profile.yaml".into()] {
        let message = failure(setup.clone(), &cloud, naming(&path)).await;
        assert!(message.contains("lies below ~/.ssh"), "{message}");
    }
    // A link to a file of ours does not make it one of the machine's.
    let message = failure(setup.clone(), &cloud, naming(Path::new("/proc/self/environ"))).await;
    assert!(message.contains("lies below /proc"), "{message}");
    // Nor does a path of the manifest itself lead there.
    let token = home.path().join(".hostile/token");
    std::os::unix::fs::symlink(write(".ssh/token"), token).unwrap();
    let message = failure(setup.clone(), &cloud, environment(&[])).await;
    assert!(message.contains("lies below ~/.ssh"), "{message}");

    let beside = write(".ssh-profiles/profile.yaml");
    one(setup, naming(&beside), job(list())).await.unwrap();
}

#[tokio::test]
async fn a_secret_of_two_lines_is_used_in_no_request() {
    let cloud = Cloud::start(honest);
    let directory = tempfile::tempdir().unwrap();
    let setup = setup(&cloud.endpoint, "login");

    let mut variables = vec![
        ("HOSTILE_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("HOSTILE_ACCESS_KEY_SECRET", SECRET),
        ("HOSTILE_PASSWORD", "sesame\r\nx-header: y"),
    ];
    let message = failure(setup.clone(), &cloud, environment(&variables)).await;
    let expected = "the field `password` (the variable HOSTILE_PASSWORD) contains a line end";
    assert!(message.contains(expected), "{message}");
    assert!(!message.contains("sesame"), "{message}");

    let path = directory.path().join("profile.yaml");
    std::fs::write(
        &path,
        format!("p: {{id: A, key: {SECRET}, password: \"sesame\\nx\"}}\n"),
    )
    .unwrap();
    let message = failure(setup.clone(), &cloud, naming(&path)).await;
    let expected = format!(
        "the field `password` (/p/password in {}) contains a line end",
        path.display()
    );
    assert!(message.contains(&expected), "{message}");
    assert!(!message.contains("sesame"), "{message}");

    let path = directory.path().join("token");
    std::fs::write(&path, "sesame\nx\n").unwrap();
    variables.pop();
    variables.push(("HOSTILE_TOKEN_FILE", path.to_str().unwrap()));
    let message = failure(setup.clone(), &cloud, environment(&variables)).await;
    let expected = format!(
        "the field `security_token` ({}) contains a line end",
        path.display()
    );
    assert!(message.contains(&expected), "{message}");

    // One line is one line, with its end or without.
    std::fs::write(&path, "token-of-one-line\r\n").unwrap();
    one(setup.clone(), environment(&variables), job(list()))
        .await
        .unwrap();
    one(setup, hooks(), job(list())).await.unwrap();
}
