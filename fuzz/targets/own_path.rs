//! /proc/self/cgroup.
#![no_main]

use libfuzzer_sys::fuzz_target;
use phasebox::cgroup;

fuzz_target!(|text: &[u8]| {
    // The first line of cgroup v2 counts, where the text has not been cut off.
    let mut lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    if !text.ends_with(b"\n") {
        lines.clear();
    }
    let line = lines.iter().find_map(|line| line.strip_prefix(b"0::/"));

    let Some(path) = cgroup::parse_own_path(text) else {
        let is_outside =
            line.is_some_and(|line| line.split(|byte| *byte == b'/').any(|part| part == b".."));
        assert!(line.is_none() || is_outside);
        return;
    };
    assert_eq!(Some(path), line);
    assert!(text.as_ptr_range().contains(&path.as_ptr()));
    assert!(!path.contains(&b'\n'));
    // Below the root, wherever that is mounted.
    let mut depth = 0;
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => depth -= 1,
            _ => depth += 1,
        }
        assert!(depth >= 0);
    }
});
