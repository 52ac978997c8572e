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
        Self::start_with(PrivateKey::generate)
    }

    /// The same with another way to make a key.
    ///
    /// # Errors
    /// When the system starts no thread.
    pub(crate) fn start_with(
        make: impl Fn(Algorithm) -> Result<PrivateKey, PrivateKeyError> + Send + 'static,
    ) -> std::io::Result<Self> {
        let (orders, queue) = mpsc::channel::<Order>();
        thread::Builder::new()
            .name("keyferry-keygen".to_owned())
            .spawn(move || {
                lower_priority();
                for order in queue {
                    // Nobody waits any more: the engine was stopped.
                    if !order.reply.is_closed() {
                        let _ = order.reply.send(make(order.algorithm));
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// However many are asked for at once.
    #[test]
    fn keys_are_made_one_after_the_other_on_the_threads_own_time() {
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let seen = Arc::clone(&most);
        let pool = GenerationPool::start_with(move |algorithm| {
            assert_eq!(thread::current().name(), Some("keyferry-keygen"));
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // What takes so long that two at a time would meet.
            let key = PrivateKey::generate(algorithm);
            running.fetch_sub(1, Ordering::SeqCst);
            key
        });
        let pool = pool.unwrap();
        let orders = [(); 4].map(|()| pool.generate(Algorithm::Rsa2048));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for order in orders {
            let key = runtime.block_on(order).unwrap();
            assert_eq!(key.public_key().algorithm(), Some(Algorithm::Rsa2048));
        }
        assert_eq!(seen.load(Ordering::SeqCst), 1);
    }
}
