//! The contract's table of exit statuses.
#![allow(missing_docs, unsafe_code)]

mod common;

use common::*;

#[test]
fn every_exit_status_of_the_command_is_passed_on() {
    needs_root!();
    for status in 0..=255 {
        let output = run(phasebox(&["-c", "sh", "-c", &format!("exit {status}")]));
        assert_eq!(output.status.code(), Some(status));
    }
}
