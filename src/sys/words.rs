//! Lists and numbers in text.
//!
//! Not generic, unlike the library's `split` and `parse`: one copy of each for all the program.
#![forbid(unsafe_code)]

/// The parts of a text between separators.
pub struct Parts<'a> {
    /// None after the last part.
    rest: Option<&'a [u8]>,
    separator: u8,
}

/// The parts of `text` between separators, as many as there are separators and one more. For a
/// space, any white space separates.
#[must_use]
pub fn parts(text: &[u8], separator: u8) -> Parts<'_> {
    Parts {
        rest: Some(text),
        separator,
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = &'a [u8];

    #[inline(never)]
    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest?;
        let separator = self.separator;
        let ends =
            |byte: &u8| *byte == separator || separator == b' ' && byte.is_ascii_whitespace();
        let length = rest.iter().position(ends).unwrap_or(rest.len());
        let (part, after) = rest.split_at_checked(length)?;
        self.rest = after.get(1..);
        Some(part)
    }
}

/// One of the [`parts`] of a text, counted from 0; empty where there are fewer.
#[must_use]
#[inline(never)]
pub fn part(text: &[u8], separator: u8, index: usize) -> &[u8] {
    parts(text, separator).nth(index).unwrap_or_default()
}

/// Which of a list's words `wanted` is, which is not empty.
#[must_use]
#[inline(never)]
pub fn position(list: &[u8], wanted: &[u8]) -> Option<usize> {
    parts(list, b' ').position(|word| word == wanted)
}

/// Why a text is not the number that is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotNumber {
    /// It is empty, or something in it is no digit.
    NoDigit,
    /// It is too large.
    TooLarge,
}

/// Digits only, of a base up to ten; at most `highest`, which is below 2^32 - 1.
///
/// # Errors
/// [`NotNumber`] says why not.
#[inline(never)]
pub fn parse_number(text: &[u8], base: u8, highest: u32) -> Result<u32, NotNumber> {
    let mut number = 0u32;
    for byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit >= base {
            return Err(NotNumber::NoDigit);
        }
        number = number
            .saturating_mul(base.into())
            .saturating_add(digit.into());
    }
    if text.is_empty() {
        Err(NotNumber::NoDigit)
    } else if number > highest {
        Err(NotNumber::TooLarge)
    } else {
        Ok(number)
    }
}

/// The sum of all numbers behind `key`: `key 1`, `key=1`. The first number, where that is empty.
#[must_use]
pub fn sum(text: &[u8], key: &[u8]) -> u64 {
    let (mut sum, mut before) = (0u64, &b""[..]);
    for word in parts(text, b' ') {
        let name = part(word, b'=', 0);
        if before == key {
            sum = sum.wrapping_add(number(name));
        }
        if name == key {
            sum = sum.wrapping_add(number(part(word, b'=', 1)));
        }
        before = name;
    }
    sum
}

/// What the kernel wrote; 0 for what is no number.
fn number(word: &[u8]) -> u64 {
    let mut number = 0u64;
    for byte in word {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return 0;
        }
        number = number.wrapping_mul(10).wrapping_add(digit.into());
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn there_is_one_part_more_than_separators() {
        for (text, expected) in [
            (&b""[..], &[&b""[..]][..]),
            (b":", &[b"", b""]),
            (b"a:b c", &[b"a", b"b c"]),
            (b":a:", &[b"", b"a", b""]),
        ] {
            assert_eq!(parts(text, b':').collect::<Vec<_>>(), expected);
        }
        assert_eq!(
            parts(b"a b\tc\nd:", b' ').collect::<Vec<_>>(),
            [&b"a"[..], b"b", b"c", b"d:"]
        );
    }

    #[test]
    fn what_follows_a_key_is_added_up() {
        let io = "8:0 rbytes=1 wbytes=2 rios=1 wios=0 dbytes=0\n8:16 rbytes=10 wbytes=20 rios=1\n";
        for (text, key, expected) in [
            ("usage_usec 5\nuser_usec 3\nsystem_usec 2\n", "user_usec", 3),
            (
                "low 0\noom 7\noom_kill 2\noom_group_kill 1\n",
                "oom_kill",
                2,
            ),
            (io, "rbytes", 11),
            (io, "wbytes", 22),
            ("", "rbytes", 0),
            ("123456789012\n", "", 123_456_789_012),
            ("max\n", "", 0),
        ] {
            assert_eq!(
                sum(text.as_bytes(), key.as_bytes()),
                expected,
                "{key}: {text}"
            );
        }
    }
}
