//! Rotation on real hosts: what is deployed, what is seen to log in, and what is taken away when.

#[path = "rotation/absence.rs"]
mod absence;
#[path = "rotation/deployment.rs"]
mod deployment;
#[path = "rotation/down.rs"]
mod down;
#[path = "rotation/files.rs"]
mod files;
#[path = "rotation/locking.rs"]
mod locking;
#[path = "rotation/proof.rs"]
mod proof;
#[path = "rotation/reboot.rs"]
mod reboot;
#[path = "rotation/recovery.rs"]
mod recovery;
#[path = "rotation/scene.rs"]
mod scene;
#[path = "rotation/soak.rs"]
mod soak;
#[path = "rotation/telling.rs"]
mod telling;
#[path = "rotation/waiting.rs"]
mod waiting;
#[path = "rotation/ways.rs"]
mod ways;
