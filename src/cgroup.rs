//! The control group of a box: made, joined, frozen, killed, removed. cgroups(7), and the kernel's
//! admin-guide/cgroup-v2.
//!
//! Its directory is locked (flock(2)) for as long as a stub or a guard of the box lives. That, not
//! a pid, tells a live box from one that nobody will clean up.
#![forbid(unsafe_code)]

use core::ffi::CStr;
use core::num::NonZeroU64;

use crate::diag::{self, Processes};
use crate::report::Report;
use crate::sys::args::until_nul;
use crate::sys::fd::{self, Fd, Lock, Mode, OwnedFd};
use crate::sys::fs::{self, Listing};
use crate::sys::path::{self, Name, Path};
use crate::sys::poll::{self, Deadline, Event, MILLISECOND, Microseconds, SECOND};
use crate::sys::process::{self, Pid};
use crate::sys::signal::Signal;
use crate::sys::words::parts;
use crate::sys::{Errno, Result};

/// CGROUP2_SUPER_MAGIC of linux/magic.h: tells the real thing from a directory that looks alike.
const CGROUP2_MAGIC: u32 = 0x6367_7270;

/// A box's directory is called `phasebox:NAME.` and nineteen or twenty digits: like nothing that
/// others name so.
const PREFIX: &[u8] = b"phasebox:";
const SUFFIX_DIGITS: usize = 19;

/// What these digits say: a number whose highest bit is set.
#[derive(Clone, Copy)]
pub struct Seed(NonZeroU64);

impl Seed {
    /// Of a random number.
    #[must_use]
    pub fn new(random: u64) -> Seed {
        Seed(NonZeroU64::new(random | 1 << 63).unwrap_or(NonZeroU64::MAX))
    }

    /// To send it to another process of the program.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0.get()
    }

    /// Back from [`Seed::number`]; none where it is another number, below any seed's.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Seed> {
        (number >> 63 != 0).then(|| Seed::new(number))
    }
}

/// The line of cgroup.events when nothing lives in a group or below.
const EMPTY: &[u8] = b"populated 0";

/// How long a killed group may take to empty.
pub const TIME_TO_DIE: Microseconds = 10 * SECOND;

/// How long a change may go unseen where the kernel does not tell of it.
const LONGEST_PAUSE: Microseconds = 100 * MILLISECOND;

/// How often something is tried that must succeed, where the kernel's answer is none that is
/// expected.
pub const TRIES: u32 = 8;

/// Which leftovers are named.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Naming {
    /// None.
    Quiet,
    /// All but one process of the program's own: the init, where there is one.
    AllBut(Option<Pid>),
}

/// How long a start waits for what it clears away of others.
const TIME_FOR_STALE: Microseconds = 300 * MILLISECOND;

/// The files of a group that are opened; those from cgroup.kill (since Linux 5.14) on where they are
/// there. Those from cpu.stat on tell a report what it used.
const FILES: &[u8] = b"cgroup.procs\0cgroup.events\0cgroup.freeze\0cgroup.kill\0\
    cpu.stat\0memory.peak\0pids.peak\0io.stat\0memory.events\0";
const FREEZE: usize = 2;
const KILL: usize = 3;
const STATISTICS: usize = 4;
const FILE_COUNT: usize = 9;

/// A box's control group. All of it is opened before COMMAND starts: later a limit on open files
/// could be in the way.
pub struct Cgroup {
    /// Somebody else's.
    parent: Fd,
    /// Its directory and what is wanted of [`FILES`].
    open: [Fd; 1 + FILE_COUNT],
    /// How many these are.
    file_count: usize,
    name: Name,
}

/// The group that this process is in.
///
/// Where no cgroup2 is mounted, or no /proc (a chroot), they are reached by mounts that nobody can
/// see and that go with their descriptors; that takes CAP_SYS_ADMIN.
///
/// # Errors
/// ENOENT where there is no cgroup v2, or where the group cannot be reached in it.
pub fn own_group() -> Result<OwnedFd> {
    find_own(None, &mut false)
}

