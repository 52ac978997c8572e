//! One request to a service, from the socket to the reply.

use std::sync::Arc;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::{Request as Received, Response};
use tokio::sync::watch;

use crate::Service;
use crate::body::ReplyBody;
use crate::cloud::{Cloud, Release};
use crate::faults::FaultKind;
use crate::inventory::new_request_id;
use crate::refusal::Refusal;
use crate::reply;
use crate::requests::Visit;
use crate::vendor::Asked;
use crate::wire::Request;

/// Answers a request, or closes the connection without a byte.
///
/// # Errors
/// [`Closed`] where a fault asks for it or the request could not be read.
pub(crate) async fn answer(
    cloud: Arc<Cloud>,
    service: Service,
    received: Received<Incoming>,
) -> Result<Response<ReplyBody>, Closed> {
    // Before the request is in the log: who sees it there and releases it is not missed.
    let mut releases = cloud.releases();
    let request = read(received).await?;
    let vendor = service.vendor();
    let outline = vendor.outline(&request);
    let action = outline.action.clone();
    let visit = Visit::arrive(&cloud, service, outline);
    let asked = Asked {
        service,
        request: &request,
        action: &action,
        request_id: &new_request_id(),
    };
    let refuse = |refusal: &Refusal| {
        visit.finish(&refusal.code);
        Ok(reply::refusal(&asked, refusal))
    };

    let call = match cloud.admit(service, &request) {
        Ok(call) => call,
        Err(refusal) => return refuse(&refusal),
    };
    let fault = cloud.fault_for(service, &call);
    let mut release = Release::ToAnswer;
    if let Some(fault) = &fault {
        visit.fault(fault.name());
    }
    match &fault {
        Some(FaultKind::Drop) => return close(&visit, FaultKind::Drop),
        Some(FaultKind::Intercepted) => {
            visit.finish(FaultKind::Intercepted.name());
            return Ok(reply::page_of_a_proxy());
        }
        Some(FaultKind::HangBeforeCommit) => release = hang(&mut releases).await,
        Some(fault) => {
            if let Some(refusal) = fault.error_before_commit(vendor) {
                return refuse(&refusal);
            }
        }
        None => {}
    }

    let result = cloud.perform(service, &call).await;
    if result.is_ok() && vendor.changes(&call) {
        visit.committed();
    }

    match &fault {
        Some(FaultKind::LostReply) => return close(&visit, FaultKind::LostReply),
        Some(FaultKind::HangAfterCommit) => release = hang(&mut releases).await,
        Some(FaultKind::Slow { delay }) => tokio::time::sleep(*delay).await,
        Some(fault) => {
            if let Some(refusal) = fault.error_after_commit(vendor) {
                return refuse(&refusal);
            }
        }
        None => {}
    }
    match result {
        _ if release == Release::ToLoseTheReply => close(&visit, FaultKind::LostReply),
        Err(refusal) => refuse(&refusal),
        Ok(answer) => {
            visit.finish(
                fault
                    .as_ref()
                    .filter(|fault| spoils(fault))
                    .map_or("ok", FaultKind::name),
            );
            Ok(reply::answer(&asked, answer, fault.as_ref()))
        }
    }
}

/// The connection is to be closed without a reply.
#[derive(Debug, thiserror::Error)]
#[error("the connection closes without a reply")]
pub(crate) struct Closed;

async fn read(received: Received<Incoming>) -> Result<Request, Closed> {
    let (head, body) = received.into_parts();
    let body = Limited::new(body, MAX_REQUEST_BODY)
        .collect()
        .await
        .map_err(|_| Closed)?;
    Ok(Request {
        method: head.method.as_str().to_owned(),
        target: head
            .uri
            .path_and_query()
            .map_or("/", |target| target.as_str())
            .to_owned(),
        headers: head
            .headers
            .iter()
            .map(|(name, value)| {
                (
                    name.as_str().to_owned(),
                    String::from_utf8_lossy(value.as_bytes()).into_owned(),
                )
            })
            .collect(),
        body: body.to_bytes().to_vec(),
    })
}

async fn hang(releases: &mut watch::Receiver<Release>) -> Release {
    // If the sender is gone, so is the cloud.
    let _ = releases.changed().await;
    *releases.borrow()
}

fn close(visit: &Visit, fault: FaultKind) -> Result<Response<ReplyBody>, Closed> {
    visit.finish(fault.name());
    Err(Closed)
}

/// Whether the reply is not what the vendor would send.
fn spoils(fault: &FaultKind) -> bool {
    matches!(
        fault,
        FaultKind::Huge { .. }
            | FaultKind::Malformed
            | FaultKind::NoPrivateKey
            | FaultKind::Truncated
            | FaultKind::WrongFingerprint
    )
}

const MAX_REQUEST_BODY: usize = 1 << 20;
