//! What a failure means: whether it took effect, when to try again, what the user does next.

use keyferry_plugin::contract::{Effect, ErrorKind, ProviderError};

use super::cloud::{JobError, SetupKind};
use crate::snapshot::StatusError;

/// A failure, sorted.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Failure {
    pub(super) kind: &'static str,
    pub(super) code: Option<String>,
    pub(super) message: String,
    pub(super) request_id: Option<String>,
    pub(super) remedy: String,
    pub(super) pace: Pace,
    /// Milliseconds that the vendor asks for.
    pub(super) retry_after: Option<u64>,
    /// Whether the request may have taken effect all the same.
    pub(super) outcome: Outcome,
    /// Whether the whole account is concerned.
    pub(super) of_account: bool,
}

/// How soon a failure is tried again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Pace {
    /// One second up to five minutes.
    Soon,
    /// Five seconds up to an hour: a host.
    Host,
    /// Ten minutes up to an hour: a login that was refused. Hosts ban an address from which too many are.
    Refusal,
    /// A minute up to an hour: somebody has to make room first.
    Slow,
    /// Not by itself.
    Never,
}

impl Pace {
    /// First and longest delay in milliseconds.
    fn bounds(self) -> Option<(u64, u64)> {
        match self {
            Self::Soon => Some((1_000, 300_000)),
            Self::Host => Some((5_000, 3_600_000)),
            Self::Refusal => Some((1_200_000, 3_600_000)),
            Self::Slow => Some((60_000, 3_600_000)),
            Self::Never => None,
        }
    }
}

/// Whether a failed request took effect.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    /// It did not.
    None,
    /// Nobody knows.
    Unknown,
}

impl Failure {
    /// A failure of keyferry's own side, after which nothing is under way.
    pub(super) fn local(kind: &'static str, message: String, remedy: &str, pace: Pace) -> Self {
        Self {
            kind,
            code: None,
            message,
            request_id: None,
            remedy: remedy.to_owned(),
            pace,
            retry_after: None,
            outcome: Outcome::None,
            of_account: false,
        }
    }

    /// Sorts an error of a request made with an account.
    pub(super) fn of_job(error: JobError, account: &str) -> Self {
        match error {
            JobError::Provider(error) => Self::of_provider(error, account),
            JobError::Lost { message } => Self {
                outcome: Outcome::Unknown,
                of_account: true,
                ..Self::local(
                    "lost",
                    message,
                    "nothing: keyferry finds out what happened and goes on",
                    Pace::Soon,
                )
            },
            JobError::Plugin { message } => Self {
                outcome: Outcome::Unknown,
                of_account: true,
                ..Self::local(
                    "plugin",
                    message,
                    "nothing for now: keyferry tries again; if it stays, report it to the plugin's author and see the log",
                    Pace::Soon,
                )
            },
            JobError::Setup { kind, message } => {
                let (kind, remedy, pace) = match kind {
                    SetupKind::Credentials => (
                        "credentials",
                        format!("mend [credentials] in accounts/{account}.toml or what it refers to, then keyferry resume"),
                        Pace::Never,
                    ),
                    SetupKind::Plugin => (
                        PLUGIN,
                        format!("install or pin the plugin that accounts/{account}.toml names, then keyferry resume"),
                        Pace::Never,
                    ),
                    SetupKind::Process => (
                        "process",
                        "nothing for now: keyferry tries again; if it stays, look for limits on processes and memory".to_owned(),
                        Pace::Soon,
                    ),
                    SetupKind::Settings => (
                        SETTINGS,
                        format!("correct what the message names in keyferry.toml or accounts/{account}.toml, then keyferry resume"),
                        Pace::Never,
                    ),
                };
                Self {
                    of_account: true,
                    ..Self::local(kind, message, &remedy, pace)
                }
            }
        }
    }

    /// The delay before the next try in milliseconds, after `failures` failures in a row (1: the first); none: no
    /// next try. Full jitter, and of a refusal half of it: `random` gives a number from 0 to its argument.
    pub(super) fn delay(&self, failures: u32, random: impl FnOnce(u64) -> u64) -> Option<u64> {
        let (first, longest) = self.pace.bounds()?;
        let doublings = failures.saturating_sub(1).min(32);
        let limit = first.saturating_mul(1 << doublings).min(longest);
        let asked = self.retry_after.unwrap_or(0).min(MAX_RETRY_AFTER);
        let least = match self.pace {
            Pace::Refusal => limit / 2,
            _ => 0,
        };
        Some((least + random(limit - least)).max(asked))
    }

    /// As status shows it; when it is tried again is filled in by whoever knows.
    pub(super) fn status(&self) -> StatusError {
        StatusError {
            kind: self.kind.to_owned(),
            code: self.code.clone(),
            message: self.message.clone(),
            request_id: self.request_id.clone(),
            remedy: Some(self.remedy.clone()),
            retry_at: None,
        }
    }

