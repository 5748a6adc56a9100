//! The entries of a directory, as getdents64(2) writes them: inode, offset, length, type, name.
#![no_main]

use libfuzzer_sys::fuzz_target;
use phasebox::sys::fs;

const HEADER: usize = 19;
const DT_DIR: u8 = 4;

fuzz_target!(|data: &[u8]| {
    // In a room of its own, so that a byte too many is seen.
    let buffer: Box<[u8]> = data.into();
    let mut entries = fs::parse_entries(&buffer);
    let mut rest = &buffer[..];
    // The entries, one after the other, until one does not lie whole in what is left.
    while rest.len() >= HEADER {
        let length = usize::from(u16::from_ne_bytes([rest[16], rest[17]]));
        if length < HEADER || length > rest.len() {
            break;
        }
        let name = &rest[HEADER..length];
        let Some(end) = name.iter().position(|byte| *byte == 0) else {
            break;
        };
        let name = &name[..end];
        let entry = entries.next().expect("a whole entry");
        assert_eq!(entry.name.to_bytes(), name);
        let range = buffer.as_ptr_range();
        assert!(range.contains(&entry.name.as_ptr().cast()));
        // With its NUL.
        assert!(entry.name.to_bytes_with_nul().as_ptr_range().end <= range.end);
        let is_directory = rest[18] == DT_DIR && name != b"." && name != b"..";
        assert_eq!(entry.is_directory, is_directory);
        rest = &rest[length..];
    }
    assert!(entries.next().is_none());
});
