/* Runs a program and makes one system call of one of its processes fail, or kills there.
 *
 * strace(1) injects faults too, but counts in every process at once: the third openat of the guard
 * alone cannot be had from it. Here a process is named by the way to it: 0 is the first, 0.1 its
 * first child, 0.2 its second, and so on, which is the same in every run. Only the program's own
 * calls count: neither those before it is executed, nor those of the COMMAND that it executes.
 *
 * inject -r RESULT -g GROUP [-p PROCS] [-u UID] [-t TERMINAL] [-s SECONDS] [-l LIST]
 *        [-f PROCESS:CALL:N:FAULT] PROGRAM ARG...
 * FAULT is an errno, or k: kill the process, or a: kill all that have not executed COMMAND. CALL
 * and errnos are numbers. The program starts in GROUP, or where PROCS (x/cgroup.procs) is in it. RESULT gets a line for each thing seen, LIST a line for each call.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#ifndef __x86_64__
#error "only x86_64: elsewhere the registers of a system call have other names"
#endif

enum { MAX = 64, CALLS = 1024 };

static struct process {
	pid_t pid;
	char path[48];
	int children, counts[CALLS];
	int is_program; /* not before it is executed */
	int is_over;    /* dead, or COMMAND, and no more traced */
	int pending;    /* the errno to be returned at the end of this call */
} processes[MAX];
static int known;

static FILE *result, *list;
static char fault_path[32] = "";
static int fault_call = -1, fault_number, fault_errno;
static char fault_kind;
static volatile sig_atomic_t is_late;

static void on_alarm(int signal) { (void)signal; is_late = 1; }

static void die(const char *what) {
	fprintf(stderr, "inject: %s: %s\n", what, strerror(errno));
	exit(99);
}

static void say(const char *format, ...) {
	va_list arguments;
	va_start(arguments, format);
	vfprintf(result, format, arguments);
	va_end(arguments);
	fflush(result);
}

static struct process *find(pid_t pid) {
	for (int i = 0; i < known; i++)
		if (processes[i].pid == pid && !processes[i].is_over) return &processes[i];
	return NULL;
}

static struct process *add(pid_t pid) {
	if (known == MAX) die("too many processes");
	struct process *process = &processes[known++];
	process->pid = pid;
	return process;
}

/* The living processes of the group and of those below it: what is dead but not reaped yet is in
 * none. */
static void say_alive(const char *group) {
	char path[4096], line[64];
	struct dirent *entry;
	snprintf(path, sizeof path, "%s/cgroup.procs", group);
	FILE *procs = fopen(path, "re");
	while (procs && fgets(line, sizeof line, procs)) say("alive %s", line);
	if (procs) fclose(procs);
	DIR *directory = opendir(group);
	while (directory && (entry = readdir(directory))) {
		if (entry->d_type != DT_DIR || entry->d_name[0] == '.') continue;
		snprintf(path, sizeof path, "%s/%s", group, entry->d_name);
		say_alive(path);
	}
	if (directory) closedir(directory);
}

static void restart(struct process *process, int signal) {
	if (ptrace(PTRACE_SYSCALL, process->pid, 0, signal) != 0 && errno != ESRCH) die("ptrace");
}

static void set_register(pid_t pid, size_t offset, long value) {
	/* ESRCH: killed meanwhile. */
	if (ptrace(PTRACE_POKEUSER, pid, offset, value) != 0 && errno != ESRCH) die("PTRACE_POKEUSER");
}

static void at_call(struct process *process) {
	struct __ptrace_syscall_info info;
	if (ptrace(PTRACE_GET_SYSCALL_INFO, process->pid, sizeof info, &info) < 0) return;
	if (info.op == PTRACE_SYSCALL_INFO_EXIT && process->pending) {
		set_register(process->pid, offsetof(struct user_regs_struct, rax), -process->pending);
		process->pending = 0;
	}
	if (info.op != PTRACE_SYSCALL_INFO_ENTRY || !process->is_program) return;
	unsigned call = info.entry.nr;
	if (call >= CALLS) return;
	int number = ++process->counts[call];
	if (list) {
		char path[64], name[32] = "";
		snprintf(path, sizeof path, "/proc/%d/comm", process->pid);
		FILE *file = fopen(path, "r");
		if (file) {
			if (fscanf(file, "%31s", name) != 1) name[0] = 0;
			fclose(file);
		}
		fprintf(list, "%s %u %d %s\n", process->path, call, number, name);
	}
	if ((int)call != fault_call || number != fault_number || strcmp(process->path, fault_path)) return;
	say("hit %d\n", process->pid);
	if (fault_kind == 'k') {
		kill(process->pid, SIGKILL);
	} else if (fault_kind == 'a') {
		for (int i = 0; i < known; i++)
			if (!processes[i].is_over) kill(processes[i].pid, SIGKILL);
	} else {
		process->pending = fault_errno;
		/* A descriptor is closed even where close(2) reports an error. */
		if (call != SYS_close)
			set_register(process->pid, offsetof(struct user_regs_struct, orig_rax), -1);
	}
}

