//! Hosts that end a login without a word, as one that is booting does: that is no answer about the key.

use std::fs;
use std::time::Duration;

use keyferry_tests::fleet::{Fleet, Host, HostOptions, Shell};
use keyferry_tests::wait;

use super::{Scene, assert_says, said};

/// What looks keys up ends its own sshd, as long as there is a file `cut` in the user's home.
const CUTS_LOGINS: &str = "AuthorizedKeysFile none
AuthorizedKeysCommand /bin/sh -c \"test -e %h/cut && kill -9 $PPID; cat %h/.ssh/authorized_keys\"
AuthorizedKeysCommandUser root
";

fn set_cutting(host: &Host, cuts: bool) {
    let path = host.home(host.user()).join("cut");
    match cuts {
        true => fs::write(path, "").expect("a file can be written"),
        false => fs::remove_file(path).expect("a file can be removed"),
    }
}

#[test]
fn a_login_that_is_cut_off_is_no_refusal() {
    let scene = Scene::of(Fleet::start([
        HostOptions::new("web-1", Shell::Dash),
        HostOptions::new("web-2", Shell::Dash).with_sshd_config(CUTS_LOGINS),
    ]));
    let old = scene.old_key("prod-web.pem", &["web-1", "web-2"]);
    let file = old.to_str().expect("a plain path");
    let arguments = [file, "--hosts=web-1,web-2", "--replace", "--key=web"];
    let second = scene.fleet.host("web-2");
    set_cutting(second, true);
    let output = scene.adopt(&arguments);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert_says(
        &output,
        &[
            "cut off: web-2",
            "Connection closed by",
            "is needed at web-2",
            "once the new one logs in everywhere",
        ],
    );
    let written = fs::read_to_string(scene.key_file("web")).expect("the key's file");
    assert!(written.contains("\"web-2\""), "{written}");

    set_cutting(second, false);
    let retried = scene.daemon.keyferry(&["host", "retry", "web-2"]);
    assert!(retried.status.success(), "{}", said(&retried));
    // Not before its lines are off for good: cut off meanwhile, they would be put back.
    wait::until("web-2 has the new key alone", Duration::from_secs(60), || {
        let log = scene.daemon.log();
        let mut lines = log.lines();
        let is_over = |line: &str| line.contains("not let in any more") && line.contains("host=\"web-2\"");
        lines.any(is_over).then_some(())
    });
    assert!(!scene.lets_in("web-2", &old));

    // Nor does it tell that the old key is not let in any more.
    set_cutting(second, true);
    let mut briefly = arguments.to_vec();
    briefly.push("--wait=0");
    let output = scene.adopt(&briefly);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert_says(&output, &["may still be let in at web-2"]);
    set_cutting(second, false);
    let output = scene.adopt(&briefly);
    assert!(
        output.status.success(),
        "{}\n{}",
        said(&output),
        scene.daemon.log()
    );
    assert_says(&output, &["to get rid of the adopted key:"]);
}