    fn of_provider(error: ProviderError, account: &str) -> Self {
        let file = format!("accounts/{account}.toml");
        let (pace, of_account, remedy) = match error.kind {
            ErrorKind::AlreadyExists => (
                Pace::Soon,
                false,
                "nothing: that pair is somebody else's and stays untouched; keyferry takes the next name".to_owned(),
            ),
            ErrorKind::InUse => (
                Pace::Slow,
                false,
                "release the pair from its instances in the provider's console, or leave it: keyferry tries again".to_owned(),
            ),
            ErrorKind::Internal => (
                Pace::Soon,
                false,
                "nothing for now: keyferry tries again; if it stays, see the log and the provider's status page".to_owned(),
            ),
            ErrorKind::Invalid => (
                Pace::Never,
                false,
                format!("correct the key's file or {file}: saving either tries again"),
            ),
            ErrorKind::NotFound => (
                Pace::Soon,
                false,
                format!("check region and settings in {file}: what they name is not there"),
            ),
            ErrorKind::Quota => (
                Pace::Slow,
                true,
                format!("delete key pairs that nobody needs, or have the quota of account {account} raised; then keyferry resume tries at once"),
            ),
            ErrorKind::Throttled => (
                Pace::Soon,
                true,
                format!("nothing: keyferry tries again; if it stays, lower max_per_second in {file}"),
            ),
            ErrorKind::Unauthorized => (
                Pace::Never,
                true,
                format!("check the credentials that {file} refers to and what they are allowed (keyferry plugin info), then keyferry resume"),
            ),
            ErrorKind::Unavailable => (
                Pace::Soon,
                true,
                "nothing: keyferry tries again; if it stays, check network, proxy and the provider's status page".to_owned(),
            ),
            ErrorKind::Unsupported => (
                Pace::Never,
                false,
                format!("choose another algorithm or generated_by in the key's file, or another plugin in {file}"),
            ),
        };
        Self {
            kind: error.kind.name(),
            code: error.code,
            message: error.message,
            request_id: error.request_id,
            remedy,
            pace,
            retry_after: error.retry_after_ms,
            outcome: match error.effect {
                Effect::None => Outcome::None,
                Effect::Unknown => Outcome::Unknown,
            },
            of_account,
        }
    }
}

/// The kind of what cannot be done without a key's file.
pub(super) const FILE_MISSING: &str = "file_missing";
/// The kind of failures of a plugin.
pub(super) const PLUGIN: &str = "plugin";
/// The kind of failures of settings that cannot be used.
pub(super) const SETTINGS: &str = "settings";

/// No vendor keeps a key waiting longer than this, in milliseconds.
const MAX_RETRY_AFTER: u64 = 3_600_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn provider(kind: ErrorKind, retry_after_ms: Option<u64>) -> Failure {
        let error = ProviderError {
            kind,
            message: "m".to_owned(),
            code: None,
            request_id: None,
            retry_after_ms,
            effect: Effect::None,
        };
        Failure::of_job(JobError::Provider(error), "aliyun")
    }

    #[track_caller]
    fn check(kind: ErrorKind, limits: &[u64]) {
        let failure = provider(kind, None);
        for (failures, limit) in (1..).zip(limits) {
            assert_eq!(
                failure.delay(failures, |limit| limit),
                Some(*limit),
                "{kind:?} after {failures}"
            );
        }
        if limits.is_empty() {
            assert_eq!(failure.delay(1, |limit| limit), None);
        }
        assert!(!failure.remedy.is_empty());
    }

    #[test]
    fn what_helps_is_tried_again_and_what_cannot_is_not() {
        check(
            ErrorKind::Throttled,
            &[
                1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000, 256_000, 300_000,
            ],
        );
        check(ErrorKind::Unavailable, &[1_000, 2_000]);
        check(ErrorKind::Internal, &[1_000]);
        check(
            ErrorKind::Quota,
            &[
                60_000, 120_000, 240_000, 480_000, 960_000, 1_920_000, 3_600_000, 3_600_000,
            ],
        );
        check(ErrorKind::Invalid, &[]);
        check(ErrorKind::Unauthorized, &[]);
        check(ErrorKind::Unsupported, &[]);
    }

    #[test]
    fn whoever_was_refused_does_not_knock_again_at_once() {
        let remedy = "see to it";
        let refusal = Failure::local("refused", String::new(), remedy, Pace::Refusal);
        let limits = [1_200_000, 2_400_000, 3_600_000, 3_600_000];
        for (failures, limit) in (1..).zip(limits) {
            assert_eq!(refusal.delay(failures, |limit| limit), Some(limit));
            assert_eq!(refusal.delay(failures, |_| 0), Some(limit / 2));
        }
    }

    #[test]
    fn the_vendors_wish_is_kept_within_an_hour() {
        assert_eq!(
            provider(ErrorKind::Throttled, Some(9_000)).delay(1, |_| 0),
            Some(9_000)
        );
        assert_eq!(
            provider(ErrorKind::Throttled, Some(u64::MAX)).delay(1, |_| 0),
            Some(3_600_000)
        );
        assert_eq!(
            provider(ErrorKind::Throttled, Some(10)).delay(1_000, |limit| limit),
            Some(300_000)
        );
    }
}
