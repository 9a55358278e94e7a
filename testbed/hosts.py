"""A host's life: boot, kill, and what is left to remove.

Guarantees: `boot` ends with an sshd that answers, or with nothing left of the host but its disk;
`kill` is a power cut (silent first, then every process at once); both are bounded in time. There
are no pid files: what runs is what the kernel says runs.
"""

import os
import socket
import subprocess
import time
from pathlib import Path

import disks
import network
import processes
import state
from machine import PATH, BadUsage, Failure

CHECKOUT = Path(__file__).resolve().parent.parent
BOOT_LIMIT_S = 15
END_ROUNDS_MAX = 3


def named(text):
    """The host that an argument names; it must exist."""
    host = network.parse(text)
    if host is None or host not in known():
        there = " ".join(each.name for each in known()) or "none (testbed/up N makes some)"
        raise BadUsage(f"no host {text}; there are: {there}")
    return host


def known():
    """Every host that has a disk or anything in the kernel, dead or alive."""
    on_disk = disks.hosts(state.disks(state.current()))
    return sorted(network.hosts_in_kernel().union(on_disk))


def init_pid(host):
    """The pid of the host's process 1, or None if the host is dead."""
    return processes.init_of(processes.in_namespace(host.netns_file))


def boot(hosts, directory):
    """Boots hosts side by side; those that fail are named at the end, the others run."""
    started = [(host, _start(host, directory)) for host in hosts]
    failed = []
    for host, process in started:
        try:
            _wait_for_sshd(host, process, directory)
            print(f"{host.name:<5} {host.address:<13} started")
        except Failure as failure:
            kill(host)
            failed.append(str(failure))
    if failed:
        raise Failure("\n".join(failed))


def _start(host, directory):
    kill(host)  # what a half-failed boot may have left
    network.attach(host)
    network.apply_cuts(host, network.read_cuts(directory))
    disk = state.disks(directory) / host.name
    command = [
        "ip", "netns", "exec", host.netns,
        "unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--mount-proc",
        "env", "-i", f"PATH={PATH}", "LANG=C.UTF-8",
        "sh", str(CHECKOUT / "testbed/host-init"), host.name, str(disk), str(CHECKOUT),
    ]
    with open(_log(host, directory), "ab") as log:
        # A session of its own: Ctrl-C at `up` must not end the hosts.
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            cwd="/", start_new_session=True,
        )


def _log(host, directory):
    return state.disks(directory) / host.name / "var/log/boot.log"


def _wait_for_sshd(host, process, directory):
    deadline = time.monotonic() + BOOT_LIMIT_S
    while not _sshd_greets(host):
        ended = process.poll() is not None
        if ended or time.monotonic() > deadline:
            why = "its first process ended" if ended else f"no sshd after {BOOT_LIMIT_S} s"
            tail = _log(host, directory).read_text(errors="replace").splitlines()[-5:]
            raise Failure(f"{host.name} does not boot: {why}\n  " + "\n  ".join(tail))
        time.sleep(0.02)


def _sshd_greets(host):
    try:
        with socket.create_connection((host.address, 22), timeout=1) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def kill(host):
    """Cuts the host's power; its disk stays. True if it was alive.

    The cable goes first: processes that die close their connections, and a host that loses power
    says no such farewell. Process 1 takes every process of its namespace along at once. The
    network namespace goes too, with the sockets in it, so that nothing of the old life speaks
    after `revive`.
    """
    network.unplug(host)
    init = init_pid(host)
    if init is not None:
        processes.end([init], host.netns_file)
    # What somebody started with `ip netns exec` from outside, and the waiting `unshare`. Repeated,
    # because one that was about to fork leaves a child that was not on the first list.
    for _ in range(END_ROUNDS_MAX):
        processes.end(processes.in_namespace(host.netns_file), host.netns_file)
    network.remove_namespace(host)
    return init is not None


def enter(host, command):
    """Becomes a program inside the host. Does not return."""
    init = init_pid(host)
    if init is None:
        raise Failure(f"{host.name} is dead; testbed/revive {host.name} boots it")
    nsenter = ["nsenter", f"--target={init}", "--mount", "--pid", "--uts", "--ipc", "--net"]
    clean = ["env", "-i", "-C", "/root", f"PATH={PATH}", "HOME=/root", "USER=root",
             "LANG=C.UTF-8", f"TERM={os.environ.get('TERM', 'dumb')}"]
    os.execvp("nsenter", nsenter + ["--"] + clean + command)
