//! Pairs that hide, that vanish, that cannot be deleted, and whose account is gone.

use keyferry_plugin::contract::ErrorKind;

use super::cloud::Fault;
use super::*;

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
