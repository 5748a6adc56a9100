//! phasebox runs one command in a box: a network with nothing but loopback, System V and POSIX
//! IPC of its own, a control group of its own. It gives up every privilege before the command
//! starts, and when the command ends it kills whatever the command left behind.
//!
//! The modules, in the order in which the data flows:
//!
//! | module | what it does |
//! | --- | --- |
//! | [`cli`] | argument vector to [`cli::Request`]; pure |
//! | [`policy`] | FEATURES and phase to isolation, by a table; pure |
//! | [`caller`] | who calls, and what the file lends |
//! | [`plan`] | request and caller to [`plan::Plan`], names to ids |
//! | [`stub`] | the process that the caller started: makes the group, starts the others, waits, ends as the command ended |
//! | [`guard`] | kills and removes the box, also when the stub is killed |
//! | [`child`] | isolates itself, drops privileges, executes the command |
//! | [`init`] | pid 1 of a PID namespace |
//! | [`report`] | what the box came to, as a line of JSON |
//! | [`check`] | tries what works here |
//!
//! These are composed from verbs: [`cgroup`], [`ns`], [`net`], [`userns`], [`creds`], [`exec`],
//! [`accounts`], [`lent`], [`step`], [`diag`], [`status`]. Below them is [`sys`], one function a system
//! call, and below that [`arch`]. Only those two, and the start-up in the program's `rt`, may use
//! `unsafe`.
#![no_std]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::undocumented_unsafe_blocks
)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)
)]

#[cfg(test)]
extern crate std;

pub mod accounts;
pub mod arch;
pub mod caller;
pub mod cgroup;
pub mod check;
pub mod child;
pub mod cli;
pub mod creds;
pub mod diag;
pub mod exec;
pub mod guard;
pub mod init;
pub mod lent;
pub mod net;
pub mod ns;
pub mod plan;
pub mod policy;
pub mod report;
pub mod status;
pub mod step;
pub mod stub;
pub mod sys;
pub mod userns;
