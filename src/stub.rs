//! The process that the caller started. It makes the group, starts the command and the guard,
//! keeps nothing of the caller's but standard error, waits, and ends as the command ended.
//!
//! Signals are blocked and read, never handled: nothing can interrupt a step halfway.
#![forbid(unsafe_code)]

use crate::cgroup::{self, Cgroup};
use crate::child::{self, Changed, Place};
use crate::diag::{self, Processes};
use crate::guard::{self, Guard};
use crate::init::{self, Duties, Report};
use crate::ns;
use crate::plan::Plan;
use crate::status::{self, Ending};
use crate::step::{At, Failure, Step};
use crate::sys::fd::{self, Fd, OwnedFd};
use crate::sys::poll::{self, Event, Milliseconds};
use crate::sys::process::{self, Change, Fork, Namespaces, Pid};
use crate::sys::signal::{self, Origin, Signal, SignalFd, SignalSet};
use crate::sys::{Errno, fs, netdev};

/// Runs the plan's command in its box. Returns, to the status to exit with, only where the command
/// was not started or cannot be imitated.
pub fn run(plan: &Plan<'_>) -> u8 {
    match start(plan) {
        Ok(mut running) => {
            let ending = running.wait(plan.quiet);
            imitate(ending)
        }
        Err(failure) => {
            diag::failure(failure);
            status::FAILED
        }
    }
}

/// The steps up to the command's start, in order.
fn start(plan: &Plan<'_>) -> Result<Running, Failure> {
    let changed = take_over_signals().at(Step::BlockSignals)?;
    let signals = SignalFd::new().at(Step::BlockSignals)?;
    let group = make_group(plan)?;
    let (link, commands_link) = netdev::socket_pair().at(Step::OpenLink)?;

    // Without a group, leftovers are for the kernel to kill, when an init ends.
    let needs_init = plan.isolation.pid || (plan.isolation.cgroup && group.is_none());
    let mut running = Running { signals, group, guard: None, command: None, link, init: None };
    let child = if needs_init { fork_init(plan)? } else { None };
    let init = child.as_ref().map(|_| Duties {
        stop_all: plan.isolation.cgroup && running.group.is_none(),
        name_leftovers: !plan.quiet && running.group.is_none(),
    });
    let child = match child {
        Some(child) => child,
        None => process::fork(Namespaces::NONE).at(Step::StartCommand)?,
    };
    let Fork::Parent(pid) = child else {
        // The stub's end must have no other holder: that it closes tells of the stub's death.
        let Running { group, link, signals, .. } = running;
        drop((link, signals));
        let stub = Some((commands_link.fd(), &changed));
        child::run(plan, &Place { group: group.as_ref(), stub, init });
    };
    drop(commands_link);
    running.command = Some(pid);
    running.init = init;

    // While the command's process makes its namespaces: the guard, and the stub itself.
    let ready = running.start_guard().and_then(|()| running.settle());
    let ready = ready.and_then(|()| {
        fd::write(running.link.fd(), &[child::GO]).map(drop).at(Step::StartCommand)
    });
    match ready {
        Ok(()) => Ok(running),
        // The command's process has told why it ended, and ends the whole with its status.
        Err(failure) if failure == Failure::new(Step::StartCommand, Errno::EPIPE) => Ok(running),
        Err(failure) => {
            running.abandon();
            Err(failure)
        }
    }
}

/// Blocks every signal, and takes SIGCHLD as it is by default: where it is ignored, children are
/// reaped before their status can be read.
fn take_over_signals() -> Result<Changed, Errno> {
    let blocked = signal::set_blocked(SignalSet::ALL)?;
    let sigchld = signal::set_default(Signal::SIGCHLD)?;
    Ok(Changed { blocked, sigchld })
}

/// The box's group; none where the caller can have none, and a PID namespace does instead.
fn make_group(plan: &Plan<'_>) -> Result<Option<Cgroup>, Failure> {
    if !plan.isolation.cgroup {
        return Ok(None);
    }
    if !plan.caller.privileged {
        return Ok(delegated_group(plan));
    }
    let parent = match plan.group_parent {
        Some(path) => cgroup::given_group(path),
        None => cgroup::own_group(),
    };
    let made = parent.at(Step::FindGroup).and_then(|parent| {
        Cgroup::create(parent, plan.group_name.as_bytes(), plan.random).at(Step::MakeGroup)
    });
    match made {
        Ok(group) => Ok(Some(group)),
        Err(failure) => {
            ns::tolerate(plan, failure, "a control group")?;
            Ok(None)
        }
    }
}

/// A group below the caller's own, where that is delegated to the caller.
fn delegated_group(plan: &Plan<'_>) -> Option<Cgroup> {
    let parent = cgroup::own_group().ok()?;
    if !cgroup::is_delegated(parent.fd()) {
        return None;
    }
    Cgroup::create(parent, plan.group_name.as_bytes(), plan.random).ok()
}

