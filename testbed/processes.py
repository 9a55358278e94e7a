"""Finding and ending the processes of a host, without files that could be stale.

A process belongs to a host if it is in the host's network namespace. Guarantees: only processes
of which that is true at the moment of the signal are ended (a pidfd names the process itself, so
a number that was given to another one in between hits nobody); waiting is bounded.
"""

import os
import select
import signal
import time
from pathlib import Path

from machine import Failure

END_LIMIT_S = 10


def in_namespace(netns_file):
    """The pids, as the machine sees them, of the processes in a network namespace."""
    wanted = _identity(netns_file)
    if wanted is None:
        return []
    pids = (int(entry) for entry in os.listdir("/proc") if entry.isdigit())
    return [pid for pid in pids if _identity(f"/proc/{pid}/ns/net") == wanted]


def init_of(pids):
    """Of a host's processes, the one that is process 1 inside; None if the host is dead."""
    for pid in pids:
        # "NSpid: <here> <inside>": a third number would be a namespace that the host made itself.
        numbers = _status_field(pid, "NSpid")
        if len(numbers) == 2 and numbers[1] == "1":
            return pid
    return None


def is_inside(pid):
    """Whether a process sees the host's own process numbers, or was only lent its network."""
    return len(_status_field(pid, "NSpid")) > 1


def listener_of(pids, init):
    """Of a host's processes, the sshd that accepts connections (sessions are its children)."""
    for pid in pids:
        if _status_field(pid, "Name") == ["sshd"] and _status_field(pid, "PPid") == [str(init)]:
            return pid
    return None


def end(pids, netns_file):
    """Kills processes of a namespace at once and waits until they are gone."""
    handles = []
    for pid in pids:
        handle = _open(pid)
        if handle is None:
            continue
        if _identity(f"/proc/{pid}/ns/net") == _identity(netns_file):
            _kill(handle)
            handles.append((pid, handle))
        else:
            os.close(handle)
    deadline = time.monotonic() + END_LIMIT_S
    stuck = [pid for pid, handle in handles if not _ended(handle, deadline)]
    if stuck:
        raise Failure(f"processes {stuck} did not end within {END_LIMIT_S} s of SIGKILL")


def _open(pid):
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def _kill(handle):
    try:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _ended(handle, deadline):
    """Waits for one process; a pidfd turns readable when its process has ended."""
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    ended = poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
    os.close(handle)
    return bool(ended)


def _identity(namespace_file):
    try:
        found = os.stat(namespace_file)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _status_field(pid, name):
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return []
    return next((line.split()[1:] for line in lines if line.startswith(name + ":")), [])
