//! What a person is told of a rotation that needs one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use keyferry_tests::daemon::Options;
use keyferry_tests::fleet::{Fleet, Shell};
use keyferry_tests::wait;
use serde_json::Value;

use crate::scene::{DEADLINE, NO_GRACE, Scene, ssh_command};

/// Stands for the program that shows notifications: it notes what it is told, one line for each word.
const NOTIFY_SEND: &str = "#!/bin/sh\n\
    { printf '%s\\n' \"on $DBUS_SESSION_BUS_ADDRESS\" \"$@\"; echo ---; } >>\"${0%/*}/shown\"\n";

#[test]
fn a_host_that_needs_a_person_is_shown_once_on_the_desktop() {
    for is_wanted in [true, false] {
        let fleet = Fleet::of_shells(&[Shell::Dash]);
        let folder = fleet.path("desktop");
        fs::create_dir(&folder).expect("a folder can be made");
        fs::write(folder.join("notify-send"), NOTIFY_SEND).expect("a file can be written");
        fs::set_permissions(folder.join("notify-send"), fs::Permissions::from_mode(0o755))
            .expect("modes can be set");
        let path = std::env::var("PATH").expect("there is a PATH");
        let environment = [
            ("PATH", format!("{}:{path}", folder.display())),
            ("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere".to_owned()),
        ];
        let options = Options {
            environment: environment.map(|(name, value)| (name.to_owned(), value)).to_vec(),
            ..Options::default()
        };
        let scene = Scene::of(fleet, &options);
        let events = scene.home.path("events");
        let notify = if is_wanted { "" } else { "notify = false\n" };
        scene.home.write(
            "keyferry.toml",
            &format!(
                "{notify}on_event = [\"tee\", \"-a\", \"{}\"]\n{}",
                events.display(),
                ssh_command(&scene.fleet)
            ),
        );
        scene.deploy("web", NO_GRACE);

        let host = scene.fleet.host("web-1");
        host.set_immutable(host.user(), true);
        scene.daemon.keyferry(&["rotate", "web"]);
        wait_for_event(&events, "host_blocked");
        let shown = || fs::read_to_string(folder.join("shown")).unwrap_or_default();
        if is_wanted {
            let notification = wait::until("it is shown", DEADLINE, || {
                Some(shown()).filter(|shown| shown.ends_with("---\n"))
            });
            let words: Vec<&str> = notification.lines().collect();
            assert_eq!(
                words[..5],
                [
                    "on unix:path=/nowhere",
                    "--app-name=keyferry",
                    "--urgency=critical",
                    "--",
                    "keyferry: web-1 needs you",
                ]
            );
            assert!(
                notification.contains("web-1 wants a person (key web)"),
                "{notification}"
            );
            assert!(
                notification.contains("keyferry status says more"),
                "{notification}"
            );
        }

        // Tried again in vain, it is nothing new.
        let tries = host.logins().len();
        scene.daemon.keyferry(&["host", "retry", "web-1"]);
        wait::until("another try", DEADLINE, || {
            (host.logins().len() > tries).then_some(())
        });
        scene.wait_for_key("web", "blocked again", |key| {
            key["hosts"][0]["state"] == "blocked"
        });
        host.set_immutable(host.user(), false);
        scene.daemon.keyferry(&["host", "retry", "web-1"]);
        scene.wait_verified("web", 2);
        // Events are told in their order: what came before was told, and shown if it was.
        wait_for_event(&events, "host_reached");
        assert_eq!(
            told(&events, "host_blocked").len(),
            1,
            "{:#?}",
            told(&events, "host_blocked")
        );
        let blocked = &told(&events, "host_blocked")[0];
        assert_eq!(
            (blocked["key"].as_str(), blocked["host"].as_str()),
            (Some("web"), Some("web-1"))
        );
        assert!(blocked["remedy"].is_string(), "{blocked:#}");
        let expected = usize::from(is_wanted);
        assert_eq!(shown().matches("---\n").count(), expected, "{}", shown());
    }
}

#[track_caller]
fn wait_for_event(events: &Path, kind: &str) {
    wait::until(&format!("{kind} is told"), DEADLINE, || {
        (!told(events, kind).is_empty()).then_some(())
    });
}

/// The events of a kind that `on_event` was told so far.
fn told(events: &Path, kind: &str) -> Vec<Value> {
    let text = fs::read_to_string(events).unwrap_or_default();
    // The last one may be on its way.
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let events = whole.map(|line| serde_json::from_str(line).expect("one JSON object a line"));
    events.filter(|event: &Value| event["event"] == kind).collect()
}
