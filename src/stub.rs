//! The process that the caller started. It starts the command and the guard, keeps nothing of the
//! caller's but standard error and no privilege, waits, and ends as the command ended.
//!
//! Signals are blocked and read, never handled: nothing can interrupt a step halfway.
#![forbid(unsafe_code)]

use crate::caller::Authority;
use crate::cgroup::{self, Cgroup, Naming};
use crate::child::{self, Changed, Go, Place};
use crate::creds;
use crate::diag;
use crate::guard::{self, Guard, Site};
use crate::init::{self, Duties, Report};
use crate::ns::Missing;
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
            creds::renounce();
            diag::no_box(*failure, plan);
            process::exit(status::FAILED)
        }
    }
}

/// The steps up to the command's start, in order.
fn start(plan: &Plan) -> Result<Running<'_>, Failure> {
    let changed = take_over_signals().at(Step::BlockSignals)?;
    let signals = SignalFd::new().at(Step::BlockSignals)?;
    let mut missing = Missing::default();
    let parent = find_parent(plan, &mut missing)?;
    let mut running = Running {
        plan,
        signals,
        parent,
        group: None,
        guard: None,
        command: None,
        link: None,
        seed: None,
        has_init: false,
    };
    match running.start(&changed, &mut missing) {
        Ok(()) => Ok(running),
        Err(failure) if running.abandon() => Err(failure),
        // Both have failed: one line is enough.
        Err(_) => process::exit(status::FAILED),
    }
}

/// Blocks every signal, and takes SIGCHLD as it is by default: where it is ignored, children are
/// reaped before their status can be read. A caller that adopts orphans leaves that to be undone:
/// here nobody would reap them, and they count against the command's limits.
fn take_over_signals() -> Result<Changed, Errno> {
    let blocked = signal::set_blocked(SignalSet::ALL)?;
    let sigchld = signal::set_default(Signal::SIGCHLD)?;
    process::adopt_no_orphans()?;
    Ok(Changed { blocked, sigchld })
}

/// Where the box's group will be made.
struct Parent {
    directory: OwnedFd,
    /// It is not the group of the caller's own.
    is_another: bool,
}

/// The directory for the box's group; none where the caller can have none, and a PID namespace does
/// instead.
fn find_parent(plan: &Plan, missing: &mut Missing) -> Result<Option<Parent>, Failure> {
    if !plan.isolation.has(Isolation::CGROUP) {
        return Ok(None);
    }
    let found = match plan.caller.authority {
        Authority::None => {
            let delegated = |group: &OwnedFd| cgroup::is_delegated(group.fd());
            let own = cgroup::own_group().ok().filter(delegated);
            return Ok(own.map(|directory| Parent {
                directory,
                is_another: false,
            }));
        }
        Authority::Lent => {
            cgroup::own_group().and_then(|group| cgroup::beyond_reach(group, plan.caller.uid))
        }
        Authority::Own => match plan.group_parent {
            Some(path) => cgroup::given_group(path),
            None => cgroup::own_group(),
        }
        .map(|group| (group, false)),
    };
    match found.at(Step::FindGroup) {
        Ok((directory, is_another)) => Ok(Some(Parent {
            directory,
            is_another,
        })),
        Err(failure) => {
            missing.tolerate(plan, failure, Isolation::CGROUP)?;
            Ok(None)
        }
    }
}

/// A box with its command.
struct Running<'a> {
    plan: &'a Plan,
    signals: SignalFd,
    parent: Option<Parent>,
    group: Option<Cgroup>,
    guard: Option<Guard>,
    /// The command, or its init.
    command: Option<Pid>,
    /// To the command's process.
    link: Option<OwnedFd>,
    /// What the group's name was made of, if there is a group.
    seed: Option<u64>,
    has_init: bool,
}

