"""Where the testbed keeps its files.

The *state directory* (CHORDATA_TESTBED_DIR, default /run/chordata-testbed) holds what a client
needs: `id_ed25519`, `known_hosts`, `ssh_config`; and the list of partitions. The *disks*, one
directory per host, lie beside it in /var/lib/chordata-testbed: /run is small and in memory, and
an fsync there would cost nothing. With a state directory of one's own they are inside it.

Guarantees: the bridge remembers the state directory of the running testbed, so that no command
works on another one by mistake and `down` finds it without being told; only directories that
carry our marker are ever removed, and the marker goes last, so that a removal can be resumed.
"""

import os
import shutil
from pathlib import Path

from machine import BadUsage, Failure

DEFAULT_STATE = Path("/run/chordata-testbed")
DEFAULT_DISKS = Path("/var/lib/chordata-testbed")
BRIDGE = "chordata0"
MARKER = ".chordata-testbed"


def wanted():
    """The directory that the environment asks for."""
    path = Path(os.environ.get("CHORDATA_TESTBED_DIR") or DEFAULT_STATE)
    if not path.is_absolute():
        raise BadUsage(f"CHORDATA_TESTBED_DIR must be an absolute path, not {path}")
    return path.resolve()


def running():
    """The directory of the testbed that is up, or None."""
    try:
        alias = Path(f"/sys/class/net/{BRIDGE}/ifalias").read_text().strip()
    except FileNotFoundError:
        return None
    return Path(alias) if alias else None


def current():
    """The directory to work on; refuses to guess when two are named."""
    up = running()
    if up is None:
        return wanted()
    if "CHORDATA_TESTBED_DIR" in os.environ and wanted() != up:
        raise BadUsage(
            f"a testbed runs with the directory {up}, not {wanted()}: "
            f"unset CHORDATA_TESTBED_DIR, or remove that testbed with testbed/down"
        )
    return up


def disks(state):
    """Where the hosts' file systems of a state directory are."""
    return DEFAULT_DISKS if state == DEFAULT_STATE else state / "disks"


def create(directory):
    """Makes a directory ours; one that holds somebody else's files is refused."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    marker = directory / MARKER
    if not marker.exists() and any(directory.iterdir()):
        raise BadUsage(f"{directory} holds files that are not the testbed's; name another one")
    marker.touch()


def remove(directory):
    """Removes a directory if it is ours. True if there was something to remove."""
    marker = directory / MARKER
    if not marker.exists():
        return False
    for entry in directory.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry != marker:
            entry.unlink()
    marker.unlink()
    try:
        directory.rmdir()
    except OSError as error:
        raise Failure(f"cannot remove {directory}: {error.strerror}") from error
    return True