/// The nearest group, from that one upwards, in which `ruler` can change nothing, nor in any above it:
/// neither move processes nor kill, freeze or make groups. Tells whether that `is_another`.
///
/// # Errors
/// As [`own_group`]; ENODEV where there is none in the hierarchy as far as it can be seen.
pub fn beyond_reach(ruler: Ruler, is_another: &mut bool) -> Result<OwnedFd> {
    find_own(Some(ruler), is_another)
}

/// Who must not rule the group of a box.
#[derive(Clone, Copy)]
pub enum Ruler {
    /// The caller: this process's real uid.
    Caller(u32),
    /// Whom root hands over to. The kernel does not say what another uid may do; the owners do, which
    /// is how groups are delegated.
    Other(u32),
}

/// Looks in each place where the hierarchy may be, until the group is found.
fn find_own(ruler: Option<Ruler>, is_another: &mut bool) -> Result<OwnedFd> {
    let mut path = Path::new();
    let told = read_own_path(&mut path);
    if told.is_ok() {
        // Alone, or beside v1. The path is missing where only a part of the hierarchy is mounted.
        for mount_point in [c"/sys/fs/cgroup", c"/sys/fs/cgroup/unified"] {
            let root = open_cgroup2(Fd::CWD, mount_point);
            if let Ok(found) = root.and_then(|root| find_below(root, &path, ruler, is_another)) {
                return Ok(found);
            }
        }
    }
    let root = fs::detached_mount(c"cgroup2").map_err(|_| Errno::ENOENT)?;
    if told.is_err() {
        // The kernel tells the path only once cgroup2 has been mounted since it started.
        read_own_path(&mut path)?;
    }
    find_below(root, &path, ruler, is_another)
}

/// The group at `path`; or, where there is a ruler, the last on the way there that this one does not
/// rule.
///
/// That from the root down, not up: from the group of a box within a box, which has mode 0700, its
/// caller cannot go up. Who rules a group rules those inside, takes processes out of them, kills and
/// freezes; so the first that `ruler` rules decides.
fn find_below(
    root: OwnedFd,
    path: &Path,
    ruler: Option<Ruler>,
    is_another: &mut bool,
) -> Result<OwnedFd> {
    let Some(ruler) = ruler else {
        return open_cgroup2(root.fd(), path.as_cstr());
    };
    let mut group = root;
    for part in parts(path.as_bytes(), b'/') {
        let mut name = Name::new();
        name.push(part)?;
        // The root itself is the path's first part, and a path that ends there has an empty one.
        if !part.is_empty() {
            let inner = open_cgroup2(group.fd(), name.as_cstr())?;
            if is_within_reach(inner.fd(), ruler)? {
                if part == b"." {
                    return Err(Errno::ENODEV);
                }
                *is_another = true;
                break;
            }
            group = inner;
        }
    }
    Ok(group)
}

/// The group at a path that a root caller gave.
///
/// # Errors
/// ENODEV where it is no directory of a cgroup2 file system.
pub fn given_group(path: &CStr) -> Result<OwnedFd> {
    open_cgroup2(Fd::CWD, path)
}

/// As a place: the group of a box within a box is one that its caller cannot read.
fn open_cgroup2(directory: Fd, path: &CStr) -> Result<OwnedFd> {
    let opened = fd::openat(directory, path, Mode::Path)?;
    fs::expect_magic(opened.fd(), CGROUP2_MAGIC)?;
    Ok(opened)
}

