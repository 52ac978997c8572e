//! The config directory, end to end: files of every kind saved in every way, and what is wrong with them.
//!
//! Where a case says that a change is seen, it asks for status without `--wait`, which would read everything again.

#[path = "config/bulk.rs"]
mod bulk;
#[path = "config/errors.rs"]
mod errors;
#[path = "config/links.rs"]
mod links;
#[path = "config/overflow.rs"]
mod overflow;
#[path = "config/saving.rs"]
mod saving;
#[path = "config/scene.rs"]
mod scene;
#[path = "config/trust.rs"]
mod trust;
#[path = "config/vanishing.rs"]
mod vanishing;
