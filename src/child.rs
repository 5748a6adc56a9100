//! The command's side, in order: isolate, wait for the stub, drop, execute.
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
use crate::{check, creds, diag, exec, ns};

/// The stub's word, by `link`, that the command is where it belongs and may start; and whether that is
/// in a group.
pub fn let_go(link: Fd, in_group: bool) -> SysResult<()> {
    fd::write_number(link, in_group.into())
}

/// What the stub changed in itself, and the command must find as the caller left it.
#[derive(Clone, Copy)]
pub struct Changed {
    /// The signals that were blocked.
    pub blocked: SignalSet,
    /// How SIGCHLD was taken.
    pub sigchld: Disposition,
}

/// Where this process stands.
pub struct Place {
    /// The link to the stub, where there is one, and what the stub changed.
    pub stub: Option<(Fd, Changed)>,
    /// This is pid 1 of a new PID namespace, with these duties.
    pub init: Option<Duties>,
}

impl Place {
    /// In the place of the program itself.
    pub const ALONE: Place = Place {
        stub: None,
        init: None,
    };
}

/// Executes the command in the box, or says why not and ends.
pub fn run(plan: &Plan, place: &Place) -> ! {
    let Err(stop) = steps(plan, place);
    match stop {
        Stop::Failed(failure) => fail(plan, failure),
        Stop::NotExecuted(errno) => {
            creds::renounce();
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

/// Says why there is no box, and ends. What is lent is given up first.
pub fn fail(plan: &Plan, failure: Failure) -> ! {
    creds::renounce();
    diag::no_box(failure, plan);
    process::exit(status::FAILED)
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
fn steps(plan: &Plan, place: &Place) -> Result<Infallible, Stop> {
    let mut missing = Missing::new(plan);
    ns::isolate(plan, place.init.is_some(), &mut missing)?;
    let mut in_group = 0;
    if let Some((link, _)) = place.stub {
        // From here on this process is in the group, and the guard kills it when the stub dies. EPIPE
        // where that was before.
        in_group = fd::read_number(link).at(Step::AwaitStub)?;
        if let Some(duties) = place.init {
            init::fork_command(plan, duties, link)?;
        }
    }

    let dropped = creds::drop_privileges(plan)?;

    if plan.command.is_none() {
        check::tell(plan, in_group != 0)
    }
    missing.tell();
    if let Some((_, changed)) = place.stub {
        restore(changed).at(Step::RestoreSignals)?;
    }
    Err(Stop::NotExecuted(exec::execute(plan.command, &dropped)))
}

fn restore(changed: Changed) -> SysResult<()> {
    signal::set_disposition(Signal::SIGCHLD, changed.sigchld)?;
    signal::set_blocked(changed.blocked).map(drop)
}
