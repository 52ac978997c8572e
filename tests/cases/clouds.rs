//! What a cloud may do wrong, and what the user sees of it: every case ends with the cloud holding exactly the pairs
//! that the ledger knows.

#[path = "clouds/aws.rs"]
mod aws;
#[path = "clouds/credentials.rs"]
mod credentials;
#[path = "clouds/faults.rs"]
mod faults;
#[path = "clouds/forms.rs"]
mod forms;
#[path = "clouds/logins.rs"]
mod logins;
#[path = "clouds/refusals.rs"]
mod refusals;
#[path = "clouds/restart.rs"]
mod restart;
#[path = "clouds/roles.rs"]
mod roles;
#[path = "clouds/scene.rs"]
mod scene;
#[path = "clouds/settings.rs"]
mod settings;
#[path = "clouds/silence.rs"]
mod silence;
