//! Notifications on the desktop, for what nothing but a person helps with.

use std::env;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use super::{Event, program};

/// Shows events, at most one notification a minute: what comes in between is shown together.
pub(super) async fn tell(mut events: mpsc::Receiver<Event>) {
    while let Some(first) = events.recv().await {
        let mut together = vec![first];
        while let Ok(event) = events.try_recv() {
            together.push(event);
        }
        let Some(command) = command(&title(&together), &body(&together)) else {
            continue;
        };
        // There is nobody else to tell.
        if let Err(why) = program::run_with(&command, Vec::new(), TIME, &SESSION).await {
            tracing::debug!(program = command[0], "the notification's program {why}");
        }
        sleep(PAUSE).await;
    }
}

fn title(events: &[Event]) -> String {
    match events {
        [event] => match &event.host {
            Some(host) => format!("keyferry: {host} needs you"),
            None => format!("keyferry: key {} needs you", event.key),
        },
        events => format!("keyferry: {} hosts and keys need you", events.len()),
    }
}

fn body(events: &[Event]) -> String {
    let mut lines: Vec<String> = events
        .iter()
        .take(MOST_SHOWN)
        .map(|event| match (&event.remedy, events.len()) {
            (Some(remedy), 1) => format!("{}\n{remedy}", event.message),
            _ => event.message.clone(),
        })
        .collect();
    lines.push("keyferry status says more".to_owned());
    lines.join("\n")
}

/// What shows a notification here; none: nothing does.
#[cfg(not(target_os = "macos"))]
fn command(title: &str, body: &str) -> Option<Vec<String>> {
    env::var_os("DBUS_SESSION_BUS_ADDRESS").filter(|address| !address.is_empty())?;
    let program = found("notify-send")?;
    let words = ["--app-name=keyferry", "--urgency=critical", "--", title];
    let mut command = vec![program];
    command.extend(words.map(str::to_owned));
    command.push(plain(body));
    Some(command)
}

/// What shows a notification here; none: nothing does.
#[cfg(target_os = "macos")]
fn command(title: &str, body: &str) -> Option<Vec<String>> {
    let program = found("osascript")?;
    let words = [
        "-e",
        "on run argv",
        "-e",
        "display notification (item 2 of argv) with title (item 1 of argv)",
        "-e",
        "end run",
        title,
        body,
    ];
    let mut command = vec![program];
    command.extend(words.map(str::to_owned));
    Some(command)
}

fn found(program: &str) -> Option<String> {
    let path = env::var_os("PATH")?;
    let mut places = env::split_paths(&path).filter(|folder| folder.is_absolute());
    let place = places.find(|folder| folder.join(program).is_file())?;
    place.join(program).into_os_string().into_string().ok()
}

/// Text that a notification server takes for no markup.
#[cfg(not(target_os = "macos"))]
fn plain(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// How the session's desktop is reached.
const SESSION: [&str; 4] = [
    "DBUS_SESSION_BUS_ADDRESS",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "XAUTHORITY",
];
/// In one notification.
const MOST_SHOWN: usize = 3;
const PAUSE: Duration = Duration::from_secs(60);
const TIME: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use keyferry_engine::snapshot::Timestamp;

    use super::super::Kind;
    use super::*;

    fn blocked(host: &str) -> Event {
        Event {
            event: Kind::HostBlocked,
            at: Timestamp::from_ms(0),
            key: "web".to_owned(),
            generation: Some(3),
            host: Some(host.to_owned()),
            message: format!("{host} wants a person (key web): <b>another</b> host key"),
            remedy: Some("keyferry host trust web-1".to_owned()),
        }
    }

    #[test]
    fn one_is_told_whole_and_many_together() {
        let one = [blocked("web-1")];
        assert_eq!(title(&one), "keyferry: web-1 needs you");
        assert_eq!(
            body(&one),
            "web-1 wants a person (key web): <b>another</b> host key\nkeyferry host trust web-1\nkeyferry status says more"
        );
        let many: Vec<Event> = (1..=5).map(|n| blocked(&format!("web-{n}"))).collect();
        assert_eq!(title(&many), "keyferry: 5 hosts and keys need you");
        assert_eq!(body(&many).lines().count(), 4);
    }

    #[cfg(not(target_os = "macos"))]
    #[test]
    fn markup_is_text() {
        assert_eq!(plain("<b>a & b</b>"), "&lt;b&gt;a &amp; b&lt;/b&gt;");
    }
}
