//! The frames between worker and courier.

use keyferry_plugin::contract::Pair;
use keyferry_sandbox::frame::{self, FrameError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::job::{JobError, JobRequest, JobResult};
use crate::secret::{Secret, WipedBuffer};
use crate::setup::Setup;

/// Bytes of the longest frame, either way. A `list` of 100,000 pairs comes in many.
pub(crate) const MAX_FRAME: usize = 8 * 1024 * 1024;

/// From worker to courier.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ToCourier {
    /// The first frame.
    Setup(Box<Setup>),
    /// Do this. Jobs run side by side.
    Job { id: u64, request: Box<JobRequest> },
    /// Nobody waits for this job any more.
    Cancel { id: u64 },
    /// Answers [`FromCourier::NeedVariables`]: a value for each name that is set.
    Variables {
        need: u64,
        values: Vec<(String, Option<Secret>)>,
    },
    /// Answers [`FromCourier::NeedCommand`]: the command runs. The read ends of its standard output and standard error
    /// come with this frame (`SCM_RIGHTS`), in that order.
    CommandStarted { need: u64 },
    /// The command ended well, or why it did not.
    CommandEnded { need: u64, outcome: Result<(), String> },
}

/// From courier to worker.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FromCourier {
    /// The setup is understood.
    Ready,
    /// The setup is refused; the courier ends.
    SetupFailed { message: String },
    /// A request of this job that changes something is about to leave.
    Sending { id: u64 },
    /// Pairs that this job's list has found so far.
    Emitted { id: u64, pairs: Vec<Pair> },
    /// The job is over.
    Finished {
        id: u64,
        result: Result<JobResult, JobError>,
        /// Seconds that this machine's clock is behind the provider's, as its last reply told.
        clock_behind: Option<i64>,
    },
    /// The values of these variables are needed.
    NeedVariables { need: u64, names: Vec<String> },
    /// A command is to be run: the account's own, or where there is an `argv` the one that a file of the vendor's chain names.
    NeedCommand { need: u64, argv: Option<Vec<String>> },
}

/// A frame with its header, ready to be written.
pub(crate) fn encode(message: &impl Serialize) -> Result<Zeroizing<Vec<u8>>, FrameError> {
    let mut whole = WipedBuffer::default();
    whole.push(&[0; frame::HEADER_LENGTH]);
    serde_json::to_writer(&mut whole, message).map_err(|error| FrameError::Io(error.into()))?;
    let header = frame::header(whole.len() - frame::HEADER_LENGTH, MAX_FRAME)?;
    let mut whole = whole.into_bytes();
    whole[..frame::HEADER_LENGTH].copy_from_slice(&header);
    Ok(whole)
}

/// The message that a frame's content holds. The error says nothing of the content.
pub(crate) fn decode<M: DeserializeOwned>(content: &[u8]) -> Result<M, Misunderstood> {
    serde_json::from_slice(content).map_err(|error| Misunderstood {
        column: error.column(),
    })
}

/// A frame is not a message; keyferry was replaced while it ran.
#[derive(Debug, thiserror::Error)]
#[error(
    "a message is not understood (at byte {column}): restart keyferry, it may have been updated while it ran"
)]
pub(crate) struct Misunderstood {
    column: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_key_reads_back() {
        let sent = FromCourier::Finished {
            id: 7,
            result: Ok(JobResult::Created {
                pair: Pair::default(),
                private_key: Secret::from_text("-----BEGIN\\n\"x\""),
            }),
            clock_behind: None,
        };
        let whole = encode(&sent).unwrap();
        let mut stream = whole.as_slice();
        let content: Zeroizing<Vec<u8>> = frame::read(&mut stream, MAX_FRAME).unwrap();
        match decode::<FromCourier>(&content).unwrap() {
            FromCourier::Finished {
                id: 7,
                result: Ok(JobResult::Created { private_key, .. }),
                ..
            } => {
                assert_eq!(private_key.expose(), b"-----BEGIN\\n\"x\"");
            }
            _ => panic!("another message"),
        }
    }

    #[test]
    fn an_error_tells_nothing_of_the_content() {
        let error = decode::<FromCourier>(b"{\"finished\":{\"sesame\":1}}")
            .err()
            .unwrap();
        assert!(!error.to_string().contains("sesame"));
    }
}
