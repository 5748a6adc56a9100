//! Texts for people, packed: they were the seventh part of the program.
//!
//! A byte from 128 on stands for one of `FRAGMENTS`, and `%` for a number that is not known yet.
//! The compiler packs; the source and whoever reads a message see plain text.
#![forbid(unsafe_code)]

use core::slice;

use super::path::Buffer;
use super::words::part;

/// Parts of words that the program's texts have in common, at most 128, the longest first. Any
/// list will do; this one was found by trial, for the texts as they are.
const FRAGMENTS: &[u8] =
    b"raise sysctl user.max_|NAMETOOLONG)|namespace|privilege|s missing|too many |no such |\
    control |loopback|COMMAND |c/passwd|_ADMIN i|irectory|long (E|address|network|      |\
    INVAL)|kernel|NOENT)|RANGE)|group|featu|PERM)|gumen|FILE)|--pid|this |open |mount|make |\
    phase|ed (E|user |user|leav|able|not |ost |name|the |only|file|set |s (E|run |.max|out |\
    kill|proc|root| (E|  -|of |IST|ock|ith|ort|no | to|ve |...|rea|ID |or |at |as |in |s |or|in|\
    it|re|ma|on|id|er|a |--|, |ar|o |al|th|nd| w|sy|ic|ip|bu|ch|ut|ow|SY| i|de|S)|si|ro|et|t |bo|\
    \x20 |es|: |ti|il|ge|an|co|em| f|up| [|li|d |sc| e|e |(E|st|NO";

/// The lowest byte that stands for a fragment.
const FIRST: u8 = 0x80;

/// A packed text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Packed(&'static [u8]);

/// A text in ASCII, a constant, to [`Packed`].
macro_rules! packed {
    ($text:expr) => {{
        use $crate::sys::packed::{Packed, pack, shorten};
        const PLAIN: &str = $text;
        const LONG: ([u8; PLAIN.len()], usize) = pack(PLAIN);
        const SHORT: [u8; LONG.1] = shorten(LONG.0);
        Packed::new(&SHORT)
    }};
}
pub(crate) use packed;

impl Packed {
    /// What [`pack`] made.
    #[must_use]
    pub const fn new(bytes: &'static [u8]) -> Packed {
        Packed(bytes)
    }

    /// Whether there is no text.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// A line of a table of texts.
    #[must_use]
    #[inline(never)]
    pub fn line(self, index: usize) -> Packed {
        Packed(part(self.0, b'\n', index))
    }

    /// Appends it to `text`, with `number` in place of a `%`; what does not fit is left out.
    #[inline(never)]
    pub fn unpack(self, text: &mut Buffer<[u8]>, number: u64) {
        for byte in self.0 {
            let _ = match byte.checked_sub(FIRST) {
                Some(fragment) => text.push(part(FRAGMENTS, b'|', fragment.into())),
                None if *byte == b'%' => text.push_number(number),
                None => text.push(slice::from_ref(byte)),
            };
        }
    }
}

/// Packs `text` into the first bytes of an array; tells how many. For constants only: a panic is
/// an error of the compiler's.
#[must_use]
#[allow(clippy::indexing_slicing, reason = "done by the compiler")]
pub const fn pack<const N: usize>(text: &str) -> ([u8; N], usize) {
    let text = text.as_bytes();
    let mut packed = [0; N];
    let (mut from, mut to) = (0, 0);
    while from < text.len() {
        assert!(text[from] < FIRST, "texts are ASCII");
        let (byte, length) = match fragment_at(text, from) {
            Some((number, length)) => (FIRST + number, length),
            None => (text[from], 1),
        };
        packed[to] = byte;
        from += length;
        to += 1;
    }
    (packed, to)
}

/// The number and length of the first fragment that `text` has at a place.
#[allow(clippy::indexing_slicing, reason = "done by the compiler")]
const fn fragment_at(text: &[u8], place: usize) -> Option<(u8, usize)> {
    let mut number = 0;
    while STARTS[number] < FRAGMENTS.len() {
        let length = STARTS[number + 1] - 1 - STARTS[number];
        let mut same = 0;
        while same < length
            && place + same < text.len()
            && text[place + same] == FRAGMENTS[STARTS[number] + same]
        {
            same += 1;
        }
        if same == length {
            return Some((number as u8, length));
        }
        number += 1;
    }
    None
}

/// Where each fragment starts, for the compiler's use; beyond the last one, where one more would.
#[allow(clippy::indexing_slicing, reason = "done by the compiler")]
const STARTS: [usize; 130] = {
    let mut starts = [FRAGMENTS.len() + 1; 130];
    let (mut number, mut at) = (0, 0);
    starts[0] = 0;
    while at < FRAGMENTS.len() {
        if FRAGMENTS[at] == b'|' {
            number += 1;
            starts[number] = at + 1;
        }
        at += 1;
    }
    starts
};

/// The first `M` bytes of an array.
#[must_use]
#[allow(clippy::indexing_slicing, reason = "done by the compiler")]
pub const fn shorten<const N: usize, const M: usize>(long: [u8; N]) -> [u8; M] {
    let mut short = [0; M];
    let mut place = 0;
    while place < M {
        short[place] = long[place];
        place += 1;
    }
    short
}

#[cfg(test)]
impl Packed {
    /// The text, for tests.
    #[must_use]
    pub fn text(self) -> std::string::String {
        let mut text = crate::sys::path::Text::<4096>::new();
        self.unpack(&mut text, 0);
        std::string::String::from_utf8(text.as_bytes().to_vec()).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::words::parts;

    #[test]
    fn texts_are_unpacked_as_they_were() {
        const TEXT: &str = "the network is down (EINVAL)\n\n  | ~\x7f\nraise sysctl user.max_";
        let packed = packed!(TEXT);
        assert_eq!(packed.text(), TEXT);
        assert!(packed.0.len() < TEXT.len() / 2);
        assert_eq!(packed.line(0).text(), "the network is down (EINVAL)");
        assert!(packed.line(1).is_empty());
        assert_eq!(packed.line(3).text(), "raise sysctl user.max_");
        assert!(packed.line(4).is_empty());
        let mut text = crate::sys::path::Text::<32>::new();
        packed!("the % of %").unpack(&mut text, 120);
        assert_eq!(text.as_bytes(), b"the 120 of 120");
    }

    #[test]
    fn there_are_no_more_fragments_than_bytes_for_them() {
        assert!(parts(FRAGMENTS, b'|').count() <= 128);
        for fragment in parts(FRAGMENTS, b'|') {
            assert!(!fragment.is_empty() && fragment.is_ascii() && !fragment.contains(&b'\n'));
        }
    }
}