impl Running<'_> {
    /// Starts guard and command beside each other; then this process gives up what it does not need
    /// and lets the command go.
    fn start(&mut self, changed: &Changed, missing: &mut Missing) -> Result<(), Failure> {
        let plan = self.plan;
        if plan.caller.authority == Authority::None {
            // Whether there is a group decides whether there is a PID namespace.
            self.start_guard()?;
            let _ = self.wait_for_group();
            self.fork_command(changed, missing)?;
        } else {
            self.fork_command(changed, missing)?;
            self.start_guard()?;
        }
        if let Err(failure) = self.wait_for_group() {
            missing.tolerate(plan, failure, Isolation::CGROUP)?;
        }
        self.settle()?;
        creds::retire(&plan.caller)?;
        missing.tell();
        Go(self.seed).send(self.link_fd()).at(Step::StartCommand)
    }

    /// Forks the command's process, or where it needs one, its init. In it, this does not return.
    fn fork_command(&mut self, changed: &Changed, missing: &mut Missing) -> Result<(), Failure> {
        let (here, there) = netdev::socket_pair().at(Step::OpenLink)?;
        self.command = self.fork(missing)?;
        if self.command.is_none() {
            // These must have no other holder: that they close tells of the stub's death.
            drop(here);
            self.guard = None;
            let plan = self.plan;
            let has_group = self.parent.is_some();
            let init = self.has_init.then_some(Duties {
                stop_all: plan.isolation.has(Isolation::CGROUP) && !has_group,
                name_leftovers: !plan.quiet && !has_group,
            });
            let place = Place {
                parent: self.parent.as_ref().map(|parent| parent.directory.fd()),
                stub: Some((there.fd(), changed)),
                init,
            };
            child::run(plan, &place);
        }
        self.link = Some(here);
        Ok(())
    }

    /// Forks, into a new PID namespace where one is wanted. In the new process: none.
    fn fork(&mut self, missing: &mut Missing) -> Result<Option<Pid>, Failure> {
        let plan = self.plan;
        let has_group = self.parent.is_some();
        // Without a group, leftovers are for the kernel to kill, when an init ends.
        let wanted = if has_group {
            Isolation::PID
        } else {
            Isolation::PID | Isolation::CGROUP
        };
        if plan.isolation.has(wanted) {
            let user = plan.caller.needs_user_namespace();
            self.has_init = true;
            // By the fork itself, so that nothing is executed between the namespace and its init
            // (bugs 675312 and 703278).
            let errno = match process::fork(Namespaces::PID.and(Namespaces::USER.when(user))) {
                Ok(forked) => return Ok(forked),
                Err(errno) => errno,
            };
            let step = if user {
                Step::UserNamespace
            } else {
                Step::PidNamespace
            };
            self.has_init = false;
            missing.tolerate(plan, Failure::new(step, errno), plan.isolation.only(wanted))?;
        }
        creds::fork_within_limits(&plan.caller).at(Step::StartCommand)
    }

    /// Starts a guard, to make the group, if there is to be one.
    fn start_guard(&mut self) -> Result<(), Failure> {
        if let Some(parent) = &self.parent {
            let [a, b, c, d, e, f, g, h, ..] = self.plan.random;
            let site = Site {
                parent: parent.directory.fd(),
                leave: parent.is_another,
                label: self.plan.group_name.as_bytes(),
                seed: u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
            };
            self.guard = Some(Guard::start(&self.plan.caller, site).at(Step::StartGuard)?);
        }
        Ok(())
    }

    /// Waits until the guard has made the group, and opens it: later a limit on open files could be
    /// in the way, or privileges be gone. Where that fails, there is neither guard nor group.
    fn wait_for_group(&mut self) -> Result<(), Failure> {
        let result = self.open_group();
        if result.is_err() {
            let _ = self.remove_group(Naming::Quiet, poll::now() + TIME_TO_END);
            if let Some(parent) = self.parent.take() {
                // A guard that was killed may have left one behind that has not been heard of.
                let _ = creds::take_up_root(&self.plan.caller);
                cgroup::remove_stale(parent.directory.fd());
            }
        }
        result
    }

    fn open_group(&mut self) -> Result<(), Failure> {
        if let (Some(guard), Some(parent), None) = (&self.guard, &self.parent, self.seed) {
            let seed = guard.wait_until_ready()?;
            creds::take_up_root(&self.plan.caller).at(Step::MakeGroup)?;
            let label = self.plan.group_name.as_bytes();
            let group = Cgroup::open(parent.directory.fd(), label, seed).at(Step::MakeGroup)?;
            self.group = Some(group);
            self.seed = Some(seed);
        }
        Ok(())
    }

    fn link_fd(&self) -> Fd {
        // What there is none of is standard error once more, which nothing is read from.
        self.link.as_ref().map_or(Fd::STDERR, OwnedFd::fd)
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
            self.link_fd(),
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

    /// Ends what was started of a box whose command will not start. Whether that is to be told: not
    /// where the command's process had failed, too, and told it.
    fn abandon(&mut self) -> bool {
        // What the guard has to tell is written by this process.
        creds::renounce();
        let end = poll::now() + TIME_TO_END;
        let told = self.end_command(end) == Some(Change::Ended(Ending::Exited(status::FAILED)));
        let _ = self.remove_group(Naming::Quiet, end);
        !told
    }

    /// Waits for the command's end, passing on signals, stops and continuations; then empties the
    /// box.
    fn wait(&mut self, quiet: bool) -> Ending {
        let ending = self.serve().unwrap_or_else(|errno| {
            // It may not have joined the group yet, which would end it.
            let _ = self.end_command(poll::now() + TIME_TO_END);
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
                (self.link_fd(), Event::Readable)
            } else {
                signals
            };
            let [_, told] = poll::wait([signals, link], None)?;
            while let Some((signal, origin)) = self.signals.next()? {
                if signal == Signal::SIGCHLD && origin == Origin::Kernel {
                    self.replace_guard()?;
                } else if self.leaves_terminal() && signal == Signal::SIGTSTP {
                    // In a session without a terminal nothing else stops it (setpgid(2), orphaned
                    // process groups).
                    self.pass_on(Signal::SIGSTOP);
                } else if self.is_for_command(signal, origin) {
                    self.pass_on(signal);
                }
            }
            if told && self.has_init {
                match Report::receive(self.link_fd()) {
                    Ok(Report::Ended(ending)) => return Ok(ending),
                    Ok(Report::Stopped(signal)) => self.suspend(signal),
                    // The init ended before it came to anything: its own end is the answer.
                    Err(_) => {}
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
            Origin::Kernel if self.leaves_terminal() && signal.is_of_terminal() => true,
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

    /// Whether the command is in another session than the one that the terminal signals.
    fn leaves_terminal(&self) -> bool {
        self.plan.hands_over()
    }

    /// Sends a signal to the command. It may be dead already, which SIGCHLD will tell.
    fn pass_on(&self, signal: Signal) {
        let _ = match self.command {
            _ if self.has_init => init::request(self.link_fd(), signal),
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
            if let Some(group) = &self.group {
                // Where none can be had, the box is in this process's hands alone.
                self.guard = Guard::replace(group).ok();
            }
        }
        Ok(())
    }

    /// Kills what the command left behind, and says so.
    fn clean_up(&mut self, quiet: bool) {
        let end = poll::now() + TIME_TO_END;
        let naming = if quiet {
            Naming::Quiet
        } else {
            Naming::AllBut(self.command)
        };
        if let Err(errno) = self.remove_group(naming, end) {
            if errno != Errno::EBUSY {
                diag::failure(Failure::new(Step::RemoveGroup, errno));
            }
        }
        self.end_init(end);
    }

    /// Ends the init, and with it, by the kernel's hand, everything in its namespace.
    fn end_init(&mut self, end: Milliseconds) {
        let (true, Some(pid)) = (self.has_init, self.command) else {
            return;
        };
        // By SIGKILL: where it was stopped it would not see that the link is closed.
        self.kill(pid);
        if self.wait_for(pid, end).is_some() {
            self.command = None;
        } else if self.group.is_none() {
            diag::failure(Failure::new(Step::EmptyGroup, Errno::EBUSY));
        }
    }

    /// Kills the command's process or its init, and says how it ended.
    fn end_command(&mut self, end: Milliseconds) -> Option<Change> {
        let pid = self.command.take()?;
        self.kill(pid);
        self.wait_for(pid, end)
    }

    /// Kills the command's process or its init; where that fails, it still ends by the link's end.
    fn kill(&mut self, pid: Pid) {
        if process::send(pid, Signal::SIGKILL).is_err() {
            self.link = None;
        }
    }

    /// Has the guard empty and remove the group; does it itself where the guard has died.
    fn remove_group(&mut self, naming: Naming, end: Milliseconds) -> Result<(), Errno> {
        if let Some(guard) = self.guard.take() {
            guard.release(naming);
            // Else the first that it says is not for people.
            if self.seed.is_some() {
                self.relay(&guard, end);
            }
            match self.wait_for(guard.pid(), end) {
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
            Some(group) => group.end(naming, Fd::STDERR),
            None => Ok(()),
        }
    }

    /// Passes on what the guard says, until it ends.
    fn relay(&self, guard: &Guard, end: Milliseconds) {
        let mut line = [0; 1024];
        loop {
            let now = poll::now();
            let word = (guard.fd(), Event::Readable);
            match poll::wait([word, word], Some(end.saturating_sub(now))) {
                Ok([true, _]) => {}
                // A signal, perhaps.
                Ok(_) if now < end => continue,
                _ => return,
            }
            match fd::read(guard.fd(), &mut line) {
                Ok(length) if length > 0 => diag::relay(line.get(..length).unwrap_or_default()),
                _ => return,
            }
        }
    }

    /// Waits for the end of a child, until `end`.
    fn wait_for(&self, pid: Pid, end: Milliseconds) -> Option<Change> {
        let mut has_failed = false;
        loop {
            match process::poll_child(pid) {
                Ok(Some(change @ Change::Ended(_))) => return Some(change),
                Err(_) if has_failed => return None,
                result => has_failed = result.is_err(),
            }
            let now = poll::now();
            if now >= end {
                return None;
            }
            // Signals that come now find no command to be passed on to.
            let signals = (self.signals.fd(), Event::Readable);
            // Where that fails, too, there is nothing better than to ask again.
            let _ = poll::wait([signals, signals], Some((end - now).min(100)));
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
