//! User and group ids, capabilities, keyrings. Always the 32-bit calls (setresuid32 and so on,
//! where a processor has both): the 16-bit ones answer success and change nothing for some ids.

use linux_raw_sys::{general as k, prctl};

use super::packed::{Packed, packed};
use super::{Result, call3, run3};

/// Real, effective and saved id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ids {
    /// Real.
    pub real: u32,
    /// Effective.
    pub effective: u32,
    /// Saved.
    pub saved: u32,
}

impl Ids {
    /// The same id three times.
    #[must_use]
    pub const fn all(id: u32) -> Ids {
        Ids {
            real: id,
            effective: id,
            saved: id,
        }
    }
}

/// getresuid(2).
pub fn user_ids() -> Result<Ids> {
    three_ids(k::__NR_getresuid)
}

/// getresgid(2).
pub fn group_ids() -> Result<Ids> {
    three_ids(k::__NR_getresgid)
}

fn three_ids(number: u32) -> Result<Ids> {
    let mut ids = Ids::all(u32::MAX);
    let arguments = [
        &raw mut ids.real as usize,
        &raw mut ids.effective as usize,
        &raw mut ids.saved as usize,
    ];
    // SAFETY: the kernel writes three 32-bit ids.
    unsafe { call3(number, arguments) }?;
    Ok(ids)
}

/// setresuid(2).
pub fn set_user_ids(ids: Ids) -> Result<()> {
    let arguments = [ids.real, ids.effective, ids.saved].map(|id| id as usize);
    // SAFETY: numbers only.
    unsafe { run3(k::__NR_setresuid, arguments) }
}

/// setresgid(2), all three.
pub fn set_group_ids(id: u32) -> Result<()> {
    let id = id as usize;
    // SAFETY: numbers only.
    unsafe { run3(k::__NR_setresgid, [id, id, id]) }
}

/// setgroups(2).
pub fn set_groups(groups: &[u32]) -> Result<()> {
    let arguments = [groups.len(), groups.as_ptr() as usize, 0];
    // SAFETY: the kernel reads as many ids as the slice has.
    unsafe { run3(k::__NR_setgroups, arguments) }
}

/// getgroups(2) into `buffer`; EINVAL where there are more.
pub fn groups(buffer: &mut [u32]) -> Result<&[u32]> {
    let arguments = [buffer.len(), buffer.as_mut_ptr() as usize, 0];
    // SAFETY: the kernel writes at most as many ids as the slice has.
    let count = unsafe { call3(k::__NR_getgroups, arguments) }?;
    Ok(buffer.get(..count).unwrap_or_default())
}

/// Capability sets, a bit for each capability. capabilities(7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capabilities {
    /// In force.
    pub effective: u64,
    /// May be made effective.
    pub permitted: u64,
    /// Kept over execve(2) of a file that has them, too.
    pub inheritable: u64,
}

impl Capabilities {
    /// None at all.
    pub const NONE: Capabilities = Capabilities {
        effective: 0,
        permitted: 0,
        inheritable: 0,
    };

    /// These, permitted and in force.
    #[must_use]
    pub const fn exactly(set: u64) -> Capabilities {
        Capabilities {
            effective: set,
            permitted: set,
            inheritable: 0,
        }
    }

    /// What a set-id program, or one with file capabilities, makes a box with. To write where only
    /// root may (the root group's directory has mode 0555) is permitted and not in force: nothing
    /// is opened with it but the box's group.
    pub const LENT: Capabilities = Capabilities {
        effective: LENT_IN_FORCE,
        permitted: LENT_IN_FORCE | Capabilities::WAITING,
        inheritable: 0,
    };

    /// What a guard of what is lent keeps: to remove a group from the root group's directory.
    pub const GUARDS: u64 = 1 << k::CAP_DAC_OVERRIDE;

    /// What root's waiting processes keep: also to signal a command that runs as another user. A
    /// guard of what is lent kills with it where the kernel does not do that at once.
    pub const WAITING: u64 = Capabilities::GUARDS | 1 << k::CAP_KILL;

    /// The first that boxes need and that is not permitted, and that it is missing.
    #[must_use]
    pub fn first_missing(self) -> Packed {
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
        let is_missing = |number: &u8| self.permitted & (1 << number) == 0;
        let index = NUMBERS.iter().position(is_missing);
        TEXTS.line(index.unwrap_or(NUMBERS.len()))
    }

    /// Whether everything that is lent may be put in force.
    #[must_use]
    pub const fn can_be_lent(self) -> bool {
        let needed = Capabilities::LENT.permitted;
        self.permitted & needed == needed
    }

    /// Whether CAP_SYS_ADMIN is in force: namespaces can be made without a user namespace.
    #[must_use]
    pub fn may_administer(self) -> bool {
        self.effective & (1 << k::CAP_SYS_ADMIN) != 0
    }
}

/// To become root and the caller again, for namespaces and the loopback, and for those of a chroot.
const LENT_IN_FORCE: u64 = 1 << k::CAP_SETGID
    | 1 << k::CAP_SETUID
    | 1 << k::CAP_NET_ADMIN
    | 1 << k::CAP_SYS_CHROOT
    | 1 << k::CAP_SYS_ADMIN;

/// Of this process; version 3, two words of 32 bits.
const HEADER: k::__user_cap_header_struct = k::__user_cap_header_struct {
    version: k::_LINUX_CAPABILITY_VERSION_3,
    pid: 0,
};

/// capget(2).
pub fn capabilities() -> Result<Capabilities> {
    let empty = k::__user_cap_data_struct {
        effective: 0,
        permitted: 0,
        inheritable: 0,
    };
    let mut header = HEADER;
    let mut data = [empty; 2];
    let arguments = [&raw mut header as usize, data.as_mut_ptr() as usize, 0];
    // SAFETY: version 3 has two words.
    unsafe { call3(k::__NR_capget, arguments) }?;
    let [low, high] = data;
    let join = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low);
    Ok(Capabilities {
        effective: join(low.effective, high.effective),
        permitted: join(low.permitted, high.permitted),
        inheritable: join(low.inheritable, high.inheritable),
    })
}

/// capset(2).
pub fn set_capabilities(sets: Capabilities) -> Result<()> {
    let word = |shift: u32| k::__user_cap_data_struct {
        effective: (sets.effective >> shift) as u32,
        permitted: (sets.permitted >> shift) as u32,
        inheritable: (sets.inheritable >> shift) as u32,
    };
    let mut header = HEADER;
    let data = [word(0), word(32)];
    let arguments = [&raw mut header as usize, data.as_ptr() as usize, 0];
    // SAFETY: version 3 has two words.
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