/// This process's line in /proc/self/cgroup, as a path relative to the hierarchy's root.
///
/// # Errors
/// ENOENT where that is not told.
#[inline(never)]
pub fn read_own_path(path: &mut Path) -> Result<()> {
    let mut text = [0; 4096];
    let file = match fd::openat(Fd::CWD, c"/proc/self/cgroup", Mode::Read) {
        Err(Errno::ENOENT) => {
            let proc = fs::detached_mount(c"proc").map_err(|_| Errno::ENOENT)?;
            fd::openat(proc.fd(), c"self/cgroup", Mode::Read)?
        }
        result => result?,
    };
    let length = fd::read_all(file.fd(), &mut text)?;
    let found = text
        .get(..length)
        .and_then(parse_own_path)
        .ok_or(Errno::ENOENT)?;
    *path = Path::new();
    path.push(b"./")?;
    path.push(found)
}

/// The path in `0::/path`, without its slash. None where the group is outside what this process
/// can see of the hierarchy (`/../..`, cgroup_namespaces(7)), and for a line that is cut off.
#[must_use]
pub fn parse_own_path(text: &[u8]) -> Option<&[u8]> {
    let line =
        parts(text.strip_suffix(b"\n")?, b'\n').find_map(|line| line.strip_prefix(b"0::/"))?;
    let outside = parts(line, b'/').any(|part| part == b"..");
    (!outside).then_some(line)
}

/// Where a box is, by the path of its group.
#[must_use]
pub fn place_of_box(path: &[u8]) -> &[u8] {
    let name = parts(path, b'/').last().unwrap_or_default();
    path.get(b".".len()..path.len() - name.len())
        .unwrap_or_default()
}

/// Whether a user may make groups below `group` and move itself there.
#[must_use]
pub fn is_delegated(group: Fd) -> bool {
    fs::may_write(group, c".") && fs::may_write(group, c"cgroup.procs")
}

/// Whether this one can change something in `group`, or allow itself to: the owner of a file changes
/// its mode. For a caller that is no root, neither is a group of a third user's, who could freeze the
/// box and its guard.
fn is_within_reach(group: Fd, ruler: Ruler) -> Result<bool> {
    if let Ruler::Caller(_) = ruler {
        if fs::owner(group, c"")? != 0 {
            return Ok(true);
        }
        match fs::owner(group, c"cgroup.procs") {
            // A box's, which is root's alone.
            Ok(0) | Err(Errno::EACCES) => {}
            result => return result.map(|_| true),
        }
    }
    let mut files: &[u8] = b".\0cgroup.procs\0cgroup.threads\0cgroup.kill\0cgroup.freeze\0";
    while let Some(file) = until_nul(files) {
        if match ruler {
            Ruler::Caller(uid) => fs::may_write(group, file) || fs::is_owned_by(group, file, uid),
            Ruler::Other(uid) => fs::is_owned_by(group, file, uid),
        } {
            return Ok(true);
        }
        files = files.get(file.count_bytes() + 1..).unwrap_or_default();
    }
    Ok(false)
}

/// Moves this process to a group for guards below `parent`, made where it is missing. It stays:
/// the last process in a group cannot remove it.
///
/// A group with processes of its own may have none below it with controllers, so that `parent`
/// itself is not the place.
pub fn join_guards(parent: Fd) -> Result<()> {
    match fs::make_directory(parent, c"phasebox:guards") {
        Ok(()) | Err(Errno::EEXIST) => {}
        result => result?,
    }
    let procs = fd::openat(parent, c"phasebox:guards/cgroup.procs", Mode::Write)?;
    fd::write(procs.fd(), b"0").map(drop)
}

impl Cgroup {
    /// None yet: to be made or opened in its place.
    #[must_use]
    pub const fn new() -> Cgroup {
        Cgroup {
            parent: Fd::NONE,
            open: [Fd::NONE; 1 + FILE_COUNT],
            file_count: STATISTICS,
            name: Name::new(),
        }
    }

