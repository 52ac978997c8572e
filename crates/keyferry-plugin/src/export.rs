//! [`export!`](crate::export!) and what it calls.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::Value;

use crate::contract::{ErrorKind, FailStep, OperationKind, ProviderError, Step, StepRequest};
use crate::provider::{Provider, dispatch};

/// Makes a provider the plugin of this library: `keyferry_plugin::export!(AlibabaEns);`
///
/// The argument is an expression of a type that implements [`Provider`]; it is evaluated at every step. The manifest is
/// `manifest.json` beside the crate's `Cargo.toml`, or the text given as second argument. The crate's type must
/// include `cdylib`, and it must be built with `panic = "unwind"`, since a panic is stopped here.
#[macro_export]
macro_rules! export {
    ($provider:expr $(,)?) => {
        $crate::export!(
            $provider,
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/manifest.json"))
        );
    };
    ($provider:expr, $manifest:expr $(,)?) => {
        #[allow(
            unsafe_code,
            reason = "the border to C: raw bytes in, raw bytes out, one exported symbol"
        )]
        const _: () = {
            use $crate::abi;

            const MANIFEST: &str = $manifest;
            const LENGTH: usize = abi::MANIFEST_HEADER_LENGTH + MANIFEST.len();

            // SAFETY: the section is of our own making and holds plain bytes that nothing executes or relocates.
            #[used]
            #[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__keyferry"))]
            #[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".keyferry"))]
            static SECTION: [u8; LENGTH] = abi::manifest_section(MANIFEST);

            // SAFETY: no other library of the process is linked against this name; keyferry looks it up by hand.
            #[unsafe(no_mangle)]
            #[allow(non_upper_case_globals, reason = "the symbol's name in C")]
            pub static keyferry_plugin: abi::PluginTable = abi::PluginTable {
                magic: abi::TABLE_MAGIC,
                major: abi::ABI_MAJOR,
                minor: abi::ABI_MINOR,
                size: ::std::mem::size_of::<abi::PluginTable>() as u32,
                step,
                free,
            };

            unsafe extern "C" fn step(request: *const u8, length: usize) -> abi::Buffer {
                // `#[used]` holds against the compiler only; a linker that drops unreferenced sections needs this.
                ::std::hint::black_box(&SECTION);
                let request: &[u8] = if request.is_null() {
                    &[]
                } else {
                    // SAFETY: keyferry passes `length` readable bytes that stay as they are until this call returns.
                    unsafe { ::std::slice::from_raw_parts(request, length) }
                };
                let answer = $crate::export::answer(|| $provider, request).into_boxed_slice();
                let length = answer.len();
                abi::Buffer {
                    data: ::std::boxed::Box::into_raw(answer).cast(),
                    length,
                }
            }

            unsafe extern "C" fn free(buffer: abi::Buffer) {
                if !buffer.data.is_null() {
                    let bytes = ::std::ptr::slice_from_raw_parts_mut(buffer.data, buffer.length);
                    // SAFETY: keyferry gives back, once, what `step` made from a box of exactly these bytes.
                    drop(unsafe { ::std::boxed::Box::from_raw(bytes) });
                }
            }
        };
    };
}

/// Answers one request; called by [`export!`](crate::export!), and by tests that need no library.
///
/// A request that is not understood and a panic are answered [`ErrorKind::Internal`], an unknown operation
/// [`ErrorKind::Unsupported`].
pub fn answer<P: Provider>(provider: impl FnOnce() -> P, request: &[u8]) -> Vec<u8> {
    let answered = catch_unwind(AssertUnwindSafe(|| {
        let step = parse(request)
            .and_then(|request| dispatch(&provider(), &request))
            .unwrap_or_else(|error| Step::Fail(FailStep { error }));
        serde_json::to_vec(&step)
            .unwrap_or_else(|error| internal(format!("the step has no JSON form: {error}")))
    }));
    answered.unwrap_or_else(|panic| {
        let message = format!("the plugin panicked: {}", panic_text(&*panic));
        // Dropping a payload runs foreign code, which may panic again, outside of anything that stops it.
        std::mem::forget(panic);
        internal(message)
    })
}

