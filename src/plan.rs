//! Request and caller to a plan: what will be done, decided before anything is.
#![forbid(unsafe_code)]

use core::ffi::CStr;

use crate::accounts::{self, Key};
use crate::caller::Caller;
use crate::cli::{self, Opt, Reason, Request, Usage};
use crate::policy::Isolation;
use crate::sys::Errno;
use crate::sys::args::{Start, Strings};
use crate::sys::path::Name;

/// Supplementary groups, at most as many as fit.
pub struct Groups {
    ids: [u32; 1024],
    count: usize,
}

impl Groups {
    /// None.
    #[must_use]
    pub const fn new() -> Groups {
        Groups {
            ids: [0; 1024],
            count: 0,
        }
    }

    /// The ids.
    #[must_use]
    pub fn as_slice(&self) -> &[u32] {
        self.ids.get(..self.count).unwrap_or_default()
    }

    /// Adds one, where it fits.
    fn push(&mut self, id: u32) -> Result<(), Reason> {
        *self.ids.get_mut(self.count).ok_or(Reason::TooManyGroups)? = id;
        self.count += 1;
        Ok(())
    }
}

impl Default for Groups {
    fn default() -> Self {
        Self::new()
    }
}

/// Whom a root caller wants COMMAND to run as.
pub struct Identity {
    /// None: as the caller.
    pub uid: Option<u32>,
    /// None: as the caller.
    pub gid: Option<u32>,
    /// Root's own are never passed on.
    pub groups: Groups,
}

/// What to execute.
#[derive(Clone, Copy)]
pub struct Command {
    /// COMMAND and its arguments.
    pub argv: Strings,
    /// The caller's environment.
    pub envp: Strings,
}

/// All that is decided.
pub struct Plan {
    /// The kinds of isolation.
    pub isolation: Isolation,
    /// Who asks for it.
    pub caller: Caller,
    /// Whom COMMAND runs as, where that is not the caller.
    pub identity: Option<Identity>,
    /// COMMAND's umask, where it is not the caller's.
    pub umask: Option<u32>,
    /// The first part of the control group's name.
    pub group_name: Name,
    /// Where the control group is made, where the caller says so.
    pub group_parent: Option<&'static CStr>,
    /// The program's own file.
    pub program: Option<&'static CStr>,
    /// Random bytes for the group's name.
    pub random: [u8; 16],
    /// Go on without what cannot be had.
    pub best_effort: bool,
    /// Do not name leftovers.
    pub quiet: bool,
    /// What to execute.
    pub command: Command,
}

/// Makes the plan.
///
/// # Errors
/// [`Usage`] for an option that this caller may not use and for an unknown user or group.
pub fn make(request: &Request, caller: Caller, start: &Start) -> Result<Plan, Usage> {
    if caller.uid != 0 {
        request.refuse_root_only()?;
    }
    let argv = start.argv.from(request.command);
    let base_name = argv.get(0).unwrap_or_default().to_bytes();
    let base_name = base_name
        .rsplit(|byte| *byte == b'/')
        .next()
        .unwrap_or_default();
    Ok(Plan {
        isolation: request.isolation,
        caller,
        identity: identity(request)?,
        umask: request.umask,
        group_name: group_name(request.group_name().unwrap_or(base_name)),
        group_parent: request.path(Opt::CgroupParent),
        program: start.program,
        random: start.random,
        best_effort: request.has(Opt::BestEffort),
        quiet: request.has(Opt::Quiet),
        command: Command {
            argv,
            envp: start.envp,
        },
    })
}

impl Plan {
    /// Whether root hands over to another user, who must not reach back.
    #[must_use]
    pub fn hands_over(&self) -> bool {
        let user = self.identity.as_ref().and_then(|identity| identity.uid);
        self.caller.uid == 0 && user.is_some_and(|uid| uid != 0)
    }
}

/// `--user`, `--group`, `--groups` to ids. With a user alone its primary group is taken.
fn identity(request: &Request) -> Result<Option<Identity>, Usage> {
    let (has_user, has_group) = (request.has(Opt::User), request.has(Opt::Group));
    let groups = request.value(Opt::Groups);
    if !has_user && !has_group && groups.is_none() {
        return Ok(None);
    }
    let mut identity = Identity {
        uid: None,
        gid: None,
        groups: Groups::new(),
    };
    if let Some(word) = request.value(Opt::User) {
        let fault = |reason| request.fault(Opt::User, reason);
        let uid = find(word, c"/etc/passwd", Reason::NoSuchUser).map_err(fault)?;
        identity.uid = Some(uid);
        if !has_group {
            let entry = accounts::look_up(c"/etc/passwd", Key::Id(uid)).ok();
            let primary_group = entry.and_then(|entry| entry.primary_group);
            identity.gid = Some(primary_group.ok_or(fault(Reason::NoPrimaryGroup))?);
        }
    }
    if let Some(word) = request.value(Opt::Group) {
        let gid = find(word, c"/etc/group", Reason::NoSuchGroup);
        identity.gid = Some(gid.map_err(|reason| request.fault(Opt::Group, reason))?);
    }
    if let Some(list) = groups {
        for word in list.split(|byte| *byte == b',') {
            let id = find(word, c"/etc/group", Reason::NoSuchGroup);
            let pushed = id.and_then(|id| identity.groups.push(id));
            pushed.map_err(|reason| request.fault(Opt::Groups, reason))?;
        }
    }
    Ok(Some(identity))
}

/// A number, or a name in `file`. A number need not be there.
fn find(word: &[u8], file: &CStr, unknown: Reason) -> Result<u32, Reason> {
    match accounts::parse_id(word) {
        Err(Errno::ERANGE) => Err(Reason::IdRange),
        Err(_) => match accounts::look_up(file, Key::Name(word)) {
            Ok(entry) => Ok(entry.id),
            Err(_) => Err(unknown),
        },
        Ok(id) => Ok(id),
    }
}

/// What can be used of a name in that of a directory.
fn group_name(name: &[u8]) -> Name {
    const LONGEST: usize = 128;
    let mut usable = Name::new();
    for byte in name.iter().take(LONGEST) {
        let byte = match *byte {
            b'/' => b':',
            byte if cli::is_name_byte(byte) => byte,
            _ => b'_',
        };
        // 128 bytes fit into a file's name.
        let _ = usable.push(&[byte]);
    }
    usable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_named_by_its_alphabet() {
        for (name, expected) in [
            (&b"sys-apps/sed-4.9"[..], &b"sys-apps:sed-4.9"[..]),
            (b"make", b"make"),
            (b"my prog\n", b"my_prog_"),
            (b"[", b"_"),
            (b"", b""),
        ] {
            assert_eq!(group_name(name).as_bytes(), expected);
        }
        assert_eq!(group_name(&[b'x'; 4000]).as_bytes().len(), 128);
    }

    #[test]
    fn groups_beyond_the_limit_are_refused() {
        let mut groups = Groups::new();
        for id in 0..1024 {
            assert_eq!(groups.push(id), Ok(()));
        }
        assert_eq!(groups.push(1024), Err(Reason::TooManyGroups));
        assert_eq!(groups.as_slice().len(), 1024);
    }
}
