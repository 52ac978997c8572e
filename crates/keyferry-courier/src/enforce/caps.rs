//! Line h: how much a plugin may ask for.

use std::time::Duration;

use keyferry_plugin::contract::OperationKind;
use serde_json::Value;

use super::{Refusal, Rule};

/// Secrets lifted out of one reply.
pub(crate) const MAX_CAPTURES: usize = 4;
/// Bytes of a secret that is lifted out of a login's reply: each is looked for in many forms.
pub(crate) const MAX_SECRET: usize = 64 * 1024;
/// Pairs that one `list` may find.
pub(crate) const MAX_PAIRS: usize = 100_000;
/// Instances that may name one pair.
pub(crate) const MAX_INSTANCES: usize = 10_000;
/// Bytes of a request's path, and of all its names and values together.
pub(crate) const MAX_REQUEST: usize = 256 * 1024;
/// Bytes of the state that a plugin keeps between steps, as JSON.
pub(crate) const MAX_STATE: usize = 256 * 1024;
/// The longest [`Wait`](keyferry_plugin::contract::Step::Wait).
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(30);

/// Bytes of a reply's body.
pub(crate) fn max_reply(kind: OperationKind) -> usize {
    match kind {
        OperationKind::List | OperationKind::ListInstances => 4 * 1024 * 1024,
        _ => 1024 * 1024,
    }
}

/// The time of an operation, where that of one is `most`: what asks page after page has more.
pub(crate) fn time(kind: OperationKind, most: Duration) -> Duration {
    match kind {
        OperationKind::List | OperationKind::ListInstances => most.saturating_mul(5),
        _ => most,
    }
}

/// Counts the steps of one operation.
pub(crate) struct Steps {
    kind: OperationKind,
    most: usize,
    taken: usize,
}

impl Steps {
    pub(crate) fn new(kind: OperationKind) -> Self {
        let most = match kind {
            OperationKind::List | OperationKind::ListInstances => 2000,
            _ => 64,
        };
        Self { kind, most, taken: 0 }
    }

    /// Takes one more step.
    pub(crate) fn take(&mut self) -> Result<(), Refusal> {
        if self.taken == self.most {
            let message = format!("took more than {} steps for one {}", self.most, self.kind);
            return Err(Refusal::new(Rule::Limit, message));
        }
        self.taken += 1;
        Ok(())
    }
}

/// Checks the size of what a plugin wants to be given back.
pub(crate) fn check_state(state: &Value) -> Result<(), Refusal> {
    // It was parsed from JSON and can be written again.
    let length = serde_json::to_vec(state).map_or(usize::MAX, |json| json.len());
    if length > MAX_STATE {
        return Err(Refusal::new(
            Rule::Limit,
            format!("kept a state of more than {MAX_STATE} bytes"),
        ));
    }
    Ok(())
}

/// Checks the length of a wait.
pub(crate) fn check_wait(ms: u64) -> Result<Duration, Refusal> {
    let wait = Duration::from_millis(ms);
    if wait > MAX_WAIT {
        let message = format!(
            "wanted to wait {} s, at most {} s are allowed",
            wait.as_secs(),
            MAX_WAIT.as_secs()
        );
        return Err(Refusal::new(Rule::Limit, message));
    }
    Ok(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_end() {
        for (kind, most) in [(OperationKind::Create, 64), (OperationKind::List, 2000)] {
            let mut steps = Steps::new(kind);
            for _ in 0..most {
                steps.take().unwrap();
            }
            let refusal = steps.take().unwrap_err();
            assert_eq!(refusal.rule, Rule::Limit);
            assert_eq!(
                refusal.message,
                format!("took more than {most} steps for one {kind}")
            );
        }
    }

    #[test]
    fn a_state_is_small() {
        check_state(&Value::String("x".repeat(MAX_STATE - 2))).unwrap();
        assert_eq!(
            check_state(&Value::String("x".repeat(MAX_STATE - 1)))
                .unwrap_err()
                .rule,
            Rule::Limit
        );
    }

    #[test]
    fn a_wait_is_short() {
        assert_eq!(check_wait(30_000).unwrap(), MAX_WAIT);
        assert!(check_wait(30_001).is_err());
        assert!(check_wait(u64::MAX).is_err());
    }
}
