//! User and group names to ids, from /etc/passwd and /etc/group. passwd(5), group(5).
//!
//! Read only for a root caller, and only where it gave a name or no primary group.
#![forbid(unsafe_code)]

use core::ffi::CStr;

use crate::sys::fd::{self, Fd, Mode};
use crate::sys::{Errno, Result};

/// Digits only, below 2^32 - 1, which setresuid(2) takes for "no change".
///
/// # Errors
/// EINVAL for what is no number, ERANGE for one that is no id.
pub fn parse_id(text: &[u8]) -> Result<u32> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return Err(Errno::EINVAL);
    }
    let mut id = 0u32;
    for digit in text {
        id = id
            .checked_mul(10)
            .and_then(|id| id.checked_add(u32::from(digit - b'0')))
            .ok_or(Errno::ERANGE)?;
    }
    if id == u32::MAX {
        Err(Errno::ERANGE)
    } else {
        Ok(id)
    }
}

/// What an entry is looked up by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Key<'a> {
    /// Its name.
    Name(&'a [u8]),
    /// Its id.
    Id(u32),
}

/// An entry of either file, as far as it matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The user's or group's id.
    pub id: u32,
    /// A user's primary group.
    pub primary_group: Option<u32>,
}

/// The first entry with that key.
///
/// # Errors
/// ENOENT where there is none.
pub fn look_up(file: &CStr, key: Key<'_>) -> Result<Entry> {
    let file = fd::openat(Fd::CWD, file, Mode::Read)?;
    let mut lines = Lines::new();
    let mut chunk = [0; 1024];
    loop {
        let length = fd::read(file.fd(), &mut chunk)?;
        for byte in chunk.get(..length).unwrap_or_default() {
            if let Some(entry) = lines.push(*byte).and_then(|line| parse(line, key)) {
                return Ok(entry);
            }
        }
        if length == 0 {
            // Nothing need end the last line.
            return lines
                .push(b'\n')
                .and_then(|line| parse(line, key))
                .ok_or(Errno::ENOENT);
        }
    }
}

/// `name:password:id:` and, of a user, the primary group; if the entry has that key.
fn parse(line: &[u8], key: Key<'_>) -> Option<Entry> {
    let mut fields = line.split(|byte| *byte == b':');
    let name = fields.next()?;
    let id = parse_id(fields.nth(1)?).ok()?;
    // Of a group: its members.
    let primary_group = fields.next().and_then(|field| parse_id(field).ok());
    let matches = key == Key::Name(name) || key == Key::Id(id);
    matches.then_some(Entry { id, primary_group })
}

/// Puts lines together from bytes. Of a line that is too long (a group with many members) only
/// the beginning is kept, which holds all the fields that are looked at.
struct Lines {
    line: [u8; 512],
    length: usize,
    complete: bool,
}

impl Lines {
    fn new() -> Lines {
        Lines {
            line: [0; 512],
            length: 0,
            complete: false,
        }
    }

    /// Takes in one byte; gives the line that it ended.
    fn push(&mut self, byte: u8) -> Option<&[u8]> {
        if self.complete {
            self.length = 0;
            self.complete = false;
        }
        if byte == b'\n' {
            self.complete = true;
            return self.line.get(..self.length);
        }
        if let Some(place) = self.line.get_mut(self.length) {
            *place = byte;
            self.length += 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

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
        assert_eq!(
            parse(&read[0], Key::Name(b"g")).map(|entry| entry.id),
            Some(7)
        );
        assert_eq!(
            parse(&read[1], Key::Name(b"h")).map(|entry| entry.id),
            Some(8)
        );
    }

    #[test]
    fn entries_are_found_by_name_and_by_id() {
        let line = b"portage:x:250:251:p:/:/bin/false";
        let user = Some(Entry {
            id: 250,
            primary_group: Some(251),
        });
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
        assert_eq!(
            group,
            Some(Entry {
                id: 250,
                primary_group: None
            })
        );
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
            parse(b"a:x:1:4294967295:", Key::Name(b"a"))
                .unwrap()
                .primary_group,
            None
        );
    }

    #[test]
    fn ids_are_digits_below_the_sentinel() {
        assert_eq!(parse_id(b"0"), Ok(0));
        assert_eq!(parse_id(b"00250"), Ok(250));
        assert_eq!(parse_id(b"65535"), Ok(65535));
        assert_eq!(parse_id(b"4294967294"), Ok(u32::MAX - 1));
        for text in [&b""[..], b"-1", b"+0", b"0x0", b" 0", b"0 ", b"1e3", b"1\n"] {
            assert_eq!(parse_id(text), Err(Errno::EINVAL));
        }
        for text in [&b"4294967295"[..], b"4294967296", b"99999999999999999999"] {
            assert_eq!(parse_id(text), Err(Errno::ERANGE));
        }
    }
}
