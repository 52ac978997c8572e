//! The profiles that plugins find in their vendors' files.

use std::sync::Arc;

use keyferry_courier::{Courier, Hooks, JobRequest, JobResult};
use keyferry_engine::config::Plugins as _;
use keyferry_engine::desired::{Account, CredentialSource, NetworkSettings};
use keyferry_plugin::contract::{Operation, OperationKind, Profile, Profiles};
use keyferry_plugin::manifest::RegionRule;
use keyferry_sandbox::library::LibraryFacts;

use crate::catalogue::Catalogue;
use crate::error::Error;
use crate::{clouds, table};

/// One account that could be written.
pub(super) struct Offer {
    pub(super) facts: Arc<LibraryFacts>,
    pub(super) profile: Profile,
}

impl Offer {
    pub(super) fn plugin(&self) -> &str {
        &self.facts.manifest.name
    }

    pub(super) fn needs_region(&self) -> bool {
        self.facts.manifest.region == RegionRule::Required
    }

    /// The region to write: the profile's, else the given one; the error says that there is none where one is needed.
    pub(super) fn region(&self, given: Option<&str>) -> Result<Option<String>, String> {
        match self.profile.region.as_deref().or(given) {
            Some(region) => Ok(Some(region.to_owned())),
            None if self.needs_region() => Err(format!(
                "{} names no region for {}",
                self.profile.source,
                self.plugin()
            )),
            None => Ok(None),
        }
    }
}

/// Asks every plugin, or these alone. What one cannot tell costs a line and no more.
pub(super) fn profiles(catalogue: &Catalogue, only: &[String]) -> Result<Vec<Offer>, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::Start)?;
    let mut offers = Vec::new();
    for name in catalogue.names() {
        if !only.is_empty() && !only.contains(&name) {
            continue;
        }
        // Those that cannot be used were told of before.
        let Ok(facts) = catalogue.facts(&name) else {
            continue;
        };
        if !facts.manifest.operations.contains_key(&OperationKind::Profiles) {
            continue;
        }
        match runtime.block_on(ask(&facts)) {
            Ok(profiles) => offers.extend(profiles.into_iter().map(|profile| Offer {
                facts: Arc::clone(&facts),
                profile,
            })),
            Err(why) => table::complain(&format!("{name} cannot tell its profiles: {why}")),
        }
    }
    Ok(offers)
}

async fn ask(facts: &LibraryFacts) -> Result<Vec<Profile>, String> {
    let account = Account {
        name: "init".to_owned(),
        plugin: facts.manifest.name.clone(),
        region: None,
        endpoint: None,
        insecure_http: false,
        settings: Default::default(),
        place: String::new(),
        credentials: CredentialSource::Chain { profile: None },
        max_concurrent: None,
        max_per_second: None,
        check_every: None,
        max_pairs: None,
    };
    let setup = clouds::courier_setup(&account, &NetworkSettings::default(), facts);
    let courier = Courier::spawn(&clouds::role("courier"), setup, Hooks::default())
        .map_err(|error| error.to_string())?;
    let job = JobRequest::new(Operation::Profiles(Profiles {}), "0".repeat(32));
    match courier.run(job).await.map_err(|error| error.to_string())? {
        JobResult::Profiles(profiles) => Ok(profiles),
        _ => Err("the courier answered another operation than it was asked".to_owned()),
    }
}
