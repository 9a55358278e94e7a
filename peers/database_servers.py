"""PostgreSQL and MariaDB for a test: with data in a directory of the test's own, on sockets in there, as an unprivileged
user (PostgreSQL refuses to run as root). They end with the `with` that made them."""

import contextlib
import glob
import os
import shutil
import subprocess
import time

USER = "nobody" if os.geteuid() == 0 else None
PASSWORD = "p@ss / w:rd"
READY_WITHIN = 60


def find(name, packages):
    """A program: on the path, or where Debian keeps PostgreSQL's."""
    places = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), reverse=True)
    found = shutil.which(name) or (places[0] if places else None) or shutil.which(name, path="/usr/sbin")
    if found is None:
        raise SystemExit(f"there is no {name}: install {packages}")
    return found


def own_directory(parent, name):
    """A directory that the unprivileged user can write to, and reach."""
    os.chmod(parent, 0o755)
    path = os.path.join(parent, name)
    os.mkdir(path)
    if USER is not None:
        shutil.chown(path, USER)
    return path


def run(command, **more):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False, **more)
    if done.returncode != 0:
        raise SystemExit(f"{command[0]} failed:\n{done.stdout}")
    return done.stdout


@contextlib.contextmanager
def serving(command, log, is_ready):
    """Runs a server until the end of the block; it is killed if it does not stop."""
    with open(log, "w", encoding="utf-8") as out:
        server = subprocess.Popen(command, stdout=out, stderr=out, user=USER, cwd="/")
    try:
        deadline = time.monotonic() + READY_WITHIN
        while not is_ready():
            if server.poll() is not None or time.monotonic() > deadline:
                with open(log, encoding="utf-8") as said:
                    raise SystemExit(f"{command[0]} does not serve:\n{said.read()}")
            time.sleep(0.1)
        yield
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@contextlib.contextmanager
def postgres(parent):
    """A PostgreSQL whose user `tester` needs the password. Gives the directory of its socket and a function for SQL."""
    directory = own_directory(parent, "postgres")
    data = os.path.join(directory, "data")
    secret = os.path.join(parent, "pw")
    with open(secret, "w", encoding="utf-8") as file:
        file.write(PASSWORD + "\n")
    os.chmod(secret, 0o644)
    run(
        [find("initdb", "postgresql"), "-D", data, "-U", "tester", "--auth=scram-sha-256", f"--pwfile={secret}"]
        + ["--encoding=UTF8", "--locale=C", "--no-sync"],
        user=USER,
        cwd="/",
    )
    command = [find("postgres", "postgresql"), "-D", data, "-k", directory, "-c", "listen_addresses=", "-F"]
    client = [find("psql", "postgresql"), "-h", directory, "-U", "tester", "-d", "postgres", "-v", "ON_ERROR_STOP=1", "-q"]
    environment = {**os.environ, "PGPASSWORD": PASSWORD}

    def sql(text):
        return run(client, input=text, env=environment)

    def is_ready():
        asked = subprocess.run(client + ["-c", "SELECT 1"], env=environment, capture_output=True, check=False)
        return asked.returncode == 0

    with serving(command, os.path.join(parent, "postgres.log"), is_ready):
        yield directory, sql


@contextlib.contextmanager
def mariadb(parent):
    """A MariaDB with a database `things`, whose user `tester` needs the password. Gives its socket and a function for SQL."""
    directory = own_directory(parent, "mariadb")
    data, socket = os.path.join(directory, "data"), os.path.join(directory, "socket")
    run(
        [find("mariadb-install-db", "mariadb-server"), "--no-defaults", f"--datadir={data}", "--skip-test-db"]
        + ["--auth-root-authentication-method=normal"],
        user=USER,
        cwd="/",
    )
    command = [find("mariadbd", "mariadb-server"), "--no-defaults", f"--datadir={data}", f"--socket={socket}"]
    command += ["--skip-networking", f"--pid-file={directory}/pid", "--innodb-flush-log-at-trx-commit=0"]
    client = [find("mariadb", "mariadb-server"), "--no-defaults", f"--socket={socket}", "-u", "root"]

    def sql(text):
        return run(client + ["--default-character-set=utf8mb4"], input=text)

    def is_ready():
        return subprocess.run(client + ["-e", "SELECT 1"], capture_output=True, check=False).returncode == 0

    with serving(command, os.path.join(parent, "mariadb.log"), is_ready):
        sql("CREATE DATABASE things CHARACTER SET utf8mb4;")
        sql(f"CREATE USER tester@localhost IDENTIFIED BY '{PASSWORD}'; GRANT ALL ON things.* TO tester@localhost;")
        yield socket, sql
