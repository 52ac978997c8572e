//! The checks.

use std::time::{Duration, Instant};

use keyferry_plugin::contract::{ErrorKind, OperationKind, Outcome, Step};
use keyferry_sandbox::{LibraryFacts, Sandbox};
use serde_json::{Value, json};

use crate::Options;
use crate::mutate;
use crate::recorded::{Case, Expect, Recorded};
use crate::report::Report;
use crate::walk::{Answer, End, Walked, Walker};

/// A plugin under test.
pub(crate) struct Bench<'a> {
    pub(crate) facts: &'a LibraryFacts,
    pub(crate) plugin: Sandbox,
    pub(crate) twin: Sandbox,
    pub(crate) recorded: &'a Recorded,
    pub(crate) options: Options,
}

mod spoilt;

type Outcomes = Result<String, String>;

impl Bench<'_> {
    /// What any plugin answers, whatever its operations.
    pub(crate) fn check_border(&self, report: &mut Report) {
        let context = json!({"time": "2026-11-22T01:36:49Z", "nonce": "0".repeat(32), "idempotency_token": "0".repeat(32)});
        let unknown = json!({"operation": {"tomorrows_operation": {}}, "context": context});
        let answer = self.plugin.step_json(unknown.to_string().as_bytes());
        report.note(
            "unknown_operation",
            match answer {
                Ok(Step::Fail(fail)) if fail.error.kind == ErrorKind::Unsupported => {
                    Ok("is answered `unsupported`".to_owned())
                }
                Ok(other) => Err(format!(
                    "an operation that it does not know must be answered with a failure of kind `unsupported`, it \
                     answered {}",
                    shown(&other)
                )),
                Err(error) => Err(error.to_string()),
            },
        );
        let mut outcome = Ok("are answered".to_owned());
        for request in ["", "{}", "null", "[]", "{\"operation\":", "\u{0}"] {
            if let Err(error) = self.plugin.step_json(request.as_bytes()) {
                outcome = Err(format!("to the request {request:?} it gave no step: {error}"));
                break;
            }
        }
        report.note("senseless_requests", outcome);
    }

    /// One operation in every respect.
    pub(crate) fn check_operation(&self, kind: OperationKind, report: &mut Report) {
        let cases: Vec<&Case> = self
            .recorded
            .cases
            .iter()
            .filter(|case| case.operation.kind() == kind)
            .collect();
        let mut walkers = Vec::new();
        for case in cases {
            let name = format!("{kind}: {}", case.name);
            match Walker::new(case, self.facts) {
                Ok(walker) => {
                    report.note(name, self.as_recorded(&walker));
                    walkers.push(walker);
                }
                Err(error) => report.note(name, Err(format!("the case itself is wrong: {error}"))),
            }
        }
        let good: Vec<&Walker<'_>> = walkers
            .iter()
            .filter(|walker| matches!(walker.case.expect, Expect::Done(_)))
            .collect();
        self.required(report, kind, "success", !good.is_empty(), "that leads to `done`");
        for (error, of) in REQUIRED_ERRORS {
            // A vendor without a known limit has no error for it that anybody could record.
            let known = *error != ErrorKind::Quota || self.facts.manifest.quota.is_some();
            if known && of.contains(&kind) {
                let recorded = walkers.iter().any(|walker| match &walker.case.expect {
                    Expect::Fail(expected) => expected.kind == *error,
                    Expect::Done(_) => false,
                });
                let what = format!("of the error `{}`", error.name());
                self.required(report, kind, error.name(), recorded, &what);
            }
        }
        if kind == OperationKind::List {
            let pages = good.iter().any(|walker| walker.case.replies.len() > 1);
            self.required(report, kind, "paging", pages, "of two pages or more");
        }
        if good.is_empty() {
            return;
        }
        let mut all = |name: &str, check: &dyn Fn(&Walker<'_>) -> Outcomes| {
            let outcomes = good.iter().map(|walker| {
                check(walker).map_err(|error| format!("{error} (case {:?})", walker.case.name))
            });
            // What the first case led to stands for all.
            let outcome = outcomes
                .collect::<Result<Vec<_>, _>>()
                .map(|mut messages| messages.swap_remove(0));
            report.note(format!("{kind}.{name}"), outcome);
        };
        all("same_answer", &|walker| self.same_answer(walker));
        all("under_1_ms", &|walker| self.is_quick(walker));
        all("newer_keyferry", &|walker| self.ignores_new_fields(walker));
        if good.iter().any(|walker| !walker.case.replies.is_empty()) {
            all("lost_reply", &|walker| self.lost(walker));
            all("refused", &|walker| {
                let kinds = [ErrorKind::Unauthorized, ErrorKind::Internal];
                self.statuses(walker, &[401, 403], &kinds, false)
            });
            all("throttled", &|walker| {
                let kinds = [ErrorKind::Throttled, ErrorKind::Unavailable, ErrorKind::Internal];
                self.statuses(walker, &[429], &kinds, false)
            });
            all("server_error", &|walker| {
                let kinds = [ErrorKind::Unavailable, ErrorKind::Throttled, ErrorKind::Internal];
                self.statuses(walker, &[500, 502, 503, 504], &kinds, true)
            });
            all("malformed", &|walker| self.malformed(walker));
            all("truncated", &|walker| self.sound(walker, mutate::truncated));
            all("wrong_types", &|walker| self.sound(walker, mutate::wrong_types));
            all("huge", &|walker| self.sound(walker, mutate::huge));
            all("unknown_fields", &|walker| self.unknown_fields(walker));
            all("fuzzed", &|walker| self.fuzzed(walker));
        }
    }

    /// Notes that a case is missing, unless the author says why.
    fn required(&self, report: &mut Report, kind: OperationKind, check: &str, recorded: bool, what: &str) {
        let name = format!("{kind}.{check}");
        match self.recorded.absent.get(&name) {
            _ if recorded => report.note(name, Ok("recorded".to_owned())),
            Some(reason) => report.absent(name, reason),
            None => report.note(
                &*name,
                Err(format!(
                    "no case {what} is recorded: add one to conformance/*.json, or say under \"absent\" why there is \
                     none: \"{name}\": \"...\""
                )),
            ),
        }
    }

    fn as_recorded(&self, walker: &Walker<'_>) -> Outcomes {
        let walked = self.walk(walker, &walker.answers())?;
        let case = walker.case;
        if walked.sent.len() < case.replies.len() {
            return Err(format!(
                "it sent {} requests, {} replies are recorded",
                walked.sent.len(),
                case.replies.len()
            ));
        }
        match (&case.expect, &walked.end) {
            (_, End::Withheld(words)) => Err(words.clone()),
            (Expect::Done(expected), End::Done(outcome)) => {
                let found = json!(outcome);
                let different = difference(expected, &found, "");
                different.map_or(Ok("as recorded".to_owned()), Err)
            }
            (Expect::Fail(expected), End::Fail(error)) => {
                if error.kind != expected.kind {
                    return Err(format!(
                        "it failed with `{}`, expected is `{}`: {}",
                        error.kind.name(),
                        expected.kind.name(),
                        error.message
                    ));
                }
                match expected.effect {
                    Some(effect) if effect != error.effect => Err(format!(
                        "its effect is {}, expected is {}",
                        json!(error.effect),
                        json!(effect)
                    )),
                    _ => Ok("as recorded".to_owned()),
                }
            }
            (_, End::Open(request)) => Err(format!(
                "it sent one more request than replies are recorded: {} {}",
                request.method, request.path
            )),
            (Expect::Done(_), End::Fail(error)) => Err(format!(
                "it failed with `{}`: {}",
                error.kind.name(),
                error.message
            )),
            (Expect::Fail(expected), End::Done(_)) => Err(format!(
                "it succeeded, expected is the error `{}`",
                expected.kind.name()
            )),
        }
    }

    fn same_answer(&self, walker: &Walker<'_>) -> Outcomes {
        let walked = self.walk(walker, &walker.answers())?;
        for request in &walked.asked {
            let first = self.plugin.step(request).map_err(words)?;
            for sandbox in [&self.plugin, &self.twin] {
                if sandbox.step(request).map_err(words)? != first {
                    return Err(
                        "the same question got another answer: a step may depend on nothing but its request \
                         (no clock, no random numbers, no order of a hash map)"
                            .to_owned(),
                    );
                }
            }
        }
        Ok(format!(
            "{} questions asked again, in two processes",
            walked.asked.len()
        ))
    }

    fn is_quick(&self, walker: &Walker<'_>) -> Outcomes {
        let walked = self.walk(walker, &walker.answers())?;
        let mut slowest = Duration::ZERO;
        for request in &walked.asked {
            // The least of many: what the machine does besides is not the plugin's. A busy one gets some time for it.
            let mut least = Duration::MAX;
            let begun = Instant::now();
            for tries in 1.. {
                let start = Instant::now();
                self.plugin.step(request).map_err(words)?;
                least = least.min(start.elapsed());
                let enough = tries >= 50 && begun.elapsed() >= PATIENCE;
                if least < MAX_STEP_TIME / 2 || enough {
                    break;
                }
            }
            if least > MAX_STEP_TIME {
                return Err(format!(
                    "a step took {} µs: check what it does, and a release build",
                    least.as_micros()
                ));
            }
            slowest = slowest.max(least);
        }
        Ok(format!("the slowest step took {} µs", slowest.as_micros()))
    }

    fn ignores_new_fields(&self, walker: &Walker<'_>) -> Outcomes {
        fn add(value: &mut Value, depth: usize) {
            if let Value::Object(members) = value {
                if depth > 0 {
                    members.values_mut().for_each(|member| add(member, depth - 1));
                }
                members.insert("x_of_a_newer_minor".to_owned(), json!({"a": 1}));
            }
        }
        let walked = self.walk(walker, &walker.answers())?;
        for request in &walked.asked {
            let expected = self.plugin.step(request).map_err(words)?;
            let mut newer = json!(request);
            for (part, depth) in [("operation", 1), ("context", 0), ("reply", 1)] {
                match (part, &mut newer[part]) {
                    // The operation and the reply are named by their only key.
                    ("operation" | "reply", Value::Object(members)) => {
                        members.values_mut().for_each(|member| add(member, depth - 1));
                    }
                    (_, part) => add(part, depth),
                }
            }
            newer["x_of_a_newer_minor"] = json!([1]);
            let answer = self
                .plugin
                .step_json(newer.to_string().as_bytes())
                .map_err(words)?;
            if answer != expected {
                return Err(format!(
                    "with fields in the request that it does not know it answered {}: ignore them",
                    shown(&answer)
                ));
            }
        }
        Ok("unknown fields of requests are ignored".to_owned())
    }

    fn walk(&self, walker: &Walker<'_>, answers: &[Answer]) -> Result<Walked, String> {
        walker.walk(&self.plugin, answers)
    }
}

