/* What the boxes of a soak run do.
 *
 * work enter UID FILE... -- PROGRAM ARG...  joins the groups whose cgroup.procs these are, becomes
 *                                           the user, executes the program
 * work canary NAME                          waits, called NAME
 * work MILLISECONDS STATUS DAEMONS DEPTH BOMB MOUNT
 *     leaves daemons; a process in DEPTH groups, one within the other, below its own (cgroup2 is
 *     mounted at MOUNT); with BOMB forks without end; after a while exits, or for a STATUS below 0
 *     dies of that signal.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void fail(const char *what) {
	perror(what);
	exit(99);
}

static void put(const char *path, const char *text) {
	int file = open(path, O_WRONLY | O_CLOEXEC);
	if (file < 0 || write(file, text, strlen(text)) < 0) fail(path);
	close(file);
}

static void wait_for_ever(void) {
	for (;;) pause();
}

/* In a session of its own, its parent's no more, deaf to what can be ignored. */
static void leave_daemon(void) {
	pid_t middle = fork();
	if (middle == 0) {
		setsid();
		if (fork() == 0) {
			signal(SIGHUP, SIG_IGN);
			signal(SIGTERM, SIG_IGN);
			wait_for_ever();
		}
		_exit(0);
	}
	if (middle > 0) waitpid(middle, NULL, 0);
}

static void nest(int depth, const char *mount) {
	char path[4096] = "", line[1024];
	FILE *file = fopen("/proc/self/cgroup", "re");
	while (file && fgets(line, sizeof line, file))
		if (!strncmp(line, "0::", 3)) snprintf(path, sizeof path, "%s%.*s", mount, (int)strcspn(line + 3, "\n"), line + 3);
	if (file) fclose(file);
	for (int i = 0; i < depth; i++) {
		strcat(path, "/d");
		if (mkdir(path, 0700)) fail(path);
	}
	strcat(path, "/cgroup.procs");
	if (fork() == 0) {
		put(path, "0");
		wait_for_ever();
	}
}

static void bomb(void) {
	signal(SIGCHLD, SIG_IGN);
	for (;;)
		if (fork() < 0) usleep(1000);
}

int main(int argc, char **argv) {
	if (argc > 3 && !strcmp(argv[1], "enter")) {
		int uid = atoi(argv[2]), next = 3;
		for (; strcmp(argv[next], "--"); next++) put(argv[next], "0");
		if (uid && (setgroups(0, NULL) || setresgid(uid, uid, uid) || setresuid(uid, uid, uid))) fail("setresuid");
		execv(argv[next + 1], argv + next + 1);
		fail(argv[next + 1]);
	}
	if (argc == 3 && !strcmp(argv[1], "canary")) {
		prctl(PR_SET_NAME, argv[2]);
		wait_for_ever();
	}
	if (argc != 7) return 98;
	int milliseconds = atoi(argv[1]), status = atoi(argv[2]), daemons = atoi(argv[3]), depth = atoi(argv[4]);
	for (int i = 0; i < daemons; i++) leave_daemon();
	if (depth) nest(depth, argv[6]);
	if (atoi(argv[5]) && fork() == 0) bomb();
	usleep(milliseconds * 1000);
	if (status < 0) raise(-status);
	return status;
}
