//! What a look at all pairs of an account found, and what came of deleting some.

use serde::{Deserialize, Serialize};

use super::StatusError;

/// What a look at all pairs of an account found.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct SurveyReport {
    /// The account.
    pub account: String,
    /// How many pairs there are, in all its regions that are known here; null: they could not be listed.
    pub pairs: Option<u64>,
    /// Those that look like keyferry's and are not in this ledger.
    pub strays: Vec<StrayPair>,
    /// Why they could not be listed.
    pub error: Option<StatusError>,
}

/// A pair that looks like keyferry's and is not in this ledger.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct StrayPair {
    /// The account it was found with.
    pub account: String,
    /// The region it was found in.
    pub region: Option<String>,
    /// Its name.
    pub name: String,
    /// The provider's identifier.
    pub id: Option<String>,
    /// The fingerprint as the provider writes it.
    pub fingerprint: Option<String>,
    /// When it was made, as the provider writes it.
    pub created_at: Option<String>,
    /// The six digits of the installation in its name.
    pub installation: String,
    /// Whether that is this installation: an orphan. Others are never touched.
    pub is_ours: bool,
}

/// What came of deleting an orphan.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct OrphanResult {
    /// The account.
    pub account: String,
    /// The region.
    pub region: Option<String>,
    /// The pair's name.
    pub name: String,
    /// Why it is not gone; null: it is.
    pub error: Option<StatusError>,
}
