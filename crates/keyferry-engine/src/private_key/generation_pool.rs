//! Where slow keys are made: one thread of low priority, so that signing never waits for a prime.

use std::sync::mpsc;
use std::thread;

use keyferry_plugin::contract::Algorithm;
use tokio::sync::oneshot;

use super::{PrivateKey, PrivateKeyError};

/// One thread that makes private keys in the order they are asked for. It ends when this is dropped.
///
/// Nothing is made in advance: the queue is as long as what was asked for and not given up.
#[derive(Debug)]
pub struct GenerationPool {
    orders: mpsc::Sender<Order>,
}

impl GenerationPool {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system starts no thread.
    pub fn start() -> std::io::Result<Self> {
        let (orders, queue) = mpsc::channel::<Order>();
        thread::Builder::new()
            .name("keyferry-keygen".to_owned())
            .spawn(move || {
                lower_priority();
                for order in queue {
                    // Nobody waits any more: the engine was stopped.
                    if !order.reply.is_closed() {
                        let _ = order.reply.send(PrivateKey::generate(order.algorithm));
                    }
                }
            })?;
        Ok(Self { orders })
    }

    /// Makes a key on the pool's thread. Dropping the future gives up the order unless it has begun.
    ///
    /// # Errors
    /// As [`PrivateKey::generate`].
    pub fn generate(
        &self,
        algorithm: Algorithm,
    ) -> impl Future<Output = Result<PrivateKey, PrivateKeyError>> + Send + use<> {
        let (reply, answer) = oneshot::channel();
        // A failed send drops `reply`, which the future below sees.
        let _ = self.orders.send(Order { algorithm, reply });
        async move { answer.await.unwrap_or(Err(PrivateKeyError::Generation)) }
    }
}

struct Order {
    algorithm: Algorithm,
    reply: oneshot::Sender<Result<PrivateKey, PrivateKeyError>>,
}

/// On Linux a thread has a nice value of its own; elsewhere it would be the whole process's, so it is left alone.
fn lower_priority() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(10) {
        tracing::debug!(%error, "the priority of key generation cannot be lowered");
    }
}