fn parse(request: &[u8]) -> Result<StepRequest, ProviderError> {
    let not_understood = |error: serde_json::Error| {
        ProviderError::new(
            ErrorKind::Internal,
            format!("the request is not understood: {error}"),
        )
    };
    let request: Value = serde_json::from_slice(request).map_err(not_understood)?;
    // A newer keyferry may ask for what this kit has no type for, so the name is looked at first.
    let operation = match &request["operation"] {
        Value::Object(operation) if operation.len() == 1 => operation.keys().next(),
        Value::String(operation) => Some(operation),
        _ => None,
    };
    if let Some(name) = operation
        && !OperationKind::ALL.iter().any(|kind| kind.name() == name)
    {
        return Err(ProviderError::new(
            ErrorKind::Unsupported,
            format!("this plugin has no operation {name:?}"),
        ));
    }
    serde_json::from_value(request).map_err(not_understood)
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        (None, None) => "no message",
    }
}

fn internal(message: String) -> Vec<u8> {
    let step = Step::Fail(FailStep {
        error: ProviderError::new(ErrorKind::Internal, message),
    });
    serde_json::to_vec(&step).expect("a failure is strings and numbers")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::contract::{Create, Import};
    use crate::provider::{Answer, Turn};

    struct Panics;

    impl Provider for Panics {
        fn create(&self, create: &Create, _turn: &Turn<'_>) -> Answer {
            panic!("no luck with {}", create.name)
        }

        fn import(&self, _import: &Import, _turn: &Turn<'_>) -> Answer {
            std::panic::panic_any(PanicsOnDrop)
        }
    }

    struct PanicsOnDrop;

    impl Drop for PanicsOnDrop {
        fn drop(&mut self) {
            panic!("again")
        }
    }

    #[track_caller]
    fn check(request: &[u8], kind: ErrorKind, message: &str) {
        let answer = answer(|| Panics, request);
        match serde_json::from_slice(&answer).unwrap() {
            Step::Fail(FailStep { error }) => {
                assert_eq!(error.kind, kind, "{}", error.message);
                assert!(error.message.contains(message), "{}", error.message);
            }
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn check_operation(operation: Value, kind: ErrorKind, message: &str) {
        let context = json!({"time": "2026-11-22T01:36:49Z", "nonce": "00", "idempotency_token": "00"});
        check(
            json!({"operation": operation, "context": context})
                .to_string()
                .as_bytes(),
            kind,
            message,
        );
    }

    #[test]
    fn a_panic_is_an_internal_error() {
        let create = json!({"create": {"name": "web", "algorithm": "rsa-2048"}});
        check_operation(
            create,
            ErrorKind::Internal,
            "the plugin panicked: no luck with web",
        );
        let import = json!({"import": {"name": "web", "public_key": ""}});
        check_operation(import, ErrorKind::Internal, "the plugin panicked: no message");
    }

    #[test]
    fn an_operation_of_a_newer_version_is_unsupported() {
        check_operation(
            json!({"teleport": {"to": "moon"}}),
            ErrorKind::Unsupported,
            "\"teleport\"",
        );
        check_operation(json!("teleport"), ErrorKind::Unsupported, "\"teleport\"");
    }

    #[test]
    fn an_operation_that_is_not_implemented_is_unsupported() {
        check_operation(json!({"list": {}}), ErrorKind::Unsupported, "no operation list");
    }

    #[test]
    fn fields_of_a_newer_version_are_ignored() {
        check_operation(
            json!({"get": {"name": "web", "color": "red"}}),
            ErrorKind::Unsupported,
            "operation get",
        );
    }

    #[test]
    fn what_is_no_request_is_an_internal_error() {
        let requests: [&[u8]; 6] = [
            b"",
            b"\xff\xfe",
            b"null",
            b"[]",
            b"{\"operation\":{}}",
            b"{\"operation\":{\"get\":7}}",
        ];
        for request in requests {
            check(request, ErrorKind::Internal, "the request is not understood");
        }
    }
}
