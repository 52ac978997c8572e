//! The services of this cloud: one line each here, the rest is in the vendor's own module.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::alibaba;
use crate::refusal::Refusal;
use crate::vendor::{Claim, Credential, Vendor};
use crate::wire::Request;

/// A service of the cloud. It answers on a port of its own, together with its vendor's logins.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Service {
    /// Alibaba Cloud's Elastic Compute Service, 2014-05-26.
    AlibabaEcs,
    /// Alibaba Cloud's Edge Node Service, 2017-11-10.
    AlibabaEns,
    /// Alibaba Cloud's Simple Application Server, 2020-06-01.
    AlibabaSwas,
}

impl Service {
    /// Every service.
    pub const ALL: [Self; 3] = [Self::AlibabaEcs, Self::AlibabaEns, Self::AlibabaSwas];

    /// Its name here, which is that of keyferry's plugin.
    pub fn name(self) -> &'static str {
        match self {
            Self::AlibabaEcs => "alibaba-ecs",
            Self::AlibabaEns => "alibaba-ens",
            Self::AlibabaSwas => "alibaba-swas",
        }
    }

    /// The service of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|service| service.name() == name)
    }

    /// Verifies a request against these credentials, as the service itself does.
    ///
    /// # Errors
    /// The vendor's answer to a request that is incomplete, too old, unknown or wrongly signed.
    pub fn verify(
        self,
        request: &Request,
        keyring: &[Credential],
        now: SystemTime,
    ) -> Result<Claim, Refusal> {
        self.vendor().verify(request, keyring, now)
    }

    /// How it reads, judges and answers requests.
    pub(crate) fn vendor(self) -> &'static dyn Vendor {
        match self {
            Self::AlibabaEcs => &alibaba::ECS,
            Self::AlibabaEns => &alibaba::ENS,
            Self::AlibabaSwas => &alibaba::SWAS,
        }
    }
}
