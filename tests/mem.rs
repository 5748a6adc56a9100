//! The program's own memory functions against those of the standard library.
#![allow(missing_docs, unsafe_code)]

#[path = "../src/rt/mem.rs"]
mod mem;

#[test]
fn memcpy_and_memset_fill_exactly_their_range() {
    for length in 0..70 {
        let from: Vec<u8> = (0..length as u8).collect();
        let mut to = vec![0xaa; length + 2];
        // SAFETY: ranges of that length.
        unsafe { mem::memcpy(to.as_mut_ptr().add(1), from.as_ptr(), length) };
        assert_eq!(to[1..=length], from);
        assert_eq!((to[0], to[length + 1]), (0xaa, 0xaa));
        // SAFETY: as above.
        unsafe { mem::memset(to.as_mut_ptr().add(1), 0x155, length) };
        assert!(to[1..=length].iter().all(|byte| *byte == 0x55));
        assert_eq!((to[0], to[length + 1]), (0xaa, 0xaa));
    }
}

#[test]
fn memmove_moves_overlapping_ranges_both_ways() {
    for (to, from) in [(0, 0), (0, 1), (1, 0), (0, 20), (20, 0), (3, 30)] {
        for length in 0..30 {
            let mut ours: Vec<u8> = (0..64).collect();
            let mut theirs = ours.clone();
            theirs.copy_within(from..from + length, to);
            let start = ours.as_mut_ptr();
            // SAFETY: both ranges lie within the vector.
            unsafe { mem::memmove(start.add(to), start.add(from), length) };
            assert_eq!(ours, theirs);
        }
    }
}

#[test]
fn memcmp_and_bcmp_order_as_slices_do() {
    for (left, right) in [
        ("", ""),
        ("a", "b"),
        ("ab", "aa"),
        ("abc", "abc"),
        ("\u{ff}", "a\u{0}"),
    ] {
        let length = left.len().min(right.len());
        let (left, right) = (&left.as_bytes()[..length], &right.as_bytes()[..length]);
        // SAFETY: ranges of that length.
        let (order, differ) = unsafe {
            (
                mem::memcmp(left.as_ptr(), right.as_ptr(), length),
                mem::bcmp(left.as_ptr(), right.as_ptr(), length),
            )
        };
        assert_eq!(order.cmp(&0), left.cmp(right));
        assert_eq!(differ != 0, left != right);
    }
}

#[test]
fn strlen_stops_at_the_nul() {
    for string in [c"", c"a", c"abc"] {
        // SAFETY: ends with a NUL.
        let length = unsafe { mem::strlen(string.as_ptr().cast()) };
        assert_eq!(length, string.count_bytes());
    }
}
