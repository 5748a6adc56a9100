//! Leaving the caller's namespaces for new ones. namespaces(7).
#![forbid(unsafe_code)]

use crate::diag;
use crate::net;
use crate::plan::Plan;
use crate::policy::Isolation;
use crate::step::{At, Failure, Step};
use crate::sys::fd::{self, Fd, Mode, OwnedFd};
use crate::sys::process::{self, Namespaces};
use crate::sys::{Errno, fs};
use crate::userns;

/// Shows that this process is in a new network namespace.
pub struct NewNet(());

/// The kinds of isolation that unshare(2) brings.
const UNSHARED: [(Isolation, Namespaces, Step); 3] = [
    (
        Isolation::NET,
        Namespaces::NET.and(Namespaces::UTS),
        Step::NetNamespace,
    ),
    (Isolation::IPC, Namespaces::IPC, Step::IpcNamespace),
    (Isolation::MOUNT, Namespaces::MOUNT, Step::MountNamespace),
];

/// Makes every namespace that the plan asks for and sets each up, in this order: user, then
/// network, host name, IPC and mounts in one call, then loopback, propagation, /proc.
///
/// `is_init`: this process was made as pid 1 of a new PID namespace, and inside the user namespace
/// if one is needed.
pub fn isolate(plan: &Plan, is_init: bool, missing: &mut Missing) -> Result<(), Failure> {
    let mut wanted = plan
        .isolation
        .only(Isolation::NET | Isolation::IPC | Isolation::MOUNT);
    if is_init {
        // For a /proc of the PID namespace's own.
        wanted = wanted | Isolation::MOUNT;
    }
    if wanted == Isolation::default() {
        return Ok(());
    }
    if plan.caller.needs_user_namespace() {
        if !is_init {
            let made = process::unshare(Namespaces::USER).at(Step::UserNamespace);
            if made.is_err() {
                return missing.tolerate(made, wanted);
            }
        }
        // Without its map the namespace is of no use, and there is no way out of it.
        userns::map_to_itself(plan.caller.uid, plan.caller.gid).at(Step::MapIds)?;
    }

    let host_net = open_host_net(plan);
    unshare(&mut wanted, missing)?;
    if wanted.has(Isolation::NET) {
        if let Err(failure) = net::configure(&NewNet(()), plan.caller.gid) {
            give_up_net(failure, host_net)?;
            missing.tolerate(Err(failure), Isolation::NET)?;
        }
    }
    if wanted.has(Isolation::MOUNT) {
        missing.tolerate(detach_mounts(is_init), Isolation::MOUNT)?;
    }
    Ok(())
}

/// The isolation that `--best-effort` goes on without, and why.
///
/// It is told when privileges are gone: nothing is written with those that are lent.
pub struct Missing {
    is_allowed: bool,
    reasons: [Option<Failure>; Isolation::ALL.len()],
}

impl Missing {
    /// Nothing is missing so far.
    #[must_use]
    pub fn new(plan: &Plan) -> Missing {
        Missing {
            is_allowed: plan.best_effort,
            reasons: [None; Isolation::ALL.len()],
        }
    }

    /// Where this failed, goes on without `kinds`, if the caller allows it; otherwise the failure
    /// itself.
    #[inline(never)]
    pub fn tolerate(
        &mut self,
        result: Result<(), Failure>,
        kinds: Isolation,
    ) -> Result<(), Failure> {
        if result.is_err() && self.is_allowed {
            for (index, reason) in self.reasons.iter_mut().enumerate() {
                if kinds.has(Isolation::nth(index)) {
                    *reason = result.err();
                }
            }
            return Ok(());
        }
        result
    }

    /// A line for each.
    #[inline(never)]
    pub fn tell(&self) {
        for (index, reason) in self.reasons.iter().enumerate() {
            if let Some(failure) = reason {
                diag::degraded(*failure, Isolation::nth(index));
            }
        }
    }
}

/// One call for all. Where it fails, one call for each, to know which one failed, and with
/// `--best-effort` to have the others: what cannot be had is no longer wanted.
fn unshare(wanted: &mut Isolation, missing: &mut Missing) -> Result<(), Failure> {
    let mut all = Namespaces::NONE;
    for (kind, namespaces, _) in &UNSHARED {
        all = all.and(namespaces.when(wanted.has(*kind)));
    }
    if process::unshare(all).is_ok() {
        return Ok(());
    }
    for (kind, namespaces, step) in &UNSHARED {
        if wanted.has(*kind) {
            let made = process::unshare(*namespaces).at(*step);
            if made.is_err() {
                *wanted = wanted.without(*kind);
            }
            missing.tolerate(made, *kind)?;
        }
    }
    Ok(())
}

/// With `--best-effort` a new network that cannot be set up is left again: the host's network is
/// what "without network isolation" means, not one without even a loopback.
fn open_host_net(plan: &Plan) -> Option<Fd> {
    if !plan.best_effort {
        return None;
    }
    let opened = fd::openat(Fd::CWD, c"/proc/self/ns/net", Mode::Read);
    opened.ok().map(OwnedFd::keep)
}

fn give_up_net(failure: Failure, host_net: Option<Fd>) -> Result<(), Failure> {
    let host_net = host_net.ok_or(failure)?;
    process::join_namespace(host_net, Namespaces::NET).map_err(|_| failure)
}

/// Mounts made outside still arrive, mounts made inside stay inside, /proc among them.
fn detach_mounts(with_proc: bool) -> Result<(), Failure> {
    match fs::make_mounts_slave() {
        Err(Errno::EINVAL) => detach_mounts_of_chroot(),
        result => result,
    }
    .at(Step::DetachMounts)?;
    if with_proc {
        match fs::mount_proc() {
            // In a bare chroot there is no other /proc to be seen instead.
            Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            result => result.at(Step::MountProc)?,
        }
    }
    Ok(())
}

/// In a chroot whose root is no mount point, the mounts to be changed begin above it. Joining the
/// mount namespace that this process is in already takes it to that namespace's root (setns(2)),
/// and back down it goes afterwards.
#[inline(never)]
fn detach_mounts_of_chroot() -> Result<(), Errno> {
    // Kept until the command is executed, or closed by an init.
    let root = fd::openat(Fd::CWD, c"/", Mode::Directory)?.keep();
    let working = fd::openat(Fd::CWD, c".", Mode::Path)?.keep();
    let this = process::open_self()?.keep();
    process::join_namespace(this, Namespaces::MOUNT)?;
    let result = fs::make_mounts_slave();
    fs::change_directory_to(root)?;
    fs::change_root_to_working_directory()?;
    fs::change_directory_to(working)?;
    result
}
