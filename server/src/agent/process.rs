//! Processes, told apart for certain: nothing is signalled on the strength of a number alone.
//!
//! A pid is used again after its process has ended, so a pid file alone says little. The pid together with the
//! moment the process started (in the kernel's ticks since boot) and the boot's own id names one process for
//! ever. The identity is written by the process itself and survives `exec`. On top of it, the process must look
//! like this node's: its arguments name the node's directory, or it works there. A file that was copied to
//! another node's directory, or to a machine that shares the home directory, therefore names nobody.
//!
//! Between that check and the signal the process could in theory end and its pid be used again; that takes a
//! whole turn of the pid counter within microseconds. (A pidfd would close it, and needs `unsafe` today.)

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::error::{AgentError, Doing};

/// The kernel's ticks in /proc per second: 100 on every architecture that Rust's Linux targets cover.
const TICKS_PER_SECOND: f64 = 100.0;

/// How long a process may show no arguments before it is held to have none.
const EXEC_PATIENCE: Duration = Duration::from_secs(2);

/// One process, for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// Its number, which another process may have later.
    pub(super) pid: i32,
    /// When it started, in ticks since boot.
    pub(super) start_ticks: u64,
    /// The boot that it started in.
    pub(super) boot_id: String,
}

/// What has become of a process that was written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It has ended, was on another boot or machine, or its number is another process's now.
    Gone,
    /// It lives and serves this node.
    Ours {
        /// It is held by a STOP signal.
        paused: bool,
    },
    /// It lives and does not look like this node's server: hands off.
    Stranger,
}

/// The two fields of /proc/PID/stat that matter here.
struct Stat {
    state: char,
    start_ticks: u64,
}

impl Identity {
    /// The identity of a process that lives now, or none when there is no such process.
    pub(super) fn of(pid: i32) -> Result<Option<Identity>, AgentError> {
        let Some(stat) = read_stat(pid)? else { return Ok(None) };
        Ok(Some(Identity { pid, start_ticks: stat.start_ticks, boot_id: boot_id()? }))
    }