static void at_event(struct process *process, int event) {
	unsigned long message = 0;
	if (event == PTRACE_EVENT_EXEC) {
		if (process->is_program) {
			say("executed %s\n", process->path);
			/* The first is waited for. */
			process->is_over = process != processes;
			ptrace(PTRACE_DETACH, process->pid, 0, 0);
		} else {
			process->is_program = 1;
			restart(process, 0);
		}
		return;
	}
	ptrace(PTRACE_GETEVENTMSG, process->pid, 0, &message);
	restart(process, 0);
	if (message == 0) return;
	struct process *child = find(message);
	int is_waiting = child != NULL;
	if (!child) child = add(message);
	snprintf(child->path, sizeof child->path, "%.32s.%d", process->path, ++process->children);
	child->is_program = process->is_program;
	/* It was seen before this event told whose child it is. */
	if (is_waiting) restart(child, 0);
}

static void become(const char *group, const char *inner, int uid) {
	char path[4096];
	snprintf(path, sizeof path, "%s/%s", group, inner);
	int file = open(path, O_WRONLY | O_CLOEXEC);
	if (file < 0 || write(file, "0", 1) != 1) die(path);
	if (uid && (setgroups(0, NULL) || setresgid(uid, uid, uid) || setresuid(uid, uid, uid))) die("setresuid");
}

int main(int argc, char **argv) {
	char *group = NULL, *procs = "cgroup.procs", *terminal_name = NULL;
	int option, uid = 0, seconds = 20, terminal = -1, go[2];
	while ((option = getopt(argc, argv, "+r:g:p:u:t:s:l:f:")) > 0) switch (option) {
		case 'r': result = fopen(optarg, "we"); break;
		case 'g': group = optarg; break;
		case 'p': procs = optarg; break;
		case 'u': uid = atoi(optarg); break;
		case 't': terminal_name = optarg; break;
		case 's': seconds = atoi(optarg); break;
		case 'l': list = fopen(optarg, "we"); break;
		case 'f': {
			char what[16];
			if (sscanf(optarg, "%31[0-9.]:%d:%d:%15s", fault_path, &fault_call, &fault_number, what) != 4) return 98;
			fault_errno = atoi(what);
			fault_kind = fault_errno ? 'e' : what[0];
			break;
		}
		default: return 98;
	}
	if (!result || !group || optind >= argc) return 98;

	struct termios before = {0}, after = {0};
	if (terminal_name) {
		/* As a shell: the leader of the terminal's session. */
		setsid();
		terminal = open(terminal_name, O_RDWR | O_CLOEXEC);
		if (terminal < 0 || ioctl(terminal, TIOCSCTTY, 0) || tcgetattr(terminal, &before)) die(terminal_name);
		dup2(terminal, 0);
	}
	signal(SIGTTOU, SIG_IGN);
	if (pipe2(go, O_CLOEXEC)) die("pipe2");
	pid_t first = fork();
	if (first == 0) {
		char byte;
		setpgid(0, 0);
		signal(SIGTTOU, SIG_DFL);
		if (read(go[0], &byte, 1) != 1) die("read");
		become(group, procs, uid);
		execv(argv[optind], argv + optind);
		die(argv[optind]);
	}
	setpgid(first, first);
	if (terminal >= 0 && tcsetpgrp(terminal, first)) die("tcsetpgrp");
	/* Not PTRACE_TRACEME: a set-user-id program keeps its rights where its tracer has them. */
	long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE |
		       PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
	if (ptrace(PTRACE_SEIZE, first, 0, options)) die("PTRACE_SEIZE");
	/* To be seen at every call from here on. */
	if (ptrace(PTRACE_INTERRUPT, first, 0, 0)) die("PTRACE_INTERRUPT");
	strcpy(add(first)->path, "0");
	if (write(go[1], "", 1) != 1) die("write");

	struct sigaction action = {.sa_handler = on_alarm};
	sigaction(SIGALRM, &action, NULL);
	alarm(seconds);

	int status;
	for (;;) {
		pid_t pid = waitpid(-1, &status, __WALL);
		if (is_late) {
			say("hang\n");
			return 0;
		}
		if (pid < 0 && errno == EINTR) continue;
		if (pid < 0) break;
		struct process *process = find(pid);
		if (!process) {
			/* Its parent's event says whose it is, and has it go on. */
			add(pid);
			continue;
		}
		if (WIFEXITED(status) || WIFSIGNALED(status)) {
			process->is_over = 1;
			say("end %s %s %d\n", process->path, WIFEXITED(status) ? "exit" : "signal",
			    WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
			if (process == processes) {
				say_alive(group);
				if (terminal >= 0) {
					if (tcgetattr(terminal, &after) || memcmp(&before, &after, sizeof before)) say("terminal settings\n");
					if (tcgetpgrp(terminal) != first) say("terminal foreground\n");
				}
			}
			continue;
		}
		int signal = WSTOPSIG(status), event = status >> 16;
		if (signal == (SIGTRAP | 0x80)) {
			at_call(process);
			restart(process, 0);
		} else if (event == PTRACE_EVENT_STOP) {
			/* A new process, or one that a signal stops. */
			int is_stop = signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU;
			if (is_stop) ptrace(PTRACE_LISTEN, pid, 0, 0);
			else restart(process, 0);
		} else if (event) {
			at_event(process, event);
		} else {
			restart(process, signal);
		}
	}
	return 0;
}
