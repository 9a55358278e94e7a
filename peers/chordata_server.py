"""A `chordata serve` for a test, and the command against it."""

import contextlib
import json
import os
import subprocess
import tempfile
import time

BIN = os.environ["CHORDATA_BIN"]


class Ran:
    """What came of a command."""

    def __init__(self, arguments, done, peak):
        self.arguments, self.code, self.out, self.err = arguments, done.returncode, done.stdout, done.stderr
        self.peak = peak

    def exits(self, code):
        """Asserts the exit code."""
        assert self.code == code, f"{self.arguments}: exit code {self.code}\n{self.out}\n{self.err}"
        return self

    def remarks(self, text):
        """Asserts that standard error has this."""
        assert text in self.err, f"{text!r} is missing in\n{self.err}"
        return self

    def json(self):
        """Standard output as JSON."""
        return json.loads(self.out)


def peak_memory(pid):
    """The most memory that a process has had so far, in MB. What the system counts for a process that has ended begins with
    what its parent had when it was started: that would be the memory of this program."""
    try:
        with open(f"/proc/{pid}/status") as status:
            lines = [line for line in status if line.startswith("VmHWM:")]
    except OSError:
        return 0
    return int(lines[0].split()[1]) / 1024 if lines else 0


class Chordata:
    """A server; it ends with this program."""

    def __init__(self, directory):
        self.home = tempfile.mkdtemp(dir=directory)
        names = [name for name in os.environ if not name.startswith("CHORDATA_")]
        self.environment = {**{name: os.environ[name] for name in names}, "HOME": self.home}
        self.environment["XDG_STATE_HOME"] = self.home
        command = [BIN, "serve", "--port", "0", "--consistency", "single", "--until-stdin-closes"]
        self.server = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=self.home, env=self.environment, text=True
        )
        line = self.server.stdout.readline()
        assert line.startswith("ready "), line
        self.address = line.split()[-1]

    def run(self, *arguments, environment=None, stdin=b""):
        """Runs the command; its peak memory in MB is kept."""
        command = [BIN, "--node", self.address, *arguments]
        env = {**self.environment, **(environment or {})}
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            given.write(stdin)
            given.seek(0)
            process = subprocess.Popen(command, stdin=given, stdout=out, stderr=err, env=env, cwd=self.home)
            peak = 0
            while process.poll() is None:
                peak = max(peak, peak_memory(process.pid))
                time.sleep(0.005)
            out.seek(0)
            err.seek(0)
            texts = [file.read().decode("utf-8", "replace") for file in (out, err)]
        done = subprocess.CompletedProcess(command, process.returncode, *texts)
        return Ran(arguments, done, peak)

    def pairs(self):
        """Everything that is stored."""
        rows = [json.loads(line) for line in self.run("dump").exits(0).out.splitlines()]
        return {row.get("key", row.get("key_base64")): row.get("value", row.get("value_base64")) for row in rows}

    def stop(self):
        """Ends the server."""
        self.server.stdin.close()
        try:
            self.server.wait(20)
        except subprocess.TimeoutExpired:
            self.server.kill()
            self.server.wait()


@contextlib.contextmanager
def chordata(directory):
    """A server for the block, with nothing in it."""
    server = Chordata(directory)
    try:
        yield server
    finally:
        server.stop()


def equal(found, wanted):
    """Asserts that they are, and shows what is not."""
    if found != wanted:
        keys = sorted(set(found) | set(wanted))
        differences = [key for key in keys if found.get(key) != wanted.get(key)]
        shown = "\n".join(f"{key}: {found.get(key)!r} instead of {wanted.get(key)!r}" for key in differences[:10])
        raise AssertionError(f"{len(differences)} differences\n{shown}")