    /// Makes a new group of `uid`'s below `parent` and locks it; changes `seed` until no group is
    /// called so.
    ///
    /// # Errors
    /// What mkdir(2) says: EACCES, EROFS, EAGAIN for a limit of the groups above.
    pub fn create(&mut self, parent: Fd, label: &[u8], seed: &mut Seed, uid: u32) -> Result<()> {
        let mut cleared = false;
        loop {
            // A name that is taken belongs to somebody else, whatever is in it.
            self.name = Name::new();
            push_directory_name(&mut self.name, label, *seed)?;
            match fs::make_directory(parent, self.name.as_cstr()) {
                Ok(()) => match self.open_locked(parent, Lock::Shared) {
                    // Between mkdir and flock another start took it for one that nobody cleans up.
                    Err(Errno::EAGAIN | Errno::ENOENT | Errno::ENODEV) => {}
                    result => {
                        if result.is_err() {
                            let _ = fs::remove_directory(parent, self.name.as_cstr());
                        }
                        return result;
                    }
                },
                Err(Errno::EEXIST) => {}
                // A limit on groups: it may be filled by some that nobody needs.
                Err(Errno::EAGAIN) if !cleared => {
                    remove_stale(parent, uid);
                    cleared = true;
                }
                result => return result,
            }
            *seed = Seed::new(seed.number().wrapping_add(1));
        }
    }

    /// Opens the group that a guard made, and shares its lock; for a report also what tells what it
    /// used.
    pub fn open(&mut self, parent: Fd, label: &[u8], seed: Seed, for_report: bool) -> Result<()> {
        if for_report {
            self.file_count = FILE_COUNT;
        }
        push_directory_name(&mut self.name, label, seed)?;
        self.open_locked(parent, Lock::Shared)
    }

    /// Opens and locks a box's group by its name. EAGAIN where another process's lock is in the
    /// way; ENOENT or ENODEV where the group is gone. Then nothing stays open.
    #[inline(never)]
    fn open_locked(&mut self, parent: Fd, lock: Lock) -> Result<()> {
        self.parent = parent;
        let opened = self.open_each(lock);
        if opened.is_err() {
            self.close();
        }
        opened
    }

    fn open_each(&mut self, lock: Lock) -> Result<()> {
        let [directory, files @ ..] = &mut self.open;
        *directory = fd::openat(self.parent, self.name.as_cstr(), Mode::Directory)?.keep();
        // Under the lock: what can be opened then belongs to a group that is still there.
        fd::lock(*directory, lock)?;
        let mut names = FILES;
        for (index, file) in files.iter_mut().enumerate().take(self.file_count) {
            let name = until_nul(names).unwrap_or_default();
            let is_written = (FREEZE..=KILL).contains(&index);
            let mode = if is_written { Mode::Write } else { Mode::Read };
            match fd::openat(*directory, name, mode) {
                Err(Errno::ENOENT) if index >= KILL => {}
                result => *file = result?.keep(),
            }
            names = names.get(name.count_bytes() + 1..).unwrap_or_default();
        }
        Ok(())
    }

    fn close(&mut self) {
        self.parent = Fd::NONE;
        for fd in &mut self.open {
            if *fd != Fd::NONE {
                fd::close(*fd);
                *fd = Fd::NONE;
            }
        }
    }

    /// Moves a process into the group. Not by clone3(2) with CLONE_INTO_CGROUP: there a child is
    /// killed at once where anyone ever wrote cgroup.kill in its parent's group (Linux 6.18).
    pub fn admit(&self, pid: Pid) -> Result<()> {
        path::write_numbers(self.directory(), c"cgroup.procs", &[pid.number()])
    }

    /// Where it was made.
    #[must_use]
    pub fn parent(&self) -> Fd {
        self.parent
    }

    /// What a process of the box keeps open besides, to wait, kill and remove.
    #[must_use]
    pub fn descriptors(&self) -> &[Fd] {
        &self.open
    }

    fn directory(&self) -> Fd {
        let [directory, ..] = self.open;
        directory
    }

    fn procs(&self) -> Fd {
        let [_, procs, ..] = self.open;
        procs
    }

