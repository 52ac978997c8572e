//! The listeners and their connections.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::cloud::Cloud;
use crate::{Service, admin, exchange};

/// Who answers on a listener.
#[derive(Clone, Copy)]
pub(crate) enum Role {
    Admin,
    Vendor(Service),
}

/// A listener on a loopback port that the system picks. To be called inside a runtime.
pub(crate) fn bind() -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    socket.listen(BACKLOG)
}

/// Accepts connections for ever, each a task of its own.
pub(crate) async fn serve(listener: TcpListener, role: Role, cloud: Arc<Cloud>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(connection(stream, role, Arc::clone(&cloud)));
            }
            // No file descriptors left, most likely: connections that end will free some.
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// One connection, kept alive between requests. How it ends is the client's affair.
async fn connection(stream: TcpStream, role: Role, cloud: Arc<Cloud>) {
    // Replies are written whole; without this the second of two small writes may wait for the client.
    let _ = stream.set_nodelay(true);
    let stream = TokioIo::new(stream);
    let http = http1::Builder::new();
    let _ = match role {
        Role::Admin => {
            let answer = service_fn(|received| admin::answer(Arc::clone(&cloud), received));
            http.serve_connection(stream, answer).await
        }
        Role::Vendor(vendor) => {
            let answer = service_fn(|received| exchange::answer(Arc::clone(&cloud), vendor, received));
            http.serve_connection(stream, answer).await
        }
    };
}

/// Hundreds of clients may connect at the same moment.
const BACKLOG: u32 = 4096;
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
