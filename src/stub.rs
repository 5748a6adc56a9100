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
use crate::policy::Isolation;
use crate::status::{self, Ending};
use crate::step::{At, Failure, Step};
use crate::sys::fd::{self, Fd, OwnedFd};
use crate::sys::poll::{self, Event, Milliseconds};
use crate::sys::process::{self, Change, Namespaces, Pid};
use crate::sys::signal::{self, Origin, Signal, SignalFd, SignalSet};
use crate::sys::{Errno, fs, netdev};

/// How long the end of a box may take: what its guard takes at most, and a little more.
const TIME_TO_END: Milliseconds = cgroup::TIME_TO_DIE + 1000;

/// Runs the plan's command in its box, and ends as it ended.
pub fn run(plan: &Plan) -> ! {
    match &mut start(plan) {
        Ok(running) => imitate(running.wait(plan.quiet)),
        Err(failure) => {
            diag::failure(*failure);
            process::exit(status::FAILED)
        }
    }
}

/// The steps up to the command's start, in order.
fn start(plan: &Plan) -> Result<Running, Failure> {
    let changed = take_over_signals().at(Step::BlockSignals)?;
    let signals = SignalFd::new().at(Step::BlockSignals)?;
    let group = make_group(plan)?;
    let (link, commands_link) = netdev::socket_pair().at(Step::OpenLink)?;

    let (forked, has_init) = fork(plan, group.is_some())?;
    let Some(command) = forked else {
        // The stub's end must have no other holder: that it closes tells of the stub's death.
        drop(link);
        let init = has_init.then_some(Duties {
            stop_all: plan.isolation.has(Isolation::CGROUP) && group.is_none(),
            name_leftovers: !plan.quiet && group.is_none(),
        });
        let stub = Some((commands_link.fd(), &changed));
        child::run(
            plan,
            &Place {
                group: group.as_ref(),
                stub,
                init,
            },
        );
    };
    drop(commands_link);

    // While the command's process makes its namespaces: the guard, and the stub itself.
    let mut running = Running {
        signals,
        group,
        guard: None,
        command: Some(command),
        link,
        has_init,
    };
    match running.release_command() {
        Ok(()) => Ok(running),
        // The command's process has told why it ended, and ends the whole with its status.
        Err(failure) if failure == Failure::new(Step::StartCommand, Errno::EPIPE) => Ok(running),
        Err(failure) => {
            running.abandon();
            Err(failure)
        }
    }
}

/// Forks the command's process, or where it needs one, its init. In the new process: none.
fn fork(plan: &Plan, has_group: bool) -> Result<(Option<Pid>, bool), Failure> {
    // Without a group, leftovers are for the kernel to kill, when an init ends.
    if plan.isolation.has(Isolation::PID) || (plan.isolation.has(Isolation::CGROUP) && !has_group) {
        let user = plan.needs_user_namespace();
        // By the fork itself, so that nothing is executed between the namespace and its init
        // (bugs 675312 and 703278).
        let errno = match process::fork(Namespaces::PID.and(Namespaces::USER.when(user))) {
            Ok(forked) => return Ok((forked, true)),
            Err(errno) => errno,
        };
        let step = if user {
            Step::UserNamespace
        } else {
            Step::PidNamespace
        };
        let missing = if has_group {
            Isolation::PID
        } else {
            Isolation::PID | Isolation::CGROUP
        };
        ns::tolerate(
            plan,
            Failure::new(step, errno),
            plan.isolation.only(missing),
        )?;
    }
    Ok((
        process::fork(Namespaces::NONE).at(Step::StartCommand)?,
        false,
    ))
}

/// Blocks every signal, and takes SIGCHLD as it is by default: where it is ignored, children are
/// reaped before their status can be read.
fn take_over_signals() -> Result<Changed, Errno> {
    let blocked = signal::set_blocked(SignalSet::ALL)?;
    let sigchld = signal::set_default(Signal::SIGCHLD)?;
    Ok(Changed { blocked, sigchld })
}

/// The box's group; none where the caller can have none, and a PID namespace does instead.
fn make_group(plan: &Plan) -> Result<Option<Cgroup>, Failure> {
    if !plan.isolation.has(Isolation::CGROUP) {
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
            ns::tolerate(plan, failure, Isolation::CGROUP)?;
            Ok(None)
        }
    }
}

/// A group below the caller's own, where that is delegated to the caller.
fn delegated_group(plan: &Plan) -> Option<Cgroup> {
    let parent = cgroup::own_group().ok()?;
    if !cgroup::is_delegated(parent.fd()) {
        return None;
    }
    Cgroup::create(parent, plan.group_name.as_bytes(), plan.random).ok()
}

/// A box with its command.
struct Running {
    signals: SignalFd,
    group: Option<Cgroup>,
    guard: Option<Guard>,
    /// The command, or its init.
    command: Option<Pid>,
    link: OwnedFd,
    has_init: bool,
}

