//! cgroup.events and cgroup.procs: each text is read as both.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use phasebox::cgroup::{self, Pids};
use phasebox_fuzz::Scratch;

thread_local! {
    static FILE: RefCell<Scratch> = RefCell::new(Scratch::new());
}

/// The pids in a file; only whole lines count.
fn pids(text: &[u8]) -> Vec<u32> {
    let mut lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    lines.pop();
    let digits = lines
        .into_iter()
        .filter(|line| line.iter().all(u8::is_ascii_digit));
    let numbers = digits.filter_map(|line| std::str::from_utf8(line).ok()?.parse::<i32>().ok());
    numbers
        .filter(|number| *number > 0)
        .map(|number| number as u32)
        .collect()
}

fuzz_target!(|text: &[u8]| {
    FILE.with_borrow_mut(|file| {
        file.fill(text);
        let found: Vec<u32> = Pids::of(file.fd()).map(|pid| pid.number()).collect();
        assert_eq!(found, pids(text));
        // Again: it begins at the beginning.
        assert_eq!(Pids::of(file.fd()).count(), found.len());

        // The kernel's own has some thirty bytes.
        let text = &text[..text.len().min(128)];
        for wanted in ["populated 0", "populated 1", "frozen 0", "frozen 1"] {
            let has_line = text
                .split(|byte| *byte == b'\n')
                .any(|line| line == wanted.as_bytes());
            assert_eq!(
                cgroup::has_event(file.fd(), wanted.as_bytes()),
                Ok(has_line),
                "{wanted}"
            );
        }
    });
});
