//! The control group of a box: made, joined, frozen, killed, removed. cgroups(7), and the kernel's
//! admin-guide/cgroup-v2.
//!
//! Its directory is locked (flock(2)) for as long as a stub or a guard of the box lives. That, not
//! a pid, tells a live box from one that nobody will clean up.
#![forbid(unsafe_code)]

use core::ffi::CStr;

use crate::sys::fd::{self, Fd, Mode, OwnedFd};
use crate::sys::fs::{self, Listing};
use crate::sys::path::{Name, Path};
use crate::sys::poll::{self, Event, Milliseconds};
use crate::sys::process::Pid;
use crate::sys::{Errno, Result, ids};

/// CGROUP2_SUPER_MAGIC of linux/magic.h: tells the real thing from a directory that looks alike.
const CGROUP2_MAGIC: u32 = 0x6367_7270;

/// Where cgroup v2 is mounted: alone, or beside v1.
const MOUNT_POINTS: [&CStr; 2] = [c"/sys/fs/cgroup", c"/sys/fs/cgroup/unified"];

/// A box's directory is called `phasebox:NAME.` and sixteen hexadecimal digits: like nothing that
/// others name so.
const PREFIX: &[u8] = b"phasebox:";
const SUFFIX_DIGITS: usize = 16;

/// How long a killed group may take to empty.
pub const TIME_TO_DIE: Milliseconds = 10_000;

/// How long a start waits for what it clears away of others.
const TIME_FOR_STALE: Milliseconds = 500;

/// A box's control group. All of it is opened before COMMAND starts: later a limit on open files
/// could be in the way.
pub struct Cgroup {
    parent: OwnedFd,
    name: Name,
    directory: OwnedFd,
    procs: OwnedFd,
    events: OwnedFd,
    kill: OwnedFd,
    freeze: OwnedFd,
}

/// The group that this process is in.
///
/// Where no cgroup2 is mounted, or no /proc (a chroot), they are reached by mounts that nobody can
/// see and that go with their descriptors; that takes CAP_SYS_ADMIN.
///
/// # Errors
/// ENOENT where there is no cgroup v2, or where the group cannot be reached in it.
pub fn own_group() -> Result<OwnedFd> {
    let mut path = Path::new();
    own_path(&mut path)?;
    for mount_point in MOUNT_POINTS {
        let Ok(root) = open_cgroup2(Fd::CWD, mount_point) else {
            continue;
        };
        // Missing where only a part of the hierarchy is mounted there.
        if let Ok(group) = open_cgroup2(root.fd(), path.as_cstr()) {
            return Ok(group);
        }
    }
    let root = fs::detached_mount(c"cgroup2").map_err(|_| Errno::ENOENT)?;
    open_cgroup2(root.fd(), path.as_cstr())
}

/// The group at a path that a root caller gave.
///
/// # Errors
/// ENODEV where it is no directory of a cgroup2 file system.
pub fn given_group(path: &CStr) -> Result<OwnedFd> {
    open_cgroup2(Fd::CWD, path)
}

fn open_cgroup2(directory: Fd, path: &CStr) -> Result<OwnedFd> {
    let opened = fd::openat(directory, path, Mode::Directory)?;
    if fs::magic(opened.fd())? == CGROUP2_MAGIC { Ok(opened) } else { Err(Errno::ENODEV) }
}

/// This process's line in /proc/self/cgroup, as a path relative to the hierarchy's root.
fn own_path(path: &mut Path) -> Result<()> {
    let file = match fd::openat(Fd::CWD, c"/proc/self/cgroup", Mode::Read) {
        Err(Errno::ENOENT) => {
            let proc = fs::detached_mount(c"proc").map_err(|_| Errno::ENOENT)?;
            fd::openat(proc.fd(), c"self/cgroup", Mode::Read)?
        }
        result => result?,
    };
    let mut text = [0; 4096];
    let mut length = 0;
    loop {
        let read = fd::read(file.fd(), text.get_mut(length..).unwrap_or_default())?;
        length += read;
        if read == 0 || length == text.len() {
            break;
        }
    }
    let found = parse_own_path(text.get(..length).unwrap_or_default()).ok_or(Errno::ENOENT)?;
    path.push(b"./")?;
    path.push(found)
}

