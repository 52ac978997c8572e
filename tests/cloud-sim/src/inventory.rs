//! The key pairs of one service, and what can be set about it.

use std::collections::{BTreeMap, HashMap};
use std::time::SystemTime;

use aws_lc_rs::rand;
use serde::{Deserialize, Serialize};

use crate::Service;
use crate::keys::PrivateKeyForm;
use crate::vendor::{Answer, Call};
use crate::wire::hex;

/// A key pair that the cloud holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pair {
    /// Its region; `None` where the service has none.
    pub region: Option<String>,
    /// Its name, unique in its region.
    pub name: String,
    /// Its id (`ssh-...` at ECS, which tells it only to who creates the pair); empty where the service has none.
    pub id: String,
    /// As the vendor writes it.
    pub fingerprint: String,
    /// The public key as imported, or `ssh-rsa AAAA...`.
    pub public_key: String,
    /// How it came to be.
    pub created_by: CreatedBy,
    /// When, by the cloud's clock.
    #[serde(serialize_with = "as_rfc3339")]
    pub created_at: SystemTime,
    /// Its resource group.
    pub resource_group: Option<String>,
    /// The user whose it is; `None`: the one who logs in, or nobody's where the service has no such thing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Its tags.
    pub tags: Vec<Tag>,
}

/// A tag of a pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tag {
    /// Its key.
    pub key: String,
    /// Its value, possibly empty.
    pub value: String,
}

/// An instance, to which at most one pair is attached.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Instance {
    /// Its region, where the service has regions.
    pub region: Option<String>,
    /// Its id.
    pub id: String,
    /// The name of the pair that is attached to it.
    #[serde(default)]
    pub pair: Option<String>,
    /// Whether it runs; some services attach only to stopped ones.
    #[serde(default)]
    pub running: bool,
}

/// A pair that belongs to one server alone.
pub(crate) struct ServerPair {
    pub(crate) name: String,
    pub(crate) fingerprint: String,
}

/// How a pair came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CreatedBy {
    /// `CreateKeyPair`: the cloud made the key.
    Create,
    /// `ImportKeyPair`.
    Import,
    /// It was put there behind the API, as by another person.
    Plant,
}

/// What can be set for each service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Settings {
    /// How many pairs a region, or the account where there are no regions, may have.
    pub quota: usize,
    /// The form of private keys in answers.
    pub private_key_form: PrivateKeyForm,
    /// What deleting an unknown pair does: the vendors do not say.
    pub unknown_delete: UnknownDelete,
}

/// What deleting a pair that is not there does.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownDelete {
    /// It is an error and nothing is deleted.
    Refuse,
    /// It succeeds.
    Succeed,
}

/// The pairs and settings of one service.
pub(crate) struct Inventory {
    pub(crate) pairs: Vec<Pair>,
    pub(crate) instances: Vec<Instance>,
    /// The pairs that belong to one server alone, by region and server.
    pub(crate) server_pairs: BTreeMap<(String, String), ServerPair>,
    pub(crate) settings: Settings,
    /// The calls that carried an idempotency token, by action and token, with their answers.
    pub(crate) answered: HashMap<(String, String), (Call, Answer)>,
}

impl Inventory {
    pub(crate) fn new(service: Service) -> Self {
        Self {
            pairs: Vec::new(),
            instances: Vec::new(),
            server_pairs: BTreeMap::new(),
            settings: service.vendor().settings(),
            answered: HashMap::new(),
        }
    }

    pub(crate) fn of_region<'a>(&'a self, region: Option<&'a str>) -> impl Iterator<Item = &'a Pair> {
        self.pairs
            .iter()
            .filter(move |pair| pair.region.as_deref() == region)
    }

    pub(crate) fn has(&self, region: Option<&str>, name: &str) -> bool {
        self.of_region(region).any(|pair| pair.name == name)
    }

    pub(crate) fn is_full(&self, region: Option<&str>) -> bool {
        self.of_region(region).count() >= self.settings.quota
    }

    /// The instances to which a pair of this region is attached.
    pub(crate) fn attached<'a>(
        &'a self,
        region: Option<&'a str>,
        name: &'a str,
    ) -> impl Iterator<Item = &'a Instance> {
        self.instances
            .iter()
            .filter(move |instance| instance.region.as_deref() == region)
            .filter(move |instance| instance.pair.as_deref() == Some(name))
    }

    /// The instance of this region and id.
    pub(crate) fn instance(&mut self, region: Option<&str>, id: &str) -> Option<&mut Instance> {
        self.instances
            .iter_mut()
            .find(|instance| instance.region.as_deref() == region && instance.id == id)
    }
}

/// Which part of a list is asked for.
pub(crate) struct Page {
    /// From 1.
    pub(crate) number: usize,
    /// From 1 to 50.
    pub(crate) size: usize,
}

impl Page {
    pub(crate) fn of<'a, T>(&self, items: &'a [T]) -> &'a [T] {
        let start = (self.number - 1).saturating_mul(self.size).min(items.len());
        &items[start..items.len().min(start + self.size)]
    }
}

/// A UUID in upper case, as the vendor writes its request ids.
pub(crate) fn new_request_id() -> String {
    let digits = random_hex::<16>().to_uppercase();
    let parts = [
        &digits[..8],
        &digits[8..12],
        &digits[12..16],
        &digits[16..20],
        &digits[20..],
    ];
    parts.join("-")
}

/// Time as the admin replies show it.
pub(crate) fn as_rfc3339<S: serde::Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_millis(*time))
}

pub(crate) fn random_hex<const BYTES: usize>() -> String {
    let mut bytes = [0; BYTES];
    rand::fill(&mut bytes).expect("the system has randomness");
    hex(&bytes)
}
