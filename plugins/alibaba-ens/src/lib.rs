//! Key pairs of Alibaba Cloud.

use keyferry_plugin::Provider;

keyferry_plugin::export!(AlibabaEns);

/// The provider.
#[derive(Debug)]
pub struct AlibabaEns;

impl Provider for AlibabaEns {}