/// The path in `0::/path`, without its slash. None where the group is outside what this process
/// can see of the hierarchy (`/../..`, cgroup_namespaces(7)), and for a line that is cut off.
fn parse_own_path(text: &[u8]) -> Option<&[u8]> {
    let line = text
        .split_inclusive(|byte| *byte == b'\n')
        .find_map(|line| line.strip_prefix(b"0::/")?.strip_suffix(b"\n"))?;
    let outside = line.split(|byte| *byte == b'/').any(|part| part == b"..");
    (!outside).then_some(line)
}

/// Whether a user may make groups below `group` and move itself there.
#[must_use]
pub fn is_delegated(group: Fd) -> bool {
    fs::may_write(group, c".") && fs::may_write(group, c"cgroup.procs")
}

impl Cgroup {
    /// Makes a new group below `parent` and locks it. `random` makes its name new.
    ///
    /// # Errors
    /// What mkdir(2) says: EACCES, EROFS, EAGAIN for a limit of the groups above.
    pub fn create(parent: OwnedFd, label: &[u8], random: [u8; 16]) -> Result<Cgroup> {
        let mut seed = u64::from_ne_bytes(*random.first_chunk().ok_or(Errno::EINVAL)?);
        // A name that is taken belongs to somebody else, whatever is in it.
        for _ in 0..16 {
            let name = directory_name(label, seed)?;
            match fs::make_directory(parent.fd(), name.as_cstr()) {
                Ok(()) => {}
                Err(Errno::EEXIST) => {
                    seed = seed.wrapping_add(1);
                    continue;
                }
                Err(errno) => return Err(errno),
            }
            let opened = open_new(parent.fd(), &name);
            if let Err(Errno::EAGAIN | Errno::ENOENT | Errno::ENODEV) = opened {
                // Between mkdir and flock another start took it for one that nobody cleans up.
                seed = seed.wrapping_add(1);
                continue;
            }
            let [directory, procs, events, kill, freeze] = match opened {
                Ok(opened) => opened,
                Err(errno) => {
                    let _ = fs::remove_directory(parent.fd(), name.as_cstr());
                    return Err(errno);
                }
            };
            return Ok(Cgroup { parent, name, directory, procs, events, kill, freeze });
        }
        Err(Errno::EEXIST)
    }

    /// The descriptors that a process of the box keeps open to wait, kill and remove.
    #[must_use]
    pub fn fds(&self) -> [Fd; 6] {
        [&self.parent, &self.directory, &self.procs, &self.events, &self.kill, &self.freeze]
            .map(OwnedFd::fd)
    }

    /// Moves this process into the group. Not by clone3(2) with CLONE_INTO_CGROUP: there a child
    /// is killed at once where anyone ever wrote cgroup.kill in its parent's group (Linux 6.18).
    pub fn join(&self) -> Result<()> {
        fd::write(self.procs.fd(), b"0").map(drop)
    }

    /// Whether anything lives in it or below.
    pub fn is_populated(&self) -> Result<bool> {
        self.event(b"populated 1")
    }

    fn event(&self, wanted: &[u8]) -> Result<bool> {
        let mut text = [0; 128];
        let length = fd::read_from_start(self.events.fd(), &mut text)?;
        let text = text.get(..length).unwrap_or_default();
        Ok(text.split(|byte| *byte == b'\n').any(|line| line == wanted))
    }

    /// Whether `pid` is in the group itself (not below).
    #[must_use]
    pub fn contains(&self, pid: Pid) -> bool {
        let mut found = false;
        let _ = read_pids(self.procs.fd(), |member| found |= member == pid);
        found
    }

    /// Stops all of the group and waits until it has stopped, at most a second: a process in an
    /// uninterruptible sleep stops later.
    pub fn freeze(&self) -> Result<()> {
        fd::write(self.freeze.fd(), b"1")?;
        let end = poll::now() + 1000;
        while !self.event(b"frozen 1")? && poll::now() < end {
            poll::wait([(self.events.fd(), Event::Changed)], Some(100))?;
        }
        Ok(())
    }

    /// Lets it go on.
    pub fn thaw(&self) -> Result<()> {
        fd::write(self.freeze.fd(), b"0").map(drop)
    }

