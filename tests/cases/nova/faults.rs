//! What goes wrong between keyferry and Nova, and what is not taken: as the suite of the other providers has it.

use keyferry_tests::daemon::Daemon;
use keyferry_tests::home::Home;
use keyferry_tests::nova::User;
use keyferry_tests::{ledger, wait};
use serde_json::{Value, json};
use std::time::Duration;

use crate::relay::Relay;
use crate::scene::{NOVA, account, assert_pairs, created, imported, password, wait_for_error};

/// A daemon whose requests to Nova pass through a relay, at a user who has one pair of somebody else's making.
struct Scene {
    user: User,
    nova: Relay,
    home: Home,
    daemon: Daemon,
    foreign: Value,
}

impl Scene {
    fn new() -> Self {
        let user = NOVA.user();
        let nova = Relay::start(NOVA.compute_url());
        let home = Home::new();
        let settings = format!("compute_endpoint_override = \"{}\"", nova.url());
        account(&home, "cloud", NOVA.auth_url(), &password(&user), &settings);
        let foreign = NOVA.plant(&user, "somebody-elses");
        let daemon = Daemon::start(&home);
        Self {
            user,
            nova,
            home,
            daemon,
            foreign,
        }
    }

    #[track_caller]
    fn assert_sound(&self) {
        self.daemon.wait_loaded(60);
        assert_pairs(&self.home, &NOVA, &self.user, std::slice::from_ref(&self.foreign));
    }

    fn posts(&self) -> usize {
        let exchanges = self.nova.exchanges().into_iter();
        exchanges.filter(|exchange| exchange.method == "POST").count()
    }
}

#[test]
fn throttled() {
    let scene = Scene::new();
    let words =
        json!({"overLimit": {"code": 429, "message": "This request was rate-limited.", "retryAfter": "1"}});
    scene.nova.refuse(
        "POST",
        "keypair",
        "429 Too Many Requests\r\nretry-after: 1",
        &words,
    );
    imported(&scene.home, "key", "cloud");
    scene.assert_sound();
    assert_eq!(ledger::states(&scene.home, "key"), ["absent", "live"]);
    assert_eq!(scene.posts(), 2);
}

#[test]
fn server_error_then_fine() {
    let scene = Scene::new();
    let words = json!({"computeFault": {"code": 500, "message": "Unexpected API Error."}});
    for _ in 0..2 {
        scene
            .nova
            .refuse("POST", "keypair", "500 Internal Server Error", &words);
    }
    created(&scene.home, "made-there", "cloud");
    imported(&scene.home, "made-here", "cloud");
    scene.assert_sound();
}

#[test]
fn lack_of_permission() {
    let scene = Scene::new();
    let message = "Policy doesn't allow os_compute_api:os-keypairs:create to be performed.";
    let words = json!({"forbidden": {"code": 403, "message": message}});
    // After the first refusal keyferry logs in anew: it may have been the token.
    for _ in 0..2 {
        scene.nova.refuse("POST", "keypair", "403 Forbidden", &words);
    }
    imported(&scene.home, "key", "cloud");
    let error = wait_for_error(
        &scene.daemon,
        "key",
        "unauthorized",
        "os_compute_api:os-keypairs:create",
    );
    assert!(error["retry_at"].is_null(), "{error:#}");
    assert!(scene.daemon.keyferry(&["resume"]).status.success());
    scene.assert_sound();
}

/// Refused before anything is sent.
#[test]
fn names_that_nova_does_not_take() {
    let scene = Scene::new();
    for (key, name, words) in [
        ("long", "n".repeat(256), "characters"),
        ("other", "schlüssel".to_owned(), "'ü'"),
        ("slash", "a/b".to_owned(), "'/'"),
    ] {
        scene
            .home
            .key(key, &format!("account = \"cloud\"\nname = \"{name}\"\n"));
        let message = wait::until("the file is refused", Duration::from_secs(30), || {
            let status = scene.daemon.status();
            let files = status["files"].as_array()?.clone();
            let is_it = |file: &&Value| {
                file["path"]
                    .as_str()
                    .is_some_and(|path| path.ends_with(&format!("{key}.toml")))
            };
            files.iter().find(is_it)?["message"].as_str().map(str::to_owned)
        });
        assert!(message.contains(words), "{message}");
    }
    assert_eq!(scene.nova.exchanges(), []);
}
