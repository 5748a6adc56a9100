//! Pid 1 of a PID namespace: starts the command, reaps everything, tells the stub what the command
//! does and does to the command what the stub says. When it ends, the kernel kills everything in
//! the namespace. pid_namespaces(7).
#![forbid(unsafe_code)]

use crate::caller::Authority;
use crate::creds;
use crate::diag::{self, Processes};
use crate::plan::Plan;
use crate::status::{self, Ending};
use crate::step::{At, Failure, Step};
use crate::sys::fd::{self, Fd};
use crate::sys::poll::{self, Event};
use crate::sys::process::{self, Change, Namespaces, Pid};
use crate::sys::signal::{Signal, SignalFd};
use crate::sys::{Errno, Result as SysResult, fs};

/// What the init tells the stub of the command, in two bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Report {
    /// It has ended.
    Ended(Ending),
    /// It has stopped.
    Stopped(Signal),
}

impl Report {
    fn encode(self) -> [u8; 2] {
        match self {
            Report::Ended(Ending::Exited(status)) => [b'e', status],
            Report::Ended(Ending::Killed(signal)) => [b'k', signal.byte()],
            Report::Stopped(signal) => [b's', signal.byte()],
        }
    }

    /// Reads one from the link; none at its end.
    pub fn receive(link: Fd) -> SysResult<Option<Report>> {
        let mut bytes = [0; 2];
        if fd::read(link, &mut bytes)? != bytes.len() {
            return Ok(None);
        }
        let [kind, value] = bytes;
        let signal = Signal::new(u32::from(value)).ok_or(Errno::EINVAL);
        Ok(Some(match kind {
            b'e' => Report::Ended(Ending::Exited(value)),
            b'k' => Report::Ended(Ending::Killed(signal?)),
            _ => Report::Stopped(signal?),
        }))
    }
}

/// In a request: the command's process group is meant, not the command alone.
const TO_GROUP: u8 = 0x80;

/// Tells the init to send `signal` to the command, or to its process group.
pub fn request(link: Fd, signal: Signal, to_group: bool) -> SysResult<()> {
    let flag = if to_group { TO_GROUP } else { 0 };
    fd::write(link, &[signal.byte() | flag]).map(drop)
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
    let stub = (link, Event::Closed);
    if poll::wait([stub, stub], Some(0)).at(Step::AwaitStub)? != [false, false] {
        return Err(Failure::new(Step::AwaitStub, Errno::EPIPE));
    }
    let signals = SignalFd::new().at(Step::StartInit)?;
    match process::fork(Namespaces::NONE).at(Step::StartInit)? {
        None => Ok(()),
        Some(command) => {
            let ending = match settle(plan, link, &signals) {
                Ok(()) => serve(duties, link, &signals, command),
                Err(failure) => {
                    diag::failure(failure);
                    Ok(Ending::Exited(status::FAILED))
                }
            };
            end(
                duties,
                link,
                ending.unwrap_or(Ending::Exited(status::FAILED)),
            )
        }
    }
}

/// Keeps nothing of the caller's but standard error, and no more privileges than it needs.
fn settle(plan: &Plan, link: Fd, signals: &SignalFd) -> Result<(), Failure> {
    process::set_name(c"phasebox-init");
    creds::retire(&plan.caller)?;
    process::die_with_parent().at(Step::StartInit)?;
    fs::change_directory(c"/").at(Step::LeaveDirectory)?;
    fd::close_all_but(&[Fd::STDERR, link, signals.fd()]).at(Step::CloseDescriptors)
}

fn serve(duties: Duties, link: Fd, signals: &SignalFd, command: Pid) -> SysResult<Ending> {
    loop {
        let [_, asked] = poll::wait(
            [(signals.fd(), Event::Readable), (link, Event::Readable)],
            None,
        )?;
        // Only a child's change matters; what else is sent here was not meant for the command.
        while signals.next()?.is_some() {}
        while let Some((pid, change)) = poll_child()? {
            if pid != command {
                continue;
            }
            match change {
                Change::Ended(ending) => return Ok(ending),
                Change::Stopped(signal) => {
                    if duties.stop_all {
                        process::send_all_as_init(Signal::SIGSTOP);
                    }
                    tell(link, Report::Stopped(signal));
                }
                Change::Continued => {}
            }
        }
        if asked {
            let mut byte = [0];
            if fd::read(link, &mut byte)? == 0 {
                // The stub is dead; so is, in a moment, everything here.
                process::exit(status::FAILED);
            }
            let [byte] = byte;
            if let Some(signal) = Signal::new(u32::from(byte & !TO_GROUP)) {
                // It may be dead already.
                let _ = if duties.stop_all && signal == Signal::SIGCONT {
                    process::send_all_as_init(signal);
                    Ok(())
                } else if byte & TO_GROUP != 0 {
                    process::send_group(command, signal)
                } else {
                    process::send(command, signal)
                };
            }
        }
    }
}

fn poll_child() -> SysResult<Option<(Pid, Change)>> {
    match process::poll_any_child() {
        Err(Errno::ECHILD) => Ok(None),
        result => result,
    }
}

fn tell(link: Fd, report: Report) {
    // Where the stub is dead, the end of the link says so in a moment.
    let _ = fd::write(link, &report.encode());
}

/// Reports, then stays until the stub has seen what it needs to.
fn end(duties: Duties, link: Fd, ending: Ending) -> ! {
    // Zombies are nothing left over.
    while let Ok(Some(_)) = poll_child() {}
    let mut left = Processes::new();
    if duties.name_leftovers {
        diag::add_all_but_init(&mut left);
        diag::leftovers(&left, Fd::STDERR);
    }
    tell(link, Report::Ended(ending));
    while matches!(fd::read(link, &mut [0]), Ok(1)) {}
    process::exit(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::netdev;

    #[test]
    fn reports_arrive_as_they_were_sent() {
        let (here, there) = netdev::socket_pair().unwrap();
        let signal = Signal::new(64).unwrap();
        for report in [
            Report::Ended(Ending::Exited(0)),
            Report::Ended(Ending::Exited(255)),
            Report::Ended(Ending::Killed(signal)),
            Report::Stopped(signal),
        ] {
            tell(here.fd(), report);
            assert_eq!(Report::receive(there.fd()), Ok(Some(report)));
        }
        drop(here);
        assert_eq!(Report::receive(there.fd()), Ok(None));
    }
}