    fn events(&self) -> Fd {
        let [_, _, events, ..] = self.open;
        events
    }

    fn freezer(&self) -> Fd {
        let [_, _, _, freezer, ..] = self.open;
        freezer
    }

    fn killer(&self) -> Fd {
        let [_, _, _, _, killer, ..] = self.open;
        killer
    }

    /// Whether the kernel kills all of it at once; otherwise that takes CAP_KILL.
    #[must_use]
    pub fn is_killed_at_once(&self) -> bool {
        self.killer() != Fd::NONE
    }

    /// Whether the group has been removed.
    fn is_gone(&self) -> bool {
        self.wait_until(EMPTY, 0) == Err(Errno::ENODEV)
    }

    /// Whether `pid` is in the group itself (not below).
    #[must_use]
    pub fn contains(&self, pid: Pid) -> bool {
        Pids::of(self.procs()).any(|member| member == pid)
    }

    /// Stops all of the group and waits until it has stopped, at most a second: a process in an
    /// uninterruptible sleep stops later.
    pub fn freeze(&self) -> Result<()> {
        fd::write(self.freezer(), b"1")?;
        self.wait_until(b"frozen 1", SECOND)
    }

    /// Lets it go on.
    pub fn thaw(&self) -> Result<()> {
        fd::write(self.freezer(), b"0").map(drop)
    }

    /// The processes in the group and below, but for one.
    fn members(&self, except: Option<Pid>) -> Processes {
        let mut found = Processes::new();
        // What cannot be read is not named.
        let mut visit = Visit::Name(&mut found, except);
        let _ = visit_groups(self.directory(), NAMED_DEPTH, &mut visit);
        found
    }

    /// Adds to a report what the group used and whom it still has, but for one.
    pub fn describe(&self, report: &mut Report, except: Option<Pid>) {
        let [_, _, _, _, _, statistics @ ..] = &self.open;
        report.add_use(statistics);
        let mut visit = Visit::Report(report, except);
        // Where rights were lent this process may open nothing in there any more, nor can the
        // command have made groups.
        if visit_groups(self.directory(), NAMED_DEPTH, &mut visit) == Err(Errno::EACCES) {
            for pid in Pids::of(self.procs()).filter(|pid| except != Some(*pid)) {
                report.add(pid);
            }
        }
        report.end();
    }

    /// Ends the box: kills what is left in the group, removes it, and says so to `told`.
    ///
    /// # Errors
    /// EBUSY where something is still alive after [`TIME_TO_DIE`]; it is named.
    pub fn end(&self, naming: Naming, told: Fd) -> Result<()> {
        if let Naming::AllBut(except) = naming {
            if self.wait_until(EMPTY, 0) == Err(Errno::EBUSY) {
                diag::leftovers(&self.members(except), told);
            }
        }
        let result = self.destroy(Deadline::after(TIME_TO_DIE));
        if result == Err(Errno::EBUSY) {
            diag::survivors(&self.members(None), told);
        }
        result
    }

    /// Kills what is left and removes the group, with every group made inside. Where nothing is
    /// left this is one rmdir.
    ///
    /// # Errors
    /// EBUSY where something is still alive after `end`; the group stays. EACCES where it is empty
    /// and this process may not remove it.
    pub fn destroy(&self, end: Deadline) -> Result<()> {
        let (mut tries, mut is_last) = (TRIES, false);
        loop {
            let result = match fs::remove_directory(self.parent, self.name.as_cstr()) {
                Ok(()) => return Ok(()),
                Err(Errno::EBUSY) => self.empty(end),
                // Who may kill what is in it may not always remove it: neither the stub, where
                // rights were lent, nor another guard of its own.
                result => self.empty(end).and(result),
            };
            match result {
                // Gone under the killer's hands is gone (bug 562964).
                Err(Errno::ENOENT | Errno::ENODEV) if self.is_gone() => return Ok(()),
                // Busy still: a group was made, or a process entered, meanwhile; or one was removed.
                Ok(()) | Err(Errno::EBUSY | Errno::ENODEV | Errno::ENOENT) => {
                    if is_last {
                        return result.and(Err(Errno::EBUSY));
                    }
                }
                // For want of memory, perhaps, which what is killed gives back.
                Err(errno) => {
                    tries -= 1;
                    if tries == 0 {
                        return Err(errno);
                    }
                }
            }
            is_last = end.left() == 0;
        }
    }

