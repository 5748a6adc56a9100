/* System V IPC and POSIX message queues from inside. Answers go to standard output. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

static int failed;

static void tell(const char *kind, long result) {
    printf("%s %s ", kind, result < 0 ? strerrorname_np(errno) : "there");
    failed |= result < 0;
}

/* Opens one of each kind, or makes it: `ipc see|make|hold KEY NAME`. */
int main(int argc, char **argv) {
    if (argc < 4)
        return 2;
    int make = strcmp(argv[1], "see") != 0;
    int flags = make ? IPC_CREAT | IPC_EXCL | 0666 : 0;
    key_t key = strtol(argv[2], NULL, 0);
    struct mq_attr one = {.mq_maxmsg = 1, .mq_msgsize = 1};
    tell("shm", shmget(key, make ? 4096 : 0, flags));
    tell("sem", semget(key, make ? 1 : 0, flags));
    tell("msg", msgget(key, flags));
    tell("mq", make ? mq_open(argv[3], O_RDONLY | O_CREAT | O_EXCL, 0666, &one)
                    : mq_open(argv[3], O_RDONLY));
    printf("\n");
    fflush(stdout);
    if (!strcmp(argv[1], "hold"))
        while (getchar() != EOF)
            ;
    return make && failed;
}
