//! Somebody who follows a guide: writes its files, types its commands, and leaves nothing behind.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::page::{self, Block};
use crate::support::{PATIENCE, clean, eventually};

/// Commands that change nothing: repeated until they say what the guide says.
const LOOKS: &[&str] = &[
    "chordata status",
    "chordata audit",
    "chordata get",
    "chordata lookup",
    "chordata replay",
    "chordata nodes",
    "chordata peer list",
    "chordata keys",
    "chordata file ls",
    "chordata file stat",
];

/// Where a guide is followed; erased at the end, however the test ends.
struct Place {
    home: tempfile::TempDir,
    path: String,
    servers: Vec<Child>,
}

impl Place {
    fn new() -> Place {
        let home = tempfile::tempdir().unwrap();
        // Alone in its directory: `up` takes it for the servers too, and no other that was built at another time.
        let directory = home.path().join("bin");
        std::fs::create_dir(&directory).unwrap();
        std::fs::copy(env!("CARGO_BIN_EXE_chordata"), directory.join("chordata")).unwrap();
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap();
        for name in ["input.txt", "inventory", "data"] {
            if repository.join(name).exists() {
                std::os::unix::fs::symlink(repository.join(name), home.path().join(name)).unwrap();
            }
        }
        let path = format!("{}:{}", directory.display(), std::env::var("PATH").unwrap());
        Place { home, path, servers: Vec::new() }
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", line]).stdin(Stdio::null());
        clean(&mut command, self.home.path());
        command.env("PATH", &self.path);
        command
    }

    /// Runs a command as the reader's shell would: exit code and what it printed.
    fn shell(&self, line: &str) -> (i32, String) {
        let output = self.command(&format!("exec 2>&1\n{line}")).output().unwrap();
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Starts a server, and returns when it says that it is ready.
    fn start(&mut self, line: &str) {
        let mut command = self.command(line);
        let mut server = command.stdout(Stdio::piped()).process_group(0).spawn().unwrap();
        let said = BufReader::new(server.stdout.take().unwrap()).lines();
        self.servers.push(server);
        let (tell, hear) = mpsc::channel();
        std::thread::spawn(move || {
            for line in said.map_while(Result::ok) {
                // Nobody listens any more when the server is ready; it must be able to go on writing.
                let _ = tell.send(line);
            }
        });
        loop {
            match hear.recv_timeout(PATIENCE) {
                Ok(said) if said.starts_with("ready") => return,
                Ok(said) => println!("{line}: {said}"),
                Err(error) => panic!("{line}: it did not become ready: {error}"),
            }
        }
    }

    /// Does what a line says.
    fn follow(&mut self, page: &str, line: &str) {
        if let Some(server) = line.strip_suffix('&') {
            return self.start(&format!("exec {}", server.trim()));
        }
        let (_, wanted) = line.split_once("# exit code ").unwrap_or((line, "0"));
        let wanted: i32 = wanted.trim().parse().unwrap_or_else(|_| panic!("{line}"));
        let attempt = || {
            let (code, said) = self.shell(line);
            // Shown only when the test fails: what it saw on the way.
            println!("{line}: exit code {code}\n{said}");
            code == wanted
        };
        if LOOKS.iter().any(|look| line.starts_with(look)) {
            eventually(&format!("{page}: {line}"), attempt);
        } else {
            assert!({ attempt }(), "{page}: {line}: the exit code is not {wanted}");
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shell("chordata stop --kill; chordata destroy --yes");
        for server in &mut self.servers {
            if let Ok(group) = i32::try_from(server.id()) {
                // It may have ended by itself.
                let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
            }
            let _ = server.wait();
        }
    }
}

/// Follows a page to its end.
pub(crate) fn follow(name: &str) {
    let text = std::fs::read_to_string(page::directory().join(name)).unwrap();
    let mut place = Place::new();
    if let Some(program) = page::needs(&text)
        && place.shell(&format!("command -v {program}")).0 != 0
    {
        eprintln!("left out: {name} needs {program}");
        return;
    }
    let mut commands = 0;
    for block in page::blocks(&page::with_free_ports(&text)) {
        match block {
            Block::File { name, text } => {
                let path = place.home.path().join(name);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            }
            Block::Commands(lines) => {
                commands += lines.len();
                lines.iter().for_each(|line| place.follow(name, line));
            }
            Block::LeftOut(reason) => eprintln!("left out: a block of {name}: {reason}"),
        }
    }
    assert!(commands > 3, "{name} has commands");
}
