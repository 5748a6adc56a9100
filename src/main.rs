//! phasebox: parse, plan, box, drop, exec on one side; wait, kill, report on the other.
#![no_std]
#![no_main]
#![no_builtins]
#![deny(clippy::undocumented_unsafe_blocks)]

mod rt;

use phasebox::child::{self, Place};
use phasebox::cli::Request;
use phasebox::plan::{Caller, Plan};
use phasebox::policy::Isolation;
use phasebox::step::{At, Step};
use phasebox::sys::args::Start;
use phasebox::sys::packed::Packed;
use phasebox::sys::{fd, process};
use phasebox::{diag, status, stub};

/// The program, from its arguments to its exit status.
fn main(start: Start) -> ! {
    let caller = fd::fill_standard()
        .at(Step::FillDescriptors)
        .and_then(|()| Caller::find());
    let caller = caller.unwrap_or_else(|failure| {
        diag::failure(failure);
        process::exit(status::FAILED)
    });

    let mut plan = Plan::new(caller, &start);
    let mut request = Request::new(start.argv);
    let planned = request.read().and_then(|()| match request.text() {
        Some(text) => print(text),
        None => plan.fill(&request),
    });
    if let Err(usage) = planned {
        diag::usage(start.argv, usage);
        process::exit(status::FAILED)
    }

    if plan.isolation.has(Isolation::CGROUP | Isolation::PID) {
        stub::run(&plan)
    }
    // Nothing to wait for: the command takes this process's place.
    let place = Place {
        group: None,
        stub: None,
        init: None,
    };
    child::run(&plan, &place)
}

fn print(text: Packed) -> ! {
    process::exit(if diag::print(text) { 0 } else { status::FAILED })
}
