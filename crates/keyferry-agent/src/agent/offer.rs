//! To whom a key is shown.

use std::collections::BTreeSet;

/// Which clients a key is listed to and signs for. The engine's own way in is another: see
/// [`PrivateSocket`](crate::PrivateSocket).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Offer {
    /// All clients; but where another generation of the same name is offered to the host that a client is bound
    /// to, only that other one.
    #[default]
    Everywhere,
    /// None.
    Nowhere,
    /// Clients that are bound to one of these hosts (`session-bind@openssh.com`), each named by the public blob
    /// of its host key (RFC 4253 section 6.6); a host certificate counts as the key that it certifies. A client bound to
    /// a host that nothing is offered to by name is shown the key too, after all others: a host has several host keys.
    To(Vec<Vec<u8>>),
}

/// An [`Offer`] as it is looked up.
pub(crate) enum Audience {
    Everyone,
    Nobody,
    Hosts(BTreeSet<Vec<u8>>),
}

impl Audience {
    pub(crate) fn has_host(&self, host_key: &[u8]) -> bool {
        matches!(self, Self::Hosts(hosts) if hosts.contains(host_key))
    }

    pub(crate) fn is_of_hosts(&self) -> bool {
        matches!(self, Self::Hosts(_))
    }

    pub(crate) fn is_everyone(&self) -> bool {
        matches!(self, Self::Everyone)
    }
}

impl From<Offer> for Audience {
    fn from(offer: Offer) -> Self {
        match offer {
            Offer::Everywhere => Self::Everyone,
            Offer::Nowhere => Self::Nobody,
            Offer::To(hosts) => Self::Hosts(hosts.into_iter().collect()),
        }
    }
}
