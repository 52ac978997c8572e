//! The key pairs of one service, and what can be set about it.

use std::time::SystemTime;

use aws_lc_rs::rand;
use serde::{Deserialize, Serialize};

use crate::Service;
use crate::keys::PrivateKeyForm;
use crate::wire::hex;

/// A key pair that the cloud holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pair {
    /// Its region; `None` at ENS, which has none.
    pub region: Option<String>,
    /// Its name, unique in its region.
    pub name: String,
    /// Its id (`ssh-...`). ECS tells it only to who creates the pair.
    pub id: String,
    /// MD5 of the public key's SSH blob, hexadecimal without colons.
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
    /// How many pairs a region (ECS) or the account (ENS) may have.
    pub quota: usize,
    /// The form of `PrivateKeyBody`.
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
    service: Service,
    pub(crate) pairs: Vec<Pair>,
    pub(crate) settings: Settings,
}

impl Inventory {
    pub(crate) fn new(service: Service) -> Self {
        let private_key_form = match service {
            Service::AlibabaEcs => PrivateKeyForm::Pem,
            Service::AlibabaEns => PrivateKeyForm::Escaped,
        };
        // The figure of ENS is not published; ECS allows 500 in a region.
        let settings = Settings {
            quota: 500,
            private_key_form,
            unknown_delete: UnknownDelete::Succeed,
        };
        Self {
            service,
            pairs: Vec::new(),
            settings,
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

    /// A new pair id.
    pub(crate) fn new_id(&self) -> String {
        let place = match self.service {
            Service::AlibabaEcs => "bp1",
            Service::AlibabaEns => "5",
        };
        format!("ssh-{place}{}", random_hex::<8>())
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

fn random_hex<const BYTES: usize>() -> String {
    let mut bytes = [0; BYTES];
    rand::fill(&mut bytes).expect("the system has randomness");
    hex(&bytes)
}
