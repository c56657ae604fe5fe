"""What a process gives up before it opens a stranger's file: endless memory and time, and what reading does not need.

Memory, processor time, file sizes and open files are bounded by the system (`resource`). On Linux, where libseccomp is
installed, the kernel also refuses whatever would reach out: sockets, other programs and processes, and every way of
changing a file.
"""

from __future__ import annotations

import errno
import logging
import os
import resource
from contextlib import suppress
from functools import cache
from typing import Any

try:
    import pyseccomp
except (ImportError, RuntimeError, OSError):  # not Linux, or without libseccomp
    pyseccomp = None

_log = logging.getLogger("xmem")
_OPEN_FILES = 64
_PAGES = "/proc/self/statm"
_THREAD = 0x10000  # of clone's flags: a thread, and no process
# Names of Linux's calls, on whatever processor: those that one does not have are left out.
_REFUSED = (
    *("socket", "socketpair", "connect", "bind", "listen", "accept", "accept4"),
    *("execve", "execveat", "fork", "vfork", "ptrace", "process_vm_readv", "process_vm_writev", "kill", "tkill"),
    *("pidfd_open", "pidfd_getfd", "pidfd_send_signal", "prctl", "setns", "unshare", "chroot", "pivot_root"),
    *("creat", "openat2", "mkdir", "mkdirat", "rmdir", "unlink", "unlinkat", "rename", "renameat", "renameat2"),
    *("link", "linkat", "symlink", "symlinkat", "mknod", "mknodat", "truncate", "chmod", "fchmod", "fchmodat"),
    *("fchmodat2", "chown", "fchown", "lchown", "fchownat", "utimensat", "setxattr", "lsetxattr", "fsetxattr"),
    *(
        "mount",
        "umount2",
        "fsopen",
        "move_mount",
        "open_tree",
        "bpf",
        "perf_event_open",
        "userfaultfd",
        "io_uring_setup",
    ),
    *("keyctl", "add_key", "request_key", "init_module", "finit_module", "kexec_load", "reboot", "swapon", "shmget"),
)


def describe() -> str:
    """A sentence for the log on what holds here."""
    if pyseccomp is None:
        return (
            "Files are read in a process with bounds on memory and time; without libseccomp it can reach the network."
        )
    return "Files are read in a process with bounds on memory and time, which can reach no network and write no file."


def confine() -> None:
    """Give up all that reading does not need: for this process, for good."""
    _bound(resource.RLIMIT_CORE, 0)
    _bound(resource.RLIMIT_FSIZE, 0)
    _bound(resource.RLIMIT_NOFILE, _OPEN_FILES)
    if rules() is None:
        return
    try:
        rules().load()
    except OSError as error:
        _log.warning("The network and other files stay within reach of what reads files (%s).", error.strerror)


def bound_memory(more_bytes: int) -> None:
    """From now on, for good, this process may have so much memory beyond what it has."""
    with suppress(OSError), open(_PAGES) as file:  # Linux alone both tells and bounds it
        _bound(resource.RLIMIT_AS, int(file.read().split()[0]) * resource.getpagesize() + more_bytes)


def allow_seconds(seconds: float) -> None:
    """From now on this process may use the processor for so long; then the system ends it."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _bound(kind: int, value: int) -> None:
    highest = resource.getrlimit(kind)[1]
    bounded = value if highest == resource.RLIM_INFINITY else min(value, highest)
    resource.setrlimit(kind, (bounded, bounded))


@cache
def rules() -> Any:
    """What the kernel is to refuse, made once for all processes that are forked from this one; None without seccomp."""
    if pyseccomp is None:
        return None
    made, refused = pyseccomp.SyscallFilter(pyseccomp.ALLOW), pyseccomp.ERRNO(errno.EPERM)
    for name in _REFUSED:
        with suppress(OSError):
            made.add_rule(refused, name)
    # What a library does not know to be refused, it takes for missing and does in the older way, which is looked into.
    made.add_rule(pyseccomp.ERRNO(errno.ENOSYS), "clone3")
    made.add_rule(refused, "clone", pyseccomp.Arg(0, pyseccomp.MASKED_EQ, _THREAD, 0))
    for name, place in (("open", 1), ("openat", 2)):
        for flag in (os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_TRUNC):
            with suppress(OSError):
                made.add_rule(refused, name, pyseccomp.Arg(place, pyseccomp.MASKED_EQ, flag, flag))
    return made
