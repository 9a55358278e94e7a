"""What is on a host's disk, and the keys that open it.

Every host has directories of its own for all that a deployment may write to (PRIVATE); the rest
of the machine's file system it sees read-only. Guarantees: a disk is complete or absent; the host
key is made once, with the disk; `known_hosts` and `ssh_config` name exactly the hosts that have a
disk, for the machine (in the state directory) and for the hosts among themselves (/etc/ssh).
"""

import os
import pwd
import shutil
from pathlib import Path

import network
from machine import PATH, run

# Directory on the disk -> mode. `usr/local` empty, as on a fresh Debian.
PRIVATE = {
    "etc": 0o755,
    "home": 0o755,
    "opt": 0o755,
    "root": 0o700,
    "srv": 0o755,
    "tmp": 0o1777,
    "usr/local": 0o755,
    "var": 0o755,
}
INSIDE = {
    "usr/local": ["bin", "etc", "lib", "sbin", "share"],
    "var": ["cache", "lib", "log", "mail", "spool", "tmp"],
}

SSHD_CONFIG = f"""\
# Written by the Chordata testbed. What is not here has sshd's default, so that the limits of real
# machines hold: MaxSessions 10, MaxStartups 10:30:100.
HostKey /etc/ssh/ssh_host_ed25519_key
AuthorizedKeysFile .ssh/authorized_keys /etc/ssh/authorized_keys
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
UseDNS no
PrintMotd no
AcceptEnv LANG LC_*
SetEnv PATH={PATH}
Subsystem sftp internal-sftp
"""


def hosts(disks):
    """The hosts that have a disk, dead or alive, in order."""
    if not disks.is_dir():
        return []
    found = (network.parse(entry.name) for entry in disks.iterdir())
    return sorted(host for host in found if host is not None)


def make(host, disks):
    """Makes a host's disk if it has none; built aside and renamed, so never half a disk."""
    disk = disks / host.name
    if disk.exists():
        return
    building = disks / f"{host.name}.building"
    shutil.rmtree(building, ignore_errors=True)
    _directories(building)
    run("cp", "--archive", "/etc/.", str(building / "etc"))
    _identity(host, building / "etc")
    _ssh_server(host, building / "etc/ssh")
    building.rename(disk)


def _directories(disk):
    for name, mode in PRIVATE.items():
        _directory(disk / name, mode)
    for parent, names in INSIDE.items():
        for name in names:
            _directory(disk / parent / name, 0o1777 if name == "tmp" else 0o755)
    (disk / "var/run").symlink_to("/run")
    (disk / "var/lock").symlink_to("/run/lock")


def _directory(path, mode):
    path.mkdir(parents=True)
    path.chmod(mode)  # mkdir's own mode is subject to the caller's umask


def _identity(host, etc):
    replace(etc / "hostname", f"{host.name}\n")
    everyone = map(network.Host, range(1, network.HOSTS_MAX + 1))
    names = [f"{other.address} {other.name}\n" for other in everyone]
    replace(etc / "hosts", "127.0.0.1 localhost\n" + "".join(names))
    # Without PAM, sshd refuses accounts that are locked ("!") or expired; and nobody's password
    # hash needs to be copied.
    accounts = (f"{user.pw_name}:*:19000:0:99999:7:::\n" for user in pwd.getpwall())
    replace(etc / "shadow", "".join(accounts), 0o600)


def _ssh_server(host, directory):
    # The copy of /etc brought the machine's own keys and settings.
    shutil.rmtree(directory, ignore_errors=True)
    _directory(directory, 0o755)
    replace(directory / "sshd_config", SSHD_CONFIG)
    _make_key(directory / "ssh_host_ed25519_key", host.name)


def _make_key(path, comment):
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path))


def write_keys(state, disks):
    """Makes the client key once, and tells machine and hosts of every host there is."""
    key = state / "id_ed25519"
    if not key.exists():
        _make_key(key, "chordata-testbed")
    known = "".join(_known_host(host, disks / host.name) for host in hosts(disks))
    replace(state / "known_hosts", known)
    replace(state / "ssh_config", _ssh_config(hosts(disks), key, state / "known_hosts"))
    for host in hosts(disks):
        ssh = disks / host.name / "etc/ssh"
        replace(ssh / "authorized_keys", key.with_suffix(".pub").read_text())
        replace(ssh / "id_testbed", key.read_text(), 0o600)
        replace(ssh / "ssh_known_hosts", known)
        replace(ssh / "ssh_config", _ssh_config(
            hosts(disks), Path("/etc/ssh/id_testbed"), Path("/etc/ssh/ssh_known_hosts")))


def _known_host(host, disk):
    key_type, key = (disk / "etc/ssh/ssh_host_ed25519_key.pub").read_text().split()[:2]
    return f"{host.name},{host.address} {key_type} {key}\n"


def _ssh_config(reachable, identity, known_hosts):
    """Addresses match as well as names, for clients that are told addresses."""
    entries = (
        f"Host {host.name} {host.address}\n    HostName {host.address}\n" for host in reachable
    )
    return "# Written by testbed/up.\n" + "".join(entries) + f"""\
Host *
    User root
    IdentityFile "{identity}"
    IdentitiesOnly yes
    UserKnownHostsFile "{known_hosts}"
    StrictHostKeyChecking yes
"""


def replace(path, text, mode=0o644):
    """Writes a file in one step: a client that reads it meanwhile sees the old or the new one."""
    aside = path.with_name(path.name + ".new")
    aside.unlink(missing_ok=True)
    with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)
    aside.chmod(mode)
    aside.rename(path)