    /// Kills everything inside, waits for its end, and removes the groups inside.
    fn empty(&self, end: Deadline) -> Result<()> {
        let mut wait = 0;
        while let Err(errno) = self.wait_until(EMPTY, wait) {
            let left = end.left();
            if errno != Errno::EBUSY || wait > 0 && left == 0 {
                return Err(errno);
            }
            wait = left.max(1);
            if self.is_killed_at_once() {
                fd::write(self.killer(), b"1")?;
                // As when they are killed one by one.
                let _ = self.thaw();
            } else {
                self.kill_each();
                // What could not be frozen may have forked.
                wait = wait.min(LONGEST_PAUSE);
            }
        }
        remove_below(self.directory())
    }

    /// Kills one by one, before Linux 5.14: frozen, none of them can fork, and none ends and leaves
    /// its pid to another. Then it is thawed: before Linux 5.17 what stood before its tracer when
    /// it was killed freezes with the SIGKILL pending.
    fn kill_each(&self) {
        // What cannot be frozen is killed all the same.
        let _ = self.freeze();
        // The group's own by a descriptor that is open: where a box is lent, a guard that took
        // another's place may open nothing in there. Nor could the command make groups there.
        for pid in Pids::of(self.procs()) {
            let _ = process::send(pid, Signal::SIGKILL);
        }
        let _ = visit_groups(self.directory(), KILLED_DEPTH, &mut Visit::Kill);
        let _ = self.thaw();
    }

    /// Waits until cgroup.events has this line, at most `time`; EBUSY where it has not.
    fn wait_until(&self, line: &[u8], time: Microseconds) -> Result<()> {
        let end = Deadline::after(time);
        let events = self.events();
        let mut pause = 100;
        while !has_event(events, line)? {
            let left = end.left();
            if left == 0 {
                return Err(Errno::EBUSY);
            }
            // The descriptor may be another guard's, too, and a change be seen by whoever reads
            // first: so look again from time to time. Soon at first: the kernel tells of a second
            // change only 10 ms after the one before, which in a short box is the command's joining.
            poll::wait(events, Event::Changed, left.min(pause))?;
            pause = LONGEST_PAUSE.min(pause + pause / 4);
        }
        Ok(())
    }
}

impl Default for Cgroup {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        self.close();
    }
}

/// Removes the groups of `uid`'s boxes below `parent` that nobody cleans up any more: all processes
/// of a box died at once, or the power failed.
pub fn remove_stale(parent: Fd, uid: u32) {
    let end = Deadline::after(TIME_FOR_STALE);
    // First all are killed, without waiting; then they are waited for, all in the same time, since
    // what cannot be killed must not keep a guard from its own box.
    if !remove_stale_within(parent, uid, Deadline::after(0)) {
        remove_stale_within(parent, uid, end);
    }
}

/// Whether none is left.
fn remove_stale_within(parent: Fd, uid: u32, end: Deadline) -> bool {
    let mut listing = Listing::new();
    let mut removed = true;
    // A descriptor of its own: others share the position in `parent`.
    if let Ok(parent) = fd::openat(parent, c".", Mode::Directory) {
        while let Some(name) = listing.next_directory(parent.fd()) {
            if is_directory_name(name.to_bytes()) {
                let result = remove_if_stale(parent.fd(), name, uid, end);
                removed &= result != Err(Errno::EBUSY);
            }
        }
    }
    removed
}

