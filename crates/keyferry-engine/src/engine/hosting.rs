//! Working on hosts: what was planned is begun, and what comes of it is written down.

use super::Engine;
use crate::error::EngineError;
use crate::plan::Action;

impl Engine {
    /// Begins what is done on hosts, or follows from what stands there.
    pub(super) async fn begin_on_hosts(&mut self, action: Action) -> Result<(), EngineError> {
        tracing::error!(?action, "nothing can be done on hosts yet");
        Ok(())
    }
}
