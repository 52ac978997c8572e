//! What becomes of recorded replies when they are lost, refused, cut, twisted and blown up.

use keyferry_courier::DryReply;
use keyferry_plugin::contract::{Effect, ErrorKind, OperationKind};

use super::{Bench, Outcomes};
use crate::mutate::{self, Dice};
use crate::walk::{Answer, End, Walker};

impl Bench<'_> {
    pub(super) fn lost(&self, walker: &Walker<'_>) -> Outcomes {
        let recorded = walker.answers();
        for index in 0..recorded.len() {
            for sent in [true, false] {
                let mut answers = recorded[..index].to_vec();
                answers.push(Answer::Lost(sent));
                let walked = self.walk(walker, &answers)?;
                match &walked.end {
                    End::Done(_) => return Err("it succeeded although no reply came".to_owned()),
                    End::Open(request)
                        if walked.sent.get(index).is_some_and(|before| before == &**request) =>
                    {
                        return Err(
                            "it sent the same request again when its reply was lost: fail with `unavailable`, keyferry \
                             tries again"
                                .to_owned(),
                        );
                    }
                    End::Open(_) | End::Withheld(_) => {}
                    End::Fail(error) => {
                        if error.kind != ErrorKind::Unavailable {
                            return Err(format!(
                                "a lost reply is `unavailable`, it failed with `{}`",
                                error.kind.name()
                            ));
                        }
                        let last = index + 1 == recorded.len();
                        if last && sent && changes(walker) && error.effect != Effect::Unknown {
                            return Err(EFFECT_UNKNOWN.to_owned());
                        }
                        if !sent && index == 0 && error.effect != Effect::None {
                            return Err("nothing was sent, so the effect is `none`".to_owned());
                        }
                    }
                }
            }
        }
        Ok("is `unavailable`".to_owned())
    }

    /// These statuses as the last answer, with bodies that no vendor wrote: a gateway on the way did.
    pub(super) fn statuses(
        &self,
        walker: &Walker<'_>,
        statuses: &[u16],
        kinds: &[ErrorKind],
        open: bool,
    ) -> Outcomes {
        let recorded = walker.answers();
        let Some((_, before)) = recorded.split_last() else {
            return Ok("it sends nothing".to_owned());
        };
        for &status in statuses {
            for body in ["", "{}", "<html><body>go away</body></html>"] {
                let mut answers = before.to_vec();
                answers.push(Answer::Reply(DryReply {
                    status,
                    headers: Vec::new(),
                    body: body.as_bytes().to_vec(),
                }));
                let walked = self.walk(walker, &answers)?;
                let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
                match walked.end {
                    End::Done(_) => return Err(format!("it succeeded with status {status}")),
                    End::Fail(error) if !kinds.contains(&error.kind) => {
                        return Err(format!(
                            "status {status} with the body {body:?} is `{}`, it failed with `{}`: {}",
                            names.join("` or `"),
                            error.kind.name(),
                            error.message
                        ));
                    }
                    End::Fail(error) if open && changes(walker) && error.effect != Effect::Unknown => {
                        return Err(format!("status {status}: {EFFECT_UNKNOWN}"));
                    }
                    // It looks for another way.
                    End::Open(_) | End::Fail(_) | End::Withheld(_) => {}
                }
            }
        }
        Ok(format!("{statuses:?}"))
    }

    pub(super) fn malformed(&self, walker: &Walker<'_>) -> Outcomes {
        self.sound(walker, |reply| {
            let bodies = mutate::malformed().into_iter();
            bodies.map(|body| mutate::with_body(reply, body)).collect()
        })
    }

    /// Every answer replaced by each of these: no step may break the contract.
    pub(super) fn sound(
        &self,
        walker: &Walker<'_>,
        replies: impl Fn(&DryReply) -> Vec<DryReply>,
    ) -> Outcomes {
        let recorded = walker.answers();
        let mut count = 0;
        for (index, answer) in recorded.iter().enumerate() {
            let Answer::Reply(reply) = answer else { continue };
            for reply in replies(reply) {
                count += 1;
                self.sound_with(walker, &recorded, index, reply)?;
            }
        }
        Ok(format!("{count} replies"))
    }

    fn sound_with(
        &self,
        walker: &Walker<'_>,
        recorded: &[Answer],
        index: usize,
        reply: DryReply,
    ) -> Result<(), String> {
        let about = || {
            let text = String::from_utf8_lossy(&reply.body);
            let short: String = text.chars().take(200).collect();
            format!("status {} and the body {short:?}", reply.status)
        };
        let mut answers = recorded.to_vec();
        answers[index] = Answer::Reply(reply.clone());
        let walked = self.walk(walker, &answers);
        let walked = walked.map_err(|error| format!("with {}: {error}", about()))?;
        let last = index + 1 == recorded.len();
        match &walked.end {
            End::Fail(error)
                if last
                    && changes(walker)
                    && error.kind == ErrorKind::Internal
                    && error.effect != Effect::Unknown
                    && walked.sent.len() == recorded.len() =>
            {
                Err(format!("with {}: {EFFECT_UNKNOWN}", about()))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn unknown_fields(&self, walker: &Walker<'_>) -> Outcomes {
        let recorded = walker.answers();
        let expected = self.walk(walker, &recorded)?.end;
        let changed: Vec<Answer> = recorded
            .iter()
            .map(|answer| match answer {
                Answer::Reply(reply) => {
                    Answer::Reply(mutate::with_unknown_fields(reply).unwrap_or_else(|| reply.clone()))
                }
                lost => lost.clone(),
            })
            .collect();
        match self.walk(walker, &changed)?.end {
            end if end == expected => Ok("are ignored".to_owned()),
            End::Fail(error) => Err(format!(
                "with fields in the reply that it does not know it failed: {}: ignore them",
                error.message
            )),
            _ => Err("fields in the reply that it does not know changed the outcome: ignore them".to_owned()),
        }
    }

    pub(super) fn fuzzed(&self, walker: &Walker<'_>) -> Outcomes {
        let recorded = walker.answers();
        let mut dice = Dice::new(self.options.seed);
        for round in 0..self.options.rounds {
            let index = dice.roll(recorded.len());
            if let Some(Answer::Reply(reply)) = recorded.get(index) {
                let reply = mutate::fuzzed(reply, &mut dice);
                self.sound_with(walker, &recorded, index, reply)
                    .map_err(|error| format!("round {round} of seed {}: {error}", self.options.seed))?;
            }
        }
        Ok(format!(
            "{} rounds of seed {}",
            self.options.rounds, self.options.seed
        ))
    }
}

/// Whether the operation changes something at the vendor.
fn changes(walker: &Walker<'_>) -> bool {
    use OperationKind::{Attach, Create, Delete, Detach, Import};

    matches!(
        walker.case.operation.kind(),
        Create | Import | Delete | Attach | Detach
    )
}

const EFFECT_UNKNOWN: &str = "the request may have taken effect: fail with the effect `unknown`, so that keyferry reads \
                              back before it goes on";