/// Removes one group if no stub or guard holds its lock.
fn remove_if_stale(parent: Fd, name: &CStr, uid: u32, end: Deadline) -> Result<()> {
    let mut group = Cgroup::new();
    group.name.push(name.to_bytes())?;
    group.open_locked(parent, Lock::Exclusive)?;
    if fs::is_owned_by(group.directory(), c"", uid) {
        group.destroy(end)
    } else {
        Ok(())
    }
}

/// Whether cgroup.events has this line.
///
/// # Errors
/// What read(2) says.
pub fn has_event(events: Fd, line: &[u8]) -> Result<bool> {
    let mut text = [0; 128];
    let length = fd::read_from_start(events, &mut text)?;
    let text = text.get(..length).unwrap_or_default();
    Ok(parts(text, b'\n').any(|other| other == line))
}

/// Removes every group below `top`, the deepest first. They are empty; what is not is EBUSY.
fn remove_below(top: Fd) -> Result<()> {
    let mut current = fd::openat(top, c".", Mode::Directory)?;
    let mut depth = 0u32;
    let mut went_up = false;
    loop {
        fd::rewind(current.fd())?;
        let mut listing = Listing::new();
        let Some(child) = listing.next_directory(current.fd()) else {
            if depth == 0 {
                return Ok(());
            }
            depth -= 1;
            went_up = true;
            current = fd::openat(current.fd(), c"..", Mode::Directory)?;
            continue;
        };
        match fs::remove_directory(current.fd(), child) {
            // Where what was below it has just been removed, something lives in it.
            Err(Errno::EBUSY) if !went_up => {
                depth += 1;
                current = fd::openat(current.fd(), child, Mode::Directory)?;
            }
            Ok(()) | Err(Errno::ENOENT) => went_up = false,
            result => return result,
        }
    }
}

/// How deep processes are looked for, to be named.
const NAMED_DEPTH: u32 = 6;
/// And to be killed one by one.
const KILLED_DEPTH: u32 = 64;

