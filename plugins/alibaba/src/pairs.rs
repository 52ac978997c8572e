//! The pages of a product's list of pairs.

use keyferry_plugin::contract::{ErrorKind, List, Outcome, ProviderError, Step};
use keyferry_plugin::reply::number;
use keyferry_plugin::{Answer, Turn};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::reply::{list_of, pair};
use crate::{Answered, Call, Product};

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
    let size = list
        .page_size
        .unwrap_or(product.page_size)
        .clamp(1, product.page_size);
    let Some((answered, paging)) = page(product, turn)? else {
        return Ok(first(call(), size).send());
    };
    let pairs = answered.blame(answered.items()?.iter().map(pair).collect::<Result<Vec<_>, _>>())?;
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
    search(product, name, turn, call, |item| Ok(Outcome::Pair(pair(item)?)))
}

/// The same, for what else the vendor says of the pair; `read` makes the outcome of its item.
///
/// # Errors
/// Those of the call and of `read`, and [`ErrorKind::NotFound`].
pub fn search(
    product: &Product,
    name: &str,
    turn: &Turn<'_>,
    call: impl FnOnce() -> Call,
    read: impl FnOnce(&Value) -> Result<Outcome, ProviderError>,
) -> Answer {
    let Some((answered, paging)) = page(product, turn)? else {
        return Ok(first(call(), product.page_size).send());
    };
    let items = answered.items()?;
    for item in items {
        if answered.blame(pair(item))?.name == name {
            return Ok(Step::done(answered.blame(read(item))?));
        }
    }
    match answered.next(paging, items.len())? {
        Some(next) => Ok(next.of(call(), product.page_size).send()),
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
    match product.answer(turn, product.list_action)? {
        Some(answered) => Ok(Some((answered, turn.state()?))),
        None => Ok(None),
    }
}

impl Paging {
    fn of(self, call: Call, size: u32) -> Call {
        call.parameter("PageNumber", self.page.to_string())
            .parameter("PageSize", size.to_string())
            .with_state(json!(self))
    }
}

impl Answered<'_> {
    /// The pairs of this page, as they stand in it.
    fn items(&self) -> Result<&[Value], ProviderError> {
        self.blame(list_of(&self.body, "KeyPairs", "KeyPair"))
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
