//! Several keyferries that do not know each other: one account, one host, one machine, one copied or fresh state directory. None touches
//! what is another's.

#[path = "neighbours/accounts.rs"]
mod accounts;
#[path = "neighbours/directories.rs"]
mod directories;
#[path = "neighbours/hosts.rs"]
mod hosts;
#[path = "neighbours/scene.rs"]
mod scene;
#[path = "neighbours/users.rs"]
mod users;
