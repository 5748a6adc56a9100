//! Text of bounded length in a fixed buffer: paths for the kernel, lines for people.

use core::ffi::CStr;

use super::{Errno, Result};

/// At most `N` - 1 bytes, always ended by a NUL.
#[derive(Clone)]
pub struct Text<const N: usize> {
    length: usize,
    bytes: [u8; N],
}

/// A path: PATH_MAX of linux/limits.h.
pub type Path = Text<4096>;

/// One component of a path: NAME_MAX and its NUL.
pub type Name = Text<256>;

impl<const N: usize> Text<N> {
    /// Nothing.
    #[must_use]
    pub const fn new() -> Self {
        Text {
            bytes: [0; N],
            length: 0,
        }
    }

    /// Appends all of `bytes`, or fails with ENAMETOOLONG and appends nothing.
    pub fn push(&mut self, bytes: &[u8]) -> Result<()> {
        append(&mut self.bytes, &mut self.length, bytes)
    }

    /// Appends a number in decimal.
    pub fn push_number(&mut self, number: u64) -> Result<()> {
        append_number(&mut self.bytes, &mut self.length, number)
    }

    /// The bytes, without the NUL.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// For the kernel; what follows a NUL inside is cut off.
    #[must_use]
    pub fn as_cstr(&self) -> &CStr {
        super::args::until_nul(&self.bytes).unwrap_or_default()
    }
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// Not generic: one copy of it for all sizes.
fn append(buffer: &mut [u8], length: &mut usize, bytes: &[u8]) -> Result<()> {
    // The last byte stays a NUL.
    let room = buffer
        .split_last_mut()
        .and_then(|(_, buffer)| buffer.get_mut(*length..));
    let room = room
        .and_then(|room| room.get_mut(..bytes.len()))
        .ok_or(Errno::ENAMETOOLONG)?;
    for (to, from) in room.iter_mut().zip(bytes) {
        *to = *from;
    }
    *length += bytes.len();
    Ok(())
}

fn append_number(buffer: &mut [u8], length: &mut usize, number: u64) -> Result<()> {
    let mut digits = [0u8; 20];
    let mut rest = number;
    let mut first = digits.len();
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
        first -= 1;
        if rest == 0 {
            break;
        }
    }
    append(buffer, length, digits.get(first..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_does_not_fit_is_refused_whole() {
        let mut text = Text::<8>::new();
        assert_eq!(text.push(b"1234567"), Ok(()));
        assert_eq!(text.push(b"8"), Err(Errno::ENAMETOOLONG));
        assert_eq!(text.as_bytes(), b"1234567");
        assert_eq!(text.as_cstr(), c"1234567");
        assert_eq!(Text::<8>::new().push(b"12345678"), Err(Errno::ENAMETOOLONG));
    }

    #[test]
    fn numbers_are_written_in_decimal() {
        for number in [0, 7, 10, 4_294_967_295, u64::MAX] {
            let mut text = Text::<32>::new();
            text.push_number(number).unwrap();
            assert_eq!(text.as_bytes(), std::format!("{number}").as_bytes());
        }
    }
}
