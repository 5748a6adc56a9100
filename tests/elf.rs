//! The program as a file: static, position-independent, nothing writable and executable, small.
#![allow(missing_docs, unsafe_code)]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

const PT_LOAD: u64 = 1;
const PT_DYNAMIC: u64 = 2;
const PT_INTERP: u64 = 3;
const PT_GNU_STACK: u64 = 0x6474_e551;
const PT_GNU_RELRO: u64 = 0x6474_e552;
const EXECUTE: u64 = 1;
const WRITE: u64 = 2;

struct Elf {
    bytes: Vec<u8>,
    has_64_bits: bool,
}

struct Segment {
    kind: u64,
    flags: u64,
    offset: usize,
    size: usize,
    alignment: usize,
}

/// `tests/cross/run` has it be one for another processor.
fn program() -> PathBuf {
    let built = env!("CARGO_BIN_EXE_phasebox").into();
    std::env::var_os("PHASEBOX_PROGRAM").unwrap_or(built).into()
}

impl Elf {
    fn read() -> Elf {
        let bytes = fs::read(program()).unwrap();
        let has_64_bits = bytes[4] == 2;
        Elf { bytes, has_64_bits }
    }

    fn number(&self, at: usize, bytes: usize) -> u64 {
        let bytes = &self.bytes[at..at + bytes];
        let append = |number, byte: &u8| number << 8 | u64::from(*byte);
        if self.bytes[5] == 1 {
            bytes.iter().rev().fold(0, append)
        } else {
            bytes.iter().fold(0, append)
        }
    }

    /// A number as wide as a pointer.
    fn word(&self, at: usize) -> usize {
        self.number(at, self.width()) as usize
    }

    fn width(&self) -> usize {
        if self.has_64_bits { 8 } else { 4 }
    }

    /// The program headers. elf(5).
    fn segments(&self) -> Vec<Segment> {
        // Where each is, in the file and in a program header, by width.
        let (first, size, offset, file_size, flags) = if self.has_64_bits {
            (32, 54, 8, 32, 4)
        } else {
            (28, 42, 4, 16, 24)
        };
        let count = self.number(size + 2, 2) as usize;
        let (first, size) = (self.word(first), self.number(size, 2) as usize);
        (0..count)
            .map(|index| first + index * size)
            .map(|at| Segment {
                kind: self.number(at, 4),
                flags: self.number(at + flags, 4),
                offset: self.word(at + offset),
                size: self.word(at + file_size),
                // The last word of a program header.
                alignment: self.word(at + size - self.width()),
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
    for entry in (dynamic.offset..dynamic.offset + dynamic.size).step_by(2 * elf.width()) {
        assert_ne!(elf.word(entry), 1, "DT_NEEDED");
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
fn it_can_be_loaded_where_pages_are_as_large_as_they_get() {
    let elf = Elf::read();
    // AArch64, PowerPC and LoongArch may have pages of 64 KiB, the others have 4.
    let largest = match elf.number(18, 2) {
        183 | 21 | 258 => 65536,
        _ => 4096,
    };
    for segment in elf.segments() {
        if segment.kind == PT_LOAD {
            assert!(segment.alignment >= largest, "{:#x}", segment.alignment);
        }
    }
}

#[test]
fn it_is_small_stripped() {
    // A build for debugging is not what is installed.
    if cfg!(debug_assertions) {
        return;
    }
    let stripped = std::env::temp_dir().join(format!("phasebox-stripped-{}", std::process::id()));
    if std::env::var_os("PHASEBOX_PROGRAM").is_some() {
        // The machine's own strip(1) knows no other processor; so it was done when linked.
        fs::copy(program(), &stripped).unwrap();
    } else {
        let mut strip = Command::new("strip");
        strip.arg("-o").arg(&stripped).arg(program());
        assert!(strip.status().unwrap().success());
    }
    let size = fs::metadata(&stripped).unwrap().len();
    fs::remove_file(&stripped).unwrap();
    // Longer instructions, or none that save several registers at once: x86, s390x, LoongArch and
    // PowerPC are beyond it.
    let most = match Elf::read().number(18, 2) {
        3 | 22 => 42,
        258 => 44,
        21 => 54,
        _ => 37,
    };
    assert!(size <= most * 1024, "{size} bytes");
}
