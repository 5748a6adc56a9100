//! Who started the program, and what the way it is installed lends it. credentials(7).
#![forbid(unsafe_code)]

use crate::step::{At, Failure, Step};
use crate::sys::ids::{self, Capabilities, LENT};
use crate::sys::packed::Packed;
use crate::sys::{Errno, Result};

/// Where the rights to make a box come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Authority {
    /// The caller's own: root with CAP_SYS_ADMIN, of the host or of a user namespace.
    Own,
    /// The file's, by a set-user-id bit or by capabilities: never passed on to COMMAND.
    Lent,
    /// None: a user namespace has to do, and a control group that is delegated.
    None,
}

/// The caller, by real ids: effective ones are a matter of how the program is installed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caller {
    /// Real uid.
    pub uid: u32,
    /// Real gid.
    pub gid: u32,
    /// What boxes are made with.
    pub authority: Authority,
    /// Something is lent, and not enough: all of it is given back.
    pub is_half_lent: bool,
    /// The capabilities that were permitted at the start.
    permitted: Capabilities,
}

impl Caller {
    /// Reads it from the kernel, before anything else is looked at.
    ///
    /// # Errors
    /// EPERM for a set-group-id file, for one that is set-user-id to somebody other than root, and
    /// in a build without set-id support for any whose effective uid is not the real one.
    pub fn find() -> core::result::Result<Caller, Failure> {
        Self::read()
            .at(Step::FindCaller)?
            .ok_or(Failure::new(Step::RunSetId, Errno::EPERM))
    }

    fn read() -> Result<Option<Caller>> {
        let (users, groups) = (ids::user_ids()?, ids::group_ids()?);
        let capabilities = ids::capabilities()?;
        let is_set_id = !users.are_all(users.real);
        if !groups.are_all(groups.real)
            || is_set_id && (users.real == 0 || users.effective != 0 || !cfg!(feature = "set-id"))
        {
            return Ok(None);
        }
        let permitted = capabilities.permitted();
        let is_lent = cfg!(feature = "set-id") && permitted & LENT == LENT;
        let authority = match users.real {
            0 if capabilities.may_administer() => Authority::Own,
            0 => Authority::None,
            _ if is_lent => Authority::Lent,
            _ => Authority::None,
        };
        Ok(Some(Caller {
            uid: users.real,
            gid: groups.real,
            authority,
            permitted,
            is_half_lent: users.real != 0
                && !is_lent
                && (is_set_id || !capabilities.permit_nothing()),
        }))
    }

    /// The first of the capabilities that boxes need and the file did not lend, by name.
    #[must_use]
    pub fn missing_capability(&self) -> Packed {
        ids::first_missing(self.permitted)
    }

    /// The uid that the caller's groups belong to: root's, where rights are lent.
    #[must_use]
    #[inline(never)]
    pub fn groups_owner(&self) -> u32 {
        if self.authority == Authority::Lent {
            0
        } else {
            self.uid
        }
    }

    /// Whether namespaces need a user namespace around them.
    #[must_use]
    pub fn needs_user_namespace(&self) -> bool {
        self.authority == Authority::None
    }
}
