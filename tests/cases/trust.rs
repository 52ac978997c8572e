//! Other public keys than keyferry's own on real hosts: also_trust, grants, revocations, and recovering when asked.

#[path = "trust/attaching.rs"]
mod attaching;
#[path = "trust/granting.rs"]
mod granting;
#[path = "trust/recovering.rs"]
mod recovering;
#[path = "trust/revoking.rs"]
mod revoking;
#[expect(dead_code, reason = "the cases of rotations use more of it")]
#[path = "rotation/scene.rs"]
mod scene;
