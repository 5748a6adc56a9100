/*
 * What a box has to end, and the barest way to end it.
 *
 *	ending leave NUMBER		leaves NUMBER processes behind
 *	ending nest NUMBER		leaves NUMBER groups behind, one in another, below its own group
 *	ending bare GROUP leave|nest NUMBER
 *					makes GROUP, runs the same in it, then writes cgroup.kill, waits
 *					until nothing is alive and removes what is there: not one check
 *
 * The first two write the time at which they end to standard output. CGROUP2 is where cgroup v2 is
 * mounted.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void fail(const char *step)
{
	perror(step);
	exit(1);
}

static void leave(long number)
{
	while (number-- > 0) {
		pid_t child = fork();

		if (child < 0)
			fail("fork");
		if (child == 0)
			for (;;)
				pause();
	}
}

static void enter_own_group(void)
{
	char line[4096], *mount = getenv("CGROUP2");
	FILE *file = fopen("/proc/self/cgroup", "r");

	while (file && fgets(line, sizeof line, file)) {
		if (strncmp(line, "0::/", 4))
			continue;
		line[strcspn(line, "\n")] = 0;
		if (!mount || chdir(mount) || (line[4] && chdir(line + 4)))
			fail("chdir");
		fclose(file);
		return;
	}
	fail("/proc/self/cgroup");
}

static void nest(long number)
{
	enter_own_group();
	while (number-- > 0)
		if (mkdir("g", 0700) || chdir("g"))
			fail("mkdir");
}

static void end(char **words)
{
	struct timespec now;

	if (!strcmp(words[0], "leave"))
		leave(atol(words[1]));
	else
		nest(atol(words[1]));
	clock_gettime(CLOCK_MONOTONIC, &now);
	printf("%lld\n", now.tv_sec * 1000000000LL + now.tv_nsec);
	fflush(stdout);
	_exit(0);
}

static int is_empty(int events)
{
	char text[128] = "";

	if (pread(events, text, sizeof text - 1, 0) < 0)
		fail("cgroup.events");
	return strstr(text, "populated 0") != NULL;
}

static int bare(const char *group, char **words)
{
	int directory, procs, events, killer, depth = 0;
	pid_t child;

	if (mkdir(group, 0700) || (directory = open(group, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
		fail(group);
	procs = openat(directory, "cgroup.procs", O_WRONLY | O_CLOEXEC);
	events = openat(directory, "cgroup.events", O_RDONLY | O_CLOEXEC);
	killer = openat(directory, "cgroup.kill", O_WRONLY | O_CLOEXEC);
	child = fork();
	if (child == 0) {
		if (write(procs, "0", 1) != 1)
			fail("cgroup.procs");
		end(words);
	}
	waitpid(child, NULL, 0);
	if (write(killer, "1", 1) != 1)
		fail("cgroup.kill");
	while (!is_empty(events)) {
		struct pollfd changed = { .fd = events, .events = POLLPRI };

		poll(&changed, 1, 1000);
	}
	if (fchdir(directory))
		fail("fchdir");
	while (chdir("g") == 0)
		depth++;
	for (; depth > 0; depth--)
		if (chdir("..") || rmdir("g"))
			fail("rmdir");
	if (rmdir(group))
		fail(group);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3)
		end(argv + 1);
	if (argc == 5 && !strcmp(argv[1], "bare"))
		return bare(argv[2], argv + 3);
	fputs("usage: ending leave|nest NUMBER; ending bare GROUP leave|nest NUMBER\n", stderr);
	return 2;
}
