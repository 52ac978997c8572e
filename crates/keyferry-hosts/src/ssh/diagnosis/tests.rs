use std::os::unix::process::ExitStatusExt;

use super::*;

#[track_caller]
fn check(said: &[&str], complaints: &str, kind: HostErrorKind, message: &str) {
    check_with(false, said, complaints, kind, message);
}

#[track_caller]
fn check_with(is_pinned: bool, said: &[&str], complaints: &str, kind: HostErrorKind, message: &str) {
    let mut log = Log::default();
    for line in said {
        log.read(line);
    }
    let error = Trouble {
        destination: "web-1",
        is_pinned,
        signs_alone: false,
        phase: Phase::LoggingIn,
        log: &log,
        complaints,
        ended: Some(ExitStatus::from_raw(255 << 8)),
    }
    .diagnose();
    assert_eq!((error.kind, error.message.as_str()), (kind, message));
    assert!(!error.remedy.is_empty());
    assert_eq!(error.outcome, Outcome::Unchanged);
}

#[test]
fn trouble_has_a_name() {
    check(
        &["ssh: connect to host web-1 port 22: Connection refused\r"],
        "",
        HostErrorKind::Unreachable,
        "web-1 cannot be reached: connect to host web-1 port 22: Connection refused",
    );
    check(
        &["kex_exchange_identification: Connection closed by remote host"],
        "channel 0: open failed: connect failed: \u{1b}[31mNo route to host\r\n",
        HostErrorKind::Unreachable,
        "web-1 cannot be reached: channel 0: open failed: connect failed: [31mNo route to host",
    );
    check(
        &[
            "kex_exchange_identification: read: Connection reset by peer",
            "Connection reset by 10.0.0.1 port 22",
        ],
        "",
        HostErrorKind::Unreachable,
        "web-1 cannot be reached: Connection reset by 10.0.0.1 port 22",
    );
    check(
        &[
            "debug1: Authentications that can continue: publickey",
            "li@web-1: Permission denied (publickey).",
        ],
        "",
        HostErrorKind::Refused,
        "web-1: the host lets no key in that was tried: li@web-1: Permission denied (publickey).",
    );
    check(
        &[
            "debug1: Authentications that can continue: publickey",
            "Connection closed by 10.0.0.1 port 22",
        ],
        "",
        HostErrorKind::Refused,
        "web-1: the host lets no key in that was tried: Connection closed by 10.0.0.1 port 22",
    );
    check(
        &[
            "debug1: Authentications that can continue: publickey",
            "Received disconnect from 10.0.0.1 port 22:2: Too many authentication failures\r",
            "Disconnected from 10.0.0.1 port 22\r",
        ],
        "",
        HostErrorKind::Refused,
        "web-1: the host refused more keys than it hears out (MaxAuthTries) before one that it takes",
    );
    check(
        &[
            "No ED25519 host key is known for web-1 and you have requested strict checking.",
            "Host key verification failed.",
        ],
        "",
        HostErrorKind::HostKeyUnknown,
        "web-1: the host key is not in known_hosts",
    );
    check(
        &[
            "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @",
            "Host key for web-1 has changed and you have requested strict checking.",
            "Host key verification failed.",
        ],
        "",
        HostErrorKind::HostKeyChanged,
        "web-1: the host key is another than known_hosts has",
    );
    check(
        &[],
        "/x: line 1: Bad configuration option: nonsense\r\n/x: terminating, 1 bad configuration options\r\n",
        HostErrorKind::Settings,
        "web-1: ssh does not take its settings: /x: line 1: Bad configuration option: nonsense",
    );
    check(
        &[
            "Authenticated using \"publickey\" with partial success.",
            "li@web-1: Permission denied (password).",
        ],
        "",
        HostErrorKind::NeedsPerson,
        "web-1: the host takes the key and wants a second factor besides",
    );
}

#[test]
fn a_warning_is_not_the_cause() {
    check(
        &["ssh: connect to host web-1 port 22: Connection refused\r"],
        "command-line line 0: Unsupported option \"gssapiauthentication\"\r\n",
        HostErrorKind::Unreachable,
        "web-1 cannot be reached: connect to host web-1 port 22: Connection refused",
    );
    check(
        &["/etc/ssh/ssh_config line 53: Unsupported option \"gssapiauthentication\""],
        "",
        HostErrorKind::Unreachable,
        "web-1 cannot be reached",
    );
    check(
        &["/etc/ssh/ssh_config line 53: unsupported option \"maybe\"."],
        "",
        HostErrorKind::Settings,
        "web-1: ssh does not take its settings: /etc/ssh/ssh_config line 53: unsupported option \"maybe\".",
    );
}

#[test]
fn a_host_that_lost_the_type_of_its_pinned_key_is_another() {
    let said = "Unable to negotiate with 10.0.0.1 port 22: no matching host key type found. Their offer: ssh-ed25519";
    check_with(
        true,
        &[said],
        "",
        HostErrorKind::HostKeyChanged,
        &format!("web-1: it has no host key of the type that it had when a login was last proven: {said}"),
    );
    check(
        &[said],
        "",
        HostErrorKind::Settings,
        &format!("web-1: ssh does not take its settings: {said}"),
    );
    // A jump host was told nothing of the kind.
    check_with(
        true,
        &["kex_exchange_identification: Connection closed by remote host"],
        said,
        HostErrorKind::Settings,
        &format!("web-1: ssh does not take its settings: {said}"),
    );
}

#[test]
fn a_jump_host_speaks_for_itself() {
    for (said, end) in [
        (
            "li@gate: Permission denied (publickey).",
            "Connection closed by UNKNOWN port 65535",
        ),
        (
            "Received disconnect from 10.0.0.9 port 22:2: Too many authentication failures",
            "kex_exchange_identification: Connection closed by remote host",
        ),
    ] {
        check(
            &[end],
            &format!("{said}\r\n"),
            HostErrorKind::JumpRefused,
            &format!("web-1: the jump host refuses to let anybody in: {said}"),
        );
    }
    // Through one that let us in after all.
    check(
        &[
            "debug1: Authentications that can continue: publickey",
            "li@web-1: Permission denied (publickey).",
        ],
        "li@gate: Permission denied (publickey).\r\n",
        HostErrorKind::Refused,
        "web-1: the host lets no key in that was tried: li@web-1: Permission denied (publickey).",
    );
}

#[test]
fn a_connection_that_broke_says_nothing_about_keys() {
    for end in [
        "Connection reset by 10.0.0.1 port 22",
        "client_loop: send disconnect: Broken pipe",
        "Timeout, server web-1 not responding.",
    ] {
        check(
            &["debug1: Authentications that can continue: publickey", end],
            "",
            HostErrorKind::Unreachable,
            &format!("web-1 cannot be reached: {end}"),
        );
    }
}

#[test]
fn nobody_is_asked_for_a_signature_of_ours() {
    let mut log = Log::default();
    log.read("debug1: Server accepts key: /run/key.pub ED25519 SHA256:ours explicit agent");
    for (signs_alone, kind, words) in [
        (false, HostErrorKind::NeedsPerson, "its agent waits for somebody"),
        (
            true,
            HostErrorKind::Unreachable,
            "the host takes the key, and no more came in time",
        ),
    ] {
        let trouble = Trouble {
            destination: "web-1",
            is_pinned: false,
            signs_alone,
            phase: Phase::LoggingIn,
            log: &log,
            complaints: "",
            ended: None,
        };
        let error = trouble.diagnose();
        assert_eq!(error.kind, kind, "{error:?}");
        assert!(error.message.contains(words), "{error:?}");
    }
}
