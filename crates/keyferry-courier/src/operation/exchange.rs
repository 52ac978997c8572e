//! One request of an operation and its reply: what leaves, and what the plugin gets to see.

use keyferry_plugin::contract::{Reply, Response, TransportError};
use keyferry_plugin::recipe::{Expr, HttpRequest};

use super::{Run, changes};
use crate::capture;
use crate::enforce::calls::{self, EvaluatedRequest, Subject};
use crate::enforce::hosts::{self, Destination};
use crate::enforce::{Refusal, Rule, captures, classes, cleaning};
use crate::http::{RawReply, SendError};
use crate::job::JobError;
use crate::recipe::{Evaluator, RecipeError};
use crate::secret::Secret;
use crate::wire::FromCourier;

impl Run<'_> {
    /// Checks a request in every respect, and evaluates it.
    pub(super) fn evaluated(
        &mut self,
        request: &HttpRequest,
    ) -> Result<(EvaluatedRequest, Destination), JobError> {
        let manifest = &self.shared.setup.library.manifest;
        let region = self.shared.region(&self.job.request);
        let judged = classes::check(request, &manifest.credentials).and_then(|()| {
            hosts::check(
                &request.origin,
                &manifest.hosts,
                region,
                self.shared.endpoint.as_ref(),
            )
        });
        let (origin, destination) = judged.map_err(|refusal| self.refused(refusal))?;
        let mut evaluator = Evaluator::new(self.fields, self.job.request.preview.is_some());
        let evaluated = (|| {
            let mut all = |parts: &[(String, Expr)]| {
                let bytes = |(name, expr): &(String, _)| Ok((name.clone(), evaluator.bytes(expr)?));
                parts.iter().map(bytes).collect::<Result<Vec<_>, RecipeError>>()
            };
            Ok::<_, RecipeError>(EvaluatedRequest {
                method: request.method.clone(),
                origin,
                path: request.path.clone(),
                query: all(&request.query)?,
                headers: all(&request.headers)?,
                body: evaluator.bytes(&request.body)?,
            })
        })();
        let evaluated = evaluated.map_err(|error| {
            self.refused(Refusal::new(
                error.rule(),
                format!("made a request that has no value: {error}"),
            ))
        })?;
        for digest in evaluator.into_derived() {
            self.blanker.add_digest(&digest);
        }
        let subject = Subject::new(&self.operation, region);
        calls::check(&evaluated, manifest, self.operation.kind(), &subject)
            .map_err(|refusal| self.refused(refusal))?;
        Ok((evaluated, destination))
    }

    /// Sends a request; the reply as the plugin may see it, and what was captured.
    pub(super) fn exchange(
        &mut self,
        request: &EvaluatedRequest,
        destination: Destination,
        pointer: Option<&str>,
    ) -> Result<(Reply, Option<Secret>), JobError> {
        let kind = self.operation.kind();
        let time = self.time_left().min(self.shared.setup.limits.request_time);
        if changes(kind) && !self.sent {
            // If we die from here on, the worker knows that the outcome is open.
            // It is short.
            let _ = self.shared.line.send(&FromCourier::Sending { id: self.job.id });
        }
        match self.shared.client.send(request, destination, kind, time) {
            Ok(reply) => {
                self.sent |= changes(kind);
                self.succeeded |= changes(kind) && (200..300).contains(&reply.status);
                self.uncertain = false;
                self.received(reply, pointer)
            }
            Err(SendError::Forbidden(message)) => Err(self.refused(Refusal::new(Rule::Host, message))),
            Err(SendError::Transport { sent, message }) => {
                self.sent |= sent && changes(kind);
                self.uncertain |= sent && changes(kind);
                let message = self.blanker.shown(&message, cleaning::MAX_MESSAGE);
                Ok((Reply::TransportError(TransportError { sent, message }), None))
            }
        }
    }

    fn received(
        &mut self,
        reply: RawReply,
        pointer: Option<&str>,
    ) -> Result<(Reply, Option<Secret>), JobError> {
        let lifted = pointer.and_then(|pointer| capture::lift(&reply.body, pointer, captures::PRIVATE_KEY));
        let (body, captured) = match lifted {
            Some(lifted) => (lifted.rest, Some(lifted.secret)),
            None => (reply.body, None),
        };
        let repeats = |text: &[u8]| {
            captured.as_ref().is_some_and(|key| {
                key.len() >= 16 && text.windows(key.len()).any(|window| window == key.as_slice())
            })
        };
        let leaks = |text: &[u8]| captures::holds_private_key(text) || repeats(text);
        if leaks(&body) || reply.headers.iter().any(|(_, value)| leaks(value)) {
            let message = "was not given a reply: it holds a private key that was not captured";
            return Err(self.refused(Refusal::new(Rule::Capture, message)));
        }
        let text = |bytes: &[u8]| {
            let blanked = self.blanker.blank(bytes);
            if self.blanker.is_seen_below(&blanked) {
                let message = "was not given a reply: it repeats a secret in a form that cannot be blanked";
                return Err(self.refused(Refusal::new(Rule::Capture, message)));
            }
            Ok(String::from_utf8_lossy(&blanked).into_owned())
        };
        let headers = reply
            .headers
            .iter()
            .map(|(name, value)| Ok((name.to_ascii_lowercase(), text(value)?)));
        let response = Response {
            status: reply.status,
            headers: headers.collect::<Result<_, JobError>>()?,
            body: text(&body)?,
            captured: captured
                .iter()
                .map(|_| captures::PRIVATE_KEY.to_owned())
                .collect(),
        };
        Ok((Reply::Response(response), captured.map(Secret::new)))
    }
}
