//! What somebody else does to pairs at the provider, and what keyferry finds there.

#[path = "drift/limits.rs"]
mod limits;
#[path = "drift/orphans.rs"]
mod orphans;
#[path = "drift/refresh.rs"]
mod refresh;
#[path = "drift/regions.rs"]
mod regions;
#[path = "drift/scene.rs"]
mod scene;
