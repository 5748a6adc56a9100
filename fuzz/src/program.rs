//! The program's functions, in the form in which the targets ask them.

use std::ffi::CStr;

use phasebox::accounts::{self, Field, Key};
use phasebox::cgroup::{self, Seed};
use phasebox::cli::{Opt, Request, Usage};
use phasebox::diag::{self, Processes};
use phasebox::plan;
use phasebox::sys::args::Strings;
use phasebox::sys::fd::Fd;
use phasebox::sys::path::Name;
use phasebox::sys::words::NotNumber;

/// What the program makes of an argument vector.
pub enum Parsed {
    Text,
    Run {
        request: Request,
        /// COMMAND and its arguments.
        command: Vec<&'static CStr>,
    },
    Refused(Usage),
}

pub fn parse(argv: Strings) -> Parsed {
    let mut request = Request::new(argv);
    match request.read() {
        Ok(()) if request.text().is_some() || request.has(Opt::Check) => Parsed::Text,
        Ok(()) => Parsed::Run {
            command: request.command.iter().collect(),
            request,
        },
        Err(usage) => Parsed::Refused(usage),
    }
}

/// A control group's label, made of a name.
pub fn label(name: &[u8]) -> Vec<u8> {
    let mut label = Name::new();
    plan::push_group_name(&mut label, name);
    label.as_bytes().to_vec()
}

/// The name of a control group's directory.
pub fn directory_name(label: &[u8], random: u64) -> Option<Name> {
    let mut name = Name::new();
    cgroup::push_directory_name(&mut name, label, Seed::new(random)).ok()?;
    Some(name)
}

/// Why a text is no id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoId {
    NoNumber,
    TooLarge,
}

pub fn parse_id(text: &[u8]) -> Result<u32, NoId> {
    accounts::parse_id(text).map_err(|wrong| match wrong {
        NotNumber::TooLarge => NoId::TooLarge,
        NotNumber::NoDigit => NoId::NoNumber,
    })
}

/// The id and the primary group of an entry.
pub fn look_up(file: &CStr, key: Key<'_>) -> Option<(u32, Option<u32>)> {
    let id = accounts::look_up(file, key, Field::Id)?;
    Some((id, accounts::look_up(file, key, Field::PrimaryGroup)))
}

/// Writes the line about leftovers to standard error.
pub fn tell_leftovers(killed: &Processes) {
    diag::leftovers(killed, Fd::STDERR);
}
