//! Request and caller to a plan: what will be done, decided before anything is.
#![forbid(unsafe_code)]

use core::ffi::CStr;

use crate::accounts;
use crate::cli::{self, Request, Usage};
use crate::policy::Isolation;
use crate::step::{At, Failure, Step};
use crate::sys::args::{Start, Strings};
use crate::sys::path::Name;
use crate::sys::{Errno, ids};

/// Who started the program, by real ids: effective ones are a matter of how it is installed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caller {
    /// Real uid.
    pub uid: u32,
    /// Real gid.
    pub gid: u32,
    /// Root with CAP_SYS_ADMIN: makes namespaces and groups as they are. Others need a user
    /// namespace for the former and a delegated group for the latter.
    pub privileged: bool,
}

impl Caller {
    /// Reads it from the kernel.
    ///
    /// # Errors
    /// EPERM where real and effective ids differ: this program takes no privilege from its file.
    pub fn find() -> Result<Caller, Failure> {
        let (users, groups) =
            (ids::user_ids().at(Step::FindCaller)?, ids::group_ids().at(Step::FindCaller)?);
        if users != ids::Ids::all(users.real) || groups != ids::Ids::all(groups.real) {
            return Err(Failure::new(Step::RunSetId, Errno::EPERM));
        }
        let privileged =
            users.real == 0 && ids::capabilities().at(Step::FindCaller)?.may_administer();
        Ok(Caller { uid: users.real, gid: groups.real, privileged })
    }
}

/// Supplementary groups, at most as many as fit.
pub struct Groups {
    ids: [u32; 1024],
    count: usize,
}

impl Groups {
    /// None.
    #[must_use]
    pub const fn new() -> Groups {
        Groups { ids: [0; 1024], count: 0 }
    }

    /// The ids.
    #[must_use]
    pub fn as_slice(&self) -> &[u32] {
        self.ids.get(..self.count).unwrap_or_default()
    }

    /// Adds one, where it fits.
    fn push(&mut self, id: u32) -> Result<(), Errno> {
        *self.ids.get_mut(self.count).ok_or(Errno::ERANGE)? = id;
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
pub struct Plan<'a> {
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
    pub group_parent: Option<&'a CStr>,
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
pub fn make<'a>(request: Request<'a>, caller: Caller, start: &Start) -> Result<Plan<'a>, Usage<'a>> {
    if caller.uid != 0 {
        if let Some(option) = request.root_only_option() {
            let word = option.as_bytes();
            return Err(Usage { word, errno: Errno::EPERM, reason: "only root may use the option" });
        }
    }
    let argv = start.argv.from(request.command);
    Ok(Plan {
        isolation: request.isolation,
        caller,
        identity: identity(&request)?,
        umask: request.umask,
        group_name: group_name(request.group_name, argv.get(0).unwrap_or_default().to_bytes()),
        group_parent: request.cgroup_parent,
        random: start.random,
        best_effort: request.best_effort,
        quiet: request.quiet,
        command: Command { argv, envp: start.envp },
    })
}

impl Plan<'_> {
    /// Whether namespaces need a user namespace around them.
    #[must_use]
    pub fn needs_user_namespace(&self) -> bool {
        !self.caller.privileged
    }
}

/// `--user`, `--group`, `--groups` to ids. With a user alone its primary group is taken.
fn identity<'a>(request: &Request<'a>) -> Result<Option<Identity>, Usage<'a>> {
    if request.user.is_none() && request.group.is_none() && request.groups.is_none() {
        return Ok(None);
    }
    let mut identity = Identity { uid: None, gid: None, groups: Groups::new() };
    if let Some(word) = request.user {
        let (uid, primary) = find_user(word)?;
        identity.uid = Some(uid);
        if request.group.is_none() {
            identity.gid = Some(primary.ok_or(Usage {
                word,
                errno: Errno::ENOENT,
                reason: "not in /etc/passwd, so --group is needed too",
            })?);
        }
    }
    if let Some(word) = request.group {
        identity.gid = Some(find_group(word)?);
    }
    for word in request.groups.into_iter().flat_map(|list| list.split(|byte| *byte == b',')) {
        let id = find_group(word)?;
        let reason = "more groups than are supported (1024)";
        identity.groups.push(id).map_err(|errno| Usage { word, errno, reason })?;
    }
    Ok(Some(identity))
}

/// A user's id and primary group.
fn find_user(word: &[u8]) -> Result<(u32, Option<u32>), Usage<'_>> {
    match accounts::parse_id(word) {
        Ok(uid) => Ok((uid, accounts::user_by_id(uid).ok().map(|user| user.gid))),
        Err(Errno::ERANGE) => Err(out_of_range(word)),
        Err(_) => {
            let reason = "no such user in /etc/passwd";
            let user =
                accounts::user_by_name(word).map_err(|errno| Usage { word, errno, reason })?;
            Ok((user.uid, Some(user.gid)))
        }
    }
}

fn find_group(word: &[u8]) -> Result<u32, Usage<'_>> {
    match accounts::parse_id(word) {
        Ok(gid) => Ok(gid),
        Err(Errno::ERANGE) => Err(out_of_range(word)),
        Err(_) => {
            let reason = "no such group in /etc/group";
            accounts::group_by_name(word).map_err(|errno| Usage { word, errno, reason })
        }
    }
}

fn out_of_range(word: &[u8]) -> Usage<'_> {
    Usage { word, errno: Errno::ERANGE, reason: "no user or group has such a number" }
}

/// NAME, or what can be used of the command's base name.
fn group_name(given: Option<&[u8]>, command: &[u8]) -> Name {
    const LONGEST: usize = 128;
    let base = command.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let mut name = Name::new();
    for byte in given.unwrap_or(base).iter().take(LONGEST) {
        let usable = match *byte {
            b'/' => b':',
            byte if cli::is_name_byte(byte) => byte,
            _ => b'_',
        };
        // 128 bytes fit into a file's name.
        let _ = name.push(&[usable]);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_named_after_the_request_or_the_command() {
        for (given, command, expected) in [
            (Some(&b"sys-apps/sed-4.9"[..]), &b"/bin/sh"[..], &b"sys-apps:sed-4.9"[..]),
            (None, b"/usr/bin/make", b"make"),
            (None, b"make", b"make"),
            (None, b"./my prog\n", b"my_prog_"),
            (None, b"[", b"_"),
            (None, b"", b""),
        ] {
            assert_eq!(group_name(given, command).as_bytes(), expected);
        }
        assert_eq!(group_name(None, &[b'x'; 4000]).as_bytes().len(), 128);
    }

    #[test]
    fn groups_beyond_the_limit_are_refused() {
        let mut groups = Groups::new();
        for id in 0..1024 {
            assert_eq!(groups.push(id), Ok(()));
        }
        assert_eq!(groups.push(1024), Err(Errno::ERANGE));
        assert_eq!(groups.as_slice().len(), 1024);
    }
}