/// Forks pid 1 of a new PID namespace: by the fork itself, so that nothing is executed between the
/// namespace and its init (bugs 675312 and 703278). None where `--best-effort` does without.
fn fork_init(plan: &Plan<'_>) -> Result<Option<Fork>, Failure> {
    let user = Namespaces::USER.when(plan.needs_user_namespace());
    let error = match process::fork(Namespaces::PID.and(user)) {
        Ok(fork) => return Ok(Some(fork)),
        Err(errno) => errno,
    };
    // Which of the two it was, for the message.
    let step = if plan.needs_user_namespace() { Step::UserNamespace } else { Step::PidNamespace };
    let failure = Failure::new(step, error);
    if plan.isolation.pid {
        ns::tolerate(plan, failure, "PID isolation")?;
    }
    if plan.isolation.cgroup {
        ns::tolerate(plan, failure, "killing what is left over")?;
    }
    Ok(None)
}

/// A box with its command.
struct Running {
    signals: SignalFd,
    group: Option<Cgroup>,
    guard: Option<Guard>,
    /// The command, or its init.
    command: Option<Pid>,
    link: OwnedFd,
    init: Option<Duties>,
}

impl Running {
    /// Starts a guard for the group, if there is one, and waits until it is ready.
    fn start_guard(&mut self) -> Result<(), Failure> {
        if let Some(group) = &self.group {
            let guard = Guard::start(group).at(Step::StartGuard)?;
            guard.wait_until_ready().at(Step::StartGuard)?;
            self.guard = Some(guard);
        }
        Ok(())
    }

    /// Lets go of the caller's descriptors and directory.
    fn settle(&self) -> Result<(), Failure> {
        fs::change_directory(c"/").at(Step::LeaveDirectory)?;
        let mut kept = [Fd::STDERR; 10];
        let group = self.group.as_ref().map(Cgroup::fds);
        let own = [self.signals.fd(), self.link.fd()];
        let fds = own.into_iter().chain(self.guard.as_ref().map(Guard::fd));
        for (place, fd) in kept.iter_mut().zip(fds.chain(group.into_iter().flatten())) {
            *place = fd;
        }
        fd::close_all_but(&mut kept).at(Step::CloseDescriptors)
    }

    /// Ends what was started of a box whose command will not start.
    fn abandon(&mut self) {
        if let Some(pid) = self.command.take() {
            let _ = process::send(pid, Signal::SIGKILL);
        }
        let _ = self.end_guard().or_else(|_| self.destroy_group());
    }

    /// Waits for the command's end, passing on signals, stops and continuations; then empties the
    /// box.
    fn wait(&mut self, quiet: bool) -> Ending {
        let ending = self.serve().unwrap_or_else(|errno| {
            diag::failure(Failure::new(Step::Wait, errno));
            Ending::Exited(status::FAILED)
        });
        self.clean_up(quiet);
        ending
    }

    fn serve(&mut self) -> Result<Ending, Errno> {
        let command = self.command.ok_or(Errno::ECHILD)?;
        loop {
            let signals = (self.signals.fd(), Event::Readable);
            let told = if self.init.is_some() {
                let [_, told] = poll::wait([signals, (self.link.fd(), Event::Readable)], None)?;
                told
            } else {
                poll::wait([signals], None)?;
                false
            };
            while let Some((signal, origin)) = self.signals.next()? {
                if signal == Signal::SIGCHLD && origin == Origin::Kernel {
                    self.replace_guard()?;
                } else if self.is_for_command(signal, origin) {
                    self.pass_on(signal);
                }
            }
            if told {
                match Report::receive(self.link.fd())? {
                    Some(Report::Ended(ending)) => return Ok(ending),
                    Some(Report::Stopped(signal)) => self.suspend(signal),
                    None => {}
                }
            }
            match process::poll_child(command)? {
                Some(Change::Ended(ending)) => {
                    self.command = None;
                    return Ok(ending);
                }
                Some(Change::Stopped(signal)) if self.init.is_none() => self.suspend(signal),
                _ => {}
            }
        }
    }

    /// Whether a signal is to be passed on.
    ///
    /// The command is in the same process group, so that what the terminal sends there reaches it
    /// anyway, once; what the terminal sends to a session's leader alone does not. What was sent
    /// by the command, or by something in its box, was not meant for it.
    fn is_for_command(&self, signal: Signal, origin: Origin) -> bool {
        match origin {
            Origin::Process(sender) => {
                let from_box = Pid::new(sender).is_some_and(|sender| {
                    Some(sender) == self.command
                        || self.group.as_ref().is_some_and(|group| group.contains(sender))
                });
                // SIGPIPE for a write of this process's own looks as if sent by itself.
                !from_box && sender != process::this()
            }
            Origin::Kernel => match signal {
                Signal::SIGHUP | Signal::SIGCONT => process::leads_session(),
                // Of a timer or a file that the caller had set up before execve(2).
                Signal::SIGALRM
                | Signal::SIGVTALRM
                | Signal::SIGPROF
                | Signal::SIGIO
                | Signal::SIGURG => true,
                _ => false,
            },
        }
    }

