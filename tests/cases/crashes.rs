//! kill -9 of worker, courier and sandbox, wherever it hurts: afterwards the key is loaded, it is the only one, and the cloud
//! holds exactly the pairs that the ledger knows.
//!
//! Nothing here lists what keyferry does. A first life without crashes fills a ledger, and the walks are made of the
//! effects and writes found there.

#[path = "crashes/again.rs"]
mod again;
#[path = "crashes/effects.rs"]
mod effects;
#[path = "crashes/late.rs"]
mod late;
#[path = "crashes/side_by_side.rs"]
mod side_by_side;
#[path = "crashes/story.rs"]
mod story;
#[path = "crashes/world.rs"]
mod world;
#[path = "crashes/writes.rs"]
mod writes;

/// How often a soak runs each case.
const SOAK_ROUNDS: usize = 5;
