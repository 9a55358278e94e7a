"""What every testbed command needs from the machine it runs on.

Guarantees: a command that cannot work says what is missing before it changes anything; every
child process is bounded in time; two commands that change the testbed never overlap; exit codes
are 0 done, 1 the operation failed, 2 bad usage or something missing.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# The Debian package that brings each tool.
PACKAGES = {
    "ip": "iproute2",
    "nft": "nftables",
    "sshd": "openssh-server",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "mount": "mount",
}

LOCK_WAIT_S = 60
RUN_LIMIT_S = 20


class BadUsage(Exception):
    """Wrong arguments, or the machine lacks something: exit code 2."""


class Failure(Exception):
    """The operation was tried and failed: exit code 1."""


def main(action, tools, exclusive=True):
    """Runs one command and maps what happened to its exit code.

    `action` takes nothing; `tools` are the programs it needs; `exclusive` commands wait for each
    other. Does not return.
    """
    sys.stdout.reconfigure(line_buffering=True)
    try:
        require(tools)
        with one_at_a_time() if exclusive else contextlib.nullcontext():
            action()
    except BadUsage as error:
        sys.exit(complain(error, 2))
    except (Failure, OSError) as error:
        sys.exit(complain(error, 1))
    except KeyboardInterrupt:
        sys.exit(complain("interrupted; testbed/down removes what there is", 130))
    sys.exit(0)


def complain(error, code):
    print(f"testbed: {error}", file=sys.stderr)
    return code


def require(tools):
    """Names everything that is missing at once, so that it is installed in one go."""
    if os.geteuid() != 0:
        raise BadUsage("needs root: network namespaces and bridges are not for others")
    # A root shell made by `su` or cron may lack the sbin directories.
    os.environ["PATH"] = os.environ.get("PATH", "") + ":" + PATH
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        packages = " ".join(sorted({PACKAGES[tool] for tool in missing}))
        raise BadUsage(f"missing {', '.join(missing)}: apt-get install {packages}")


def run(*command, stdin=None, check=True):
    """Runs a program to its end and gives its standard output; Failure carries its complaint."""
    try:
        done = subprocess.run(
            command, input=stdin, text=True, capture_output=True, timeout=RUN_LIMIT_S
        )
    except subprocess.TimeoutExpired:
        raise Failure(f"no end after {RUN_LIMIT_S} s: {' '.join(command)}") from None
    if check and done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise Failure(f"{' '.join(command)}: {said or f'exit code {done.returncode}'}")
    return done.stdout


@contextlib.contextmanager
def one_at_a_time():
    """A lock for the whole machine, because bridge and namespace names are.

    An abstract socket leaves no file behind and is released however the holder ends.
    """
    lock = socket.socket(socket.AF_UNIX)
    deadline = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            lock.bind("\0chordata-testbed")
            break
        except OSError:
            if time.monotonic() > deadline:
                raise Failure(f"another testbed command runs since {LOCK_WAIT_S} s") from None
            time.sleep(0.05)
    with lock:
        yield
