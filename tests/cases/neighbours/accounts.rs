//! Two installations on one account whose quota is just large enough.

use std::collections::BTreeSet;
use std::time::Duration;

use keyferry_tests::daemon::find;
use keyferry_tests::wait;

use crate::scene::{KEY, cloud, foreign, home, live, pairs, start};

#[test]
fn two_installations_share_an_account_with_a_quota_of_ten() {
    let cloud = cloud(2, 10);
    let others = foreign(&cloud);
    assert_eq!(others.len(), 2);
    // The same names on both machines, as of two people with one set of files.
    let (one, two) = (
        home(&cloud, &["db", "git", "web", "x"]),
        home(&cloud, &["db", "git", "web", "x"]),
    );
    let (mut first, second) = (start(&one), start(&two));
    let full: BTreeSet<String> = [others.clone(), live(&one), live(&two)]
        .into_iter()
        .flatten()
        .collect();
    assert_eq!(full.len(), 10);
    assert_eq!(pairs(&cloud), full);

    // There is no room for an eleventh: the one who asks is told whose pairs fill it, and nobody loses one.
    two.key("late", KEY);
    let message = wait::until("the quota is explained", Duration::from_secs(30), || {
        let status = second.status();
        let keys = status["keys"].as_array()?;
        let late = keys.iter().find(|key| key["name"] == "late")?;
        let message = late["error"]["message"].as_str()?.to_owned();
        message.contains("holds").then_some(message)
    });
    assert!(
        message.contains(
            "holds 10 key pairs: 4 of this keyferry, 4 of other keyferry installations and 2 of others"
        ),
        "{message}"
    );
    assert_eq!(pairs(&cloud), full);

    // All private halves of the first are lost, and the account is full: it makes room with its own pairs alone.
    let (lost, of_the_other) = (live(&one), live(&two));
    first.kill();
    let first = start(&one);
    wait::until(
        "the first has new pairs, and the old ones are gone",
        Duration::from_secs(60),
        || {
            let now = live(&one);
            let is_new = now.len() == 4 && now.is_disjoint(&lost);
            (is_new && pairs(&cloud).is_disjoint(&lost)).then_some(())
        },
    );
    assert_eq!(foreign(&cloud), others);
    assert!(of_the_other.is_subset(&pairs(&cloud)));
    for name in ["db", "git", "web", "x"] {
        assert_eq!(find(&first.status(), name)["state"], "loaded");
        assert_eq!(find(&second.status(), name)["state"], "loaded");
    }
    // Every deletion was of a pair whose private half was lost.
    let requests = cloud.requests().requests.into_iter();
    let deleted: Vec<String> = requests
        .filter(|request| request.action == "DeleteKeyPairs" && request.committed)
        .filter_map(|request| request.name)
        .collect();
    assert_eq!(deleted.len(), 4, "{deleted:?}");
    for names in deleted {
        assert!(lost.iter().any(|name| names.contains(name.as_str())), "{names}");
    }
}
