//! Resolves names, and refuses addresses that the destination may not have.

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use super::witness;
use crate::enforce::hosts::{self, Destination};

/// The system's resolver with our rule behind it. The connection is made to the very addresses that were checked.
#[derive(Debug)]
pub(super) struct CheckedResolver {
    system: DefaultResolver,
    destination: Destination,
    proxy: Option<Uri>,
}

impl CheckedResolver {
    pub(super) fn new(destination: Destination, proxy: Option<Uri>) -> Self {
        Self {
            system: DefaultResolver::default(),
            destination,
            proxy,
        }
    }
}

impl Resolver for CheckedResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let addresses = self.system.resolve(uri, config, timeout)?;
        // The proxy is the user's own choice, wherever it is.
        if self.proxy.as_ref() != Some(uri) {
            for address in addresses.iter() {
                hosts::check_address(address.ip(), self.destination)
                    .map_err(|reason| Error::Other(Box::new(Forbidden(reason))))?;
            }
            witness::note_resolved();
        }
        Ok(addresses)
    }
}

/// A name led to an address that is not allowed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Forbidden(pub(super) String);
