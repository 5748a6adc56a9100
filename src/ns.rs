//! Leaving the caller's namespaces for new ones. namespaces(7).
#![forbid(unsafe_code)]

use crate::diag;
use crate::net::{self, Gids};
use crate::plan::Plan;
use crate::step::{At, Failure, Step};
use crate::sys::fd::{self, Fd, Mode, OwnedFd};
use crate::sys::process::{self, Namespaces};
use crate::sys::{Errno, fs};
use crate::userns;

/// Shows that this process is in a new network namespace.
pub struct NewNet(());

/// Makes every namespace that the plan asks for and sets each up, in this order: user, then
/// network, host name, IPC and mounts in one call, then loopback, propagation, /proc.
///
/// `is_init`: this process was made as pid 1 of a new PID namespace, and inside the user namespace
/// if one is needed.
pub fn isolate(plan: &Plan<'_>, is_init: bool) -> Result<(), Failure> {
    if !enter_user_namespace(plan, is_init)? {
        return Ok(());
    }
    let mut wanted = Wanted {
        net: plan.isolation.net,
        ipc: plan.isolation.ipc,
        mount: plan.isolation.mount,
        proc: is_init,
    };
    let host_net = open_host_net(plan);
    wanted.unshare(plan)?;

    if wanted.net {
        let gids =
            if plan.needs_user_namespace() { Gids::Only(plan.caller.gid) } else { Gids::All };
        if let Err(failure) = net::configure(&NewNet(()), gids) {
            give_up_net(plan, failure, host_net)?;
        }
    }
    if wanted.mount || wanted.proc {
        if let Err(failure) = detach_mounts().at(Step::DetachMounts) {
            tolerate(plan, failure, "mount isolation")?;
            wanted.proc = false;
        }
    }
    if wanted.proc {
        match fs::mount_proc() {
            // In a bare chroot there is no other /proc to be seen instead.
            Ok(()) | Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            Err(errno) => {
                let failure = Failure::new(Step::MountProc, errno);
                tolerate(plan, failure, "a /proc of its own")?;
            }
        }
    }
    Ok(())
}

/// A failure that `--best-effort` goes on without, having said so; otherwise the failure itself.
pub fn tolerate(plan: &Plan<'_>, failure: Failure, isolation: &str) -> Result<(), Failure> {
    if !plan.best_effort {
        return Err(failure);
    }
    diag::degraded(failure, isolation);
    Ok(())
}

/// Says which of the plan's isolations all fail for one reason.
fn tolerate_all(plan: &Plan<'_>, failure: Failure) -> Result<(), Failure> {
    let isolation = plan.isolation;
    for (asked, name) in [
        (isolation.net, "network isolation"),
        (isolation.ipc, "IPC isolation"),
        (isolation.mount, "mount isolation"),
    ] {
        if asked {
            tolerate(plan, failure, name)?;
        }
    }
    Ok(())
}

/// False where there is nothing that could be isolated.
fn enter_user_namespace(plan: &Plan<'_>, is_init: bool) -> Result<bool, Failure> {
    let isolation = plan.isolation;
    if !is_init && !(isolation.net || isolation.ipc || isolation.mount) {
        return Ok(false);
    }
    if plan.needs_user_namespace() {
        if !is_init {
            if let Err(failure) = process::unshare(Namespaces::USER).at(Step::UserNamespace) {
                tolerate_all(plan, failure)?;
                return Ok(false);
            }
        }
        // Without its map the namespace is of no use, and there is no way out of it.
        userns::map_to_itself(plan.caller.uid, plan.caller.gid).at(Step::MapIds)?;
    }
    Ok(true)
}

/// The namespaces still to be made, or made.
struct Wanted {
    net: bool,
    ipc: bool,
    mount: bool,
    /// A /proc of the PID namespace's own, which needs a mount namespace.
    proc: bool,
}

impl Wanted {
    /// One call for all. Where it fails, one call for each, to know which one failed, and with
    /// `--best-effort` to have the others.
    fn unshare(&mut self, plan: &Plan<'_>) -> Result<(), Failure> {
        let mount = self.mount || self.proc;
        let all = Namespaces::NET
            .and(Namespaces::UTS)
            .when(self.net)
            .and(Namespaces::IPC.when(self.ipc))
            .and(Namespaces::MOUNT.when(mount));
        if all == Namespaces::NONE || process::unshare(all).is_ok() {
            return Ok(());
        }
        if self.net {
            let result = process::unshare(Namespaces::UTS)
                .at(Step::HostNameNamespace)
                .and_then(|()| process::unshare(Namespaces::NET).at(Step::NetNamespace));
            if let Err(failure) = result {
                tolerate(plan, failure, "network isolation")?;
                self.net = false;
            }
        }
        if self.ipc {
            if let Err(failure) = process::unshare(Namespaces::IPC).at(Step::IpcNamespace) {
                tolerate(plan, failure, "IPC isolation")?;
                self.ipc = false;
            }
        }
        if mount {
            if let Err(failure) = process::unshare(Namespaces::MOUNT).at(Step::MountNamespace) {
                tolerate(plan, failure, "mount isolation")?;
                self.mount = false;
                self.proc = false;
            }
        }
        Ok(())
    }
}

/// With `--best-effort` a new network that cannot be set up is left again: the host's network is
/// what "without network isolation" means, not one without even a loopback.
fn open_host_net(plan: &Plan<'_>) -> Option<OwnedFd> {
    if !plan.best_effort || !plan.isolation.net {
        return None;
    }
    fd::openat(Fd::CWD, c"/proc/self/ns/net", Mode::Read).ok()
}

fn give_up_net(
    plan: &Plan<'_>,
    failure: Failure,
    host_net: Option<OwnedFd>,
) -> Result<(), Failure> {
    let host_net = host_net.ok_or(failure)?;
    process::join_namespace(host_net.fd(), Namespaces::NET).map_err(|_| failure)?;
    tolerate(plan, failure, "network isolation")
}

/// Mounts made outside still arrive, mounts made inside stay inside.
fn detach_mounts() -> Result<(), Errno> {
    match fs::make_mounts_slave() {
        Err(Errno::EINVAL) => detach_mounts_of_chroot(),
        result => result,
    }
}

/// In a chroot whose root is no mount point, the mounts to be changed begin above it. Joining the
/// mount namespace that this process is in already takes it to that namespace's root (setns(2)),
/// and back down it goes afterwards.
fn detach_mounts_of_chroot() -> Result<(), Errno> {
    let root = fd::openat(Fd::CWD, c"/", Mode::Directory)?;
    let working = fd::openat(Fd::CWD, c".", Mode::Path)?;
    let this = process::open_self()?;
    process::join_namespace(this.fd(), Namespaces::MOUNT)?;
    let result = fs::make_mounts_slave();
    fs::change_directory_to(root.fd())?;
    fs::change_root_to_working_directory()?;
    fs::change_directory_to(working.fd())?;
    result
}
