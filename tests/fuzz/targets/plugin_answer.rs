//! Any bytes as a plugin's answer. What is taken for a step must read back as the same step.

#![no_main]

use keyferry_sandbox::answer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&flag, bytes)) = input.split_first() else {
        return;
    };
    match answer::parse(bytes, flag & 1 == 1) {
        Ok(step) => {
            let text = serde_json::to_vec(&step).expect("a step is JSON");
            assert_eq!(
                answer::parse(&text, false).expect("our own words are understood"),
                step
            );
        }
        // The words go to the log: they are short, and on one line.
        Err(garbage) => {
            let words = garbage.to_string();
            assert!(words.len() < 1024 && !words.contains('\n'), "{words:?}");
        }
    }
});
