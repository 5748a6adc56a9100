//! `--check`: what works here. Nothing is guessed: a box of each kind is made, with nothing to run in
//! it, and what it says is shown.
#![forbid(unsafe_code)]

use crate::caller::Authority;
use crate::child::{self, Place};
use crate::diag::{self, Line};
use crate::plan::{self, Plan};
use crate::policy::Isolation;
use crate::step::{At, Failure, Step};
use crate::sys::fd::{self, Fd};
use crate::sys::packed::{Packed, packed};
use crate::sys::path::Path;
use crate::sys::poll;
use crate::sys::process::{self, Change, Namespaces, Pid};
use crate::{cgroup, creds, lent, status, stub};

/// What is tried, the first ones in the order of [`Isolation::ALL`]; then what is only told.
const NAMES: Packed = packed!("--net\n--ipc\n--cgroup\n--pid\n--mount\nuser namespace\nset-id");
const USER_NAMESPACE: usize = Isolation::ALL.len();
const TRIALS: usize = USER_NAMESPACE + 1;

/// What a box that works says first.
const WORKS: &[u8] = b"works";
/// What the message of another begins with, which needs no repeating.
const PREFIX: &[u8] = b"phasebox: ";

/// Tries everything, says what works, and ends: with 0 where all of `-nic` works.
pub fn run(plan: &mut Plan) -> ! {
    plan.command.argv = plan.command.argv.end();
    plan::push_group_name(&mut plan.group_name, b"check");
    // One beside another: what is lent is given up when the last one has started.
    let mut trials = [const { None }; TRIALS];
    for (index, trial) in trials.iter_mut().enumerate() {
        match start(plan, index) {
            Ok(started) => *trial = Some(started),
            Err(failure) => child::fail(plan, failure),
        }
    }
    creds::renounce();

    let in_color = fd::is_terminal(Fd::STDOUT);
    let mut ending = 0;
    for (index, trial) in trials.iter().enumerate() {
        let mut said = [0; 1024];
        let length = trial.as_ref().map_or(0, |trial| hear(trial, &mut said));
        let said = said.get(..length).unwrap_or_default();
        let works = said.starts_with(WORKS);
        if !works && index <= Isolation::CGROUP.index() {
            ending = status::NOT_ALL;
        }
        let mut line = begin(index, works, in_color);
        let said = match said {
            [] => b"it was killed",
            said => said.strip_suffix(b"\n").unwrap_or(said),
        };
        line.bytes(said.strip_prefix(PREFIX).unwrap_or(said));
        print(&mut line, in_color);
    }
    let (works, text, why) = set_id(plan);
    let mut line = begin(TRIALS, works, in_color);
    line.text(text);
    line.text(why);
    print(&mut line, in_color);
    process::exit(ending)
}

/// Begins a line about what works or does not.
fn begin(index: usize, works: bool, in_color: bool) -> Line {
    let mut line = Line::new();
    line.text(NAMES.line(index));
    line.text(packed!(": "));
    if in_color {
        // Green, or red.
        line.number(packed!("\x1b[%m"), if works { 32 } else { 31 });
    }
    if !works {
        line.text(packed!("no, "));
    }
    line
}

fn print(line: &mut Line, in_color: bool) {
    if in_color {
        line.text(packed!("\x1b[m"));
    }
    if let Err(errno) = line.send_to(packed!("\n"), Fd::STDOUT) {
        diag::failure(Failure::new(Step::Print, errno));
        process::exit(status::FAILED);
    }
}

/// Whether the file lends what boxes need, or what that is about.
fn set_id(plan: &Plan) -> (bool, Packed, Packed) {
    const NOTHING: Packed = packed!("");
    let why = lent::why_nothing(&plan.caller, plan.program);
    match plan.caller.authority {
        Authority::Lent => (true, packed!("works"), NOTHING),
        _ if plan.caller.uid == 0 => (true, packed!("root needs none"), NOTHING),
        _ if why.is_empty() => (false, packed!("this file is not installed so"), NOTHING),
        _ => (false, packed!("it had no effect: "), why),
    }
}

/// All that a trial says, as far as there is room; when it has ended, and with it its box.
fn hear((pid, said): &(Pid, Fd), buffer: &mut [u8]) -> usize {
    let length = fd::read_all(*said, buffer).unwrap_or(0);
    while let Ok(change) = process::poll_child(*pid) {
        if change.is_some_and(Change::has_ended) {
            break;
        }
        // It has let go of the pipe, and is about to end.
        let _ = poll::sleep(100);
    }
    length
}

/// Starts a box of one kind, and gives its process and what it can be heard by.
fn start(plan: &mut Plan, index: usize) -> Result<(Pid, Fd), Failure> {
    let (said, told) = fd::pipe().at(Step::OpenLink)?;
    creds::set_in_force(&plan.caller, false).at(Step::StartCommand)?;
    let forked = process::fork(Namespaces::NONE).at(Step::StartCommand)?;
    creds::set_in_force(&plan.caller, true).at(Step::StartCommand)?;
    if let Some(pid) = forked {
        return Ok((pid, said.keep()));
    }
    fd::duplicate(told.fd(), Fd::STDERR).at(Step::OpenLink)?;
    plan.isolation = Isolation::nth(index);
    if index == USER_NAMESPACE {
        // As for whom nothing is lent. Any namespace will do that can be made in it.
        plan.isolation = Isolation::IPC;
        plan.caller.is_half_lent = plan.caller.authority == Authority::Lent;
        plan.caller.authority = Authority::None;
        creds::narrow(&plan.caller)?;
    }
    if plan.needs_stub() {
        stub::run(plan)
    }
    child::run(plan, &Place::ALONE)
}

/// What is done in such a box, instead of executing something.
pub fn tell(plan: &Plan, in_group: bool) -> ! {
    let mut line = Line::new();
    line.bytes(WORKS);
    if plan.isolation.has(Isolation::CGROUP) {
        tell_place(&mut line, in_group);
    }
    let _ = line.send_to(packed!(""), Fd::STDERR);
    process::exit(0)
}

/// Adds where the box's group is; nothing where there is no /proc to tell.
fn tell_place(line: &mut Line, in_group: bool) {
    if !in_group {
        line.text(packed!(
            ", by a PID namespace: no control group is delegated"
        ));
        return;
    }
    let mut path = Path::new();
    if cgroup::read_own_path(&mut path).is_ok() {
        line.text(packed!(", cgroup v2, in "));
        for part in cgroup::place_of_box(path.as_bytes()).chunks(diag::WORD_MAX) {
            line.foreign(part, false);
        }
    }
}
