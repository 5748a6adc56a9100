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
}
