//! Waiting for several descriptors at once. ppoll(2).

use linux_raw_sys::general as k;

use super::fd::Fd;
use super::{Errno, Result, call3, run3};
use crate::arch::numbers as nr;

/// What to wait for.
#[derive(Clone, Copy)]
#[repr(u16)]
pub enum Event {
    /// Something to read, or the other end closed.
    Readable = k::POLLIN as u16,
    /// The other end closed, whatever there is to read: POLLHUP, which needs no asking for.
    Closed = 0,
    /// A change in a file of the kernel's that tells of changes (cgroup.events).
    Changed = k::POLLPRI as u16,
}

/// A length of time, or a point of the monotonic clock, in microseconds.
pub type Microseconds = u64;

/// A millisecond.
pub const MILLISECOND: Microseconds = 1000;
/// A second.
pub const SECOND: Microseconds = 1_000_000;

/// A point in time until which something is waited for.
#[derive(Clone, Copy)]
pub struct Deadline(Microseconds);

impl Deadline {
    /// So much from now.
    #[must_use]
    #[inline(never)]
    pub fn after(time: Microseconds) -> Deadline {
        Deadline(now() + time)
    }

    /// What is left of it.
    #[must_use]
    #[inline(never)]
    pub fn left(self) -> Microseconds {
        self.0.saturating_sub(now())
    }
}

/// Waits for an event at most `timeout`, or until a signal interrupts it. None where it is not there.
pub fn wait(fd: Fd, event: Event, timeout: Microseconds) -> Result<Option<Fd>> {
    let mut entries = [entry(fd, event)];
    ppoll(&mut entries, Some(timeout))?;
    let [entry] = entries;
    Ok((entry.revents != 0).then_some(fd))
}

/// Waits until one of two is readable. The second one, if it is.
pub fn wait_for_two(one: Fd, two: Fd) -> Result<Option<Fd>> {
    let mut entries = [entry(one, Event::Readable), entry(two, Event::Readable)];
    ppoll(&mut entries, None)?;
    let [_, second] = entries;
    Ok((second.revents != 0).then_some(two))
}

fn entry(fd: Fd, event: Event) -> k::pollfd {
    k::pollfd {
        fd: fd.number(),
        events: event as i16,
        revents: 0,
    }
}

/// Does nothing for a time.
pub fn sleep(time: Microseconds) -> Result<()> {
    ppoll(&mut [], Some(time))
}

/// Without an error where a signal interrupts it: then nothing is ready.
fn ppoll(entries: &mut [k::pollfd], timeout: Option<Microseconds>) -> Result<()> {
    let time = timeout.map(timespec);
    let time = time.as_ref().map_or(core::ptr::null(), core::ptr::from_ref);
    let arguments = [entries.as_mut_ptr() as usize, entries.len(), time as usize];
    // SAFETY: as many entries as named; the time lives across the call; no signal mask.
    match unsafe { run3(nr::__NR_ppoll, arguments) } {
        Err(Errno::EINTR) => Ok(()),
        result => result,
    }
}

/// The monotonic clock. clock_gettime(2).
#[must_use]
pub fn now() -> Microseconds {
    let mut time = timespec(0);
    let arguments = [k::CLOCK_MONOTONIC as usize, &raw mut time as usize, 0];
    // SAFETY: the kernel writes one timespec. The clock exists, so there is no error.
    let _ = unsafe { call3(nr::__NR_clock_gettime, arguments) };
    time.tv_sec as u64 * SECOND + time.tv_nsec as u64 / 1000
}

// linux/time_types.h and asm-generic/poll.h, the same everywhere.
const _: () = assert!(size_of::<k::__kernel_timespec>() == 16 && size_of::<k::pollfd>() == 8);

/// The kernel's own form, with 64 bits also where a pointer has 32.
fn timespec(time: Microseconds) -> k::__kernel_timespec {
    k::__kernel_timespec {
        tv_sec: (time / SECOND) as _,
        tv_nsec: (time % SECOND * 1000) as _,
    }
}
