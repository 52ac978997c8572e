//! Which profiles the vendor's own tools have on this machine: the plugin's `profiles` operation, which reads sources and
//! does nothing else.

use std::time::Instant;

use keyferry_plugin::Step;
use keyferry_plugin::contract::{Effect, Operation, OperationKind, Outcome, Profile, Profiles, Reply};
use serde_json::Value;

use super::source::Sources;
use super::{missing, result};
use crate::enforce::blanking::Blanker;
use crate::enforce::{Refusal, Rule, caps, cleaning};
use crate::job::{JobError, JobRequest};
use crate::process::Shared;
use crate::step::{Known, Moment, ask, refused};

/// Runs the plugin's `profiles` operation. No secret leaves this process, and no request.
pub(crate) fn profiles(shared: &Shared, deadline: Instant) -> Result<Vec<Profile>, JobError> {
    let plugin = &shared.setup.library.name;
    let operation = Operation::Profiles(Profiles::default());
    let job = JobRequest::new(operation.clone(), "0".repeat(32));
    let refuse = |message: String| refused(shared, Refusal::new(Rule::Call, message), Effect::None);
    let limited = |refusal| refused(shared, refusal, Effect::None);
    let misbehaved = |message: String| JobError::Plugin {
        message,
        effect: Effect::None,
    };
    let mut sources = Sources::default();
    let mut steps = caps::Steps::new(OperationKind::Profiles);
    let (mut state, mut reply) = (Value::Null, None);
    loop {
        steps
            .take()
            .and_then(|()| caps::check_state(&state))
            .map_err(limited)?;
        if Instant::now() >= deadline {
            return Err(missing(shared, "looking for profiles took too long".to_owned()));
        }
        let step = ask(
            shared,
            &job,
            &operation,
            Known::nothing(),
            Moment::of(None),
            state,
            reply.take(),
        );
        match step.map_err(misbehaved)? {
            Step::Read(step) => {
                let document = sources
                    .read(shared, &step.source)
                    .map_err(|error| error.told(shared))?;
                reply = Some(Reply::Document(document));
                state = step.state;
            }
            Step::Done(step) => {
                let (Outcome::Profiles(found), None) = (step.outcome, step.session) else {
                    return Err(misbehaved(format!(
                        "plugin {plugin} answered profiles with something else: report it to its author"
                    )));
                };
                if found.len() > MAX_PROFILES {
                    return Err(refuse(format!("told of more than {MAX_PROFILES} profiles")));
                }
                let blanker = sources.blanker();
                return Ok(found
                    .into_iter()
                    .map(|profile| shown(profile, &blanker))
                    .collect());
            }
            Step::Fail(step) => {
                let message = sources
                    .blanker()
                    .shown(&step.error.message, cleaning::MAX_MESSAGE);
                return Err(missing(shared, message));
            }
            Step::Http(_) | Step::Wait(_) | Step::Run(_) => {
                return Err(refuse(
                    "wanted more than to read sources to tell of profiles".to_owned(),
                ));
            }
        }
    }
}

fn shown(profile: Profile, blanker: &Blanker) -> Profile {
    let clean = |text: String| blanker.shown(&text, 300);
    let mut shown = Profile {
        name: profile.name.clone().map(clean),
        source: clean(profile.source),
        region: profile.region.clone().map(clean),
        settings: profile
            .settings
            .iter()
            .map(|(name, value)| (clean(name.clone()), result::shown(value.clone(), blanker)))
            .collect(),
        unusable: profile.unusable.map(clean),
    };
    // An account that is written with other words than the vendor's file has would look for another profile.
    let kept = [
        ("name", shown.name == profile.name),
        ("region", shown.region == profile.region),
        ("settings", shown.settings == profile.settings),
    ];
    if let (None, Some((what, _))) = (&shown.unusable, kept.iter().find(|(_, is_same)| !is_same)) {
        shown.unusable = Some(format!(
            "its {what} cannot be written into a file as it stands (a control character, a secret, or too long a text): \
             change it there"
        ));
    }
    shown
}

/// More than anybody has.
const MAX_PROFILES: usize = 1000;
