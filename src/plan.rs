//! Request and caller to a plan: what will be done, decided before anything is.
#![forbid(unsafe_code)]

use core::ffi::CStr;

use crate::accounts::{self, Field, Key};
use crate::caller::Caller;
use crate::cli::{self, Opt, Reason, Request, Usage};
use crate::policy::Isolation;
use crate::sys::args::{Start, Strings};
use crate::sys::fd::{self, Fd};
use crate::sys::path::Name;
use crate::sys::poll;
use crate::sys::words::{NotNumber, parts};

/// Supplementary groups, at most as many as fit.
pub struct Groups {
    count: usize,
    ids: [u32; 1024],
}

impl Groups {
    /// None.
    #[must_use]
    pub const fn new() -> Groups {
        Groups {
            count: 0,
            ids: [0; 1024],
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
///
/// In this order, the large fields last: a field within the first 128 bytes takes an instruction
/// that is three bytes shorter.
#[repr(C)]
pub struct Plan {
    /// The kinds of isolation.
    pub isolation: Isolation,
    /// Go on without what cannot be had.
    pub best_effort: bool,
    /// Do not name leftovers.
    pub quiet: bool,
    /// Who asks for it.
    pub caller: Caller,
    /// Where the report goes, if it is wanted.
    pub report: Option<Fd>,
    /// And when it began, in microseconds of the monotonic clock.
    pub began: u64,
    /// COMMAND's umask, where it is not the caller's.
    pub umask: Option<u32>,
    /// What to execute.
    pub command: Command,
    /// Where the control group is made, where the caller says so.
    pub group_parent: Option<&'static CStr>,
    /// The program's own file.
    pub program: Option<&'static CStr>,
    /// Random bytes for the group's name.
    pub random: [u8; 16],
    /// The first part of the control group's name.
    pub group_name: Name,
    /// Whom COMMAND runs as, where that is not the caller. Its four KiB are touched only then.
    pub identity: Option<Identity>,
}

impl Plan {
    /// What is known without a request: nothing to do.
    #[must_use]
    pub fn new(caller: Caller, start: &Start) -> Plan {
        Plan {
            isolation: Isolation::default(),
            best_effort: false,
            quiet: false,
            caller,
            report: None,
            began: 0,
            umask: None,
            command: Command {
                argv: start.argv,
                envp: start.envp,
            },
            group_parent: None,
            program: start.program,
            random: start.random,
            group_name: Name::new(),
            identity: None,
        }
    }

    /// Whether somebody has to wait for the command. Whom root hands over to has a session of its
    /// own, which a process that leads one cannot make.
    #[must_use]
    pub fn needs_stub(&self) -> bool {
        self.isolation.has(Isolation::CGROUP | Isolation::PID)
            || self.handed_to().is_some()
            || self.report.is_some()
    }

    /// The other user whom root hands over to, who must not reach back.
    #[must_use]
    pub fn handed_to(&self) -> Option<u32> {
        let user = self.identity.as_ref().and_then(|identity| identity.uid);
        user.filter(|uid| self.caller.uid == 0 && *uid != 0)
    }

    /// Plans what is asked for.
    ///
    /// # Errors
    /// [`Usage`] for an option that this caller may not use and for an unknown user or group.
    #[inline(never)]
    pub fn fill(&mut self, request: &Request) -> Result<(), Usage> {
        if self.caller.uid != 0 {
            request.refuse_root_only()?;
        }
        self.isolation = request.isolation;
        self.best_effort = request.has(Opt::BestEffort);
        self.quiet = request.has(Opt::Quiet);
        self.umask = request.umask;
        self.command.argv = request.command;
        self.group_parent = request.path(Opt::CgroupParent);
        if let Some(word) = request.value(Opt::ReportFd) {
            self.report = fd::given(word);
            self.began = poll::now();
            if self.report.is_none() {
                return Err(request.fault(Opt::ReportFd, Reason::NotOpen));
            }
        }
        let name = request.group_name();
        push_group_name(
            &mut self.group_name,
            name.unwrap_or(self.command.base_name()),
        );
        self.fill_identity(request)
    }

    /// `--user`, `--group`, `--groups` to ids. With a user alone its primary group is taken.
    fn fill_identity(&mut self, request: &Request) -> Result<(), Usage> {
        let user = request.value(Opt::User);
        let group = request.value(Opt::Group);
        let groups = request.value(Opt::Groups);
        if user.is_none() && group.is_none() && groups.is_none() {
            return Ok(());
        }
        let identity = self.identity.insert(Identity {
            uid: None,
            gid: None,
            groups: Groups::new(),
        });
        if let Some(word) = user {
            let uid = find(request, Opt::User, word)?;
            identity.uid = Some(uid);
            if group.is_none() {
                let none = request.fault(Opt::User, Reason::NoPrimaryGroup);
                // By the name, where there is one: several may share an id.
                let key = accounts::parse_id(word).map_or(Key::Name(word), Key::Id);
                let gid = accounts::look_up(PASSWD, key, Field::PrimaryGroup);
                identity.gid = Some(gid.ok_or(none)?);
            }
        }
        if let Some(word) = group {
            identity.gid = Some(find(request, Opt::Group, word)?);
        }
        if let Some(list) = groups {
            for word in parts(list, b',') {
                let pushed = identity.groups.push(find(request, Opt::Groups, word)?);
                pushed.map_err(|reason| request.fault(Opt::Groups, reason))?;
            }
        }
        Ok(())
    }
}

impl Command {
    /// Nothing: a box is tried.
    #[must_use]
    pub fn is_none(self) -> bool {
        self.argv.first().is_none()
    }

    /// COMMAND without its directory.
    fn base_name(self) -> &'static [u8] {
        let name = self.argv.first().unwrap_or_default();
        parts(name.to_bytes(), b'/').last().unwrap_or_default()
    }
}

const PASSWD: &CStr = c"/etc/passwd";
const GROUP: &CStr = c"/etc/group";

/// An option's number, or name of a user or group. A number need not be there.
fn find(request: &Request, option: Opt, word: &[u8]) -> Result<u32, Usage> {
    let (file, unknown) = match option {
        Opt::User => (PASSWD, Reason::NoSuchUser),
        _ => (GROUP, Reason::NoSuchGroup),
    };
    let reason = match accounts::parse_id(word) {
        Ok(id) => return Ok(id),
        Err(NotNumber::TooLarge) => Reason::IdRange,
        Err(NotNumber::NoDigit) => match accounts::look_up(file, Key::Name(word), Field::Id) {
            Some(id) => return Ok(id),
            None => unknown,
        },
    };
    Err(request.fault(option, reason))
}

/// What can be used of a name in that of a directory.
pub fn push_group_name(usable: &mut Name, name: &[u8]) {
    const LONGEST: usize = 128;
    for byte in name.iter().take(LONGEST) {
        let byte = match *byte {
            b'/' => b':',
            byte if cli::is_name_byte(byte) => byte,
            _ => b'_',
        };
        // 128 bytes fit into a file's name.
        let _ = usable.push(&[byte]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group_name(name: &[u8]) -> Name {
        let mut usable = Name::new();
        push_group_name(&mut usable, name);
        usable
    }

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
