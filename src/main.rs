//! phasebox: parse, plan, box, drop, exec on one side; wait, kill, report on the other.
#![no_std]
#![no_main]
#![no_builtins]
#![deny(clippy::undocumented_unsafe_blocks)]

mod rt;

use phasebox::caller::Caller;
use phasebox::child::{self, Place};
use phasebox::cli::{Opt, Request};
use phasebox::plan::Plan;
use phasebox::step::{At, Failure, Step};
use phasebox::sys::args::Start;
use phasebox::sys::packed::Packed;
use phasebox::sys::{fd, process};
use phasebox::{check, creds, diag, status, stub};

/// The program, from its arguments to its exit status.
fn main(start: Start) -> ! {
    let caller = match begin() {
        Ok(caller) => caller,
        Err(failure) => {
            creds::renounce();
            diag::failure(failure);
            process::exit(status::FAILED)
        }
    };

    let mut plan = Plan::new(caller, &start);
    let mut request = Request::new(start.argv);
    let planned = request.read().and_then(|()| match request.text() {
        Some(text) => print(text),
        None if request.has(Opt::Check) => Ok(()),
        None => plan.fill(&request),
    });
    if let Err(usage) = planned {
        creds::renounce();
        diag::usage(start.argv, usage);
        process::exit(status::FAILED)
    }

    if request.has(Opt::Check) {
        check::run(&mut plan)
    }
    if plan.needs_stub() {
        stub::run(&plan)
    }
    // Nothing to wait for: the command takes this process's place.
    child::run(&plan, &Place::ALONE)
}

/// What libc would have done for a set-id program, and who calls: before anything is read that the
/// caller wrote.
fn begin() -> Result<Caller, Failure> {
    fd::fill_standard().at(Step::FillDescriptors)?;
    let caller = Caller::find()?;
    creds::narrow(&caller)?;
    Ok(caller)
}

fn print(text: Packed) -> ! {
    creds::renounce();
    process::exit(if diag::print(text) { 0 } else { status::FAILED })
}
