//! The program as a file: static, position-independent, nothing writable and executable, small.
#![allow(missing_docs, unsafe_code)]

use std::fs;
use std::process::Command;

const PT_LOAD: u64 = 1;
const PT_DYNAMIC: u64 = 2;
const PT_INTERP: u64 = 3;
const PT_GNU_STACK: u64 = 0x6474_e551;
const PT_GNU_RELRO: u64 = 0x6474_e552;
const EXECUTE: u64 = 1;
const WRITE: u64 = 2;

struct Elf(Vec<u8>);

struct Segment {
    kind: u64,
    flags: u64,
    offset: usize,
    size: usize,
}

impl Elf {
    fn read() -> Elf {
        Elf(fs::read(env!("CARGO_BIN_EXE_phasebox")).unwrap())
    }

    fn number(&self, at: usize, bytes: usize) -> u64 {
        let mut number = [0; 8];
        number[..bytes].copy_from_slice(&self.0[at..at + bytes]);
        u64::from_le_bytes(number)
    }

    /// The program headers of a 64-bit little-endian file. elf(5).
    fn segments(&self) -> Vec<Segment> {
        let first = self.number(32, 8) as usize;
        let (size, count) = (self.number(54, 2) as usize, self.number(56, 2) as usize);
        (0..count)
            .map(|index| first + index * size)
            .map(|at| Segment {
                kind: self.number(at, 4),
                flags: self.number(at + 4, 4),
                offset: self.number(at + 8, 8) as usize,
                size: self.number(at + 32, 8) as usize,
            })
            .collect()
    }

    fn segment(&self, kind: u64) -> Option<Segment> {
        self.segments()
            .into_iter()
            .find(|segment| segment.kind == kind)
    }
}

#[test]
fn it_is_position_independent_and_needs_no_interpreter_and_no_library() {
    let elf = Elf::read();
    assert_eq!(elf.number(16, 2), 3, "ET_DYN");
    assert!(elf.segment(PT_INTERP).is_none());
    let dynamic = elf.segment(PT_DYNAMIC).unwrap();
    for entry in (dynamic.offset..dynamic.offset + dynamic.size).step_by(16) {
        assert_ne!(elf.number(entry, 8), 1, "DT_NEEDED");
    }
}

#[test]
fn its_stack_is_not_executable() {
    let stack = Elf::read().segment(PT_GNU_STACK).unwrap();
    assert_eq!(stack.flags & EXECUTE, 0);
}

#[test]
fn its_relocations_are_read_only_after_start() {
    assert!(Elf::read().segment(PT_GNU_RELRO).unwrap().size > 0);
}

#[test]
fn no_segment_is_writable_and_executable() {
    let segments = Elf::read().segments();
    let loaded: Vec<&Segment> = segments
        .iter()
        .filter(|segment| segment.kind == PT_LOAD)
        .collect();
    assert!(!loaded.is_empty());
    for segment in loaded {
        assert_ne!(segment.flags & (WRITE | EXECUTE), WRITE | EXECUTE);
    }
}

#[test]
fn it_has_at_most_38_kib_stripped() {
    // A build for debugging is not what is installed.
    if cfg!(debug_assertions) {
        return;
    }
    let stripped = std::env::temp_dir().join(format!("phasebox-stripped-{}", std::process::id()));
    let strip = Command::new("strip")
        .arg("-o")
        .arg(&stripped)
        .arg(env!("CARGO_BIN_EXE_phasebox"))
        .status();
    assert!(strip.unwrap().success());
    let size = fs::metadata(&stripped).unwrap().len();
    fs::remove_file(&stripped).unwrap();
    assert!(size <= 38 * 1024, "{size} bytes");
}
