//! `keyferry plan`: what would be done, in which order and why. The planner itself is asked, in a world where every step
//! works, so that what is shown is what the daemon does.

use super::hosts::hosts_of;
use super::{Action, Observed, Over};
use crate::desired::Desired;
use crate::engine::Moment;
use crate::ledger::{LedgerView, ORPHANS, Purpose};
use crate::snapshot::{KeyPlan, PlanStep, Timestamp};
use simulation::Simulation;

mod simulation;
mod warnings;

pub use warnings::after_reboot;

/// What would happen to each key from now to the end of its next rotation, by name. Hosts that are parked or blocked are
/// taken to stay so. `names`: of these keys; none: of all.
pub fn explain(
    desired: &Desired,
    ledger: &LedgerView,
    observed: &Observed,
    now: Moment,
    names: &[String],
) -> Vec<KeyPlan> {
    let plan = super::plan(desired, ledger, observed, now);
    let ways_in = warnings::ways_in(ledger, observed);
    let keys = super::keys(desired, ledger, observed);
    let keys = keys.into_iter().filter(|key| {
        let is_meant = names.is_empty() || names.iter().any(|name| name == key);
        is_meant && *key != ORPHANS
    });
    keys.map(|key| KeyPlan {
        key: key.to_owned(),
        steps: steps(Simulation::of(desired, ledger, observed, now, key), key),
        waiting: plan.rotations_wait.get(key).cloned(),
        warnings: warnings::warnings(desired, ledger, observed, &ways_in, key),
    })
    .collect()
}

fn steps(mut simulation: Simulation, key: &str) -> Vec<PlanStep> {
    let mut steps = Vec::new();
    let mut at = None;
    let mut rotations = 0;
    for _ in 0..MAX_PLANS {
        let plan = simulation.plan();
        let actions: Vec<Action> = plan
            .actions
            .into_iter()
            .filter(|action| action.key() == key)
            .collect();
        if actions.is_empty() {
            if rotations > 0 && simulation.is_through(key) {
                break;
            }
            let wake_at = plan.wake_at.into_iter().chain(plan.survey_at).min();
            let Some(wake_at) = wake_at.filter(|at| *at < simulation::NEVER) else {
                break;
            };
            simulation.pass_until(wake_at);
            at = Some(Timestamp(simulation.now.wall));
            continue;
        }
        // What a parked host or an instance holds back does not go: the next rotation is another story all the same.
        if rotations > 0 && actions.iter().any(|action| simulation.begins_another(action)) {
            break;
        }
        for action in actions {
            let why = simulation.shows(&action).then(|| why(&action, &simulation));
            let generation = simulation.generation_of(&action);
            rotations += usize::from(matches!(action, Action::Promote { .. }));
            if let Some(why) = why {
                steps.push(PlanStep {
                    what: what(&action).to_owned(),
                    generation,
                    host: action.host().map(str::to_owned),
                    why,
                    at: at.take(),
                });
            }
            simulation.succeed(&action);
        }
        if steps.len() >= MAX_STEPS {
            break;
        }
    }
    steps
}

fn what(action: &Action) -> &'static str {
    match action {
        Action::Confirm { .. } | Action::Look { .. } => "look",
        Action::Copy { .. } => "copy",
        Action::Create { .. } => "create",
        Action::Delete { .. } => "delete",
        Action::Doubt { .. } => "doubt",
        Action::Forget { .. } => "forget",
        Action::Generate { .. } => "generate",
        Action::Import { .. } | Action::ImportAgain { .. } => "import",
        Action::ListHosts { .. } => "list_hosts",
        Action::ListInstances { .. } => "list_instances",
        Action::Load { .. } => "load",
        Action::Promote { .. } => "promote",
        Action::Publish { .. } => "publish",
        Action::Put { .. } => "put",
        Action::PutTrusted { .. } => "put_trusted",
        Action::Replace { .. } => "replace",
        Action::Revoke { .. } => "revoke",
        Action::Survey { .. } => "survey",
        Action::TakeOff { .. } => "take_off",
        Action::TakeOffTrusted { .. } => "take_off_trusted",
        Action::Unload { .. } => "unload",
        Action::Verify { .. } => "verify",
        Action::VerifyRecovery { .. } => "verify_recovery",
    }
}

fn why(action: &Action, simulation: &Simulation) -> String {
    match action {
        Action::Confirm { .. } => "the list of all pairs made it doubtful".to_owned(),
        Action::Copy { region, .. } => match region {
            Some(region) => format!("its public half belongs in {region} too"),
            None => "its pair was taken away at the provider".to_owned(),
        },
        Action::Create { key } | Action::Generate { key } => simulation.reason_to_begin(key),
        Action::Delete { id } if simulation.is_retiring(&id.0) => "the key ends".to_owned(),
        Action::Delete { .. } => "nothing needs its pair any more".to_owned(),
        Action::Doubt { .. } => "its account is gone: nobody can look for it".to_owned(),
        Action::Forget { .. } => "nobody needs the private half any more".to_owned(),
        Action::Import { .. } => "the provider has to know its public half".to_owned(),
        Action::ImportAgain { .. } => "it did not arrive".to_owned(),
        Action::ListHosts { .. } => "what its file names has to say which hosts it has".to_owned(),
        Action::ListInstances { .. } => "instances launched with it may let in nothing else".to_owned(),
        Action::Load { id } => match simulation.is_to_be_staged(&id.0) {
            true => "it is offered to nobody until it was seen to log in".to_owned(),
            false => "it is offered at once".to_owned(),
        },
        Action::Look { .. } => "whether its pair is there is not known".to_owned(),
        Action::Promote { .. } => "it was seen to log in".to_owned(),
        Action::Publish { .. } => "files that name the key name it by that".to_owned(),
        Action::Put { .. } => "over a login that works now".to_owned(),
        Action::PutTrusted { purpose, .. } => match purpose {
            Purpose::Recovery => "the recovery identity, for when private halves are gone".to_owned(),
            Purpose::AlsoTrust => "another public key that its file names".to_owned(),
            Purpose::Grant => "a public key that was granted".to_owned(),
        },
        Action::Replace { over, .. } => format!("generation {} logs in there instead", over.1),
        Action::Revoke { .. } => "the user wants these lines off it".to_owned(),
        Action::TakeOffTrusted { .. } => "other public keys that nothing names any more".to_owned(),
        Action::VerifyRecovery { .. } => "the way back in has to work before it is needed".to_owned(),
        Action::Survey { .. } => "the account's pairs are looked at".to_owned(),
        Action::TakeOff { over, lines, .. } => {
            let others = match lines.len() {
                0 | 1 => String::new(),
                _ => {
                    let lines: Vec<String> = lines.iter().map(|(_, n)| n.to_string()).collect();
                    format!(", with those of generations {} in one go", lines.join(", "))
                }
            };
            match over {
                Over::Generation(id) if action.key() == id.0 => {
                    format!("generation {} logs in there{others}", id.1)
                }
                Over::Generation(id) => format!("key {} logs in there{others}", id.0),
                Over::Recovery => format!("the recovery identity logs in there{others}"),
            }
        }
        Action::Unload { .. } => "nobody needs it any more".to_owned(),
        Action::Verify { .. } => "a login with it alone has to work".to_owned(),
    }
}

/// More is not shown: whoever reads that far has seen how it goes on.
const MAX_STEPS: usize = 10_000;

/// So often is the planner asked at most.
const MAX_PLANS: usize = 5_000;

#[cfg(test)]
mod tests;
