//! The recovery identity: the way in when private halves are gone.

use keyferry_tests::daemon::Options;
use keyferry_tests::fleet::{Fleet, Shell};

use crate::reboot::reboot;
use crate::scene::{NO_GRACE, Scene, ssh_command};
use keyferry_tests::other_agent::OtherAgent;

#[test]
fn a_recovery_identity_logs_in_until_the_next_generation_does() {
    let fleet = Fleet::of_shells(&[Shell::Bash, Shell::Busybox]);
    let key = fleet.path("recovery_key");
    keyferry_tests::fleet::generate(&key, "recovery");
    let agent = OtherAgent::start(fleet.path("other.sock"), &key);
    let public_half = key.with_extension("pub");
    let mut scene = Scene::of(fleet, &Options::default());
    let settings = format!(
        "{}[recovery]\nidentity = \"{}\"\nagent = \"{}\"\n",
        ssh_command(&scene.fleet),
        public_half.display(),
        agent.socket().display()
    );
    scene.home.write("keyferry.toml", &settings);
    scene.deploy("web", NO_GRACE);
    let identity = std::fs::read_to_string(&public_half).expect("the identity has a public half");
    let identity = keyferry_tests::fleet::public_key(&identity);
    let is_deployed = |scene: &Scene| {
        let mut hosts = scene.fleet.hosts().iter();
        hosts.all(|host| host.keys().iter().any(|key| key.public_key == identity))
    };
    scene.wait_for_key("web", "able to recover", |key| {
        let hosts = key["hosts"].as_array();
        hosts.is_some_and(|hosts| hosts.iter().all(|host| host["after_reboot"] == "recovers"))
    });
    assert!(is_deployed(&scene));
    // The identity alone is left beside the key's own line.
    let admin =
        std::fs::read_to_string(scene.fleet.admin_public_key()).expect("the admin key has a public half");
    for host in scene.fleet.hosts() {
        let file = String::from_utf8(host.authorized_keys()).expect("plain text");
        assert!(file.contains(&admin));
        host.set_authorized_keys(file.replace(&admin, "").as_bytes());
    }
    reboot(&mut scene);
    for host in scene.fleet.hosts() {
        scene.assert_logs_in(host.name());
    }
    // The identity did that; then the next generation is there.
    scene.wait_verified("web", 2);
    for host in scene.fleet.hosts() {
        scene.assert_logs_in_with(host.name(), &scene.public_key("web", 2));
    }
    scene.wait_for_only_everywhere("web", 2);
    assert!(is_deployed(&scene));
}
