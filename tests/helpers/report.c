/* Writes to the file named by its first argument what a process inherits by execve(2), one line
 * each, so that two runs can be compared. What could differ by chance is left out: pids. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

extern char **environ;

static FILE *out;

static void hex(const char *kind, const char *string)
{
	fprintf(out, "%s ", kind);
	for (; *string; string++)
		fprintf(out, "%02x", (unsigned char)*string);
	fputc('\n', out);
}

int main(int argc, char **argv)
{
	/* Before anything is opened. */
	static char fds[65536];
	size_t length = 0;
	for (int fd = 0; fd < 1024; fd++) {
		int flags = fcntl(fd, F_GETFD);
		if (flags < 0)
			continue;
		char link[64], target[4096];
		snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
		ssize_t size = readlink(link, target, sizeof target - 1);
		target[size < 0 ? 0 : size] = 0;
		length += snprintf(fds + length, sizeof fds - length, "fd %d %s flags %#x mode %#x at %lld\n",
			fd, target, flags, fcntl(fd, F_GETFL), (long long)lseek(fd, 0, SEEK_CUR));
	}
	mode_t mask = umask(0);
	umask(mask);
	out = argc > 1 ? fopen(argv[1], "w") : NULL;
	if (!out)
		return 99;
	fputs(fds, out);

	fprintf(out, "argc %d\n", argc);
	for (int i = 0; i < argc; i++)
		hex("arg", argv[i]);
	for (char **variable = environ; *variable; variable++)
		hex("env", *variable);

	char directory[4096] = "";
	struct stat status = { 0 };
	if (readlink("/proc/self/cwd", directory, sizeof directory - 1) < 0 || stat("/proc/self/cwd/", &status))
		fprintf(out, "cwd error %d\n", errno);
	fprintf(out, "cwd %s %llu\n", directory, (unsigned long long)status.st_ino);

	fprintf(out, "umask %#o\n", mask);
	fprintf(out, "nice %d\n", getpriority(PRIO_PROCESS, 0));
	fprintf(out, "scheduler %d\n", sched_getscheduler(0));
	fprintf(out, "ioprio %ld\n", syscall(SYS_ioprio_get, 1, 0));
	fprintf(out, "slack %d\n", prctl(PR_GET_TIMERSLACK));
	fprintf(out, "personality %#x\n", personality(0xffffffff));
	fprintf(out, "secure %lu\n", getauxval(AT_SECURE));
	fprintf(out, "subreaper %d\n", ({ int value = -1; prctl(PR_GET_CHILD_SUBREAPER, &value); value; }));
	fprintf(out, "death signal %d\n", ({ int value = -1; prctl(PR_GET_PDEATHSIG, &value); value; }));
	fprintf(out, "dumpable %d\n", prctl(PR_GET_DUMPABLE));
	for (int resource = 0; resource < RLIM_NLIMITS; resource++) {
		struct rlimit limit;
		getrlimit(resource, &limit);
		fprintf(out, "limit %d %llu %llu\n", resource, (unsigned long long)limit.rlim_cur,
			(unsigned long long)limit.rlim_max);
	}
	fprintf(out, "session %d\n", getsid(0));
	fprintf(out, "group %d\n", getpgrp());
	fprintf(out, "foreground %d\n", tcgetpgrp(0));
	int terminal = open("/dev/tty", O_RDWR | O_CLOEXEC);
	fprintf(out, "terminal %d\n", terminal < 0 ? -errno : 1);

	char line[512];
	FILE *proc = fopen("/proc/self/status", "re");
	while (proc && fgets(line, sizeof line, proc)) {
		static const char *const wanted[] = { "Uid", "Gid", "Groups", "SigBlk", "SigIgn", "SigCgt",
			"SigPnd", "ShdPnd", "Seccomp", "Cpus_allowed_list", "THP_enabled" };
		for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
			size_t size = strlen(wanted[i]);
			if (!strncmp(line, wanted[i], size) && line[size] == ':')
				fputs(line, out);
		}
	}
	proc = fopen("/proc/self/oom_score_adj", "re");
	if (proc && fgets(line, sizeof line, proc))
		fprintf(out, "oom %s", line);
	return fclose(out) == 0 ? 0 : 99;
}
