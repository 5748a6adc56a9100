//! The process that the caller started. It starts the command and the guard, keeps nothing of the
//! caller's but standard error and the descriptor of a report, and no privilege, waits, and ends as the command ended.
//!
//! Signals are blocked and read, never handled: nothing can interrupt a step halfway.
#![forbid(unsafe_code)]

use crate::caller::Authority;
use crate::cgroup::{self, Cgroup, Naming, Ruler, Seed};
use crate::child::{self, Changed, Place};
use crate::creds;
use crate::diag;
use crate::guard::{self, Guard};
use crate::init::{self, Duties};
use crate::ns::Missing;
use crate::plan::Plan;
use crate::policy::Isolation;
use crate::report::Report;
use crate::status;
use crate::step::{At, Failure, Step};
use crate::sys::fd::{self, Fd, OwnedFd};
use crate::sys::poll::{self, Deadline, Event, MILLISECOND, Microseconds, SECOND};
use crate::sys::process::{self, Change, Namespaces, Pid};
use crate::sys::signal::{self, Arrival, Disposition, Signal, SignalFd, SignalSet};
use crate::sys::{Errno, fs, netdev};

/// How long the end of a box may take: what its guard takes at most, and a little more.
const TIME_TO_END: Microseconds = cgroup::TIME_TO_DIE + SECOND;

/// Runs the plan's command in its box, and ends as it ended.
pub fn run(plan: &Plan) -> ! {
    let (changed, signals) = match take_over_signals().at(Step::BlockSignals) {
        Ok(taken) => taken,
        Err(failure) => child::fail(plan, failure),
    };
    let mut running = Running {
        plan,
        signals,
        changed,
        guard: None,
        command: None,
        link: None,
        seed: None,
        parent: None,
        leaves_group: false,
        has_init: false,
        missing: Missing::new(plan),
        group: Cgroup::new(),
    };
    if let Err(failure) = running.start() {
        running.abandon(failure);
    }
    imitate(running.wait())
}

/// Blocks every signal, and takes SIGCHLD as it is by default: where it is ignored, children are
/// reaped before their status can be read. A caller that adopts orphans leaves that to be undone:
/// here nobody would reap them, and they count against the command's limits.
fn take_over_signals() -> Result<(Changed, SignalFd), Errno> {
    let blocked = signal::set_blocked(SignalSet::ALL)?;
    let sigchld = signal::set_disposition(Signal::SIGCHLD, Disposition::DEFAULT)?;
    process::adopt_no_orphans()?;
    Ok((Changed { blocked, sigchld }, SignalFd::new()?))
}

/// A box with its command.
struct Running<'a> {
    plan: &'a Plan,
    signals: SignalFd,
    changed: Changed,
    guard: Option<Guard>,
    /// The command, or its init.
    command: Option<Pid>,
    /// To the command's process.
    link: Option<OwnedFd>,
    /// What the group's name was made of, if there is a group.
    seed: Option<Seed>,
    /// The directory for the box's group.
    parent: Option<OwnedFd>,
    /// That is not the group of the caller's own: the guard has to leave this.
    leaves_group: bool,
    has_init: bool,
    missing: Missing,
    /// Open if there is a seed.
    group: Cgroup,
}