    /// Whether exactly this process lives, and serves the node in `directory`.
    pub(super) fn judge(&self, directory: &Path) -> Result<Verdict, AgentError> {
        let deadline = Instant::now() + EXEC_PATIENCE;
        loop {
            let Some(stat) = self.living()? else { return Ok(Verdict::Gone) };
            let arguments = arguments(self.pid);
            if names(&arguments, directory) || works_in(self.pid, directory) {
                return Ok(Verdict::Ours { paused: matches!(stat.state, 'T' | 't') });
            }
            // A process shows no arguments in the middle of `exec` and of its end: neither lasts.
            if !arguments.is_empty() || Instant::now() >= deadline {
                return Ok(Verdict::Stranger);
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Whether exactly this process lives.
    pub(super) fn lives(&self) -> Result<bool, AgentError> {
        Ok(self.living()?.is_some())
    }

    fn living(&self) -> Result<Option<Stat>, AgentError> {
        if self.pid <= 0 || self.boot_id != boot_id()? {
            return Ok(None);
        }
        Ok(read_stat(self.pid)?.filter(|stat| stat.start_ticks == self.start_ticks))
    }

    /// How long it has run.
    pub(super) fn uptime_seconds(&self) -> Option<f64> {
        let text = fs::read_to_string("/proc/uptime").ok()?;
        let uptime: f64 = text.split_whitespace().next()?.parse().ok()?;
        Some((uptime - self.start_ticks as f64 / TICKS_PER_SECOND).max(0.0))
    }

    /// Sends a signal to exactly this process, if it is the server of the node in `directory`.
    ///
    /// Answers whether it was sent: not when the process has ended.
    ///
    /// # Errors
    /// Refused when the process is a stranger. System when the kernel says no.
    pub(super) fn send(&self, signal: Signal, directory: &Path) -> Result<bool, AgentError> {
        match self.judge(directory)? {
            Verdict::Gone => Ok(false),
            Verdict::Stranger => Err(self.stranger(directory)),
            Verdict::Ours { .. } => match signal::kill(Pid::from_raw(self.pid), signal) {
                Ok(()) => Ok(true),
                Err(nix::errno::Errno::ESRCH) => Ok(false),
                Err(error) => Err(AgentError::System {
                    doing: format!("send {signal} to process {}", self.pid),
                    source: error.into(),
                }),
            },
        }
    }

    /// The error that says that this process is not to be touched.
    pub(super) fn stranger(&self, directory: &Path) -> AgentError {
        AgentError::Refused(format!(
            "process {} is written in {}/pid but does not serve that directory; was the directory copied from \
             another node's? Remove the file pid there if nothing serves it",
            self.pid,
            directory.display()
        ))
    }
}

/// The state and the start of a process, or none when it has ended (a zombie has: it only waits to be counted).
fn read_stat(pid: i32) -> Result<Option<Stat>, AgentError> {
    let path = format!("/proc/{pid}/stat");
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        // The process ended between the opening and the reading.
        Err(error) if error.raw_os_error() == Some(nix::errno::Errno::ESRCH as i32) => return Ok(None),
        Err(error) => return Err(error).doing("read", Path::new(&path)),
    };
    match parse_stat(&text) {
        Some(stat) if matches!(stat.state, 'Z' | 'X' | 'x') => Ok(None),
        Some(stat) => Ok(Some(stat)),
        None => Err(io::Error::other("not in the kernel's format")).doing("read", Path::new(&path)),
    }
}

/// Fields 3 and 22 of proc_pid_stat(5). The name in field 2 may hold anything, also `)`: the last one ends it.
fn parse_stat(text: &[u8]) -> Option<Stat> {
    let text = String::from_utf8_lossy(text);
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let start_ticks = fields.nth(18)?.parse().ok()?;
    Some(Stat { state, start_ticks })
}

/// The id of this boot of this machine.
fn boot_id() -> Result<String, AgentError> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    Ok(fs::read_to_string(path).doing("read", path)?.trim().to_owned())
}

/// A process's arguments; none when it has ended, or is in the middle of `exec`.
fn arguments(pid: i32) -> Vec<Vec<u8>> {
    let text = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    text.split(|byte| *byte == 0).filter(|argument| !argument.is_empty()).map(<[u8]>::to_vec).collect()
}

/// Whether one of the arguments is the node's directory or its configuration.
fn names(arguments: &[Vec<u8>], directory: &Path) -> bool {
    let config = directory.join("server.toml");
    arguments.iter().any(|argument| {
        argument == directory.as_os_str().as_bytes() || argument == config.as_os_str().as_bytes()
    })
}

/// Whether the process works in that directory, by whatever path it got there.
fn works_in(pid: i32, directory: &Path) -> bool {
    match (fs::metadata(format!("/proc/{pid}/cwd")), fs::metadata(directory)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}

/// Looks for a process that serves the node in `directory`, whoever started it: `... --config DIRECTORY/server.toml`.
///
/// It is for refusing only: what is found by searching is never signalled.
pub(super) fn find_serving(directory: &Path) -> Option<i32> {
    let config = directory.join("server.toml");
    let mut joined = b"--config=".to_vec();
    joined.extend_from_slice(config.as_os_str().as_bytes());
    let serves = |arguments: &[Vec<u8>]| {
        arguments.windows(2).any(|two| two[0] == b"--config" && two[1] == config.as_os_str().as_bytes())
            || arguments.contains(&joined)
    };
    let processes = fs::read_dir("/proc").ok()?;
    processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok()).find(|pid| {
        *pid != std::process::id() as i32 && serves(&arguments(*pid)) && means_the_same(*pid, &config)
    })
}

/// Whether a path leads a process to the same file as us: in a container it may not. When that cannot be seen, yes.
fn means_the_same(pid: i32, path: &Path) -> bool {
    let seen_by_it =
        Path::new("/proc").join(pid.to_string()).join("root").join(path.strip_prefix("/").unwrap_or(path));
    match (fs::metadata(seen_by_it), fs::metadata(path)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        (Err(error), _) => error.kind() != io::ErrorKind::NotFound,
        (Ok(_), Err(_)) => false,
    }
}

/// Whether a process runs the very file at `executable`; none when that cannot be seen (another user's process).
pub(super) fn runs(pid: i32, executable: &Path) -> Option<bool> {
    let running = fs::metadata(format!("/proc/{pid}/exe")).ok()?;
    let file = fs::metadata(executable).ok()?;
    Some((running.dev(), running.ino()) == (file.dev(), file.ino()))
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A process to look at, ended with the test.
    struct Sleeper(Child);

    impl Sleeper {
        fn start(directory: &Path, argument: &str) -> Sleeper {
            let mut command = Command::new("sh");
            command.args(["-c", "read line", argument]).current_dir(directory);
            Sleeper(command.stdin(Stdio::piped()).spawn().expect("sh runs"))
        }

        fn pid(&self) -> i32 {
            self.0.id() as i32
        }

        fn end(&mut self) {
            self.0.kill().expect("it is ours");
            self.0.wait().expect("it ends");
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let line = b"42 (a) b (c)) T 1 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987654 1 1";
        let stat = parse_stat(line).expect("well formed");
        assert_eq!((stat.state, stat.start_ticks), ('T', 987_654));
        assert!(parse_stat(b"42 (half").is_none());
    }

    #[test]
    fn a_process_is_ours_by_its_arguments_or_by_where_it_works() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path();
        let by_argument = Sleeper::start(Path::new("/"), &path.join("server.toml").to_string_lossy());
        let by_place = Sleeper::start(path, "x");
        for sleeper in [by_argument, by_place] {
            let identity = Identity::of(sleeper.pid()).expect("readable").expect("it lives");
            assert_eq!(identity.judge(path).expect("readable"), Verdict::Ours { paused: false });
        }
    }

    #[test]
    fn a_living_process_of_somebody_else_is_never_signalled() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let mut other = Sleeper::start(Path::new("/"), "x");
        let identity = Identity::of(other.pid()).expect("readable").expect("it lives");

        assert_eq!(identity.judge(directory.path()).expect("readable"), Verdict::Stranger);
        let refusal = identity.send(Signal::SIGKILL, directory.path());

        assert!(matches!(refusal, Err(AgentError::Refused(_))));
        assert!(other.0.try_wait().expect("waitable").is_none(), "it still lives");
    }

