//! The services of this cloud: one line each here, the rest is in the vendor's own module.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::refusal::Refusal;
use crate::vendor::{Claim, Credential, Vendor};
use crate::wire::Request;
use crate::{alibaba, aws, huawei, volcengine};

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
    /// AWS's Elastic Compute Cloud, 2016-11-15, and STS.
    AwsEc2,
    /// Huawei Cloud's Elastic Cloud Server, in the API that is compatible with Nova, and IAM.
    HuaweiEcs,
    /// Volcengine's Elastic Compute Service, 2020-04-01, and STS.
    VolcengineEcs,
}

impl Service {
    /// Every service.
    pub const ALL: [Self; 6] = [
        Self::AlibabaEcs,
        Self::AlibabaEns,
        Self::AlibabaSwas,
        Self::AwsEc2,
        Self::HuaweiEcs,
        Self::VolcengineEcs,
    ];

    /// Its name here, which is that of keyferry's plugin.
    pub fn name(self) -> &'static str {
        match self {
            Self::AlibabaEcs => "alibaba-ecs",
            Self::AlibabaEns => "alibaba-ens",
            Self::AlibabaSwas => "alibaba-swas",
            Self::AwsEc2 => "aws-ec2",
            Self::HuaweiEcs => "huawei-ecs",
            Self::VolcengineEcs => "volcengine-ecs",
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
            Self::AwsEc2 => &aws::EC2,
            Self::HuaweiEcs => &huawei::ECS,
            Self::VolcengineEcs => &volcengine::ECS,
        }
    }
}