/// What is done to each process of a group.
enum Visit<'a> {
    /// It is named, but for one.
    Name(&'a mut Processes, Option<Pid>),
    /// It is told in a report, but for one.
    Report(&'a mut Report, Option<Pid>),
    /// It is killed, and the group thawed when all below it are.
    Kill,
}

/// The processes of a group and of those below it, by recursion of limited depth.
fn visit_groups(group: Fd, depth: u32, visit: &mut Visit<'_>) -> Result<()> {
    let procs = fd::openat(group, c"cgroup.procs", Mode::Read)?;
    for pid in Pids::of(procs.fd()) {
        match visit {
            Visit::Name(found, except) if *except != Some(pid) => found.add(pid),
            Visit::Report(report, except) if *except != Some(pid) => report.add(pid),
            Visit::Kill => drop(process::send(pid, Signal::SIGKILL)),
            Visit::Name(..) | Visit::Report(..) => {}
        }
    }
    let mut listing = Listing::new();
    fd::rewind(group)?;
    while let Some(name) = listing.next_directory(group).filter(|_| depth > 0) {
        // One that cannot be looked into keeps nobody from the others.
        if let Ok(child) = fd::openat(group, name, Mode::Directory) {
            let _ = visit_groups(child.fd(), depth - 1, visit);
        }
    }
    if matches!(visit, Visit::Kill) {
        let freeze = fd::openat(group, c"cgroup.freeze", Mode::Write)?;
        fd::write(freeze.fd(), b"0")?;
    }
    Ok(())
}

/// Reads a file of pids, one a line. Only whole lines count; 0 is a process that cannot be seen
/// from this PID namespace, and no pid.
pub struct Pids {
    file: Fd,
    chunk: [u8; 256],
    at: usize,
    length: usize,
    number: u32,
    broken: bool,
}

impl Pids {
    /// From the beginning of `file`.
    #[must_use]
    pub fn of(file: Fd) -> Pids {
        // Where that fails, so does reading.
        let _ = fd::rewind(file);
        Pids {
            file,
            chunk: [0; 256],
            at: 0,
            length: 0,
            number: 0,
            broken: false,
        }
    }

    fn push(&mut self, byte: u8) -> Option<Pid> {
        if byte == b'\n' {
            let pid = Pid::new(self.number).filter(|_| !self.broken);
            (self.number, self.broken) = (0, false);
            return pid;
        }
        let digit = byte.wrapping_sub(b'0');
        self.broken |= digit > 9;
        // The highest number, where it is too large, is no pid.
        self.number = self.number.saturating_mul(10).saturating_add(digit.into());
        None
    }
}

impl Iterator for Pids {
    type Item = Pid;

    fn next(&mut self) -> Option<Pid> {
        loop {
            while let Some(byte) = self.chunk.get(self.at).filter(|_| self.at < self.length) {
                let byte = *byte;
                self.at += 1;
                let pid = self.push(byte);
                if pid.is_some() {
                    return pid;
                }
            }
            self.at = 0;
            self.length = fd::read(self.file, &mut self.chunk).unwrap_or(0);
            if self.length == 0 {
                return None;
            }
        }
    }
}

/// `phasebox:NAME.` and the digits of a large number.
///
/// # Errors
/// ENAMETOOLONG for a label that a file name has no room for.
pub fn push_directory_name(name: &mut Name, label: &[u8], seed: Seed) -> Result<()> {
    name.push(PREFIX)?;
    name.push(label)?;
    name.push(b".")?;
    name.push_number(seed.number())
}

/// Whether a directory is called as a box's is.
#[must_use]
pub fn is_directory_name(name: &[u8]) -> bool {
    let suffix = name.rsplit(|byte| *byte == b'.').next().unwrap_or_default();
    name.starts_with(PREFIX)
        && suffix.len() >= SUFFIX_DIGITS
        && suffix.iter().all(u8::is_ascii_digit)
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
            assert_eq!(
                parse_own_path(text),
                path,
                "{:?}",
                std::str::from_utf8(text)
            );
        }
    }

    #[test]
    fn only_whole_lines_that_are_pids_count() {
        let read = |text: &[u8]| {
            let mut pids = Pids::of(Fd::CWD);
            let found = text
                .iter()
                .filter_map(|byte| pids.push(*byte))
                .map(Pid::number);
            found.collect::<Vec<_>>()
        };
        assert_eq!(read(b"1\n234\n"), [1, 234]);
        for nothing in [
            &b""[..],
            b"0\n",
            b"-1\n",
            b"12",
            b"2147483648\n",
            b"99999999999\n",
            b"x\n",
        ] {
            assert_eq!(read(nothing), []);
        }
        assert_eq!(read(b"1x\n7\n"), [7]);
    }

    #[test]
    fn a_box_is_told_by_its_name() {
        let name_of = |label: &[u8], random| {
            let mut name = Name::new();
            push_directory_name(&mut name, label, Seed::new(random)).map(|()| name)
        };
        let name = name_of(b"sys-apps:sed-4.9", 7).unwrap();
        assert_eq!(
            name.as_bytes(),
            b"phasebox:sys-apps:sed-4.9.9223372036854775815"
        );
        assert!(is_directory_name(name.as_bytes()));
        assert!(is_directory_name(
            name_of(b"", u64::MAX).unwrap().as_bytes()
        ));
        assert!(name_of(&[b'x'; 128], u64::MAX).is_ok());
        for other in [
            "phasebox.service",
            "phasebox:a.service",
            "phasebox:a.922337203685477581",
            "phasebox:a.922337203685477581x",
            "phasebox:a-9223372036854775815",
            "xphasebox:a.9223372036854775815",
            "user.slice",
            "",
        ] {
            assert!(!is_directory_name(other.as_bytes()), "{other}");
        }
    }
}
