//! What the fuzz targets share: an argument vector as the kernel lays it out, files of any content,
//! standard error as a file. And, in [`program`], what of the program they call under a name that is
//! not a target's own business.

pub mod program;

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::fs::FileExt;

use phasebox::sys::args::Start;
use phasebox::sys::fd::{self, Fd, Mode, OwnedFd};

/// The initial stack of a process: argc, argv, NULL, envp, NULL, auxiliary vector. execve(2).
///
/// What the program reads from it is valid for as long as this lives, whatever the types say.
pub struct Stack {
    /// Owns what `words` points to.
    _strings: Vec<CString>,
    _random: Box<[u8; 16]>,
    words: Vec<usize>,
}

impl Stack {
    pub fn new(argv: &[&[u8]], envp: &[&[u8]]) -> Stack {
        const AT_RANDOM: usize = 25;
        let mut strings = Vec::new();
        let mut words = vec![argv.len()];
        for vector in [argv, envp] {
            for word in vector {
                let string = CString::new(*word).expect("the words have no NUL");
                words.push(string.as_ptr() as usize);
                strings.push(string);
            }
            words.push(0);
        }
        let random = Box::new([7; 16]);
        words.extend([AT_RANDOM, random.as_ptr() as usize, 0, 0]);
        Stack {
            _strings: strings,
            _random: random,
            words,
        }
    }

    pub fn start(&self) -> Start {
        // SAFETY: laid out as the kernel does; the targets drop what is read before the stack.
        unsafe { Start::from_stack(self.words.as_ptr()) }
    }
}

/// `data` up to each NUL, as words cannot have one.
pub fn words(data: &[u8]) -> Vec<&[u8]> {
    if data.is_empty() {
        return Vec::new();
    }
    data.split(|byte| *byte == 0).collect()
}

/// A file in memory.
pub struct Scratch {
    file: File,
    path: CString,
    /// The same file as the program opens it.
    opened: OwnedFd,
}

impl Scratch {
    pub fn new() -> Scratch {
        // SAFETY: a NUL-ended name.
        let number = unsafe { libc::memfd_create(c"fuzz".as_ptr(), libc::MFD_CLOEXEC) };
        assert!(number >= 0, "memfd_create");
        // SAFETY: a descriptor that was just opened.
        let file = unsafe { File::from_raw_fd(number) };
        let path = CString::new(format!("/proc/self/fd/{number}")).expect("no NUL");
        let opened = fd::openat(Fd::CWD, &path, Mode::Read).expect("/proc is mounted");
        Scratch { file, path, opened }
    }

    /// Replaces what is in it.
    pub fn fill(&mut self, text: &[u8]) {
        self.file.set_len(0).expect("ftruncate");
        self.file.seek(SeekFrom::Start(0)).expect("lseek");
        self.file.write_all(text).expect("write");
    }

    /// What was written since it was filled with nothing.
    fn content(&self) -> Vec<u8> {
        let length = self.file.metadata().expect("fstat").len();
        let mut text = vec![0; length as usize];
        self.file.read_exact_at(&mut text, 0).expect("pread");
        text
    }

    /// To open it by.
    pub fn path(&self) -> &CStr {
        &self.path
    }

    /// To read it.
    pub fn fd(&self) -> Fd {
        self.opened.fd()
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

/// Takes what the program writes to standard error.
pub struct Capture {
    scratch: Scratch,
    stderr: RawFd,
}

impl Capture {
    pub fn new() -> Capture {
        // SAFETY: numbers only.
        let stderr = unsafe { libc::fcntl(2, libc::F_DUPFD_CLOEXEC, 3) };
        assert!(stderr >= 0, "dup");
        Capture {
            scratch: Scratch::new(),
            stderr,
        }
    }

    /// What `act` writes. The fuzzer's own messages are lost in the meantime.
    pub fn during(&mut self, act: impl FnOnce()) -> Vec<u8> {
        self.scratch.fill(b"");
        // SAFETY: descriptors that are open.
        unsafe { libc::dup2(self.scratch.file.as_raw_fd(), 2) };
        act();
        // SAFETY: as above.
        unsafe { libc::dup2(self.stderr, 2) };
        self.scratch.content()
    }
}

impl Default for Capture {
    fn default() -> Self {
        Self::new()
    }
}
