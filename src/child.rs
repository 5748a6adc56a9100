//! The command's side, in order: join, isolate, wait for the stub, drop, execute.
#![forbid(unsafe_code)]

use core::convert::Infallible;

use crate::cgroup::Cgroup;
use crate::init::{self, Duties};
use crate::plan::Plan;
use crate::status;
use crate::step::{At, Failure, Step};
use crate::sys::fd::{self, Fd};
use crate::sys::process;
use crate::sys::signal::{self, Disposition, Signal, SignalSet};
use crate::sys::{Errno, Result as SysResult};
use crate::{creds, diag, exec, ns};

/// What the stub says when the command may start.
pub const GO: u8 = b'g';

/// What the stub changed in itself, and the command must find as the caller left it.
pub struct Changed {
    /// The signals that were blocked.
    pub blocked: SignalSet,
    /// How SIGCHLD was taken.
    pub sigchld: Disposition,
}

/// Where this process stands.
pub struct Place<'a> {
    /// The box's group, to join.
    pub group: Option<&'a Cgroup>,
    /// The link to the stub, where there is one, and what the stub changed.
    pub stub: Option<(Fd, &'a Changed)>,
    /// This is pid 1 of a new PID namespace, with these duties.
    pub init: Option<Duties>,
}

/// Executes the command in the box, or says why not and ends.
pub fn run(plan: &Plan, place: &Place<'_>) -> ! {
    match steps(plan, place) {
        Err(Stop::Failed(failure)) => {
            diag::failure(failure);
            process::exit(status::FAILED)
        }
        Err(Stop::NotExecuted(errno)) => {
            diag::not_executed(plan.command.argv, plan.command.envp, errno);
            let not_found = errno == Errno::ENOENT;
            process::exit(if not_found {
                status::NOT_FOUND
            } else {
                status::NOT_EXECUTABLE
            })
        }
    }
}

/// Why the command did not start.
enum Stop {
    Failed(Failure),
    NotExecuted(Errno),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        Stop::Failed(failure)
    }
}

/// All that is done with privileges, in order, until there are none.
fn steps(plan: &Plan, place: &Place<'_>) -> Result<Infallible, Stop> {
    // Before anything can be forked, and as the caller's user: a user namespace has no say there.
    if let Some(group) = place.group {
        group.join().at(Step::JoinGroup)?;
    }
    ns::isolate(plan, place.init.is_some())?;
    if let Some((link, _)) = place.stub {
        // From here on the stub or the guard will kill this process if the other one dies.
        await_go(link).at(Step::AwaitStub)?;
        if let Some(duties) = place.init {
            init::fork_command(duties, link)?;
        }
    }

    let dropped = creds::drop_privileges(plan)?;

    if let Some((_, changed)) = place.stub {
        restore(changed).at(Step::RestoreSignals)?;
    }
    Err(Stop::NotExecuted(exec::execute(plan.command, &dropped)))
}

fn await_go(link: Fd) -> SysResult<()> {
    let mut byte = [0];
    match fd::read(link, &mut byte)? {
        1 if byte == [GO] => Ok(()),
        _ => Err(Errno::EPIPE),
    }
}

fn restore(changed: &Changed) -> SysResult<()> {
    signal::restore(Signal::SIGCHLD, &changed.sigchld)?;
    signal::set_blocked(changed.blocked).map(drop)
}