    /// Sends a signal to the command. It may be dead already, which SIGCHLD will tell.
    fn pass_on(&self, signal: Signal) {
        let _ = match (self.init, self.command) {
            (Some(_), _) => init::request(self.link.fd(), signal),
            (None, Some(command)) => process::send(command, signal),
            (None, None) => Ok(()),
        };
    }

    /// The command has stopped: stop all of the box, then this process by the same signal, so that
    /// the caller's shell sees it (bug 704498). Goes on when the shell continues it.
    fn suspend(&self, signal: Signal) {
        if let Some(group) = &self.group {
            // What cannot be frozen goes on; the command itself is stopped.
            let _ = group.freeze();
        }
        let _ = signal::set_default(signal);
        process::send_self(signal);
        let _ = signal::unblock(signal);
        // Stopped here.
        let _ = signal::set_blocked(SignalSet::ALL);
        // In an orphaned process group the kernel does not stop anything by a terminal's signal
        // (setpgid(2)): then nobody will continue the command through this process either.
        if signal::take_pending(Signal::SIGCONT) {
            // A frozen command takes two of them, the shell's and this, for one.
            self.pass_on(Signal::SIGCONT);
        }
        if let Some(group) = &self.group {
            let _ = group.thaw();
        }
    }

    /// Starts another guard where the one there was has died.
    fn replace_guard(&mut self) -> Result<(), Errno> {
        let Some(guard) = &self.guard else {
            return Ok(());
        };
        if let Some(Change::Ended(_)) = process::poll_child(guard.pid())? {
            self.guard = None;
            // Where none can be had, the box is in this process's hands alone.
            let _ = self.start_guard();
        }
        Ok(())
    }

    /// Kills what the command left behind, and says so.
    fn clean_up(&mut self, quiet: bool) {
        let mut left = Processes::new();
        if let Some(group) = &self.group {
            if !quiet && group.is_populated().unwrap_or(false) {
                group.for_each_process(|pid| {
                    if Some(pid) != self.command {
                        left.add(pid);
                    }
                });
            }
        }
        self.end_init();
        let removed = self.end_guard().or_else(|_| self.destroy_group());
        if left.count() > 0 {
            diag::leftovers(&left);
        }
        if let (Err(errno), Some(group)) = (removed, &self.group) {
            let mut left = Processes::new();
            group.for_each_process(|pid| left.add(pid));
            if left.count() > 0 {
                diag::survivors(&left);
            } else {
                diag::failure(Failure::new(Step::RemoveGroup, errno));
            }
        }
    }

    /// Lets an init end, and with it, by the kernel's hand, everything in its namespace.
    fn end_init(&mut self) {
        let (Some(_), Some(pid)) = (self.init, self.command) else {
            return;
        };
        // It waits for the end of the link. Where the box is frozen or the init was stopped, it
        // does not see it.
        let _ = process::send(pid, Signal::SIGKILL);
        if self.wait_for(pid, cgroup::TIME_TO_DIE).is_some() {
            self.command = None;
        } else {
            let failure = Failure::new(Step::EmptyGroup, Errno::EBUSY);
            diag::failure(failure);
        }
    }

    /// Has the guard empty and remove the group.
    fn end_guard(&mut self) -> Result<(), Errno> {
        let Some(guard) = self.guard.take() else {
            return Err(Errno::ESRCH);
        };
        // Its end of the socket closes with this.
        let pid = guard.release();
        // The guard's own time, and some to get there.
        self.wait_for(pid, cgroup::TIME_TO_DIE + 2000)
            .and_then(guard::verdict)
            .unwrap_or(Err(Errno::ESRCH))
    }

    /// What the guard does, where there is none any more.
    fn destroy_group(&self) -> Result<(), Errno> {
        self.group.as_ref().map_or(Ok(()), |group| group.destroy(cgroup::TIME_TO_DIE))
    }

    /// Waits, at most `time`, for the end of a child.
    fn wait_for(&self, pid: Pid, time: Milliseconds) -> Option<Change> {
        let end = poll::now() + time;
        loop {
            match process::poll_child(pid) {
                Ok(Some(change @ Change::Ended(_))) => return Some(change),
                Err(_) => return None,
                Ok(_) => {}
            }
            let now = poll::now();
            if now >= end {
                return None;
            }
            // Signals that come now find no command to be passed on to.
            poll::wait([(self.signals.fd(), Event::Readable)], Some(end - now)).ok()?;
            while let Ok(Some(_)) = self.signals.next() {}
        }
    }
}

/// Ends as the command ended: by the same signal, so that shells and make(1) see what happened, but
/// without a core dump of this process. Returns an exit status where there is no other way.
fn imitate(ending: Ending) -> u8 {
    if let Ending::Killed(signal) = ending {
        // Where a core dump cannot be ruled out, an exit status has to do.
        if process::forbid_dump().is_ok() {
            let _ = signal::set_default(signal);
            process::send_self(signal);
            let _ = signal::unblock(signal);
        }
        // Still here: as pid 1, a process is not killed by its own signals.
    }
    ending.as_exit_status()
}
