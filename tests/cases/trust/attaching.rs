//! Pairs are attached to instances where a person at a terminal says so, and nowhere else.

use std::fs;

use cloud_sim::{Fault, FaultKind, Instance, RequestRecord};
use keyferry_tests::build::built;
use keyferry_tests::daemon::Options;
use keyferry_tests::fleet::{Fleet, Shell};
use keyferry_tests::terminal::Terminal;
use keyferry_tests::wait;

use crate::scene::{DEADLINE, ECS, NO_GRACE, Scene, key_file, said};

const ACTION: &str = "AttachKeyPair";
const QUESTION: &str = "attach this? [y/N]";

/// Hosts that nothing logs in to, which are running instances, and a key that is to be put there.
fn scene(shells: &[Shell]) -> Scene {
    let scene = Scene::of(Fleet::of_shells(shells), &Options::default());
    // Nothing of the user's logs in by itself.
    let config = scene.fleet.agent_config();
    scene.home.write(
        "keyferry.toml",
        &format!("[ssh]\ncommand = [\"ssh\", \"-F\", \"{}\"]\n", config.display()),
    );
    for name in scene.names() {
        let instance = Instance {
            region: Some("cn-hangzhou".to_owned()),
            id: instance_of(&name),
            pair: None,
            running: true,
        };
        scene
            .cloud
            .add_instance(ECS, instance)
            .expect("an instance can be added");
    }
    scene.home.key("web", &key_file(&scene.names(), NO_GRACE));
    scene.wait_for_key("web", "loaded, and nowhere on its hosts", |key| {
        let hosts = key["hosts"].as_array().cloned().unwrap_or_default();
        key["state"] == "loaded" && !hosts.is_empty() && hosts.iter().all(|host| host["state"] == "failed")
    });
    scene
}

fn instance_of(host: &str) -> String {
    format!("i-bp1{}", host.replace('-', ""))
}

fn recover(scene: &Scene, words: &str) -> Terminal {
    Terminal::start(&format!(
        "{} recover --runtime {} {words}",
        built().keyferry().display(),
        scene.home.path("run").display()
    ))
}

/// The requests that attach, so far.
fn requests(scene: &Scene) -> Vec<RequestRecord> {
    let requests = scene.cloud.requests().requests.into_iter();
    requests.filter(|request| request.action == ACTION).collect()
}

/// The pair of an instance.
fn bound(scene: &Scene, host: &str) -> Option<String> {
    let instances = scene.cloud.instances(ECS);
    let mut instances = instances.into_iter();
    instances.find(|one| one.id == instance_of(host))?.pair
}

fn history(scene: &Scene) -> String {
    said(&scene.daemon.keyferry(&["history", "web"]))
}

/// What starting the instance does: the vendor's agent writes the key of its pair.
fn restart(scene: &Scene, host: &str) {
    let pair = bound(scene, host).expect("a pair is attached");
    let public_key = &scene.pairs()[&pair];
    let host = scene.fleet.host(host);
    host.set_authorized_keys(format!("{public_key} {pair}\n").as_bytes());
}

