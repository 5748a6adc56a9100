//! The names of control groups: eight bytes of seed, then a name from outside.
#![no_main]

use libfuzzer_sys::fuzz_target;
use phasebox::cgroup;
use phasebox_fuzz::program;

/// `phasebox:`, anything, a dot and nineteen digits or more.
fn is_box(name: &[u8]) -> bool {
    let Some(rest) = name.strip_prefix(b"phasebox:") else {
        return false;
    };
    let digits = rest.iter().rev().take_while(|byte| byte.is_ascii_digit());
    let digits = digits.count();
    digits >= 19 && rest[..rest.len() - digits].ends_with(b".")
}

fuzz_target!(|data: &[u8]| {
    let (seed, name) = data.split_at(data.len().min(8));
    let seed = seed
        .iter()
        .fold(0, |seed, byte| seed << 8 | u64::from(*byte));
    assert_eq!(cgroup::is_directory_name(name), is_box(name));

    let label = program::label(name);
    assert_eq!(label.len(), name.len().min(128));
    for (made, given) in label.iter().zip(name) {
        match given {
            b'/' => assert_eq!(*made, b':'),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => assert_eq!(made, given),
            b'.' | b'_' | b'+' | b':' | b'-' => assert_eq!(made, given),
            _ => assert_eq!(*made, b'_'),
        }
    }
    assert_eq!(program::label(&label), label);

    let directory = program::directory_name(&label, seed).expect("every label fits");
    let directory = directory.as_bytes();
    assert!(cgroup::is_directory_name(directory) && is_box(directory));
    assert!(directory.len() <= 255);
    assert!(!directory.contains(&b'/') && !directory.contains(&0));

    // A label as it came: made whole, or not at all.
    if let Some(directory) = program::directory_name(name, seed) {
        let directory = directory.as_bytes();
        assert!(cgroup::is_directory_name(directory));
        let rest = directory.strip_prefix(b"phasebox:").expect("the prefix");
        assert!(rest.starts_with(name));
    } else {
        assert!(name.len() > 225);
    }
});
