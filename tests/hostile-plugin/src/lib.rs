//! A plugin that misbehaves on request, for the tests of everything that must bear it.
//!
//! The account's setting `behaviour` picks one of [`Behaviour::ALL`]; `none` behaves. Its provider is imaginary:
//! `POST /` with the call in the header `x-action` (`CreatePair`, `ImportPair`, `ListPairs`, `GetPair`, `DeletePairs`),
//! parameters `name`, `public_key` and `names` (a JSON list) in the query. It answers 200 with JSON: `{"pair": {..}}`,
//! `{"pair": {..}, "private_key": ".."}` for a new one, `{"pairs": [..]}` for the list, in the form of the contract's `Pair`,
//! any object for a delete; or another status with `{"message": ".."}`. With the header `x-echo`, a test's server puts all
//! request headers into its body.
//!
//! The table is written out here instead of by `keyferry_plugin::export!`, which can only answer steps.

#![expect(unsafe_code, reason = "the border to C, and plugins with mistakes")]

use keyferry_plugin::abi::{self, Buffer, PluginTable};
use keyferry_plugin::contract::{
    Create, Credentials, Delete, Import, List, Operation, PairReference, StepRequest,
};
use keyferry_plugin::{Answer, Provider, Turn, export};

mod behaviour;
mod crash;
mod provider;
mod tamper;

pub use behaviour::{Behaviour, Rule};

struct Hostile;

impl Provider for Hostile {
    fn create(&self, create: &Create, turn: &Turn<'_>) -> Answer {
        operate(&Operation::Create(create.clone()), turn)
    }

    fn import(&self, import: &Import, turn: &Turn<'_>) -> Answer {
        operate(&Operation::Import(import.clone()), turn)
    }

    fn list(&self, list: &List, turn: &Turn<'_>) -> Answer {
        operate(&Operation::List(list.clone()), turn)
    }

    fn get(&self, pair: &PairReference, turn: &Turn<'_>) -> Answer {
        operate(&Operation::Get(pair.clone()), turn)
    }

    fn delete(&self, delete: &Delete, turn: &Turn<'_>) -> Answer {
        operate(&Operation::Delete(delete.clone()), turn)
    }

    fn credentials(&self, credentials: &Credentials, turn: &Turn<'_>) -> Answer {
        operate(&Operation::Credentials(credentials.clone()), turn)
    }
}

fn operate(operation: &Operation, turn: &Turn<'_>) -> Answer {
    let honest = provider::answer(operation, turn);
    match turn.setting("behaviour").and_then(Behaviour::from_name) {
        Some(behaviour) if shows(behaviour, operation) => tamper::answer(behaviour, operation, turn, honest),
        _ => honest,
    }
}

fn shows(behaviour: Behaviour, operation: &Operation) -> bool {
    behaviour.operation().is_none_or(|kind| kind == operation.kind())
}

/// The answer to a request, as bytes.
fn answer(request: &[u8]) -> Vec<u8> {
    let behaviour = serde_json::from_slice::<StepRequest>(request)
        .ok()
        .and_then(|request| {
            let name = request.context.settings.get("behaviour")?.as_str()?;
            Behaviour::from_name(name).filter(|&behaviour| shows(behaviour, &request.operation))
        });
    behaviour
        .and_then(crash::answer)
        .unwrap_or_else(|| export::answer(|| Hostile, request))
}

const MANIFEST: &str = include_str!("../manifest.json");
const LENGTH: usize = abi::MANIFEST_HEADER_LENGTH + MANIFEST.len();

// SAFETY: the section is of our own making and holds plain bytes that nothing executes or relocates.
#[used]
#[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__keyferry"))]
#[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".keyferry"))]
static SECTION: [u8; LENGTH] = abi::manifest_section(MANIFEST);

/// The exported table.
// SAFETY: nothing else in a test has this name.
#[unsafe(no_mangle)]
pub static keyferry_plugin: PluginTable = PluginTable {
    magic: abi::TABLE_MAGIC,
    major: abi::ABI_MAJOR,
    minor: abi::ABI_MINOR,
    size: size_of::<PluginTable>() as u32,
    step,
    free,
};

unsafe extern "C" fn step(request: *const u8, length: usize) -> Buffer {
    // The linker may drop a section that nothing refers to.
    std::hint::black_box(&SECTION);
    // SAFETY: keyferry passes `length` readable bytes that stay as they are until this call returns.
    let request = unsafe { std::slice::from_raw_parts(request, length) };
    let answer = answer(request).into_boxed_slice();
    let length = answer.len();
    Buffer {
        data: Box::into_raw(answer).cast(),
        length,
    }
}

unsafe extern "C" fn free(buffer: Buffer) {
    let bytes = std::ptr::slice_from_raw_parts_mut(buffer.data, buffer.length);
    // SAFETY: keyferry gives back, once, what `step` made from a box of exactly these bytes.
    drop(unsafe { Box::from_raw(bytes) });
}
