//! phasebox: parse, plan, box, drop, exec on one side; wait, kill, report on the other.
#![no_std]
#![no_main]
#![no_builtins]

mod rt;

use phasebox::child::{self, Place};
use phasebox::cli::{self, Action, HELP, VERSION};
use phasebox::plan::{self, Caller};
use phasebox::step::{At, Step};
use phasebox::sys::args::Start;
use phasebox::sys::{fd, process};
use phasebox::{diag, status, stub};

/// The program, from its arguments to its exit status.
fn main(start: Start) -> ! {
    let caller = fd::fill_standard().at(Step::FillDescriptors).and_then(|()| Caller::find());
    let caller = caller.unwrap_or_else(|failure| {
        diag::failure(failure);
        process::exit(status::FAILED)
    });

    let request = match cli::parse(start.argv.iter()) {
        Ok(Action::Run(request)) => request,
        Ok(Action::Help) => print(HELP),
        Ok(Action::Version) => print(VERSION),
        Err(usage) => refuse(usage),
    };
    let plan = plan::make(request, caller, &start).unwrap_or_else(|usage| refuse(usage));

    if plan.isolation.cgroup || plan.isolation.pid {
        process::exit(stub::run(&plan))
    }
    // Nothing to wait for: the command takes this process's place.
    child::run(&plan, &Place { group: None, stub: None, init: None })
}

fn refuse(usage: cli::Usage<'_>) -> ! {
    diag::usage(usage);
    process::exit(status::FAILED)
}

fn print(text: &str) -> ! {
    process::exit(if diag::print(text) { 0 } else { status::FAILED })
}
