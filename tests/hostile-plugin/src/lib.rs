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
    Attachment, Create, Credentials, Delete, Import, List, Operation, PairReference, Profiles, StepRequest,
};
use keyferry_plugin::{Answer, Provider, Turn, export};

mod behaviour;
mod bodies;
mod crash;
mod login;
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

    fn attach(&self, attachment: &Attachment, turn: &Turn<'_>) -> Answer {
        operate(&Operation::Attach(attachment.clone()), turn)
    }

    fn detach(&self, attachment: &Attachment, turn: &Turn<'_>) -> Answer {
        operate(&Operation::Detach(attachment.clone()), turn)
    }

    fn list_instances(&self, pair: &PairReference, turn: &Turn<'_>) -> Answer {
        operate(&Operation::ListInstances(pair.clone()), turn)
    }

    fn credentials(&self, credentials: &Credentials, turn: &Turn<'_>) -> Answer {
        operate(&Operation::Credentials(credentials.clone()), turn)
    }

    fn profiles(&self, turn: &Turn<'_>) -> Answer {
        operate(&Operation::Profiles(Profiles::default()), turn)
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use keyferry_plugin::Step;
    use keyferry_plugin::contract::{Algorithm, Context, OperationKind, Pair, Reply, Response};
    use serde_json::{Value, json};

    use super::*;

    fn attachment() -> Attachment {
        Attachment {
            pair: PairReference {
                name: "web-1".to_owned(),
                id: Some("pair-1".to_owned()),
            },
            instances: vec!["i-1".to_owned()],
        }
    }

    fn operation(kind: OperationKind) -> Operation {
        let name = "web-1".to_owned();
        let pair = PairReference {
            name: name.clone(),
            id: Some("pair-1".to_owned()),
        };
        match kind {
            OperationKind::Create => Operation::Create(Create {
                name,
                algorithm: Algorithm::Rsa2048,
            }),
            OperationKind::Import => Operation::Import(Import {
                name,
                public_key: "ssh-ed25519 AAAA".to_owned(),
            }),
            OperationKind::Get => Operation::Get(pair),
            OperationKind::Delete => Operation::Delete(Delete { pairs: vec![pair] }),
            OperationKind::Attach => Operation::Attach(attachment()),
            OperationKind::Detach => Operation::Detach(attachment()),
            OperationKind::ListInstances => Operation::ListInstances(pair),
            OperationKind::Credentials => Operation::Credentials(Credentials::default()),
            OperationKind::Profiles => Operation::Profiles(Profiles::default()),
            _ => Operation::List(List::default()),
        }
    }

    /// The steps before and after a reply.
    fn steps(behaviour: Behaviour, kind: OperationKind) -> Vec<Step> {
        let pair = Pair {
            name: "web-1".to_owned(),
            public_key: Some("ssh-ed25519 AAAA".to_owned()),
            ..Pair::default()
        };
        let body = json!({"pair": pair, "pairs": [pair]}).to_string();
        let reply = Reply::Response(Response {
            status: 200,
            headers: Vec::new(),
            body,
            captured: Vec::new(),
        });
        let ask = |reply| {
            let request = StepRequest {
                operation: operation(kind),
                context: Context {
                    endpoint: Some("http://127.0.0.1:9".to_owned()),
                    settings: [("behaviour".to_owned(), behaviour.name().into())].into(),
                    ..Context::default()
                },
                state: Value::Null,
                reply,
            };
            serde_json::from_slice(&answer(&serde_json::to_vec(&request).unwrap())).unwrap()
        };
        vec![ask(None), ask(Some(reply))]
    }

    #[test]
    fn every_behaviour_departs_from_the_honest_steps() {
        for &behaviour in Behaviour::ALL {
            if behaviour.rule() == Rule::Answer {
                continue;
            }
            let kind = behaviour.operation().unwrap_or(OperationKind::List);
            let honest = [Behaviour::None, Behaviour::Print].contains(&behaviour);
            let same = steps(behaviour, kind) == steps(Behaviour::None, kind);
            assert_eq!(same, honest, "{behaviour:?}");
        }
    }

    #[test]
    fn names_are_unique() {
        let names: BTreeSet<&str> = Behaviour::ALL.iter().map(|behaviour| behaviour.name()).collect();
        assert_eq!(names.len(), Behaviour::ALL.len());
        for &behaviour in Behaviour::ALL {
            assert_eq!(Behaviour::from_name(behaviour.name()), Some(behaviour));
        }
    }
}
