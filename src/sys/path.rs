//! Text of bounded length in a fixed buffer: paths for the kernel, lines for people.

use core::ffi::CStr;
use core::ops::{Deref, DerefMut};

use super::fd::{self, Fd};
use super::{Errno, Result};

/// Bytes in an array, always ended by a NUL.
#[derive(Clone)]
pub struct Buffer<B: ?Sized> {
    length: usize,
    bytes: B,
}

/// At most `N` - 1 bytes.
pub type Text<const N: usize> = Buffer<[u8; N]>;

/// A path: PATH_MAX of linux/limits.h.
pub type Path = Text<4096>;

/// One component of a path: NAME_MAX and its NUL.
pub type Name = Text<256>;

impl<const N: usize> Text<N> {
    /// Nothing.
    #[must_use]
    pub const fn new() -> Self {
        Buffer {
            length: 0,
            bytes: [0; N],
        }
    }
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// What can be done with a text does not depend on `N`: one copy of it for all sizes.
impl<const N: usize> Deref for Text<N> {
    type Target = Buffer<[u8]>;

    fn deref(&self) -> &Buffer<[u8]> {
        self
    }
}

impl<const N: usize> DerefMut for Text<N> {
    fn deref_mut(&mut self) -> &mut Buffer<[u8]> {
        self
    }
}

impl Buffer<[u8]> {
    /// Appends all of `bytes`, or fails with ENAMETOOLONG and appends nothing.
    #[inline(never)]
    pub fn push(&mut self, bytes: &[u8]) -> Result<()> {
        let room = self.bytes.get_mut(self.length..).unwrap_or_default();
        // The last byte stays a NUL.
        if bytes.len() >= room.len() {
            return Err(Errno::ENAMETOOLONG);
        }
        for (to, from) in room.iter_mut().zip(bytes) {
            *to = *from;
        }
        self.length += bytes.len();
        Ok(())
    }

    /// Appends a number in decimal.
    #[inline(never)]
    pub fn push_number(&mut self, number: u64) -> Result<()> {
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
        self.push(digits.get(first..).unwrap_or_default())
    }

    /// The bytes, without the NUL.
    #[must_use]
    #[inline(never)]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// For the kernel; what follows a NUL inside is cut off.
    #[must_use]
    pub fn as_cstr(&self) -> &CStr {
        super::args::until_nul(&self.bytes).unwrap_or_default()
    }
}

/// Writes a few numbers to one of the kernel's own files, a space after each.
#[inline(never)]
pub fn write_numbers(directory: Fd, path: &CStr, numbers: &[u32]) -> Result<()> {
    let mut line = Text::<256>::new();
    for number in numbers {
        // There is room for a dozen.
        let _ = line.push_number(u64::from(*number));
        let _ = line.push(b" ");
    }
    fd::write_file(directory, path, line.as_bytes())
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
