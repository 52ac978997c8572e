//! Binding pairs to instances, and releasing them.

use keyferry_plugin::contract::{Attachment, ErrorKind, Outcome, ProviderError, Step};
use keyferry_plugin::{Answer, Turn};

use crate::{Call, Product};

impl Product {
    /// Binds a pair to instances, or releases it; `call` makes the call of this action.
    ///
    /// # Errors
    /// Those of the call; [`ErrorKind::Unsupported`] when there are more instances than the vendor takes in one call, and
    /// [`ErrorKind::Invalid`] when there are none.
    pub fn attachment(
        &self,
        action: &str,
        attachment: &Attachment,
        turn: &Turn<'_>,
        call: impl FnOnce() -> Result<Call, ProviderError>,
    ) -> Answer {
        let (name, most) = (self.name, self.most_instances);
        if attachment.instances.is_empty() {
            return Err(ProviderError::new(ErrorKind::Invalid, "no instance is named"));
        }
        if attachment.instances.len() > most {
            let message = format!("{name} takes at most {most} instances per call: name fewer at a time");
            return Err(ProviderError::new(ErrorKind::Unsupported, message));
        }
        match self.answer(turn, action)? {
            None => Ok(call()?.send()),
            Some(answer) => {
                let results = answer.instances(self, turn, action, &attachment.instances)?;
                Ok(Step::done(Outcome::Attached(results)))
            }
        }
    }
}