    /// Calls `visit` with every process in the group and below.
    pub fn for_each_process(&self, mut visit: impl FnMut(Pid)) {
        let _ = read_pids(self.procs.fd(), &mut visit);
        for_each_process_below(self.directory.fd(), &mut visit);
    }

    /// Kills what is left and removes the group, with every group made inside. Where nothing is
    /// left this is one rmdir.
    ///
    /// # Errors
    /// EBUSY where something is still alive after `time`; the group stays.
    pub fn destroy(&self, time: Milliseconds) -> Result<()> {
        destroy(self.parent.fd(), self.name.as_cstr(), time, |left| {
            kill_and_wait(self.kill.fd(), self.events.fd(), left)?;
            remove_below(self.directory.fd())
        })
    }

    /// Removes the groups of boxes beside this one that nobody cleans up any more: all of its
    /// processes died at once, or the power failed.
    pub fn remove_stale(&self) {
        let mut listing = Listing::new();
        // A descriptor of its own: others share the position in `parent`.
        let Ok(parent) = fd::openat(self.parent.fd(), c".", Mode::Directory) else {
            return;
        };
        let Ok(users) = ids::user_ids() else {
            return;
        };
        while listing.read(parent.fd()).unwrap_or(false) {
            for entry in listing.entries() {
                if entry.is_directory
                    && is_directory_name(entry.name.to_bytes())
                    && entry.name != self.name.as_cstr()
                {
                    let _ = remove_if_stale(parent.fd(), entry.name, users.effective);
                }
            }
        }
    }
}

/// Opens and locks a directory just made. EAGAIN, ENOENT or ENODEV: it was taken away.
fn open_new(parent: Fd, name: &Name) -> Result<[OwnedFd; 5]> {
    // The caller's umask may have taken more than the group's and others' bits.
    fs::change_mode(parent, name.as_cstr(), 0o700)?;
    let directory = fd::openat(parent, name.as_cstr(), Mode::Directory)?;
    fd::lock(directory.fd())?;
    // Opened under the lock: that they are there shows that the directory is still alive.
    let procs = fd::openat(directory.fd(), c"cgroup.procs", Mode::ReadWrite)?;
    let events = fd::openat(directory.fd(), c"cgroup.events", Mode::Read)?;
    let kill = fd::openat(directory.fd(), c"cgroup.kill", Mode::Write)?;
    let freeze = fd::openat(directory.fd(), c"cgroup.freeze", Mode::Write)?;
    Ok([directory, procs, events, kill, freeze])
}

/// Removes one group if no stub or guard holds its lock.
fn remove_if_stale(parent: Fd, name: &CStr, uid: u32) -> Result<()> {
    let directory = fd::openat(parent, name, Mode::Directory)?;
    if fs::owner(directory.fd())? != uid {
        return Err(Errno::EPERM);
    }
    fd::lock(directory.fd())?;
    destroy(parent, name, TIME_FOR_STALE, |left| {
        let kill = fd::openat(directory.fd(), c"cgroup.kill", Mode::Write)?;
        let events = fd::openat(directory.fd(), c"cgroup.events", Mode::Read)?;
        kill_and_wait(kill.fd(), events.fd(), left)?;
        remove_below(directory.fd())
    })
}

