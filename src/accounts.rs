//! User and group names to ids, from /etc/passwd and /etc/group. passwd(5), group(5).
//!
//! Read only for a root caller, and only where it gave a name or no primary group.
#![forbid(unsafe_code)]

use core::ffi::CStr;

use crate::sys::fd::{self, Fd, Mode};
use crate::sys::{Errno, Result};

/// A line of passwd(5), as far as it matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct User {
    /// The user's id.
    pub uid: u32,
    /// The user's primary group.
    pub gid: u32,
}

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
    if id == u32::MAX { Err(Errno::ERANGE) } else { Ok(id) }
}

/// The user with that name.
///
/// # Errors
/// ENOENT where there is none.
pub fn user_by_name(name: &[u8]) -> Result<User> {
    find(c"/etc/passwd", |line| parse_user(line).filter(|(entry, _)| *entry == name).map(second))
}

/// The user with that id.
///
/// # Errors
/// ENOENT where there is none.
pub fn user_by_id(uid: u32) -> Result<User> {
    find(c"/etc/passwd", |line| parse_user(line).map(second).filter(|user| user.uid == uid))
}

/// The id of the group with that name.
///
/// # Errors
/// ENOENT where there is none.
pub fn group_by_name(name: &[u8]) -> Result<u32> {
    find(c"/etc/group", |line| parse_group(line).filter(|(entry, _)| *entry == name).map(second))
}

fn second<A, B>((_, value): (A, B)) -> B {
    value
}

/// `name:password:uid:gid:...`
fn parse_user(line: &[u8]) -> Option<(&[u8], User)> {
    let mut fields = line.split(|byte| *byte == b':');
    let name = fields.next()?;
    let uid = parse_id(fields.nth(1)?).ok()?;
    let gid = parse_id(fields.next()?).ok()?;
    Some((name, User { uid, gid }))
}

/// `name:password:gid:...`
fn parse_group(line: &[u8]) -> Option<(&[u8], u32)> {
    let mut fields = line.split(|byte| *byte == b':');
    let name = fields.next()?;
    let gid = parse_id(fields.nth(1)?).ok()?;
    Some((name, gid))
}

/// The first line that `matches`.
fn find<T>(path: &CStr, matches: impl Fn(&[u8]) -> Option<T>) -> Result<T> {
    let file = fd::openat(Fd::CWD, path, Mode::Read)?;
    let mut lines = Lines::new();
    let mut chunk = [0; 1024];
    loop {
        let length = fd::read(file.fd(), &mut chunk)?;
        if length == 0 {
            return lines.finish().and_then(matches).ok_or(Errno::ENOENT);
        }
        for byte in chunk.get(..length).unwrap_or_default() {
            if let Some(found) = lines.push(*byte).and_then(&matches) {
                return Ok(found);
            }
        }
    }
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
        Lines { line: [0; 512], length: 0, complete: false }
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

    /// The last line, where no newline ends it.
    fn finish(&self) -> Option<&[u8]> {
        if self.complete { None } else { self.line.get(..self.length) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn lines(text: &[u8]) -> Vec<Vec<u8>> {
        let mut lines = Lines::new();
        let mut all: Vec<Vec<u8>> =
            text.iter().filter_map(|byte| lines.push(*byte).map(<[u8]>::to_vec)).collect();
        all.extend(lines.finish().map(<[u8]>::to_vec));
        all
    }

    #[test]
    fn lines_are_found_with_and_without_a_last_newline() {
        assert_eq!(lines(b"a\n\nbc\n"), [&b"a"[..], b"", b"bc"]);
        assert_eq!(lines(b"a\nbc"), [&b"a"[..], b"bc"]);
        let long = [b"g:x:7:".to_vec(), std::vec![b'm'; 9000], b"\nh:x:8:\n".to_vec()].concat();
        let read = lines(&long);
        assert_eq!(parse_group(&read[0]), Some((&b"g"[..], 7)));
        assert_eq!(parse_group(&read[1]), Some((&b"h"[..], 8)));
    }

    #[test]
    fn entries_are_parsed_and_broken_ones_passed_over() {
        let user = User { uid: 250, gid: 251 };
        assert_eq!(parse_user(b"portage:x:250:251:p:/:/bin/false"), Some((&b"portage"[..], user)));
        for broken in [&b""[..], b"a", b"a:x", b"a:x:1", b"a:x:-1:1:", b"a:x:1:4294967295:", b"+"] {
            assert_eq!(parse_user(broken), None);
        }
        assert_eq!(parse_group(b"portage::250"), Some((&b"portage"[..], 250)));
        assert_eq!(parse_group(b"portage:x:"), None);
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
