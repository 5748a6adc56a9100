//! /etc/passwd and /etc/group: a word that is looked for, a NUL, and the file.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use phasebox::accounts::Key;
use phasebox_fuzz::Scratch;
use phasebox_fuzz::program::{self, NoId};

/// So much of a line is kept; what is cut off ends with a question mark.
const KEPT: usize = 512;

thread_local! {
    static FILE: RefCell<Scratch> = RefCell::new(Scratch::new());
}

/// A number, as the standard library reads it.
fn id(text: &[u8]) -> Result<u32, NoId> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return Err(NoId::NoNumber);
    }
    let text = std::str::from_utf8(text).expect("digits");
    match text.parse() {
        // setresuid(2) takes it for "no change".
        Ok(u32::MAX) | Err(_) => Err(NoId::TooLarge),
        Ok(id) => Ok(id),
    }
}

/// The id and the primary group of the first entry with that key.
fn look_up(text: &[u8], key: Key<'_>) -> Option<(u32, Option<u32>)> {
    for line in text.split(|byte| *byte == b'\n') {
        let mut line = line.to_vec();
        if line.len() > KEPT {
            line.truncate(KEPT);
            line[KEPT - 1] = b'?';
        }
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
        let number = |field: usize| fields.get(field).and_then(|text| id(text).ok());
        let Some(id) = number(2) else { continue };
        if key == Key::Name(fields[0]) || key == Key::Id(id) {
            return Some((id, number(3)));
        }
    }
    None
}

fuzz_target!(|data: &[u8]| {
    let mut halves = data.splitn(2, |byte| *byte == 0);
    let word = halves.next().unwrap_or_default();
    let text = halves.next().unwrap_or_default();

    let number = id(word);
    assert_eq!(program::parse_id(word), number);

    FILE.with_borrow_mut(|file| {
        file.fill(text);
        let keys = [Some(Key::Name(word)), number.ok().map(Key::Id)];
        for key in keys.into_iter().flatten() {
            assert_eq!(
                program::look_up(file.path(), key),
                look_up(text, key),
                "{key:?}"
            );
        }
    });
});