impl Running<'_> {
    /// The steps up to the command's start, in order.
    ///
    /// Guard and command are started beside each other; then the command is put into the group, this
    /// process gives up what it does not need and lets the command go.
    fn start(&mut self) -> Result<(), Failure> {
        let plan = self.plan;
        if plan.report.is_some() {
            Report::reserve();
        }
        if self.must_have_group() {
            // Its namespaces are what takes longest.
            self.fork_command()?;
        }
        if plan.isolation.has(Isolation::CGROUP) {
            let found = self.find_parent().at(Step::FindGroup);
            self.missing.tolerate(found, Isolation::CGROUP)?;
        }
        if plan.caller.authority == Authority::None {
            // Whether there is a group decides whether there is a PID namespace.
            self.start_guard()?;
            let _ = self.wait_for_group();
        }
        if self.command.is_none() {
            self.fork_command()?;
        }
        self.start_guard()?;
        let made = self.wait_for_group();
        self.missing.tolerate(made, Isolation::CGROUP)?;
        if let (true, Some(command)) = (self.has_group(), self.command) {
            // Before it can fork anything.
            self.group.admit(command).at(Step::JoinGroup)?;
        }
        self.settle()?;
        creds::retire(&plan.caller)?;
        self.missing.tell();
        child::let_go(self.link_fd(), self.has_group()).at(Step::StartCommand)
    }

    /// Whether there will be a group or no box: otherwise a PID namespace may have to do.
    fn must_have_group(&self) -> bool {
        let plan = self.plan;
        plan.isolation.has(Isolation::CGROUP)
            && plan.caller.authority != Authority::None
            && !plan.best_effort
    }

    fn will_have_group(&self) -> bool {
        self.parent.is_some() || self.must_have_group()
    }

    /// Finds the directory for the box's group; none where the caller can have none, and a PID
    /// namespace does instead.
    fn find_parent(&mut self) -> Result<(), Errno> {
        let caller = &self.plan.caller;
        let ruler = match (caller.authority, self.plan.handed_to()) {
            (Authority::Lent, _) => Some(Ruler::Caller(caller.uid)),
            (_, Some(uid)) => Some(Ruler::Other(uid)),
            _ => None,
        };
        let mut find = || match (self.plan.group_parent, ruler) {
            (Some(path), _) => cgroup::given_group(path),
            (None, Some(ruler)) => cgroup::beyond_reach(ruler, &mut self.leaves_group),
            (None, None) => cgroup::own_group(),
        };
        self.parent = match caller.authority {
            Authority::None => find().ok().filter(|group| cgroup::is_delegated(group.fd())),
            _ => Some(find()?),
        };
        Ok(())
    }

    /// Forks the command's process, or where it needs one, its init. In it, this does not return.
    fn fork_command(&mut self) -> Result<(), Failure> {
        let (here, there) = netdev::socket_pair().at(Step::OpenLink)?;
        self.command = self.fork()?;
        if self.command.is_none() {
            // These must have no other holder: that they close tells of the stub's death.
            drop(here);
            self.guard = None;
            let plan = self.plan;
            let has_group = self.will_have_group();
            let init = self.has_init.then_some(Duties {
                stop_all: plan.isolation.has(Isolation::CGROUP) && !has_group,
                name_leftovers: !plan.quiet && !has_group,
            });
            let place = Place {
                stub: Some((there.fd(), self.changed)),
                init,
            };
            child::run(plan, &place);
        }
        self.link = Some(here);
        Ok(())
    }

    /// Forks, into a new PID namespace where one is wanted. In the new process: none.
    fn fork(&mut self) -> Result<Option<Pid>, Failure> {
        let plan = self.plan;
        let has_group = self.will_have_group();
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
            let failed = Err(Failure::new(step, errno));
            self.missing.tolerate(failed, plan.isolation.only(wanted))?;
        }
        creds::set_in_force(&plan.caller, false).at(Step::StartCommand)?;
        let forked = process::fork(Namespaces::NONE).at(Step::StartCommand)?;
        // It is to be ended where this fails.
        self.command = forked;
        creds::set_in_force(&plan.caller, true).at(Step::StartCommand)?;
        Ok(forked)
    }

    /// Starts a guard, to make the group, if there is to be one.
    fn start_guard(&mut self) -> Result<(), Failure> {
        if let (Some(parent), None) = (&self.parent, &self.guard) {
            let started = Guard::start(self.plan, parent.fd(), self.leaves_group);
            self.guard = Some(started.at(Step::StartGuard)?);
        }
        Ok(())
    }

    /// Waits until the guard has made the group, and opens it: later a limit on open files could be
    /// in the way, or privileges be gone. Where that fails, there is neither guard nor group.
    fn wait_for_group(&mut self) -> Result<(), Failure> {
        let result = self.open_group();
        if result.is_err() {
            let _ = self.remove_group(Naming::Quiet, Deadline::after(TIME_TO_END));
            if let Some(parent) = self.parent.take() {
                // A guard that was killed may have left one behind that has not been heard of.
                let _ = creds::take_up_root(&self.plan.caller);
                cgroup::remove_stale(parent.fd(), self.plan.caller.groups_owner());
            }
        }
        result
    }

    fn open_group(&mut self) -> Result<(), Failure> {
        if let (Some(guard), Some(parent), None) = (&self.guard, &self.parent, self.seed) {
            let seed = guard.wait_until_ready()?;
            creds::take_up_root(&self.plan.caller).at(Step::MakeGroup)?;
            let label = self.plan.group_name.as_bytes();
            let for_report = self.plan.report.is_some();
            let opened = self.group.open(parent.fd(), label, seed, for_report);
            opened.at(Step::MakeGroup)?;
            self.seed = Some(seed);
        }
        Ok(())
    }

    fn has_group(&self) -> bool {
        self.seed.is_some()
    }

    fn link_fd(&self) -> Fd {
        self.link.as_ref().map_or(Fd::NONE, OwnedFd::fd)
    }

    /// Lets go of the caller's descriptors and directory.
    #[inline(never)]
    fn settle(&self) -> Result<(), Failure> {
        fs::change_directory(c"/").at(Step::LeaveDirectory)?;
        let kept = [
            Fd::STDERR,
            self.signals.fd(),
            self.link_fd(),
            self.guard.as_ref().map_or(Fd::NONE, Guard::fd),
            self.group.parent(),
            self.plan.report.unwrap_or(Fd::NONE),
        ];
        fd::close_all_but(&kept, self.group.descriptors()).at(Step::CloseDescriptors)
    }

    /// Ends what was started of a box whose command will not start, and says so, but for where the
    /// command's process had failed, too, and told it: one line is enough.
    fn abandon(&mut self, failure: Failure) -> ! {
        // What the guard has to tell is written by this process.
        creds::renounce();
        let end = Deadline::after(TIME_TO_END);
        let ended = self.end_command(end);
        let _ = self.remove_group(Naming::Quiet, end);
        if ended == Some(Change::exited(status::FAILED)) {
            process::exit(status::FAILED);
        }
        child::fail(self.plan, failure)
    }

    /// Waits for the command's end, passing on signals, stops and continuations; then empties the
    /// box.
    fn wait(&mut self) -> Change {
        let ending = self.serve().unwrap_or_else(|errno| {
            // It may not have joined the group yet, which would end it.
            let _ = self.end_command(Deadline::after(TIME_TO_END));
            diag::failure(Failure::new(Step::Wait, errno));
            Change::exited(status::FAILED)
        });
        match self.plan.report {
            None => self.clean_up(),
            Some(told) => self.clean_up_and_report(ending, told),
        }
        ending
    }

    /// What there is to tell is gone afterwards; and the caller that reads it must not hinder that.
    #[inline(never)]
    fn clean_up_and_report(&mut self, ending: Change, told: Fd) {
        let time = poll::now().wrapping_sub(self.plan.began);
        let mut report = Report::new(ending, time);
        if self.has_group() {
            self.group.describe(&mut report, self.command);
        }
        self.clean_up();
        report.send(told);
    }

    fn serve(&mut self) -> Result<Change, Errno> {
        let command = self.command.ok_or(Errno::ECHILD)?;
        loop {
            // The command itself has nothing to tell.
            let link = if self.has_init {
                self.link_fd()
            } else {
                Fd::NONE
            };
            let told = poll::wait_for_two(self.signals.fd(), link)?;
            while let Some(arrival) = self.signals.next()? {
                self.take_signal(arrival)?;
            }
            if let Some(link) = told {
                // Where the init ended before it came to anything, its own end is the answer.
                if let Ok(change) = init::receive(link) {
                    if change.has_ended() {
                        return Ok(change);
                    }
                    self.suspend(change);
                }
            }
            let Some(change) = process::poll_child(command)? else {
                continue;
            };
            if change.has_ended() {
                self.command = None;
                return Ok(change);
            }
            if self.has_init {
                // A stopped init reaps nothing and tells nothing. The command may have done that
                // to it: root's by ptrace(2), a user's never.
                if change.stopped_by().is_some() {
                    let _ = process::send(command, Signal::SIGCONT);
                }
            } else {
                self.suspend(change);
            }
        }
    }

    /// Does what a signal to this process asks for.
    #[inline(never)]
    fn take_signal(&mut self, arrival: Arrival) -> Result<(), Errno> {
        let signal = arrival.signal();
        if signal == Signal::SIGCHLD && arrival.sender().is_none() {
            return self.replace_guard();
        }
        if self.leaves_terminal() && signal == Signal::SIGTSTP {
            // In a session without a terminal nothing else stops it (setpgid(2), orphaned process
            // groups).
            self.pass_on(Signal::SIGSTOP, true);
        } else if self.is_for_command(arrival) {
            // The terminal would have signalled all of its process group.
            let is_key = arrival.sender().is_none() && signal.is_of_terminal();
            self.pass_on(signal, is_key && self.leaves_terminal());
        }
        Ok(())
    }

    /// Whether a signal is to be passed on.
    ///
    /// The command is in the same process group, so that what the terminal sends there reaches it
    /// anyway, once; what the terminal sends to a session's leader alone does not. What was sent
    /// by the command, or by something in its box, was not meant for it.
    fn is_for_command(&self, arrival: Arrival) -> bool {
        let signal = arrival.signal();
        match arrival.sender() {
            Some(sender) => {
                let from_box = Pid::new(sender).is_some_and(|sender| {
                    Some(sender) == self.command || self.has_group() && self.group.contains(sender)
                });
                // A write of this process's own to a closed pipe looks as if sent by itself.
                let own = signal == Signal::SIGPIPE && sender == process::this();
                !from_box && !own
            }
            None if self.leaves_terminal() && signal.is_of_terminal() => true,
            None => match signal {
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
        self.plan.handed_to().is_some()
    }

    /// Sends a signal to the command, or to its process group. It may be dead already, which SIGCHLD
    /// will tell.
    fn pass_on(&self, signal: Signal, to_group: bool) {
        let _ = match self.command {
            _ if self.has_init => init::request(self.link_fd(), signal, to_group),
            Some(command) if to_group => process::send_group(command, signal),
            Some(command) => process::send(command, signal),
            None => Ok(()),
        };
    }

    /// The command has stopped: stop all of the box, then this process by the same signal, so that
    /// the caller's shell sees it (bug 704498). Goes on when the shell continues it.
    fn suspend(&self, change: Change) {
        let Some(signal) = change.stopped_by() else {
            // It has been continued.
            return;
        };
        if self.has_group() {
            // What cannot be frozen goes on; the command itself is stopped.
            let _ = self.group.freeze();
        }
        signal::take_by_default(signal);
        // Stopped here.
        let _ = signal::set_blocked(SignalSet::ALL);
        // In an orphaned process group the kernel does not stop anything by a terminal's signal
        // (setpgid(2)): then nobody will continue the command through this process either.
        if signal::take_pending(Signal::SIGCONT) {
            // A frozen command takes two of them, the shell's and this, for one.
            self.pass_on(Signal::SIGCONT, self.leaves_terminal());
        }
        if self.has_group() {
            let _ = self.group.thaw();
        }
    }

    /// Starts another guard where the one there was has died.
    fn replace_guard(&mut self) -> Result<(), Errno> {
        let Some(guard) = &self.guard else {
            return Ok(());
        };
        if process::poll_child(guard.pid())?.is_some_and(Change::has_ended) {
            self.guard = None;
            if self.has_group() {
                // Where none can be had, the box is in this process's hands alone.
                self.guard = Guard::replace(&self.group).ok();
            }
        }
        Ok(())
    }

    /// Kills what the command left behind, and says so.
    fn clean_up(&mut self) {
        let end = Deadline::after(TIME_TO_END);
        let naming = if self.plan.quiet {
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
    fn end_init(&mut self, end: Deadline) {
        let (true, Some(pid)) = (self.has_init, self.command) else {
            return;
        };
        // By SIGKILL: where it was stopped it would not see that the link is closed.
        self.kill(pid);
        if self.wait_for(pid, end).is_some() {
            self.command = None;
        } else if !self.has_group() {
            diag::failure(Failure::new(Step::EmptyGroup, Errno::EBUSY));
        }
    }

    /// Kills the command's process or its init, and says how it ended.
    fn end_command(&mut self, end: Deadline) -> Option<Change> {
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
    fn remove_group(&mut self, naming: Naming, end: Deadline) -> Result<(), Errno> {
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
        if self.has_group() {
            return self.group.end(naming, Fd::STDERR);
        }
        Ok(())
    }

    /// Passes on what the guard says, until it ends.
    fn relay(&self, guard: &Guard, end: Deadline) {
        let mut line = [0; 1024];
        loop {
            let left = end.left();
            match poll::wait(guard.fd(), Event::Readable, left) {
                Ok(Some(_)) => {}
                // A signal, perhaps.
                Ok(None) if left > 0 => continue,
                _ => return,
            }
            match fd::read(guard.fd(), &mut line) {
                Ok(length) if length > 0 => diag::relay(line.get(..length).unwrap_or_default()),
                _ => return,
            }
        }
    }

    /// Waits for the end of a child, until `end`.
    fn wait_for(&self, pid: Pid, end: Deadline) -> Option<Change> {
        let mut has_failed = false;
        loop {
            let result = process::poll_child(pid);
            if let Ok(change) = result {
                if change.is_some_and(Change::has_ended) {
                    return change;
                }
            } else if has_failed {
                return None;
            }
            has_failed = result.is_err();
            let left = end.left();
            if left == 0 {
                return None;
            }
            // Signals that come now find no command to be passed on to.
            // Where that fails, too, there is nothing better than to ask again.
            let _ = poll::wait(
                self.signals.fd(),
                Event::Readable,
                left.min(100 * MILLISECOND),
            );
            while let Ok(Some(_)) = self.signals.next() {}
        }
    }
}

/// Ends as the command ended: by the same signal, so that shells and make(1) see what happened, but
/// without a core dump of this process; by an exit status where there is no other way.
fn imitate(ending: Change) -> ! {
    if let Some(signal) = ending.killed_by() {
        // Where a core dump cannot be ruled out, an exit status has to do.
        if process::forbid_dump().is_ok() {
            signal::take_by_default(signal);
        }
        // Still here: as pid 1, a process is not killed by its own signals.
    }
    process::exit(status::of(ending))
}
