//! Pid 1 of a PID namespace: starts the command, reaps everything, tells the stub what the command
//! does and does to the command what the stub says. When it ends, the kernel kills everything in
//! the namespace. pid_namespaces(7).
#![forbid(unsafe_code)]

use crate::caller::Authority;
use crate::creds;
use crate::diag::{self, Processes};
use crate::plan::Plan;
use crate::status;
use crate::step::{At, Failure, Step};
use crate::sys::fd::{self, Fd};
use crate::sys::poll::{self, Event};
use crate::sys::process::{self, Change, Namespaces, Pid};
use crate::sys::signal::{Signal, SignalFd};
use crate::sys::{Errno, Result as SysResult, fs};

/// Waits until the init tells what the command did: that it has ended or stopped. EPIPE where the
/// init has died.
pub fn receive(link: Fd) -> SysResult<Change> {
    fd::read_number(link).map(|number| Change::from_number(number as usize))
}

/// In a request: the command's process group is meant, not the command alone.
const TO_GROUP: u64 = 0x80;

/// Tells the init to send `signal` to the command, or to its process group.
pub fn request(link: Fd, signal: Signal, to_group: bool) -> SysResult<()> {
    let flag = if to_group { TO_GROUP } else { 0 };
    fd::write_number(link, u64::from(signal.byte()) | flag)
}

/// What an init does besides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Duties {
    /// When the command stops, stop all of the namespace; and let all of it go on. There is no
    /// control group that the stub could freeze.
    pub stop_all: bool,
    /// Name what is left in the end. There is no control group that the stub could look into.
    pub name_leftovers: bool,
}

/// Forks the command and returns in it; the other side stays as init and never returns.
pub fn fork_command(plan: &Plan, duties: Duties, link: Fd) -> Result<(), Failure> {
    if plan.caller.authority == Authority::Lent {
        // Before it has a command: nothing that is lent is needed any more. Root's own the command
        // gives up alone (bug 675868).
        creds::retire(&plan.caller)?;
    }
    // The stub's death closes the link. Where this process is stopped it cannot see that, so this,
    // which a change of credentials would undo:
    process::die_with_parent().at(Step::StartInit)?;
    // And it says nothing of a stub that was dead before.
    let closed = poll::wait(link, Event::Closed, 0).at(Step::AwaitStub)?;
    if closed.is_some() {
        return Err(Failure::new(Step::AwaitStub, Errno::EPIPE));
    }
    let signals = SignalFd::new().at(Step::StartInit)?;
    // Before there is a command to see it; that one's own name comes with execve(2).
    process::set_name(c"phasebox-init");
    match process::fork(Namespaces::NONE).at(Step::StartInit)? {
        None => Ok(()),
        Some(command) => {
            let ending = settle(plan, link, signals)
                .and_then(|()| serve(duties, link, signals, command).at(Step::Wait));
            let ending = ending.unwrap_or_else(|failure| {
                diag::failure(failure);
                Change::exited(status::FAILED)
            });
            end(duties, link, ending)
        }
    }
}

/// Keeps nothing of the caller's but standard error, and no more privileges than it needs.
fn settle(plan: &Plan, link: Fd, signals: SignalFd) -> Result<(), Failure> {
    creds::retire(&plan.caller)?;
    process::die_with_parent().at(Step::StartInit)?;
    fs::change_directory(c"/").at(Step::LeaveDirectory)?;
    fd::close_all_but(&[Fd::STDERR, link, signals.fd()], &[]).at(Step::CloseDescriptors)
}

fn serve(duties: Duties, link: Fd, signals: SignalFd, command: Pid) -> SysResult<Change> {
    loop {
        let asked = poll::wait_for_two(signals.fd(), link)?;
        // Only a child's change matters; what else is sent here was not meant for the command.
        while signals.next()?.is_some() {}
        let mut change = Change::exited(0);
        while let Some(pid) = process::poll_any_child(&mut change)? {
            if pid != command {
                continue;
            }
            if change.has_ended() {
                return Ok(change);
            }
            if change.stopped_by().is_some() {
                if duties.stop_all {
                    process::send_all_as_init(Signal::SIGSTOP);
                }
                let _ = tell(link, change);
            }
        }
        if let Some(link) = asked {
            let Ok(number) = fd::read_number(link) else {
                // The stub is dead; so is, in a moment, everything here.
                process::exit(status::FAILED);
            };
            if let Some(signal) = Signal::new((number & !TO_GROUP) as u32) {
                // It may be dead already.
                let _ = if duties.stop_all && signal == Signal::SIGCONT {
                    process::send_all_as_init(signal);
                    Ok(())
                } else if number & TO_GROUP != 0 {
                    process::send_group(command, signal)
                } else {
                    process::send(command, signal)
                };
            }
        }
    }
}

/// Tells the stub what the command did. Where the stub is dead, the end of the link says so in a
/// moment.
fn tell(link: Fd, change: Change) -> SysResult<()> {
    fd::write_number(link, change.number() as u64)
}

/// Reports, then stays until the stub has seen what it needs to.
fn end(duties: Duties, link: Fd, ending: Change) -> ! {
    // Zombies are nothing left over.
    while let Ok(Some(_)) = process::poll_any_child(&mut Change::exited(0)) {}
    let mut left = Processes::new();
    if duties.name_leftovers {
        diag::add_all_but_init(&mut left);
        diag::leftovers(&left, Fd::STDERR);
    }
    if tell(link, ending).is_err() {
        // The stub sees this, or is dead.
        process::exit(status::of(ending));
    }
    while fd::read_number(link).is_ok() {}
    process::exit(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::netdev;

    #[test]
    fn reports_arrive_as_they_were_sent() {
        let (here, there) = netdev::socket_pair().unwrap();
        for (number, exited, killed, stopped) in [
            (0x0000, Some(0), None, None),
            (0xff00, Some(255), None, None),
            (0x0040, None, Signal::new(64), None),
            // With a core dump.
            (0x008b, None, Signal::new(11), None),
            (0x137f, None, None, Some(Signal::SIGSTOP)),
            // It was continued.
            (0xffff, None, None, None),
        ] {
            let change = Change::from_number(number);
            tell(here.fd(), change).unwrap();
            assert_eq!(receive(there.fd()), Ok(change));
            assert_eq!(change.exit_status(), exited);
            assert_eq!(change.killed_by(), killed);
            assert_eq!(change.stopped_by(), stopped);
            assert_eq!(change.has_ended(), exited.is_some() || killed.is_some());
        }
        drop(here);
        assert_eq!(receive(there.fd()), Err(Errno::EPIPE));
    }
}
