//! What was checked, and what came of it.

use serde::Serialize;

/// The result of all checks of one plugin.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Every check, in the order of the contract's operations.
    pub checks: Vec<Check>,
}

/// One check.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// `import.lost_reply`, or the operation and the name of a recorded case.
    pub name: String,
    /// How it went.
    pub result: CheckResult,
    /// Of a failure: what was wrong and what to do; of an absent one: why; else what was looked at.
    pub message: String,
}

/// How a check went.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckResult {
    /// The author says why it makes no sense for this vendor.
    Absent,
    /// Something is to be mended.
    Failed,
    /// All is well.
    Passed,
}

impl Report {
    /// Whether nothing is to be mended.
    pub fn passed(&self) -> bool {
        self.failures().next().is_none()
    }

    /// What is to be mended.
    pub fn failures(&self) -> impl Iterator<Item = &Check> {
        let checks = self.checks.iter();
        checks.filter(|check| check.result == CheckResult::Failed)
    }

    /// Notes a check: what was looked at, or what is wrong.
    pub(crate) fn note(&mut self, name: impl Into<String>, outcome: Result<String, String>) {
        let (result, message) = match outcome {
            Ok(message) => (CheckResult::Passed, message),
            Err(message) => (CheckResult::Failed, message),
        };
        let name = name.into();
        self.checks.push(Check {
            name,
            result,
            message,
        });
    }

    /// Notes a check that makes no sense for this vendor.
    pub(crate) fn absent(&mut self, name: impl Into<String>, reason: &str) {
        self.checks.push(Check {
            name: name.into(),
            result: CheckResult::Absent,
            message: reason.to_owned(),
        });
    }
}
