//! kill -9 of the worker in the middle of rotations on real hosts: after a restart every host has exactly the line of the
//! generation that is loaded, the cloud exactly its pair, and no host ever let in less than what had been seen to work.
//!
//! Nothing here lists what keyferry does. Lives without crashes fill a ledger, and the walks are made of the effects and
//! writes found there.

#[path = "rotation_crashes/effects.rs"]
mod effects;
#[path = "rotation_crashes/gate.rs"]
mod gate;
#[path = "rotation_crashes/lives.rs"]
mod lives;
#[path = "rotation_crashes/rows.rs"]
mod rows;
#[path = "crashes/side_by_side.rs"]
mod side_by_side;
#[path = "rotation_crashes/watcher.rs"]
mod watcher;
#[path = "rotation_crashes/world.rs"]
mod world;
#[path = "rotation_crashes/writes.rs"]
mod writes;