/// Where an outcome differs from what is expected of it, in words. Only what is expected counts.
fn difference(expected: &Value, found: &Value, at: &str) -> Option<String> {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => expected.iter().find_map(|(name, value)| {
            let at = format!("{at}/{name}");
            difference(value, found.get(name).unwrap_or(&Value::Null), &at)
        }),
        (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
            let both = expected.iter().zip(found).enumerate();
            both.into_iter()
                .find_map(|(index, (expected, found))| difference(expected, found, &format!("{at}/{index}")))
        }
        _ if expected == found => None,
        _ => Some(format!(
            "expected is {expected} at {at:?} of the outcome, it gave {found}"
        )),
    }
}

fn shown(step: &Step) -> String {
    let text = match step {
        Step::Done(done) => match &done.outcome {
            Outcome::Pair(_) => "a pair".to_owned(),
            outcome => json!(outcome).to_string(),
        },
        Step::Fail(fail) => format!("the failure `{}`: {}", fail.error.kind.name(), fail.error.message),
        other => json!(other).to_string(),
    };
    text.chars().take(200).collect()
}

fn words(error: impl ToString) -> String {
    error.to_string()
}

/// How long a step that seems slow is tried again.
const PATIENCE: Duration = Duration::from_secs(20);
const MAX_STEP_TIME: Duration = Duration::from_millis(1);

/// Errors that keyferry acts upon, and the operations of which an author records them.
const REQUIRED_ERRORS: &[(ErrorKind, &[OperationKind])] = &[
    (
        ErrorKind::AlreadyExists,
        &[OperationKind::Create, OperationKind::Import],
    ),
    (ErrorKind::NotFound, &[OperationKind::Get, OperationKind::Delete]),
    (ErrorKind::Throttled, &[OperationKind::List]),
    (ErrorKind::Unauthorized, &[OperationKind::List]),
    (ErrorKind::Quota, &[OperationKind::Create, OperationKind::Import]),
];
