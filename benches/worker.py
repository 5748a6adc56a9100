"""Starts programs and times them, one after the other, on the word of `run`.

worker.py spawn|portage UID GROUP: reads a line of JSON, the words of a command; runs it, and writes
how many nanoseconds it took and its status. As UID, in the control group of the directory GROUP.
`portage` starts commands by Portage's own spawn, with the isolation that comes before the words.
"""
import json
import os
import sys
import time


def spawn(words):
    begin = time.perf_counter_ns()
    pid = os.posix_spawn(words[0], words, ENVIRONMENT)
    _, status = os.waitpid(pid, 0)
    return time.perf_counter_ns() - begin, os.waitstatus_to_exitcode(status)


def portage_spawn(words):
    kinds, words = words[0].split(), words[1:]
    begin = time.perf_counter_ns()
    status = PORTAGE.spawn(words, env=ENVIRONMENT, fd_pipes={0: 0, 1: 1, 2: 2},
                           **{f"unshare_{kind}": True for kind in kinds})
    return time.perf_counter_ns() - begin, status


ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
kind, uid, group = sys.argv[1], int(sys.argv[2]), sys.argv[3]
with open(f"{group}/cgroup.procs", "w") as procs:
    procs.write("0")
if uid:
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
# What the programs say is no part of the answer.
answers = os.fdopen(os.dup(1), "w", buffering=1)
nothing = os.open(os.devnull, os.O_RDWR)
for number in (1, 2):
    os.dup2(nothing, number)
if kind == "portage":
    import portage.process as PORTAGE
for line in sys.stdin:
    took, status = (portage_spawn if kind == "portage" else spawn)(json.loads(line))
    answers.write(f"{took} {status}\n")
