//! The command's side, in order: isolate, wait for the stub, join, drop, execute.
#![forbid(unsafe_code)]

use core::convert::Infallible;

use crate::init::{self, Duties};
use crate::ns::Missing;
use crate::plan::Plan;
use crate::status;
use crate::step::{At, Failure, Step};
use crate::sys::fd::{self, Fd};
use crate::sys::process;
use crate::sys::signal::{self, Disposition, Signal, SignalSet};
use crate::sys::{Errno, Result as SysResult};
use crate::{cgroup, creds, diag, exec, ns};

/// What the stub says when the command may start: whether there is a group to join, and the seed of
/// its name.
pub struct Go(pub Option<u64>);

impl Go {
    /// Sends it.
    pub fn send(&self, link: Fd) -> SysResult<()> {
        let seed = self.0.unwrap_or_default();
        fd::write_pair(link, [self.0.is_some().into(), seed])
    }

    /// Waits for it. EPIPE where the stub has died.
    fn receive(link: Fd) -> SysResult<Go> {
        let [has_group, seed] = fd::read_pair(link)?;
        Ok(Go((has_group != 0).then_some(seed)))
    }
}

/// What the stub changed in itself, and the command must find as the caller left it.
pub struct Changed {
    /// The signals that were blocked.
    pub blocked: SignalSet,
    /// How SIGCHLD was taken.
    pub sigchld: Disposition,
}

/// Where this process stands.
pub struct Place<'a> {
    /// Where the box's group will be, to join.
    pub parent: Option<Fd>,
    /// The link to the stub, where there is one, and what the stub changed.
    pub stub: Option<(Fd, &'a Changed)>,
    /// This is pid 1 of a new PID namespace, with these duties.
    pub init: Option<Duties>,
}

/// Executes the command in the box, or says why not and ends.
pub fn run(plan: &Plan, place: &Place<'_>) -> ! {
    let Err(stop) = steps(plan, place);
    creds::renounce();
    match stop {
        Stop::Failed(failure) => {
            diag::no_box(failure, plan);
            process::exit(status::FAILED)
        }
        Stop::NotExecuted(errno) => {
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
    let mut missing = Missing::default();
    ns::isolate(plan, place.init.is_some(), &mut missing)?;
    if let Some((link, _)) = place.stub {
        // From here on the guard kills this process when the stub dies.
        let go = Go::receive(link).at(Step::AwaitStub)?;
        if let (Some(parent), Some(seed)) = (place.parent, go.0) {
            // Before anything can be forked.
            creds::take_up_root(&plan.caller).at(Step::JoinGroup)?;
            cgroup::join(parent, plan.group_name.as_bytes(), seed).at(Step::JoinGroup)?;
        }
        if let Some(duties) = place.init {
            init::fork_command(plan, duties, link)?;
        }
    }

    let dropped = creds::drop_privileges(plan)?;

    missing.tell();
    if let Some((_, changed)) = place.stub {
        restore(changed).at(Step::RestoreSignals)?;
    }
    Err(Stop::NotExecuted(exec::execute(plan.command, &dropped)))
}

fn restore(changed: &Changed) -> SysResult<()> {
    signal::restore(Signal::SIGCHLD, &changed.sigchld)?;
    signal::set_blocked(changed.blocked).map(drop)
}