    #[test]
    fn a_number_that_is_used_again_is_not_mistaken() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let mut process = Sleeper::start(directory.path(), "x");
        let now = Identity::of(process.pid()).expect("readable").expect("it lives");
        let earlier = Identity { start_ticks: now.start_ticks - 1, ..now.clone() };
        let other_boot = Identity { boot_id: "another".into(), ..now };
        for past in [earlier, other_boot] {
            assert_eq!(past.judge(directory.path()).expect("readable"), Verdict::Gone);
            assert!(!past.send(Signal::SIGKILL, directory.path()).expect("nobody to send it to"));
        }
        assert!(process.0.try_wait().expect("waitable").is_none(), "it still lives");
        process.end();
        assert_eq!(now.judge(directory.path()).expect("readable"), Verdict::Gone);
    }

    #[test]
    fn a_zombie_has_ended() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let mut process = Sleeper::start(directory.path(), "x");
        let identity = Identity::of(process.pid()).expect("readable").expect("it lives");
        process.0.kill().expect("ours");
        // Not waited for: it stays a zombie until the end of this test. Its end needs a moment.
        while identity.lives().expect("readable") {
            thread::yield_now();
        }
        assert_eq!(identity.judge(directory.path()).expect("readable"), Verdict::Gone);
    }

    #[test]
    fn a_server_that_nobody_wrote_down_is_found() {
        let directory = tempfile::tempdir().expect("temporary directory");
        fs::write(directory.path().join("server.toml"), "").expect("writable");
        assert_eq!(find_serving(directory.path()), None);
        let mut command = Command::new("sh");
        command.args(["-c", "read line", "x", "--config"]).arg(directory.path().join("server.toml"));
        let sleeper = Sleeper(command.stdin(Stdio::piped()).spawn().expect("sh runs"));
        // Its arguments show a moment after its start.
        while arguments(sleeper.pid()).is_empty() {
            thread::yield_now();
        }
        assert_eq!(find_serving(directory.path()), Some(sleeper.pid()));
    }
}
