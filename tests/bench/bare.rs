//! What the cryptographic library makes by itself: nothing that signs over a socket makes more.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};

/// A private key of the library's own.
pub(crate) enum BareKey {
    Ed25519(Box<Ed25519KeyPair>),
    P256(Box<EcdsaKeyPair>),
    Rsa2048(Box<RsaKeyPair>),
}

impl BareKey {
    pub(crate) fn ed25519() -> Self {
        Self::Ed25519(Box::new(Ed25519KeyPair::generate().expect("a key")))
    }

    pub(crate) fn p256() -> Self {
        Self::P256(Box::new(
            EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key"),
        ))
    }

    pub(crate) fn rsa2048() -> Self {
        Self::Rsa2048(Box::new(RsaKeyPair::generate(KeySize::Rsa2048).expect("a key")))
    }

    /// Signatures per second on so many threads at once.
    pub(crate) fn rate(&self, threads: usize, time: Duration) -> f64 {
        let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
        let barrier = Barrier::new(threads + 1);
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let random = SystemRandom::new();
                    self.sign(&random);
                    barrier.wait();
                    while !stop.load(Ordering::Relaxed) {
                        self.sign(&random);
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            barrier.wait();
            thread::sleep(time);
            stop.store(true, Ordering::Relaxed);
        });
        count.load(Ordering::Relaxed) as f64 / time.as_secs_f64()
    }

    /// As many bytes as [`crate::client::sign_request`] has signed.
    fn sign(&self, random: &SystemRandom) {
        let message = std::hint::black_box([7; 200]);
        match self {
            Self::Ed25519(key) => {
                std::hint::black_box(key.sign(&message));
            }
            Self::P256(key) => {
                std::hint::black_box(key.sign(random, &message).expect("a signature"));
            }
            Self::Rsa2048(key) => {
                let mut signature = [0; 256];
                key.sign(&RSA_PKCS1_SHA256, random, &message, &mut signature)
                    .expect("a signature");
                std::hint::black_box(signature);
            }
        }
    }
}