/// Removes a directory; while it is busy, has `empty` empty it, for as long as there is time.
fn destroy(
    parent: Fd,
    name: &CStr,
    time: Milliseconds,
    mut empty: impl FnMut(Milliseconds) -> Result<()>,
) -> Result<()> {
    let mut end = None;
    loop {
        match fs::remove_directory(parent, name) {
            Err(Errno::EBUSY) => {}
            // Gone under the killer's hands is gone (bug 562964).
            Ok(()) | Err(Errno::ENOENT | Errno::ENODEV) => return Ok(()),
            Err(errno) => return Err(errno),
        }
        let now = poll::now();
        let end = *end.get_or_insert(now + time);
        if now >= end {
            return Err(Errno::EBUSY);
        }
        match empty(end - now) {
            // Busy still: a group that was made, or a process that entered, meanwhile.
            Ok(()) | Err(Errno::EBUSY | Errno::ENODEV | Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Kills everything in a group and below and waits until it is empty, at most `time`.
fn kill_and_wait(kill: Fd, events: Fd, time: Milliseconds) -> Result<()> {
    let end = poll::now() + time;
    let mut killed = false;
    loop {
        let mut text = [0; 128];
        let length = fd::read_from_start(events, &mut text)?;
        let text = text.get(..length).unwrap_or_default();
        if text.split(|byte| *byte == b'\n').any(|line| line == b"populated 0") {
            return Ok(());
        }
        let now = poll::now();
        if now >= end {
            return Err(Errno::EBUSY);
        }
        if !killed {
            fd::write(kill, b"1")?;
            killed = true;
        }
        // The descriptor may be shared, and a change be seen by whoever reads first: so look
        // again from time to time.
        poll::wait([(events, Event::Changed)], Some((end - now).min(100)))?;
    }
}

/// Removes every group below `top`, the deepest first. They are empty; what is not is EBUSY.
fn remove_below(top: Fd) -> Result<()> {
    let mut current = fd::openat(top, c".", Mode::Directory)?;
    let mut depth = 0u32;
    let mut went_up = false;
    loop {
        match remove_children(current.fd())? {
            None if depth == 0 => return Ok(()),
            None => {
                current = fd::openat(current.fd(), c"..", Mode::Directory)?;
                depth -= 1;
                went_up = true;
            }
            // What was below it has just been removed: something lives in it, or was made anew.
            Some(_) if went_up => return Err(Errno::EBUSY),
            Some(busy) => {
                current = fd::openat(current.fd(), busy.as_cstr(), Mode::Directory)?;
                depth += 1;
            }
        }
    }
}

/// Removes the children of a group that have no children; gives one of those that have.
fn remove_children(group: Fd) -> Result<Option<Name>> {
    let mut listing = Listing::new();
    let mut busy = None;
    fd::rewind(group)?;
    while listing.read(group)? {
        for entry in listing.entries().filter(|entry| entry.is_directory) {
            match fs::remove_directory(group, entry.name) {
                Ok(()) | Err(Errno::ENOENT | Errno::ENODEV) => {}
                Err(Errno::EBUSY) => {
                    let mut name = Name::new();
                    name.push(entry.name.to_bytes())?;
                    busy = Some(name);
                }
                Err(errno) => return Err(errno),
            }
        }
    }
    Ok(busy)
}

/// How deep processes are looked for, to be named. They are killed however deep they are.
const NAMED_DEPTH: usize = 8;

/// Visits the processes of every group below `top`, in pre-order, each level remembered by a
/// descriptor and its position.
fn for_each_process_below(top: Fd, visit: &mut impl FnMut(Pid)) {
    let mut levels: [Option<OwnedFd>; NAMED_DEPTH] = [const { None }; NAMED_DEPTH];
    let mut depth = 0;
    let mut listing = Listing::new();
    if let Some(level) = levels.first_mut() {
        *level = fd::openat(top, c".", Mode::Directory).ok();
    }
    while let Some(level) = levels.get(depth).and_then(Option::as_ref) {
        let child = if listing.read(level.fd()).unwrap_or(false) {
            listing.entries().find(|entry| entry.is_directory).map(|entry| {
                // Go on behind it next time.
                let _ = fs::seek_directory(level.fd(), entry.next);
                fd::openat(level.fd(), entry.name, Mode::Directory)
            })
        } else {
            if let Some(level) = levels.get_mut(depth) {
                *level = None;
            }
            match depth.checked_sub(1) {
                Some(above) => depth = above,
                None => return,
            }
            continue;
        };
        if let Some(Ok(child)) = child {
            if let Ok(procs) = fd::openat(child.fd(), c"cgroup.procs", Mode::Read) {
                let _ = read_pids(procs.fd(), &mut *visit);
            }
            if let Some(below) = levels.get_mut(depth + 1) {
                *below = Some(child);
                depth += 1;
            }
        }
    }
}

/// Reads a file of pids, one a line.
fn read_pids(procs: Fd, mut visit: impl FnMut(Pid)) -> Result<()> {
    let mut pids = Pids::default();
    let mut chunk = [0; 512];
    fd::rewind(procs)?;
    loop {
        let length = fd::read(procs, &mut chunk)?;
        if length == 0 {
            return Ok(());
        }
        for byte in chunk.get(..length).unwrap_or_default() {
            if let Some(pid) = pids.push(*byte) {
                visit(pid);
            }
        }
    }
}

/// Puts pids together from bytes. Only whole lines count; 0 is a process that cannot be seen from
/// this PID namespace, and no pid.
#[derive(Default)]
struct Pids {
    number: u32,
    broken: bool,
}

impl Pids {
    fn push(&mut self, byte: u8) -> Option<Pid> {
        if byte == b'\n' {
            let Pids { number, broken } = core::mem::take(self);
            return if broken { None } else { Pid::new(number) };
        }
        let digit = if byte.is_ascii_digit() { Some(u32::from(byte - b'0')) } else { None };
        let number = digit.and_then(|digit| self.number.checked_mul(10)?.checked_add(digit));
        self.broken |= number.is_none();
        self.number = number.unwrap_or(0);
        None
    }
}

/// `phasebox:NAME.` and the digits.
fn directory_name(label: &[u8], seed: u64) -> Result<Name> {
    let mut name = Name::new();
    name.push(PREFIX)?;
    name.push(label)?;
    name.push(b".")?;
    for shift in (0..SUFFIX_DIGITS).rev() {
        let digit = (seed >> (4 * shift) & 0xf) as u8;
        name.push(&[if digit < 10 { b'0' + digit } else { b'a' + digit - 10 }])?;
    }
    Ok(name)
}

/// Whether a directory is called as a box's is.
fn is_directory_name(name: &[u8]) -> bool {
    let Some((rest, suffix)) = name.split_last_chunk::<SUFFIX_DIGITS>() else {
        return false;
    };
    rest.starts_with(PREFIX)
        && rest.ends_with(b".")
        && suffix.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn the_callers_group_is_read_from_its_line() {
        for (text, path) in [
            (&b"0::/\n"[..], Some(&b""[..])),
            (b"0::/user.slice/a b\n", Some(b"user.slice/a b")),
            (b"2:cpu:/x\n1:name=systemd:/y\n0::/z\n", Some(b"z")),
            (b"10::/wrong\n0::/z\n", Some(b"z")),
            (b"0::/../../outside\n", None),
            (b"0::/a/..\n", None),
            (b"0::/a..b\n", Some(b"a..b")),
            (b"0::/cut off", None),
            (b"1:name=systemd:/y\n", None),
            (b"", None),
        ] {
            assert_eq!(parse_own_path(text), path, "{:?}", std::str::from_utf8(text));
        }
    }

    #[test]
    fn only_whole_lines_that_are_pids_count() {
        let read = |text: &[u8]| {
            let mut pids = Pids::default();
            let found = text.iter().filter_map(|byte| pids.push(*byte)).map(Pid::number);
            found.collect::<Vec<_>>()
        };
        assert_eq!(read(b"1\n234\n"), [1, 234]);
        for nothing in [&b""[..], b"0\n", b"-1\n", b"12", b"2147483648\n", b"99999999999\n", b"x\n"] {
            assert_eq!(read(nothing), []);
        }
        assert_eq!(read(b"1x\n7\n"), [7]);
    }

    #[test]
    fn a_box_is_told_by_its_name() {
        let name = directory_name(b"sys-apps:sed-4.9", 0x0123_4567_89ab_cdef).unwrap();
        assert_eq!(name.as_bytes(), b"phasebox:sys-apps:sed-4.9.0123456789abcdef");
        assert!(is_directory_name(name.as_bytes()));
        assert!(is_directory_name(directory_name(b"", 0).unwrap().as_bytes()));
        assert!(directory_name(&[b'x'; 128], u64::MAX).is_ok());
        for other in [
            "phasebox.service",
            "phasebox:a.service",
            "phasebox:a.0123456789abcde",
            "phasebox:a.0123456789ABCDEF",
            "phasebox:a-0123456789abcdef",
            "xphasebox:a.0123456789abcdef",
            "user.slice",
            "",
        ] {
            assert!(!is_directory_name(other.as_bytes()), "{other}");
        }
    }
}
