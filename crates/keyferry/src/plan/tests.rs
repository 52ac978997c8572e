use super::*;
use keyferry_engine::snapshot::Timestamp;
use std::time::Duration;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_318_609)
}

fn step(what: &str, host: Option<&str>, at: Option<u64>) -> PlanStep {
    PlanStep {
        what: what.to_owned(),
        generation: Some(4),
        host: host.map(str::to_owned),
        why: "it is due".to_owned(),
        at: at.map(|seconds| Timestamp(now() + Duration::from_secs(seconds))),
    }
}

#[test]
fn the_same_step_on_many_hosts_is_one_line() {
    let hosts = ["a", "b", "c", "d", "e", "f", "g"];
    let mut steps = vec![step("generate", None, None)];
    steps.extend(hosts.iter().map(|host| step("verify", Some(host), None)));
    steps.push(step("take_off", Some("a"), Some(86_400 * 3)));
    steps.push(step("polish", None, None));
    let plan = KeyPlan {
        key: "web".to_owned(),
        steps,
        waiting: Some("generation 3 was not seen to log in at a yet".to_owned()),
        warnings: vec!["nothing but it logs in at g".to_owned()],
    };
    let idle = KeyPlan {
        key: "db".to_owned(),
        ..KeyPlan::default()
    };
    assert_eq!(
        describe(&[plan, idle], now(), Style::Plain),
        "web\n  \
         1. make generation 4: it is due\n  \
         2. see whether generation 4 logs in at a, b, c, d, e and 2 more: it is due\n  \
         3. take the line of generation 4 off a, in 3 days: it is due\n  \
         4. polish: generation 4: it is due\n  \
         waits: generation 3 was not seen to log in at a yet\n  \
         beware: nothing but it logs in at g\n\n\
         nothing to do: db"
    );
    assert_eq!(
        describe(&[], now(), Style::Plain),
        "nothing to do: there are no keys"
    );
}
