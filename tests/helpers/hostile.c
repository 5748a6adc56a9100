/* What hostile callers and their commands do. The first argument says what. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static void append_file(int log, const char *path)
{
	char bytes[4096];
	int file = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = read(file, bytes, sizeof bytes);
	if (length > 0)
		(void)!write(log, bytes, length);
	close(file);
}

/* witness LOG: tells its group at once, then leaves a daemon that ignores what can be ignored and
 * tells its group, too; stays. */
static int witness(const char *path)
{
	int log = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	append_file(log, "/proc/self/cgroup");
	if (fork() == 0) {
		setsid();
		for (int number = 1; number < 65; number++)
			signal(number, SIG_IGN);
		if (fork() == 0) {
			append_file(log, "/proc/self/cgroup");
			for (;;)
				pause();
		}
		_exit(0);
	}
	(void)!write(1, "ready\n", 6);
	for (;;)
		pause();
}

/* tell LOG: appends the status and the group of the process, whole, by one write. */
static int tell(const char *path)
{
	static char text[16384];
	size_t length = 0;
	static const char *files[] = { "/proc/self/status", "/proc/self/cgroup" };
	for (int i = 0; i < 2; i++) {
		int file = open(files[i], O_RDONLY);
		ssize_t more = read(file, text + length, sizeof text - length);
		close(file);
		if (more > 0)
			length += more;
	}
	int log = open(path, O_WRONLY | O_APPEND | O_CREAT, 0644);
	return write(log, text, length) == (ssize_t)length ? 0 : 1;
}

static void say(const char *what, long result)
{
	printf("%s %s\n", what, result < 0 ? strerrorname_np(errno) : "done");
}

static void try_open(const char *what, const char *pid, const char *name, int flags)
{
	char path[256];
	snprintf(path, sizeof path, "/proc/%s/%s", pid, name);
	say(what, open(path, flags));
}

/* peep PID: everything that one process can take from another. */
static int peep(const char *text)
{
	int pid = atoi(text);
	char byte;
	struct iovec here = { &byte, 1 }, there = { (void *)0x10000, 1 };
	say("seize", ptrace(PTRACE_SEIZE, pid, 0, 0));
	say("process_vm_readv", process_vm_readv(pid, &here, 1, &there, 1, 0));
	try_open("mem", text, "mem", O_RDWR);
	try_open("maps", text, "maps", O_RDONLY);
	try_open("environ", text, "environ", O_RDONLY);
	try_open("fd", text, "fd", O_RDONLY | O_DIRECTORY);
	try_open("cwd", text, "cwd", O_PATH);
	try_open("net", text, "ns/net", O_RDONLY);
	long pidfd = syscall(SYS_pidfd_open, pid, 0);
	say("pidfd", pidfd);
	long taken = -1;
	for (int fd = 0; fd < 64 && taken < 0; fd++)
		taken = syscall(SYS_pidfd_getfd, pidfd, fd, 0);
	say("pidfd_getfd", taken);
	return 0;
}

/* limit PID RESOURCE: takes a limit of another process down to nothing. */
static int limit(const char *pid, const char *resource)
{
	struct rlimit64 none = { 0, 0 };
	say("prlimit", syscall(SYS_prlimit64, atoi(pid), atoi(resource), &none, NULL));
	return 0;
}

/* bare PROGRAM: executes it with no argument vector at all, and no environment. */
static int bare(const char *program)
{
	char *none[] = { NULL };
	execve(program, none, none);
	return 98;
}

/* fds FILE: the open descriptors, into a file. */
static int fds(const char *path)
{
	char text[4096];
	int length = 0;
	for (int fd = 0; fd < 1024; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			length += snprintf(text + length, sizeof text - length, "%d ", fd);
	int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	return write(file, text, length) == length ? 0 : 1;
}

/* regain: every way back to more privileges. */
static int regain(void)
{
	say("setuid", setuid(0));
	say("seteuid", seteuid(0));
	say("setresuid", setresuid(0, 0, 0));
	say("setgid", setgid(0));
	say("setgroups", setgroups(0, NULL));
	say("chroot", chroot("/"));
	say("ambient", prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 21, 0, 0));
	say("setns", syscall(SYS_setns, open("/proc/1/ns/net", O_RDONLY), 0));
	return 0;
}

/* become UID GID PROGRAM...: by calls that the program does not make, so that a tracer's counting
 * begins with the program's own. */
static int become(char **argv)
{
	if (setgid(atoi(argv[1])) || setuid(atoi(argv[0])))
		return 97;
	execv(argv[2], argv + 2);
	return 98;
}

int main(int argc, char **argv)
{
	const char *verb = argc > 1 ? argv[1] : "";
	if (argc == 3 && !strcmp(verb, "witness"))
		return witness(argv[2]);
	if (argc == 3 && !strcmp(verb, "tell"))
		return tell(argv[2]);
	if (argc == 3 && !strcmp(verb, "peep"))
		return peep(argv[2]);
	if (argc == 4 && !strcmp(verb, "limit"))
		return limit(argv[2], argv[3]);
	if (argc == 3 && !strcmp(verb, "bare"))
		return bare(argv[2]);
	if (argc > 4 && !strcmp(verb, "become"))
		return become(argv + 2);
	if (argc == 3 && !strcmp(verb, "fds"))
		return fds(argv[2]);
	if (argc == 2 && !strcmp(verb, "regain"))
		return regain();
	return 99;
}
