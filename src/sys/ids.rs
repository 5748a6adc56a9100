//! User and group ids, capabilities, keyrings. Always the 32-bit calls (setresuid32 and so on,
//! where a processor has both): the 16-bit ones answer success and change nothing for some ids.

use linux_raw_sys::{general as k, prctl};

use super::packed::{Packed, packed};
use super::{Result, call3, run3};
use crate::arch::numbers as nr;

/// Real, effective and saved id.
#[derive(Clone, Copy, Debug)]
pub struct Ids {
    /// Real.
    pub real: u32,
    /// Effective.
    pub effective: u32,
    /// Saved.
    pub saved: u32,
}

impl Ids {
    /// Whether all three are this one.
    #[must_use]
    pub fn are_all(&self, id: u32) -> bool {
        self.real == id && self.effective == id && self.saved == id
    }
}

/// getresuid(2).
pub fn user_ids() -> Result<Ids> {
    three_ids(nr::__NR_getresuid)
}

/// getresgid(2).
pub fn group_ids() -> Result<Ids> {
    three_ids(nr::__NR_getresgid)
}

fn three_ids(number: u32) -> Result<Ids> {
    let mut ids = Ids {
        real: u32::MAX,
        effective: u32::MAX,
        saved: u32::MAX,
    };
    let arguments = [
        &raw mut ids.real as usize,
        &raw mut ids.effective as usize,
        &raw mut ids.saved as usize,
    ];
    // SAFETY: the kernel writes three 32-bit ids.
    unsafe { call3(number, arguments) }?;
    Ok(ids)
}

/// Whether real, effective and saved uid are this one.
#[must_use]
pub fn has_only_user_id(id: u32) -> bool {
    has_only(nr::__NR_getresuid, id)
}

/// Whether real, effective and saved gid are this one.
#[must_use]
pub fn has_only_group_id(id: u32) -> bool {
    has_only(nr::__NR_getresgid, id)
}

#[inline(never)]
fn has_only(number: u32, id: u32) -> bool {
    three_ids(number).is_ok_and(|ids| ids.are_all(id))
}

/// setresuid(2): real, effective, saved.
#[inline(never)]
pub fn set_user_ids(real: u32, effective: u32, saved: u32) -> Result<()> {
    let arguments = [real as usize, effective as usize, saved as usize];
    // SAFETY: numbers only.
    unsafe { run3(nr::__NR_setresuid, arguments) }
}

/// The same, all three.
#[inline(never)]
pub fn set_user_id(id: u32) -> Result<()> {
    set_user_ids(id, id, id)
}

/// setresgid(2), all three.
pub fn set_group_id(id: u32) -> Result<()> {
    let id = id as usize;
    // SAFETY: numbers only.
    unsafe { run3(nr::__NR_setresgid, [id, id, id]) }
}

/// setgroups(2).
pub fn set_groups(groups: &[u32]) -> Result<()> {
    let arguments = [groups.len(), groups.as_ptr() as usize, 0];
    // SAFETY: the kernel reads as many ids as the slice has.
    unsafe { run3(nr::__NR_setgroups, arguments) }
}

/// getgroups(2) into `buffer`; EINVAL where there are more.
pub fn groups(buffer: &mut [u32]) -> Result<&[u32]> {
    let arguments = [buffer.len(), buffer.as_mut_ptr() as usize, 0];
    // SAFETY: the kernel writes at most as many ids as the slice has.
    let count = unsafe { call3(nr::__NR_getgroups, arguments) }?;
    Ok(buffer.get(..count).unwrap_or_default())
}

/// A capability set, a bit for each of the first 32; no other is ever kept. capabilities(7).
pub type Capabilities = u32;

/// To become root and the caller again, for namespaces and the loopback, and for those of a chroot:
/// what is in force of [`LENT`].
pub const LENT_IN_FORCE: Capabilities = 1 << k::CAP_SETGID
    | 1 << k::CAP_SETUID
    | 1 << k::CAP_NET_ADMIN
    | 1 << k::CAP_SYS_CHROOT
    | 1 << k::CAP_SYS_ADMIN;

/// What a set-id program, or one with file capabilities, makes a box with. To write where only root
/// may (the root group's directory has mode 0555) is permitted and not in force: nothing is opened
/// with it but the box's group.
pub const LENT: Capabilities = LENT_IN_FORCE | WAITING;

/// What a guard of what is lent keeps: to remove a group from the root group's directory.
pub const GUARDS: Capabilities = 1 << k::CAP_DAC_OVERRIDE;

/// What root's waiting processes keep: also to signal a command that runs as another user. A guard
/// of what is lent kills with it where the kernel does not do that at once.
pub const WAITING: Capabilities = GUARDS | 1 << k::CAP_KILL;

