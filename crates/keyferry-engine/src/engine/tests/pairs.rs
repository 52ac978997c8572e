//! Pairs that hide, that vanish, that cannot be deleted, and whose account is gone.

use keyferry_plugin::contract::ErrorKind;

use super::cloud::Fault;
use super::*;

fn states(world: &World) -> Vec<GenerationState> {
    world.history().generations.iter().map(|row| row.state).collect()
}

fn imports(world: &World) -> usize {
    let requests = world.cloud.requests();
    requests
        .iter()
        .filter(|job| matches!(job, Job::Import { .. }))
        .count()
}

/// The first import's answer is lost; then its name is taken, and the pair is not seen for a while.
#[test]
fn a_pair_that_hides_is_waited_for_with_growing_delays() {
    run(async {
        let world = World::with_keys(&[("web", GeneratedBy::Keyferry)]);
        world.cloud.lag(2_000);
        world.cloud.expect([Some(Fault::LostAfter)]);
        let daemon = world.start();
        assert!(daemon.rest().await);
        world.assert_converged(&daemon);
        assert_eq!(states(&world), [GenerationState::Live]);
        assert!(imports(&world) <= 7, "{} imports", imports(&world));
    });
}

#[test]
fn a_pair_that_hides_for_long_gives_way_to_the_next_name() {
    run(async {
        let world = World::with_keys(&[("web", GeneratedBy::Keyferry)]);
        world.cloud.lag(50_000);
        world.cloud.expect([Some(Fault::LostAfter)]);
        let daemon = world.start();
        // The first pair is seen at last, and nobody needs it.
        assert!(daemon.rest().await);
        world.assert_converged(&daemon);
        assert_eq!(daemon.status("web").generation, Some(2));
        assert!(imports(&world) <= 8, "{} imports", imports(&world));
        let rows = world.history().generations;
        assert!(rows[0].state.is_final());
        let took = rows[1].loaded_at.unwrap() - rows[0].requested_at;
        assert!(took < 60_000, "the key waited for {took} ms");
    });
}

#[test]
fn a_deletion_that_fails_is_repeated_with_growing_delays() {
    run(async {
        let world = World::with_keys(&[("web", GeneratedBy::Keyferry)]);
        let first = world.start();
        assert!(first.rest().await);
        first.kill().await;
        // The next pair's import; then each comparison succeeds, and each deletion does not.
        let cycle = [None, Some(Fault::Refuse(ErrorKind::Throttled))];
        let refusals = cycle.into_iter().cycle().take(24);
        world.cloud.expect([None].into_iter().chain(refusals));
        let start = world.clock.now().uptime;
        let second = world.start();
        assert!(second.rest().await);
        world.assert_converged(&second);
        let took = world.clock.now().uptime - start;
        assert!(took > 60_000, "twelve tries took {took} ms");
    });
}

#[test]
fn a_deletion_that_does_not_repeat_itself_can_be_resumed() {
    run(async {
        let world = World::with_keys(&[("web", GeneratedBy::Keyferry)]);
        let first = world.start();
        assert!(first.rest().await);
        first.kill().await;
        let refusal = Some(Fault::Refuse(ErrorKind::Unauthorized));
        world.cloud.expect([None, None, refusal]);
        let second = world.start();
        assert!(second.rest().await);
        assert_eq!(second.status("web").state, KeyState::Loaded);
        let resumed = second.handle.resume(vec!["web".to_owned()]).await;
        assert_eq!(resumed, Ok(vec!["web".to_owned()]));
        assert!(second.rest().await);
        world.assert_converged(&second);
    });
}

#[test]
fn a_pair_that_is_not_there_is_looked_for_again_before_it_is_given_up() {
    run(async {
        let world = World::with_keys(&[("made", GeneratedBy::Provider), ("sent", GeneratedBy::Keyferry)]);
        let first = world.start();
        assert!(first.rest().await);
        first.kill().await;
        // As another vendor account's credentials would have it, for half a minute.
        world.cloud.lag(30_000);
        let second = world.start();
        assert!(second.rest().await);
        world.assert_converged(&second);
        assert!(states(&world).contains(&GenerationState::Deleted));
    });
}

#[test]
fn a_pair_that_stays_away_is_given_up_and_not_called_deleted() {
    run(async {
        let world = World::with_keys(&[("web", GeneratedBy::Keyferry)]);
        let first = world.start();
        assert!(first.rest().await);
        first.kill().await;
        world.cloud.lag(u64::MAX);
        let second = world.start();
        assert!(second.rest().await);
        assert_eq!(states(&world), [GenerationState::Gone, GenerationState::Live]);
    });
}

#[test]
fn a_pair_at_another_endpoint_waits_for_it() {
    run(async {
        let mut world = World::with_keys(&[("web", GeneratedBy::Keyferry)]);
        let at = |endpoint: &str| account(|account| account.endpoint = Some(endpoint.to_owned()));
        world
            .desired
            .accounts
            .insert("cloud".to_owned(), at("https://one.example"));
        let first = world.start();
        assert!(first.rest().await);
        first.kill().await;
        world
            .desired
            .accounts
            .insert("cloud".to_owned(), at("https://other.example"));
        let second = world.start();
        assert!(second.rest().await);
        assert_eq!(states(&world), [GenerationState::Live, GenerationState::Live]);
        assert_eq!(
            world.cloud.requests().len(),
            2,
            "nothing is asked about the old pair"
        );
        let error = second.status("web").error.unwrap();
        assert_eq!(error.kind, "account");
        assert!(error.message.contains("https://one.example"), "{}", error.message);
        world
            .desired
            .accounts
            .insert("cloud".to_owned(), at("https://one.example"));
        second.read_again(&world.desired);
        assert!(second.rest().await);
        assert_eq!(states(&world), [GenerationState::Deleted, GenerationState::Live]);
    });
}

