//! Not answering, or answering what is no step.

#![expect(
    unsafe_code,
    reason = "a plugin may be written in any language, with any mistake"
)]

use std::hint::black_box;
use std::time::Duration;

use crate::Behaviour;

/// Answers in a way that breaks [`Rule::Answer`](crate::Rule::Answer); none: for other behaviours.
pub(crate) fn answer(behaviour: Behaviour) -> Option<Vec<u8>> {
    let answer: &[u8] = match behaviour {
        Behaviour::Abort => std::process::abort(),
        Behaviour::Allocate => allocate(),
        Behaviour::Empty => b"",
        Behaviour::Exit => std::process::exit(0),
        Behaviour::Garbage => b"\xff\x00 this is no JSON {",
        Behaviour::Long => return Some(vec![b' '; 5 * 1024 * 1024]),
        Behaviour::Loop => compute(),
        Behaviour::Nested => {
            let levels = 200_000;
            let nested = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
            return Some(format!(r#"{{"wait":{{"ms":1,"state":{nested}}}}}"#).into_bytes());
        }
        Behaviour::Recurse => return Some(vec![recurse(0)]),
        Behaviour::Segfault => segfault(),
        Behaviour::Sleep => sleep(),
        Behaviour::UnknownField => br#"{"wait":{"ms":1,"until":"tomorrow"}}"#,
        Behaviour::UnknownStep => br#"{"download":{"url":"https://evil.example"}}"#,
        Behaviour::WrongTypes => br#"{"wait":{"ms":"soon"}}"#,
        _ => return None,
    };
    Some(answer.to_vec())
}

fn allocate() -> ! {
    let mut hoard = Vec::new();
    loop {
        hoard.push(vec![1_u8; 1024 * 1024]);
        black_box(&hoard);
    }
}

fn compute() -> ! {
    let mut number: u64 = 1;
    loop {
        number = black_box(number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
}

#[expect(unconditional_recursion, reason = "this is the mistake")]
fn recurse(depth: u64) -> u8 {
    let frame = black_box([depth; 64]);
    recurse(frame[0] + 1).wrapping_add(black_box(frame)[1] as u8)
}

fn segfault() -> ! {
    // SAFETY: there is none: nothing is mapped at address 0, which is the point.
    unsafe { black_box(std::ptr::null_mut::<u8>()).write_volatile(1) };
    compute()
}

fn sleep() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}
