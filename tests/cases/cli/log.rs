//! What the daemon says on standard error.

use std::time::Duration;

use cloud_sim::Service;
use keyferry_tests::daemon::{Daemon, Options};
use keyferry_tests::home::Home;

use crate::program::KEY;

const MOMENT: Duration = Duration::from_secs(20);

/// Whoever starts the daemon by hand sees there what is wrong with a file, and that it is mended.
#[test]
fn wrong_files_are_logged_when_they_come_and_when_they_are_mended() {
    let cloud = keyferry_tests::cloud();
    let home = Home::new();
    home.account("ecs", "alibaba-ecs", cloud.url(Service::AlibabaEcs));
    home.key("web", "account = \"ecs\"\nalgoritm = \"ecdsa-p256\"\n");
    let socket = format!("/tmp/{}.sock", "x".repeat(120));
    home.write("keyferry.toml", &format!("[agent]\nsocket = \"{socket}\"\n"));
    let daemon = Daemon::start(&home);
    for words in [
        "keys/web.toml:2:1 (refused): unknown key `algoritm`; did you mean `algorithm`?",
        "keyferry.toml:2:10 (refused): `agent.socket`: has 130 bytes, and a socket's path holds at most 107",
    ] {
        assert!(
            daemon.wait_for_log(words, MOMENT),
            "{words} is not in {}",
            daemon.log()
        );
    }
    home.key("web", KEY);
    let mended = "keys/web.toml: nothing is wrong with it any more";
    assert!(daemon.wait_for_log(mended, MOMENT), "{}", daemon.log());
}

#[test]
fn a_level_that_is_none_is_named_and_silences_nothing() {
    for (level, understood) in [
        ("verbose", false),
        ("info=info=info", false),
        ("warn,loud", false),
        ("INFO", true),
        ("keyferry_engine=debug,info", true),
    ] {
        let home = Home::new();
        home.write("keyferry.toml", "nothing = 1\n");
        let options = Options {
            log: Some(level.to_owned()),
            ..Options::default()
        };
        let daemon = Daemon::start_with(&home, &options);
        assert!(
            daemon.wait_for_log("unknown key `nothing`", MOMENT),
            "{level}: {}",
            daemon.log()
        );
        assert_eq!(
            daemon.log().contains("is not understood"),
            !understood,
            "{level}: {}",
            daemon.log()
        );
    }
}