#[test]
fn a_person_is_told_what_it_means_and_asked() {
    let scene = scene(&[Shell::Dash]);
    let words = "web-1 --attach i-bp1web1";
    let output = scene
        .daemon
        .keyferry(&["recover", "web-1", "--attach", "i-bp1web1"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(
        said(&output).contains("for a person at a terminal"),
        "{}",
        said(&output)
    );

    let mut terminal = recover(&scene, words);
    let shown = terminal.answer(QUESTION, "no");
    let first = scene.pairs().into_keys().next().expect("there is a pair");
    for told in [
        "web-1",
        "i-bp1web1",
        &first,
        "restarted (or started) by you",
        "is replaced",
        "logins by password off",
    ] {
        assert!(shown.contains(told), "{told:?} is not in {shown}");
    }
    assert_eq!(terminal.end(), 1, "{}", terminal.shown());
    assert!(
        terminal.shown().contains("nothing was changed"),
        "{}",
        terminal.shown()
    );
    assert_eq!(requests(&scene).len(), 0, "nothing is sent without a yes");

    let mut terminal = recover(&scene, words);
    terminal.answer(QUESTION, "yes");
    assert_eq!(terminal.end(), 0, "{}\n{}", terminal.shown(), scene.daemon.log());
    assert!(
        terminal.shown().contains("restart i-bp1web1"),
        "{}",
        terminal.shown()
    );
    assert_eq!(bound(&scene, "web-1"), Some(first.clone()));
    let told = format!("pair {first} was attached to instance i-bp1web1 (web-1)");
    assert!(history(&scene).contains(&told), "{}", history(&scene));

    restart(&scene, "web-1");
    let output = scene.daemon.keyferry(&["host", "retry", "web-1"]);
    assert!(output.status.success(), "{}", said(&output));
    scene.wait_verified("web", 1);
    scene.assert_logs_in("web-1");

    // The instance names the first pair: it stays, until another is attached in its place.
    scene.rotate("web");
    scene.wait_for_key("web", "kept for the instance", |key| {
        let waiting = key["rotation"]["waiting"].as_str().unwrap_or_default();
        waiting.contains("i-bp1web1")
    });
    assert!(scene.pairs().contains_key(&first));
    let mut terminal = recover(&scene, "--attach web-1=i-bp1web1");
    let shown = terminal.answer(QUESTION, "yes");
    assert!(shown.contains("logs in to web-1 already"), "{shown}");
    assert_eq!(terminal.end(), 0, "{}\n{}", terminal.shown(), scene.daemon.log());
    assert_ne!(bound(&scene, "web-1"), Some(first.clone()));
    wait::until("the first pair is deleted", DEADLINE, || {
        (!scene.pairs().contains_key(&first)).then_some(())
    });
    scene.assert_logs_in("web-1");
}

#[test]
fn a_lost_answer_is_told_and_asking_again_does_no_harm() {
    let scene = scene(&[Shell::Dash]);
    scene.cloud.fault(
        Fault::new(FaultKind::LostReply)
            .service(ECS)
            .action(ACTION)
            .count(1),
    );
    let mut terminal = recover(&scene, "web-1 --attach i-bp1web1");
    terminal.answer(QUESTION, "yes");
    assert_eq!(terminal.end(), 1, "{}", terminal.shown());
    assert!(
        terminal.shown().contains("not known whether it is attached"),
        "{}",
        terminal.shown()
    );
    assert!(
        terminal.shown().contains("run the command again"),
        "{}",
        terminal.shown()
    );
    let told = "was attached to instance i-bp1web1 (web-1) at account ecs in cn-hangzhou is not known";
    assert!(history(&scene).contains(told), "{}", history(&scene));
    assert_eq!(requests(&scene).len(), 1, "nothing is repeated by itself");

    let mut terminal = recover(&scene, "web-1 --attach i-bp1web1");
    terminal.answer(QUESTION, "yes");
    assert_eq!(terminal.end(), 0, "{}\n{}", terminal.shown(), scene.daemon.log());
    assert_eq!(bound(&scene, "web-1"), scene.pairs().into_keys().next());
}

#[test]
fn an_instance_that_fails_leaves_the_others_attached() {
    let scene = scene(&[Shell::Dash, Shell::Bash]);
    let file = scene.home.path("result.json");
    let words = format!(
        "--attach web-1=i-bp1web1 --attach web-2=i-gone --json > {}",
        file.display()
    );
    let mut terminal = recover(&scene, &words);
    let shown = terminal.answer(QUESTION, "yes");
    assert!(shown.contains("i-gone"), "it is shown beside the output: {shown}");
    assert_eq!(terminal.end(), 1, "{}", terminal.shown());
    let text = fs::read_to_string(file).expect("the output");
    let result: serde_json::Value = serde_json::from_str(&text).expect("--json prints JSON");
    let of = |at: usize, name: &str| result["attached"][at][name].clone();
    assert_eq!(
        (of(0, "host"), of(0, "error")),
        ("web-1".into(), serde_json::Value::Null)
    );
    assert_eq!(of(1, "instance"), "i-gone");
    assert_eq!(of(1, "error")["code"], "InvalidInstanceId.NotFound", "{result:#}");
    assert!(bound(&scene, "web-1").is_some());

    let mut terminal = recover(&scene, "--attach web-2=i-gone");
    terminal.answer(QUESTION, "yes");
    assert_eq!(terminal.end(), 1, "{}", terminal.shown());
    assert!(
        terminal.shown().contains("InvalidInstanceId.NotFound"),
        "{}",
        terminal.shown()
    );
}

#[test]
fn a_provider_that_attaches_nothing_is_refused_by_name() {
    let scene = scene(&[Shell::Dash]);
    let url = scene.cloud.url(cloud_sim::Service::AwsEc2).to_owned();
    scene.home.account("aws", "aws-ec2", &url);
    scene.home.key(
        "other",
        "account = \"aws\"\nalgorithm = \"ed25519\"\nhosts = [\"web-1\"]\n",
    );
    let mut terminal = recover(&scene, "web-1 --attach i-bp1web1");
    assert_eq!(terminal.end(), 1, "{}", terminal.shown());
    assert!(
        terminal.shown().contains("say whose with --key"),
        "{}",
        terminal.shown()
    );
    let mut terminal = recover(&scene, "web-1 --attach i-bp1web1 --key other");
    assert_eq!(terminal.end(), 1, "{}", terminal.shown());
    assert!(
        terminal.shown().contains("plugin aws-ec2 has no attach"),
        "{}",
        terminal.shown()
    );
    assert!(
        terminal.shown().contains("public/other.pub"),
        "{}",
        terminal.shown()
    );
    assert_eq!(requests(&scene).len(), 0);
}
