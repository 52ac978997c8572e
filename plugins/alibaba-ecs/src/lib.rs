//! Key pairs of Alibaba Cloud.

use keyferry_plugin::Provider;

keyferry_plugin::export!(AlibabaEcs);

/// The provider.
#[derive(Debug)]
pub struct AlibabaEcs;

impl Provider for AlibabaEcs {}
