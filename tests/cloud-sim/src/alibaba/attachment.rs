//! Pairs and instances: what attaching and detaching do, whatever the service's words for it.

use crate::inventory::Inventory;
use crate::refusal::Refusal;

use super::rules::invalid;

/// What became of one instance.
pub(super) struct Outcome {
    pub(super) instance: String,
    /// Code and message of what is wrong. The vendor publishes none of these codes but the first.
    pub(super) problem: Option<(&'static str, &'static str)>,
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Attach,
    Detach,
}

impl Change {
    /// What an action asks for.
    pub(super) fn of(action: &str) -> Self {
        match action {
            "DetachKeyPair" => Self::Detach,
            _ => Self::Attach,
        }
    }
}

/// From one instance id to so many.
pub(super) fn checked(ids: Vec<String>, most: usize) -> Result<Vec<String>, Refusal> {
    if (1..=most).contains(&ids.len()) {
        Ok(ids)
    } else {
        Err(invalid("InstanceIds"))
    }
}

/// Attaches the pair of this name, in place of another one, or detaches it; one instance after the other.
pub(super) fn apply(
    change: Change,
    inventory: &mut Inventory,
    region: Option<&str>,
    pair: &str,
    ids: Vec<String>,
    must_be_stopped: bool,
) -> Vec<Outcome> {
    let mut one = |id: &str| {
        let Some(instance) = inventory.instance(region, id) else {
            return Some(("InvalidInstanceId.NotFound", "The instance does not exist."));
        };
        if must_be_stopped && instance.running {
            return Some(("IncorrectInstanceStatus", "The instance is not stopped."));
        }
        match change {
            Change::Attach => instance.pair = Some(pair.to_owned()),
            Change::Detach if instance.pair.as_deref() == Some(pair) => instance.pair = None,
            Change::Detach => {
                return Some((
                    "InvalidKeyPair.NotAttached",
                    "The key pair is not attached to the instance.",
                ));
            }
        }
        None
    };
    ids.into_iter()
        .map(|instance| Outcome {
            problem: one(&instance),
            instance,
        })
        .collect()
}