/// An OpenStack's `auth_url`: another one is another cloud, where the pair is not, so that its being missing says nothing.
#[test]
fn a_pair_of_a_cloud_that_a_setting_named_waits_for_it() {
    run(async {
        let mut world = World::with_keys(&[("web", GeneratedBy::Keyferry)]);
        let at = |url: &str| account(|account| account.place = format!("auth_url={url}"));
        let move_to =
            |world: &mut World, url: &str| world.desired.accounts.insert("cloud".to_owned(), at(url));
        move_to(&mut world, "https://one.example/v3");
        let first = world.start();
        assert!(first.rest().await);
        first.kill().await;
        move_to(&mut world, "https://other.example/v3");
        // The pair is not to be seen there.
        let second = world.start();
        assert!(second.rest().await);
        assert_eq!(states(&world), [GenerationState::Live, GenerationState::Live]);
        assert_eq!(
            world.cloud.requests().len(),
            2,
            "nothing is asked about the old pair"
        );
        let error = second.status("web").error.unwrap();
        assert_eq!(error.kind, "account");
        assert!(
            error.message.contains("with auth_url=https://one.example/v3"),
            "{}",
            error.message
        );
        move_to(&mut world, "https://one.example/v3");
        second.read_again(&world.desired);
        assert!(second.rest().await);
        assert_eq!(states(&world), [GenerationState::Deleted, GenerationState::Live]);
    });
}

/// Rows of earlier versions do not know their place.
#[test]
fn a_pair_whose_place_is_not_known_is_its_accounts() {
    run(async {
        let world = World::with_keys(&[("web", GeneratedBy::Keyferry)]);
        assert!(world.start().rest().await);
        let mut row = world.history().generations[0].clone();
        let moved = account(|account| account.place = "auth_url=https://one.example/v3".to_owned());
        assert!(row.is_of(&world.desired.accounts["cloud"]));
        assert!(!row.is_of(&moved), "no URL was set");
        row.place = None;
        assert!(row.is_of(&moved));
    });
}

/// A typo in the endpoint: somebody else answers there, and whether anything was made nobody can say.
#[test]
fn a_key_asked_for_at_a_wrong_place_goes_on_at_the_right_one() {
    run(async {
        for generated_by in [GeneratedBy::Provider, GeneratedBy::Keyferry] {
            let mut world = World::with_keys(&[("web", generated_by)]);
            let right = world.desired.accounts["cloud"].clone();
            let wrong = account(|account| account.endpoint = Some("https://wrong.example".to_owned()));
            world.desired.accounts.insert("cloud".to_owned(), wrong);
            world.cloud.always(Some(Fault::ServerErrorBefore));
            let daemon = world.start();
            // The request, and a look or two at what came of it.
            until(|| world.cloud.requests().len() >= 3).await;
            world.cloud.always(None);
            world.desired.accounts.insert("cloud".to_owned(), right);
            daemon.read_again(&world.desired);
            until(|| daemon.status("web").state == KeyState::Loaded).await;
            assert_eq!(daemon.status("web").generation, Some(2));
            assert_eq!(states(&world), [GenerationState::Doubtful, GenerationState::Live]);
            daemon.kill().await;
        }
    });
}

/// Lets the others go on until this is so.
async fn until(is_so: impl Fn() -> bool) {
    for _ in 0..1_000_000 {
        if is_so() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("waited in vain");
}

#[test]
fn a_request_whose_account_is_gone_does_not_hold_up_the_key() {
    run(async {
        for generated_by in [GeneratedBy::Provider, GeneratedBy::Keyferry] {
            let mut world = World::with_keys(&[("web", generated_by)]);
            world.cloud.hold_answers(true);
            let first = world.start();
            while world.cloud.in_flight().0 == 0 {
                tokio::task::yield_now().await;
            }
            // The pair is made, and nobody hears of it.
            while world.cloud.our_pairs().is_empty() {
                tokio::task::yield_now().await;
            }
            first.kill().await;
            world.cloud.hold_answers(false);
            let renamed = account(|account| account.plugin = "gone".to_owned());
            let before = world
                .desired
                .accounts
                .insert("cloud".to_owned(), renamed)
                .unwrap();
            world
                .desired
                .accounts
                .insert("renamed".to_owned(), before.clone());
            let moved = key("web", generated_by, |spec| spec.account = "renamed".to_owned());
            world.desired.keys.insert("web".to_owned(), moved);
            let second = world.start();
            assert!(second.rest().await);
            let status = second.status("web");
            assert_eq!((status.state, status.generation), (KeyState::Loaded, Some(2)));
            assert!(
                status.error.unwrap().message.contains("account cloud"),
                "the first pair waits for its account"
            );

            world.desired.accounts.insert("cloud".to_owned(), before);
            second.read_again(&world.desired);
            assert!(second.rest().await);
            world.assert_converged(&second);
            second.kill().await;
        }
    });
}
