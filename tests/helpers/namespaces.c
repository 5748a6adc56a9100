/* What processes can do and see in a box. One verb a question; answers go to standard output. */
#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define TRY(name, call) printf("%s %s\n", name, (call) < 0 ? strerrorname_np(errno) : "done")

static void *answer(void *argument) {
    *(int *)argument = getpid();
    return NULL;
}

static void thread(void) {
    pthread_t one;
    int pid = 0;
    if (pthread_create(&one, NULL, answer, &pid) || pthread_join(one, NULL))
        exit(1);
    printf("%s\n", pid == getpid() ? "same process" : "another process");
}

/* A grandchild whose parent is dead, and what becomes of it when it is dead too. */
static void orphan(void) {
    int told[2], go[2];
    pid_t found[2];
    char byte;
    if (pipe(told) || pipe(go))
        exit(1);
    pid_t child = fork();
    if (child == 0) {
        if (fork() > 0)
            _exit(0);
        /* Its parent is reaped before this comes. */
        if (read(go[0], &byte, 1) != 1)
            _exit(1);
        found[0] = getpid();
        found[1] = getppid();
        _exit(write(told[1], found, sizeof found) != sizeof found);
    }
    if (waitpid(child, NULL, 0) != child || write(go[1], "g", 1) != 1 ||
        read(told[0], found, sizeof found) != sizeof found)
        exit(1);
    /* A zombie can still be signalled. Whoever runs this program limits the time. */
    while (kill(found[0], 0) == 0)
        sched_yield();
    printf("adopted by %d, then %s\n", found[1], strerrorname_np(errno));
}

static void attack_init(void) {
    for (int number = 1; number <= SIGRTMAX; number++)
        kill(1, number);
    TRY("ptrace", ptrace(PTRACE_ATTACH, 1, NULL, NULL));
    char byte;
    printf("still here\n");
    fflush(stdout);
    /* Until the one who looks has seen enough. */
    while (read(0, &byte, 1) > 0)
        ;
}

static void ids(void) {
    uid_t u[3];
    gid_t g[3], groups[64];
    getresuid(&u[0], &u[1], &u[2]);
    getresgid(&g[0], &g[1], &g[2]);
    printf("%u %u %u\n%u %u %u\n", u[0], u[1], u[2], g[0], g[1], g[2]);
    int count = getgroups(64, groups);
    printf("groups:");
    for (int i = 0; i < count; i++)
        printf(" %u", groups[i]);
    printf("\n");
}

static void regain(void) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct all[2] = {{~0u, ~0u, 0}, {0x1ff, 0x1ff, 0}};
    TRY("setresuid", setresuid(0, 0, 0));
    TRY("setresgid", setresgid(0, 0, 0));
    TRY("setgroups", setgroups(0, NULL));
    TRY("capset", syscall(SYS_capset, &header, all));
    TRY("unshare", unshare(CLONE_NEWNET));
    TRY("chroot", chroot("/"));
}

int main(int argc, char **argv) {
    const char *verb = argc > 1 ? argv[1] : "";
    if (!strcmp(verb, "thread"))
        thread();
    else if (!strcmp(verb, "orphan"))
        orphan();
    else if (!strcmp(verb, "attack-init"))
        attack_init();
    else if (!strcmp(verb, "ids"))
        ids();
    else if (!strcmp(verb, "regain"))
        regain();
    else
        return 2;
    return 0;
}
