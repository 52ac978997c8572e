//! Sees how far a request came: whether it is connected, and whether a byte of it was handed to the connection.
//!
//! It stands at the end of the chain of connectors, so what TLS and proxies exchange to set up a connection is not
//! taken for the request. ureq does all the work of a request on the thread that asks, which is what `SEEN` relies on.

use std::cell::Cell;

use ureq::Error;
use ureq::http::Uri;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

thread_local! {
    static SEEN: Cell<Seen> = const { Cell::new(Seen { resolved: false, sent: false }) };
}

/// How far a request came.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Seen {
    /// Its host has an address, or a proxy is to find it.
    pub(super) resolved: bool,
    /// A byte of it may have left.
    pub(super) sent: bool,
}

/// A request begins on this thread.
pub(super) fn begin() {
    SEEN.set(Seen::default());
}

/// How far it came.
pub(super) fn end() -> Seen {
    SEEN.get()
}

pub(super) fn note_resolved() {
    SEEN.set(Seen {
        resolved: true,
        ..SEEN.get()
    });
}

/// Wraps every connection to a provider, and none to a proxy.
#[derive(Debug)]
pub(super) struct Witness {
    proxy: Option<Uri>,
}

impl Witness {
    pub(super) fn new(proxy: Option<Uri>) -> Self {
        Self { proxy }
    }
}

impl<In: Transport> Connector<In> for Witness {
    type Out = Watched;

    fn connect(&self, details: &ConnectionDetails, chained: Option<In>) -> Result<Option<Watched>, Error> {
        let is_proxy = self.proxy.as_ref() == Some(details.uri);
        Ok(chained.map(|transport| Watched {
            transport: Box::new(transport),
            is_proxy,
        }))
    }
}

/// A connection that notes when it is written to.
#[derive(Debug)]
pub(super) struct Watched {
    transport: Box<dyn Transport>,
    is_proxy: bool,
}

impl Transport for Watched {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.transport.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        if !self.is_proxy && amount > 0 {
            SEEN.set(Seen {
                sent: true,
                ..SEEN.get()
            });
        }
        self.transport.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.transport.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.transport.is_open()
    }

    fn is_tls(&self) -> bool {
        self.transport.is_tls()
    }
}
