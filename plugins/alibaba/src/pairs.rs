//! The pages of `DescribeKeyPairs`.

use keyferry_plugin::contract::{ErrorKind, List, Outcome, Pair, ProviderError, Step};
use keyferry_plugin::reply::{items, number};
use keyferry_plugin::{Answer, Turn};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::reply::pair;
use crate::{Answered, Call, Product};

/// The action.
const ACTION: &str = "DescribeKeyPairs";

/// The most pairs that the vendor gives in one page.
const MAX_PAGE_SIZE: u32 = 50;

/// Where a list is.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct Paging {
    /// The page asked for, from 1.
    page: u64,
    /// Pairs of the pages before.
    seen: u64,
}

/// Lists all pairs; `call` makes the call without paging.
///
/// # Errors
/// Those of the call.
pub fn list(product: &Product, list: &List, turn: &Turn<'_>, call: impl FnOnce() -> Call) -> Answer {
    let size = list.page_size.unwrap_or(MAX_PAGE_SIZE);
    let Some((answered, paging)) = page(product, turn)? else {
        return Ok(first(call(), size).send());
    };
    let pairs = answered.pairs()?;
    match answered.next(paging, pairs.len())? {
        Some(next) => Ok(next.of(call(), size).emitting(pairs).send()),
        None => Ok(Step::done(Outcome::Pairs(pairs))),
    }
}

/// Finds the pair of exactly this name; `call` makes the call without paging, with the vendor's filter, in which a
/// `*` would stand for any text.
///
/// # Errors
/// Those of the call, and [`ErrorKind::NotFound`].
pub fn find(product: &Product, name: &str, turn: &Turn<'_>, call: impl FnOnce() -> Call) -> Answer {
    let Some((answered, paging)) = page(product, turn)? else {
        return Ok(first(call(), MAX_PAGE_SIZE).send());
    };
    let pairs = answered.pairs()?;
    let count = pairs.len();
    if let Some(pair) = pairs.into_iter().find(|pair| pair.name == name) {
        return Ok(Step::done(Outcome::Pair(pair)));
    }
    match answered.next(paging, count)? {
        Some(next) => Ok(next.of(call(), MAX_PAGE_SIZE).send()),
        None => answered.blame(Err(ProviderError::new(
            ErrorKind::NotFound,
            format!("there is no pair named {name:?}"),
        ))),
    }
}

fn first(call: Call, size: u32) -> Call {
    Paging { page: 1, seen: 0 }.of(call, size)
}

fn page<'a>(product: &Product, turn: &Turn<'a>) -> Result<Option<(Answered<'a>, Paging)>, ProviderError> {
    match product.answer(turn, ACTION)? {
        Some(answered) => Ok(Some((answered, turn.state()?))),
        None => Ok(None),
    }
}

impl Paging {
    fn of(self, call: Call, size: u32) -> Call {
        call.parameter("PageNumber", self.page.to_string())
            .parameter("PageSize", size.clamp(1, MAX_PAGE_SIZE).to_string())
            .with_state(json!(self))
    }
}

impl Answered<'_> {
    fn pairs(&self) -> Result<Vec<Pair>, ProviderError> {
        self.blame(items(&self.body, "/KeyPairs/KeyPair").and_then(|items| items.iter().map(pair).collect()))
    }

    /// The page after this one; none after the last. The count of what came decides, since the vendor may give
    /// fewer pairs in a page than asked for.
    fn next(&self, paging: Paging, count: usize) -> Result<Option<Paging>, ProviderError> {
        let total = self.blame(number(&self.body, "TotalCount"))?;
        let seen = paging.seen.saturating_add(count as u64);
        // Without a total, an empty page is the end.
        let more = count > 0 && total.is_none_or(|total| seen < total);
        Ok(more.then_some(Paging {
            page: paging.page.saturating_add(1),
            seen,
        }))
    }
}
