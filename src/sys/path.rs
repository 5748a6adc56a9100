//! Text of bounded length in a fixed buffer: paths for the kernel, lines for people.

use core::ffi::CStr;

use super::{Errno, Result};

/// At most `N` - 1 bytes, always ended by a NUL.
#[derive(Clone)]
pub struct Text<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

/// A path: PATH_MAX of linux/limits.h.
pub type Path = Text<4096>;

/// One component of a path: NAME_MAX and its NUL.
pub type Name = Text<256>;

impl<const N: usize> Text<N> {
    /// Nothing.
    #[must_use]
    pub const fn new() -> Self {
        Text { bytes: [0; N], length: 0 }
    }

    /// Appends all of `bytes`, or fails with ENAMETOOLONG and appends nothing.
    pub fn push(&mut self, bytes: &[u8]) -> Result<()> {
        let end = self.length.checked_add(bytes.len()).ok_or(Errno::ENAMETOOLONG)?;
        if end >= N {
            return Err(Errno::ENAMETOOLONG);
        }
        let room = self.bytes.get_mut(self.length..end).ok_or(Errno::ENAMETOOLONG)?;
        room.copy_from_slice(bytes);
        self.length = end;
        Ok(())
    }

    /// Appends a number in decimal.
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

    /// Forgets what is there.
    pub fn clear(&mut self) {
        self.length = 0;
        self.bytes = [0; N];
    }

    /// The bytes, without the NUL.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// For the kernel; what follows a NUL inside is cut off.
    #[must_use]
    pub fn as_cstr(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or_default()
    }
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self::new()
    }
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
