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

/// What the init tells the stub of the command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Report {
    /// It has ended.
    Ended(Ending),
    /// It has stopped.
    Stopped(Signal),
}

impl Report {
    fn send(self, link: Fd) -> SysResult<()> {
        let pair = match self {
            Report::Ended(Ending::Exited(status)) => [EXITED, status],
            Report::Ended(Ending::Killed(signal)) => [KILLED, signal.byte()],
            Report::Stopped(signal) => [STOPPED, signal.byte()],
        };
        fd::write_pair(link, pair.map(u64::from))
    }

    /// Waits for one. EPIPE where the init has died.
    pub fn receive(link: Fd) -> SysResult<Report> {
        let [kind, value] = fd::read_pair(link)?.map(|number| number as u8);
        if kind == EXITED {
            return Ok(Report::Ended(Ending::Exited(value)));
        }
        let signal = Signal::new(value.into()).ok_or(Errno::EINVAL)?;
        Ok(if kind == KILLED {
            Report::Ended(Ending::Killed(signal))
        } else {
            Report::Stopped(signal)
        })
    }
}

const EXITED: u8 = 0;
const KILLED: u8 = 1;
const STOPPED: u8 = 2;

/// Tells the init to send `signal` to the command.
pub fn request(link: Fd, signal: Signal) -> SysResult<()> {
    fd::write(link, &[signal.byte()]).map(drop)
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
    // It may have been dead by then.
    let link_end = (link, Event::Closed);
    if poll::wait([link_end, link_end], Some(0)).at(Step::StartInit)? != [false, false] {
        return Err(Failure::new(Step::AwaitStub, Errno::EPIPE));
    }
    let signals = SignalFd::new().at(Step::StartInit)?;
    // Before there is a command to see it; that one's own name comes with execve(2).
    process::set_name(c"phasebox-init");
    match process::fork(Namespaces::NONE).at(Step::StartInit)? {
        None => Ok(()),
        Some(command) => {
            let ending = settle(plan, link, &signals)
                .and_then(|()| serve(duties, link, &signals, command).at(Step::Wait));
            end(
                duties,
                link,
                ending.unwrap_or_else(|failure| {
                    diag::failure(failure);
                    Ending::Exited(status::FAILED)
                }),
            )
        }
    }
}

/// Keeps nothing of the caller's but standard error, and no more privileges than it needs.
fn settle(plan: &Plan, link: Fd, signals: &SignalFd) -> Result<(), Failure> {
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
        while let Some((pid, change)) = process::poll_any_child()? {
            if pid != command {
                continue;
            }
            match change {
                Change::Ended(ending) => return Ok(ending),
                Change::Stopped(signal) => {
                    if duties.stop_all {
                        process::send_all_as_init(Signal::SIGSTOP);
                    }
                    // Where the stub is dead, the end of the link says so in a moment.
                    let _ = Report::Stopped(signal).send(link);
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
            if let Some(signal) = byte.first().and_then(|byte| Signal::new(u32::from(*byte))) {
                if duties.stop_all && signal == Signal::SIGCONT {
                    process::send_all_as_init(signal);
                } else {
                    // It may be dead already.
                    let _ = process::send(command, signal);
                }
            }
        }
    }
}

/// Reports, then stays until the stub has seen what it needs to.
fn end(duties: Duties, link: Fd, ending: Ending) -> ! {
    // Zombies are nothing left over.
    while let Ok(Some(_)) = process::poll_any_child() {}
    let mut left = Processes::new();
    if duties.name_leftovers {
        diag::add_all_but_init(&mut left);
        diag::leftovers(&left, Fd::STDERR);
    }
    if Report::Ended(ending).send(link).is_err() {
        // The stub sees this, or is dead.
        process::exit(ending.as_exit_status());
    }
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
            report.send(here.fd()).unwrap();
            assert_eq!(Report::receive(there.fd()), Ok(report));
        }
        drop(here);
        assert_eq!(Report::receive(there.fd()), Err(Errno::EPIPE));
    }
}
