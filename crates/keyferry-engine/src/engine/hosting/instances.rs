//! Asking which instances name a generation's pair.

use crate::engine::failure::Failure;
use crate::engine::outcome::nonsense;
use crate::engine::{Engine, Job, JobReply, Step};
use crate::ledger::Generation;
use crate::plan::{GenerationId, Subject};

impl Engine {
    pub(super) fn list_instances(&mut self, id: &GenerationId) {
        let Some(generation) = self.view.generations.get(id).cloned() else {
            return;
        };
        let pair = crate::engine::acting::reference(&generation);
        self.send(&generation, Job::ListInstances { pair }, Step::Instances);
    }

    pub(in crate::engine) fn instances_listed(
        &mut self,
        generation: &Generation,
        result: Result<JobReply, Failure>,
    ) {
        let id = generation.id();
        let subject = Subject::Instances(id.0.clone(), id.1);
        let failure = match result {
            Ok(JobReply::Instances(names)) => {
                self.observed.retries.remove(&subject);
                let now = self.clock.now().uptime;
                self.observed.instances.insert(id, (names, now));
                return;
            }
            // Of a pair that is not there no instance can say anything.
            Err(failure) if failure.kind == "not_found" => {
                self.observed.retries.remove(&subject);
                let now = self.clock.now().uptime;
                self.observed.instances.insert(id, (Vec::new(), now));
                return;
            }
            Ok(_) => nonsense("the plugin answered another question".to_owned()),
            Err(failure) => failure,
        };
        self.fail(subject, &failure);
    }
}