impl Running {
    /// Lets the command start, when all is ready for it.
    fn release_command(&mut self) -> Result<(), Failure> {
        self.start_guard()?;
        self.settle()?;
        fd::write(self.link.fd(), &[child::GO])
            .map(drop)
            .at(Step::StartCommand)
    }

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
    #[inline(never)]
    fn settle(&self) -> Result<(), Failure> {
        fs::change_directory(c"/").at(Step::LeaveDirectory)?;
        // What there is none of is standard error once more.
        let [a, b, c, d, e, f] = self.group.as_ref().map_or([Fd::STDERR; 6], Cgroup::fds);
        let guard = self.guard.as_ref().map_or(Fd::STDERR, Guard::fd);
        let kept = [
            Fd::STDERR,
            self.signals.fd(),
            self.link.fd(),
            guard,
            a,
            b,
            c,
            d,
            e,
            f,
        ];
        fd::close_all_but(&kept).at(Step::CloseDescriptors)
    }

    /// Ends what was started of a box whose command will not start.
    fn abandon(&mut self) {
        if let Some(pid) = self.command.take() {
            let _ = process::send(pid, Signal::SIGKILL);
        }
        let _ = self.remove_group(poll::now() + TIME_TO_END);
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
            // The command itself has nothing to tell.
            let link = if self.has_init {
                (self.link.fd(), Event::Readable)
            } else {
                signals
            };
            let [_, told] = poll::wait([signals, link], None)?;
            while let Some((signal, origin)) = self.signals.next()? {
                if signal == Signal::SIGCHLD && origin == Origin::Kernel {
                    self.replace_guard()?;
                } else if self.is_for_command(signal, origin) {
                    self.pass_on(signal);
                }
            }
            if told && self.has_init {
                match Report::receive(self.link.fd()) {
                    Ok(Some(Report::Ended(ending))) => return Ok(ending),
                    Ok(Some(Report::Stopped(signal))) => self.suspend(signal),
                    // The init ended before it came to anything: its own end is the answer.
                    Ok(None) | Err(_) => {}
                }
            }
            match process::poll_child(command)? {
                Some(Change::Ended(ending)) => {
                    self.command = None;
                    return Ok(ending);
                }
                // A stopped init reaps nothing and tells nothing. The command may have done that
                // to it: root's by ptrace(2), a user's never.
                Some(Change::Stopped(_)) if self.has_init => {
                    let _ = process::send(command, Signal::SIGCONT);
                }
                Some(Change::Stopped(signal)) => self.suspend(signal),
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
                        || self
                            .group
                            .as_ref()
                            .is_some_and(|group| group.contains(sender))
                });
                // A write of this process's own to a closed pipe looks as if sent by itself.
                let own = signal == Signal::SIGPIPE && sender == process::this();
                !from_box && !own
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
        let _ = match self.command {
            _ if self.has_init => init::request(self.link.fd(), signal),
            Some(command) => process::send(command, signal),
            None => Ok(()),
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
                group.collect(&mut left, self.command);
            }
        }
        let end = poll::now() + TIME_TO_END;
        self.end_init(end);
        let removed = self.remove_group(end);
        if left.count() > 0 {
            diag::leftovers(&left);
        }
        if let (Err(errno), Some(group)) = (removed, &self.group) {
            let mut left = Processes::new();
            group.collect(&mut left, None);
            if left.count() > 0 {
                diag::survivors(&left);
            } else {
                diag::failure(Failure::new(Step::RemoveGroup, errno));
            }
        }
    }

    /// Ends the init, and with it, by the kernel's hand, everything in its namespace.
    fn end_init(&mut self, end: Milliseconds) {
        let (true, Some(pid)) = (self.has_init, self.command) else {
            return;
        };
        // By SIGKILL: where it was stopped it would not see that the link is closed.
        let _ = process::send(pid, Signal::SIGKILL);
        if self.wait_for(pid, end).is_some() {
            self.command = None;
        } else if self.group.is_none() {
            diag::failure(Failure::new(Step::EmptyGroup, Errno::EBUSY));
        }
    }

    /// Has the guard empty and remove the group; does it itself where the guard has died.
    fn remove_group(&mut self, end: Milliseconds) -> Result<(), Errno> {
        if let Some(guard) = self.guard.take() {
            // Its end of the socket closes with this.
            let pid = guard.release();
            match self.wait_for(pid, end) {
                // It goes on trying when this process has ended.
                None => return Err(Errno::EBUSY),
                Some(change) => {
                    if let Some(removed) = guard::verdict(change) {
                        return removed;
                    }
                }
            }
        }
        match &self.group {
            Some(group) => group.destroy(cgroup::TIME_TO_DIE),
            None => Ok(()),
        }
    }

    /// Waits for the end of a child, until `end`.
    fn wait_for(&self, pid: Pid, end: Milliseconds) -> Option<Change> {
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
            let signals = (self.signals.fd(), Event::Readable);
            poll::wait([signals, signals], Some(end - now)).ok()?;
            while let Ok(Some(_)) = self.signals.next() {}
        }
    }
}

/// Ends as the command ended: by the same signal, so that shells and make(1) see what happened, but
/// without a core dump of this process; by an exit status where there is no other way.
fn imitate(ending: Ending) -> ! {
    if let Ending::Killed(signal) = ending {
        // Where a core dump cannot be ruled out, an exit status has to do.
        if process::forbid_dump().is_ok() {
            let _ = signal::set_default(signal);
            process::send_self(signal);
            let _ = signal::unblock(signal);
        }
        // Still here: as pid 1, a process is not killed by its own signals.
    }
    process::exit(ending.as_exit_status())
}
