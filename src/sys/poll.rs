//! Waiting for several descriptors at once. ppoll(2).

use linux_raw_sys::general as k;

use super::fd::Fd;
use super::{Errno, Result, call3};

/// What to wait for.
#[derive(Clone, Copy)]
pub enum Event {
    /// Something to read, or the other end closed.
    Readable,
    /// A change in a file of the kernel's that tells of changes (cgroup.events).
    Changed,
    /// The other end closed, whatever there is to read before.
    Closed,
}

/// A length of time, or a point of the monotonic clock, in milliseconds.
pub type Milliseconds = u64;

/// Waits until one of two is ready, at most `timeout` (None: for ever). Returns for each whether it
/// is ready; both false when the time ran out. To wait for one, name it twice.
pub fn wait(watched: [(Fd, Event); 2], timeout: Option<Milliseconds>) -> Result<[bool; 2]> {
    let mut entries = watched.map(|(fd, event)| {
        let events = match event {
            Event::Readable => k::POLLIN,
            Event::Changed => k::POLLPRI,
            // POLLHUP is told in any case.
            Event::Closed => 0,
        };
        k::pollfd {
            fd: fd.number(),
            events: events as i16,
            revents: 0,
        }
    });
    match ppoll(&mut entries, timeout) {
        Ok(()) | Err(Errno::EINTR) => Ok(entries.map(|entry| entry.revents != 0)),
        Err(errno) => Err(errno),
    }
}

/// How many of the three descriptors are closed.
pub(super) fn count_closed(fds: [Fd; 3]) -> Result<usize> {
    let mut entries = fds.map(|fd| k::pollfd {
        fd: fd.number(),
        events: 0,
        revents: 0,
    });
    ppoll(&mut entries, Some(0))?;
    Ok(entries
        .iter()
        .filter(|entry| entry.revents & k::POLLNVAL as i16 != 0)
        .count())
}

fn ppoll(entries: &mut [k::pollfd], timeout: Option<Milliseconds>) -> Result<()> {
    let time = timeout.map(timespec);
    let time = time.as_ref().map_or(core::ptr::null(), core::ptr::from_ref);
    let arguments = [entries.as_mut_ptr() as usize, entries.len(), time as usize];
    // SAFETY: as many entries as named; the time lives across the call; no signal mask.
    unsafe { call3(k::__NR_ppoll, arguments) }.map(drop)
}

/// clock_gettime(2), monotonic.
#[must_use]
pub fn now() -> Milliseconds {
    let mut time = timespec(0);
    let arguments = [k::CLOCK_MONOTONIC as usize, &raw mut time as usize, 0];
    // SAFETY: the kernel writes one timespec. The clock exists, so there is no error.
    let _ = unsafe { call3(k::__NR_clock_gettime, arguments) };
    time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000
}

/// The kernel's own form; every supported processor of 64 bits has this one.
fn timespec(time: Milliseconds) -> k::__kernel_timespec {
    k::__kernel_timespec {
        tv_sec: (time / 1000) as _,
        tv_nsec: (time % 1000 * 1_000_000) as _,
    }
}
