/*
 * Counts the instructions of a program in user space, by single steps: of all its processes, up to
 * where one of them becomes COMMAND, which is not counted. Needs nothing of the processor's, where
 * perf(1) finds no counters in a virtual machine.
 *
 *	steps UID RESULT COMMAND PROGRAM [ARG]...
 *
 * PROGRAM runs as UID, without groups but for the one of that number. Root traces it, so that a
 * set-id bit has its effect. RESULT becomes a file with the sum and the number of processes.
 *
 * With COMMAND empty, it is counted between two SIGTRAPs that PROGRAM sends itself, and what it
 * forks there up to any execve(2). At LIMIT the count stops: that takes some seconds.
 */
#define _GNU_SOURCE
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#define OPTIONS (PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | \
		 PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL)

#define LIMIT 400000

static pid_t known[4096];
static int count;
static unsigned long long steps;

static int is_known(pid_t pid)
{
	for (int i = 0; i < count; i++)
		if (known[i] == pid)
			return 1;
	if (count < (int)(sizeof known / sizeof *known))
		known[count++] = pid;
	return 0;
}

static int runs(pid_t pid, const char *command)
{
	char link[64], path[4096], *real = realpath(command, NULL);
	ssize_t length;
	int same;

	snprintf(link, sizeof link, "/proc/%d/exe", pid);
	length = readlink(link, path, sizeof path - 1);
	same = real && length > 0 && strlen(real) == (size_t)length && !memcmp(real, path, length);
	free(real);
	return same;
}

static void start(uid_t uid, char **words)
{
	if (uid && (setgroups(0, NULL) || setresgid(uid, uid, uid) || setresuid(uid, uid, uid)))
		_exit(124);
	ptrace(PTRACE_TRACEME, 0, 0, 0);
	raise(SIGSTOP);
	execv(words[0], words);
	_exit(124);
}

int main(int argc, char **argv)
{
	int status, result = 124, between = argc > 3 && !*argv[3], inside = !between;
	pid_t first, pid;
	FILE *file;

	if (argc < 5)
		return 124;
	first = fork();
	if (first == 0)
		start(atoi(argv[1]), argv + 4);
	if (waitpid(first, &status, 0) != first || !WIFSTOPPED(status))
		return 124;
	ptrace(PTRACE_SETOPTIONS, first, 0, OPTIONS);
	ptrace(PTRACE_CONT, first, 0, 0);
	while ((pid = waitpid(-1, &status, __WALL)) > 0) {
		int signal, event = status >> 16;

		if (!WIFSTOPPED(status)) {
			if (pid == first)
				result = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
			continue;
		}
		signal = WSTOPSIG(status);
		if (event == PTRACE_EVENT_EXEC) {
			int begins = !is_known(pid) && pid == first;

			if (!begins && (between || runs(pid, argv[3]))) {
				ptrace(PTRACE_DETACH, pid, 0, 0);
				continue;
			}
			signal = 0;
		} else if (event) {
			signal = 0;
		} else if (signal == SIGTRAP) {
			siginfo_t info = { 0 };

			ptrace(PTRACE_GETSIGINFO, pid, 0, &info);
			if (info.si_code == SI_USER || info.si_code == SI_TKILL) {
				if (inside) {
					ptrace(PTRACE_DETACH, pid, 0, 0);
					continue;
				}
				inside = 1;
			} else {
				steps++;
				inside = steps < LIMIT;
			}
			signal = 0;
		} else if (signal == SIGSTOP && !is_known(pid)) {
			signal = 0;
		}
		ptrace(inside ? PTRACE_SINGLESTEP : PTRACE_CONT, pid, 0, signal);
	}
	file = fopen(argv[2], "w");
	if (!file || fprintf(file, "%llu %d\n", steps, count) < 0 || fclose(file))
		return 124;
	return result;
}
