//! What is asked and answered about attaching pairs to instances.

use keyferry_engine::engine::AttachAsked;
use keyferry_engine::snapshot::{Attachable, Attached};
use serde::{Deserialize, Serialize};

/// What a client asks.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AttachRequest {
    /// Do what a person has agreed to.
    Attach {
        /// As it was shown.
        agreed: Vec<Attachable>,
    },
    /// What it would mean.
    Preview(AttachAsked),
}

/// What the daemon answers.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AttachAnswer {
    /// Of [`AttachRequest::Attach`].
    Attached(Vec<Attached>),
    /// Of [`AttachRequest::Preview`].
    Previewed(Vec<Attachable>),
    /// The provider takes longer than a client waits. What was begun goes on, and nothing more is begun.
    UnderWay,
}
