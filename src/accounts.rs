//! User and group names to ids, from /etc/passwd and /etc/group. passwd(5), group(5).
//!
//! Read only for a root caller, and only where it gave a name or no primary group.
#![forbid(unsafe_code)]

use core::ffi::CStr;

use crate::sys::fd::{self, Fd, Mode};
use crate::sys::words::{NotNumber, parse_number, part};

/// Digits only, below 2^32 - 1, which setresuid(2) takes for "no change".
///
/// # Errors
/// [`NotNumber`] for what is no number, and for one that is no id.
pub fn parse_id(text: &[u8]) -> Result<u32, NotNumber> {
    parse_number(text, 10, u32::MAX - 1)
}

/// What an entry is looked up by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Key<'a> {
    /// Its name.
    Name(&'a [u8]),
    /// Its id.
    Id(u32),
}

/// What is wanted of an entry, by its place there.
#[derive(Clone, Copy)]
pub enum Field {
    /// The user's or group's id.
    Id = 2,
    /// A user's primary group.
    PrimaryGroup = 3,
}

/// A field of the first entry with that key; none where there is no such entry, or it has no id
/// there.
#[must_use]
#[inline(never)]
pub fn look_up(file: &CStr, key: Key<'_>, field: Field) -> Option<u32> {
    let file = fd::openat(Fd::CWD, file, Mode::Read).ok()?;
    let mut lines = Lines::new();
    let mut chunk = [0; 1024];
    loop {
        let length = fd::read(file.fd(), &mut chunk).ok()?;
        let mut bytes = chunk.get(..length)?;
        if length == 0 {
            // Nothing need end the last line.
            bytes = b"\n";
        }
        for byte in bytes {
            if let Some(line) = lines.push(*byte).filter(|line| has_key(line, key)) {
                return number(line, field);
            }
        }
        if length == 0 {
            return None;
        }
    }
}

/// Whether a line is an entry, `name:password:id:` and more, that has the key.
fn has_key(line: &[u8], key: Key<'_>) -> bool {
    let id = number(line, Field::Id);
    match key {
        Key::Name(name) => id.is_some() && part(line, b':', 0) == name,
        Key::Id(wanted) => id == Some(wanted),
    }
}

/// The id in a line's field.
fn number(line: &[u8], field: Field) -> Option<u32> {
    parse_id(part(line, b':', field as usize)).ok()
}

/// Puts lines together from bytes. Of a line that is too long (a group with many members) only
/// the beginning is kept, which holds all the fields that are looked at; it ends with what is no
/// digit, so that a number that is cut off is none.
struct Lines {
    length: usize,
    line: [u8; 512],
}

impl Lines {
    fn new() -> Lines {
        Lines {
            length: 0,
            line: [0; 512],
        }
    }

    /// Takes in one byte; gives the line that it ended.
    fn push(&mut self, byte: u8) -> Option<&[u8]> {
        if byte == b'\n' {
            let length = core::mem::take(&mut self.length);
            return self.line.get(..length);
        }
        if let Some(place) = self.line.get_mut(self.length) {
            *place = byte;
            self.length += 1;
        } else if let Some(last) = self.line.last_mut() {
            *last = b'?';
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// A line's id and primary group, if it has that key.
    fn parse(line: &[u8], key: Key<'_>) -> Option<(Option<u32>, Option<u32>)> {
        let fields = (number(line, Field::Id), number(line, Field::PrimaryGroup));
        has_key(line, key).then_some(fields)
    }

    fn lines(text: &[u8]) -> Vec<Vec<u8>> {
        let mut lines = Lines::new();
        text.iter()
            .filter_map(|byte| lines.push(*byte).map(<[u8]>::to_vec))
            .collect()
    }

    #[test]
    fn lines_are_put_together_and_long_ones_cut() {
        assert_eq!(lines(b"a\n\nbc\nd"), [&b"a"[..], b"", b"bc"]);
        let long = [
            b"g:x:7:".to_vec(),
            std::vec![b'm'; 9000],
            b"\nh:x:8:\n".to_vec(),
        ]
        .concat();
        let read = lines(&long);
        assert_eq!(parse(&read[0], Key::Name(b"g")), Some((Some(7), None)));
        assert_eq!(parse(&read[1], Key::Name(b"h")), Some((Some(8), None)));
    }

    #[test]
    fn a_number_that_is_cut_off_is_none() {
        let cut = [b"n:".to_vec(), std::vec![b'x'; 506], b":1234:\n".to_vec()].concat();
        assert_eq!(parse(&lines(&cut)[0], Key::Name(b"n")), None);
        let whole = [b"n:".to_vec(), std::vec![b'x'; 505], b":1234\n".to_vec()].concat();
        let read = lines(&whole);
        assert_eq!(parse(&read[0], Key::Name(b"n")), Some((Some(1234), None)));
    }

    #[test]
    fn entries_are_found_by_name_and_by_id() {
        let line = b"portage:x:250:251:p:/:/bin/false";
        let user = Some((Some(250), Some(251)));
        assert_eq!(parse(line, Key::Name(b"portage")), user);
        assert_eq!(parse(line, Key::Id(250)), user);
        for other in [
            Key::Name(b"portag"),
            Key::Name(b""),
            Key::Id(251),
            Key::Id(0),
        ] {
            assert_eq!(parse(line, other), None);
        }
        let group = parse(b"portage::250", Key::Id(250));
        assert_eq!(group, Some((Some(250), None)));
    }

    #[test]
    fn broken_entries_are_passed_over() {
        for broken in [
            &b""[..],
            b"a",
            b"a:x",
            b"a:x:",
            b"a:x:-1:1:",
            b"a:x:4294967295:0",
            b"+",
        ] {
            assert_eq!(parse(broken, Key::Name(b"a")), None);
        }
        assert_eq!(
            parse(b"a:x:1:4294967295:", Key::Name(b"a")),
            Some((Some(1), None))
        );
    }

    #[test]
    fn ids_are_digits_below_the_sentinel() {
        assert_eq!(parse_id(b"0"), Ok(0));
        assert_eq!(parse_id(b"00250"), Ok(250));
        assert_eq!(parse_id(b"65535"), Ok(65535));
        assert_eq!(parse_id(b"4294967294"), Ok(u32::MAX - 1));
        for text in [&b""[..], b"-1", b"+0", b"0x0", b" 0", b"0 ", b"1e3", b"1\n"] {
            assert_eq!(parse_id(text), Err(NotNumber::NoDigit));
        }
        for text in [&b"4294967295"[..], b"4294967296", b"99999999999999999999"] {
            assert_eq!(parse_id(text), Err(NotNumber::TooLarge));
        }
    }
}