/// The first that boxes need and that is not among `permitted`, and that it is missing.
#[must_use]
pub fn first_missing(permitted: Capabilities) -> Packed {
    const NUMBERS: [u8; 7] = [
        k::CAP_DAC_OVERRIDE as u8,
        k::CAP_KILL as u8,
        k::CAP_SETGID as u8,
        k::CAP_SETUID as u8,
        k::CAP_NET_ADMIN as u8,
        k::CAP_SYS_CHROOT as u8,
        k::CAP_SYS_ADMIN as u8,
    ];
    const TEXTS: Packed = packed!(
        "CAP_DAC_OVERRIDE is missing\nCAP_KILL is missing\nCAP_SETGID is missing\n\
         CAP_SETUID is missing\nCAP_NET_ADMIN is missing\nCAP_SYS_CHROOT is missing\n\
         CAP_SYS_ADMIN is missing\n"
    );
    let is_missing = |number: &u8| permitted >> number & 1 == 0;
    let index = NUMBERS.iter().position(is_missing);
    TEXTS.line(index.unwrap_or(NUMBERS.len()))
}

/// All sets of a process, as capget(2) and capset(2) have them in version 3: effective, permitted,
/// inheritable, of the first 32 and then of the others.
pub struct CapabilitySets([u32; 6]);

impl CapabilitySets {
    /// Those that may be put in force.
    #[must_use]
    pub fn permitted(&self) -> Capabilities {
        self.0[1]
    }

    /// Whether none may be put in force.
    #[must_use]
    pub fn permit_nothing(&self) -> bool {
        self.0[1] | self.0[4] == 0
    }

    /// Whether CAP_SYS_ADMIN is in force: namespaces can be made without a user namespace.
    #[must_use]
    pub fn may_administer(&self) -> bool {
        self.0[0] & (1 << k::CAP_SYS_ADMIN) != 0
    }
}

// linux/capability.h, the same everywhere: three words, twice.
const _: () = assert!(
    size_of::<k::__user_cap_header_struct>() == 8
        && 2 * size_of::<k::__user_cap_data_struct>() == size_of::<CapabilitySets>()
);

/// Of this process; version 3 has two words of 32 bits.
const HEADER: k::__user_cap_header_struct = k::__user_cap_header_struct {
    version: k::_LINUX_CAPABILITY_VERSION_3,
    pid: 0,
};

/// capget(2).
#[inline(never)]
pub fn capabilities() -> Result<CapabilitySets> {
    let mut header = HEADER;
    let mut sets = CapabilitySets([0; 6]);
    let arguments = [&raw mut header as usize, &raw mut sets as usize, 0];
    // SAFETY: in version 3 the kernel writes twice three words.
    unsafe { run3(k::__NR_capget, arguments) }?;
    Ok(sets)
}

/// Whether these are permitted and in force, and no other, and none is inheritable.
#[must_use]
pub fn has_only_capabilities(set: Capabilities) -> bool {
    capabilities().is_ok_and(|sets| sets.0 == [set, set, 0, 0, 0, 0])
}

/// capset(2): these, and no other; none is inheritable.
#[inline(never)]
pub fn set_capabilities(effective: Capabilities, permitted: Capabilities) -> Result<()> {
    let mut header = HEADER;
    let sets = [effective, permitted, 0, 0, 0, 0];
    let arguments = [&raw mut header as usize, sets.as_ptr() as usize, 0];
    // SAFETY: in version 3 the kernel reads twice three words.
    unsafe { run3(k::__NR_capset, arguments) }
}

/// PR_CAP_AMBIENT_CLEAR_ALL: nothing is kept over execve(2) by a process that is not root.
pub fn clear_ambient_capabilities() -> Result<()> {
    let clear = prctl::PR_CAP_AMBIENT_CLEAR_ALL as usize;
    super::process::prctl(prctl::PR_CAP_AMBIENT, clear)
}

/// PR_SET_NO_NEW_PRIVS: no execve(2) gives a privilege any more.
pub fn set_no_new_privileges() -> Result<()> {
    super::process::prctl(prctl::PR_SET_NO_NEW_PRIVS, 1)
}

/// PR_GET_NO_NEW_PRIVS.
#[must_use]
pub fn no_new_privileges() -> bool {
    let option = prctl::PR_GET_NO_NEW_PRIVS as usize;
    // SAFETY: numbers only.
    let answer = unsafe { call3(k::__NR_prctl, [option, 0, 0]) };
    answer == Ok(1)
}

/// keyctl(2): leaves the session keyring for a new, empty one.
///
/// # Errors
/// ENOSYS where the kernel has no keyrings.
pub fn join_new_session_keyring() -> Result<()> {
    /// KEYCTL_JOIN_SESSION_KEYRING of linux/keyctl.h, with no name.
    const JOIN: usize = 1;
    // SAFETY: numbers, and NULL for the name.
    unsafe { run3(k::__NR_keyctl, [JOIN, 0, 0]) }
}
