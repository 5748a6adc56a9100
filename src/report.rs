//! `--report-fd`: how COMMAND ended, what its box used, and what was killed in it, in a line of JSON
//! (RFC 8259).
#![forbid(unsafe_code)]

use crate::diag::{self, Line};
use crate::status;
use crate::sys::fd::{self, Fd};
use crate::sys::packed::{Packed, packed};
use crate::sys::path::Text;
use crate::sys::process::{Change, Pid};
use crate::sys::words::{part, parts, sum};

/// The line, as far as it is known.
///
/// It never gets longer than the half of what an empty pipe takes: who reads that only when the
/// program has ended must not keep it from ending.
pub struct Report {
    text: Text<LONGEST>,
    killed: u64,
    left_out: u64,
}

const LONGEST: usize = 32 * 1024;
/// What is kept free for what comes after the processes.
const RESERVE: usize = 64;

/// A file of a group's, counted from cpu.stat on; the key in it that a number follows, if there are
/// any; and the member that tells the sum of these. Each is left out where its controller is not.
/// The kernel's admin-guide/cgroup-v2; memory.peak since Linux 5.19, pids.peak since 6.11.
const MEMBERS: &[u8] = b"0 user_usec user_usec
0 system_usec system_usec
1  memory_peak
2  pids_peak
3 rbytes io_read
3 wbytes io_written
4 oom_kill oom_kills";

impl Report {
    /// Takes the stack that a report needs, before the command may start: later a limit could be in
    /// the way of that, and of the box's end.
    #[inline(never)]
    pub fn reserve() {
        core::hint::black_box(&Report::new(Change::exited(0), 0));
    }

    /// How the command ended, and after how long.
    #[must_use]
    pub fn new(ending: Change, microseconds: u64) -> Report {
        let mut report = Report {
            text: Text::new(),
            killed: 0,
            left_out: 0,
        };
        match ending.killed_by() {
            Some(signal) => report.number(packed!("{\"signal\":%"), signal.byte().into()),
            None => report.number(packed!("{\"exit\":%"), status::of(ending).into()),
        }
        report.number(packed!(",\"wall_usec\":%"), microseconds);
        report
    }

    fn text(&mut self, text: &[u8]) {
        let _ = self.text.push(text);
    }

    #[inline(never)]
    fn number(&mut self, text: Packed, number: u64) {
        text.unpack(&mut self.text, number);
    }

    /// Adds what a group used; `files` are open where they are there.
    #[inline(never)]
    pub fn add_use(&mut self, files: &[Fd]) {
        let mut text = [0; 4096];
        for member in parts(MEMBERS, b'\n') {
            let [file, _, words @ ..] = member else {
                continue;
            };
            let file = files.get(usize::from(file.wrapping_sub(b'0'))).copied();
            let Ok(length) = fd::read_from_start(file.unwrap_or(Fd::NONE), &mut text) else {
                continue;
            };
            let sum = sum(text.get(..length).unwrap_or_default(), part(words, b' ', 0));
            self.text(b",\"");
            self.text(part(words, b' ', 1));
            self.number(packed!("\":%"), sum);
        }
        self.text(b",\"killed\":[");
    }

    /// Adds a process that will be killed: its pid and, where there is a /proc, its name and the
    /// beginning of its command line. Those that there is no room for are counted.
    #[inline(never)]
    pub fn add(&mut self, pid: Pid) {
        if self.left_out > 0 {
            self.left_out += 1;
            return;
        }
        let mut entry = Line::new();
        if self.killed > 0 {
            entry.text(packed!(","));
        }
        entry.number(packed!("{\"pid\":%"), pid.number().into());
        add_text(&mut entry, packed!(",\"name\":\""), pid, diag::NAME);
        add_text(
            &mut entry,
            packed!(",\"command\":\""),
            pid,
            packed!("/proc/%/cmdline"),
        );
        entry.text(packed!("}"));
        let entry = entry.as_bytes();
        if self.text.as_bytes().len() + entry.len() + RESERVE > LONGEST {
            self.left_out += 1;
        } else {
            self.killed += 1;
            self.text(entry);
        }
    }

    /// No more processes.
    pub fn end(&mut self) {
        self.text(b"]");
        if self.left_out > 0 {
            self.number(packed!(",\"killed_more\":%"), self.left_out);
        }
    }

    /// Writes the line. Nothing can be done where that fails.
    pub fn send(&mut self, told: Fd) {
        self.text(b"}\n");
        let mut rest = self.text.as_bytes();
        while let Ok(length @ 1..) = fd::write(told, rest) {
            rest = rest.get(length..).unwrap_or_default();
        }
    }
}

/// Adds a member that is a text of /proc's, if that can be had.
fn add_text(entry: &mut Line, key: Packed, pid: Pid, file: Packed) {
    let mut text = [0; 128];
    if let Some(text) = diag::process_text(pid, file, &mut text) {
        entry.text(key);
        entry.foreign(text, true);
        entry.text(packed!("\""));
    }
}
