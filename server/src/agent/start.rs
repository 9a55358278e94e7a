//! `start`: one server per node, and an answer when it is ready.
//!
//! 1. Under the lock: is the recorded process alive and ours? Then nothing is started, and only its readiness is
//!    waited for.
//! 2. Else the server is launched, under systemd or detached. The lock is kept until the new process has written
//!    its pid file; a detached one shares the lock, so this holds also when the agent dies.
//! 3. Without the lock (a `stop` may come in between): wait for the line `ready ID ADDRESS ...` in what the log
//!    gained since, for the end of the process, or for the timeout.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use super::condition::{self, Condition};
use super::error::{AgentError, Doing};
use super::lock::{LockArguments, NodeLock};
use super::logs::{self, Readiness, ReadyWatch};
use super::node::NodeDirectory;
use super::process::{self, Verdict};
use super::record::PidRecord;
use super::report::{StartReport, Supervisor};
use super::systemd::{self, Manager, SupervisorChoice};
use super::unit;

/// How often the log and the process are looked at.
const POLL: Duration = Duration::from_millis(20);
/// How many of the log's last lines a failure carries.
const TAIL_LINES: usize = 20;

/// `start`: starts a node's server and waits until it is ready.
#[derive(Debug, clap::Args)]
pub struct StartArguments {
    /// Directory of the node
    #[arg(long, value_name = "DIRECTORY")]
    pub(super) node_dir: PathBuf,
    /// How long to wait for the server to be ready
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = super::seconds)]
    timeout: Duration,
    /// What keeps the server running
    #[arg(long, value_enum, default_value = "auto")]
    supervisor: SupervisorChoice,
    #[command(flatten)]
    pub(super) lock: LockArguments,
}

/// How the server came to run: what tells its end.
enum Launched {
    /// It ran before us.
    Before,
    /// Our child.
    Child(Child),
    /// systemd's.
    Unit(Manager),
}

/// How a server ended: its exit code where it has one, and words for it.
struct End {
    exit_code: Option<i32>,
    words: String,
}

/// Starts the server with the program at `executable`.
pub(super) fn run(
    node: &NodeDirectory,
    arguments: &StartArguments,
    executable: &Path,
) -> Result<StartReport, AgentError> {
    let began = Instant::now();
    let deadline = began + arguments.timeout;
    if !node.is_configured() {
        return Err(AgentError::NotConfigured(node.path().to_owned()));
    }
    let lock = NodeLock::take(node, "start", &arguments.lock)?;
    let mut attempt = match condition::look(node)? {
        Condition::Running { record, .. } if !record.stopping => Attempt {
            node,
            lock: None,
            launched: Launched::Before,
            log_offset: record.log_offset,
            record: Some(record),
        },
        Condition::Running { record, .. } => {
            wait_for_end(&record, deadline)?;
            Attempt::launch(node, lock, arguments.supervisor, executable)?
        }
        Condition::Stopped { .. } => Attempt::launch(node, lock, arguments.supervisor, executable)?,
    };
    let already_running = matches!(attempt.launched, Launched::Before);
    let (record, ready) = attempt.wait(deadline, arguments)?;
    let unit = (record.supervisor != Supervisor::Detached).then(|| unit::name(node));
    Ok(StartReport {
        already_running,
        pid: record.identity.pid,
        supervisor: record.supervisor,
        unit,
        ready,
        took_milliseconds: began.elapsed().as_millis() as u64,
    })
}

/// An earlier `stop` told it to end, and was itself ended before it saw that.
fn wait_for_end(record: &PidRecord, deadline: Instant) -> Result<(), AgentError> {
    while record.identity.lives()? {
        if Instant::now() >= deadline {
            return Err(AgentError::NotEnded(format!(
                "process {} was told to stop earlier and still runs; stop --kill ends it",
                record.identity.pid
            )));
        }
        thread::sleep(POLL);
    }
    Ok(())
}

/// A server on its way to being ready.
struct Attempt<'a> {
    node: &'a NodeDirectory,
    /// Kept until the process has its record.
    lock: Option<NodeLock>,
    launched: Launched,
    log_offset: u64,
    record: Option<PidRecord>,
}

impl<'a> Attempt<'a> {
    fn launch(
        node: &'a NodeDirectory,
        lock: NodeLock,
        choice: SupervisorChoice,
        executable: &Path,
    ) -> Result<Attempt<'a>, AgentError> {
        if let Some(pid) = process::find_serving(node.path()) {
            return Err(AgentError::Refused(format!(
                "process {pid} already serves {} and was not started by the agent: end it first",
                node.path().display()
            )));
        }
        let log_offset = logs::length(&node.log());
        let manager = systemd::choose(choice)?;
        if manager.is_none()
            && let Some(installed) = Manager::of_installed(node)
        {
            // Else it would start a second server at the next boot, or now.
            installed.stop(node)?;
        }
        let launched = match manager {
            Some(manager) => {
                manager.install(node, executable)?;
                manager.forget_failure(node);
                manager.start(node)?;
                Launched::Unit(manager)
            }
            None => Launched::Child(spawn_detached(node, &lock, executable)?),
        };
        Ok(Attempt { node, lock: Some(lock), launched, log_offset, record: None })
    }

    /// Waits until the server is ready. Answers its record and what it said.
    fn wait(
        &mut self,
        deadline: Instant,
        arguments: &StartArguments,
    ) -> Result<(PidRecord, Option<String>), AgentError> {
        let mut watch = ReadyWatch::new(self.node.log(), self.log_offset);
        let mut said = Readiness::NotYet;
        loop {
            if said == Readiness::NotYet {
                said = watch.look();
            }
            self.refresh_record()?;
            if let Some(end) = self.end()? {
                return Err(self.give_up(&end, arguments));
            }
            if let Some(record) = &self.record {
                match &said {
                    Readiness::Ready(line) => return Ok((record.clone(), Some(line.clone()))),
                    Readiness::Unknown => return Ok((record.clone(), None)),
                    Readiness::NotYet => {}
                }
            }
            if Instant::now() >= deadline {
                return Err(self.not_ready(arguments.timeout));
            }
            thread::sleep(POLL);
        }
    }

    /// Takes over the pid file once it names the new process, and lets go of the lock then.
    fn refresh_record(&mut self) -> Result<(), AgentError> {
        if self.record.as_ref().is_some_and(|record| record.identity.lives().unwrap_or(true)) {
            return Ok(());
        }
        let Some(record) = PidRecord::read(self.node)? else { return Ok(()) };
        let ours = match &self.launched {
            Launched::Before => false,
            Launched::Child(child) => record.identity.pid == child.id() as i32,
            Launched::Unit(_) => record.supervisor != Supervisor::Detached,
        };
        if ours && matches!(record.judge(self.node.path())?, Verdict::Ours { .. }) {
            self.record = Some(record);
            self.lock = None;
        }
        Ok(())
    }

    /// How the server ended, if it has.
    fn end(&mut self) -> Result<Option<End>, AgentError> {
        let lives = match &self.record {
            Some(record) => record.identity.lives()?,
            None => false,
        };
        if lives {
            return Ok(None);
        }
        match &mut self.launched {
            Launched::Before => Ok(Some(End { exit_code: None, words: "ended".into() })),
            Launched::Child(child) => match child.try_wait() {
                Ok(Some(status)) => {
                    let words = match (status.code(), status.signal()) {
                        (Some(code), _) => format!("ended with exit code {code}"),
                        (None, Some(signal)) => format!("was ended by signal {signal}"),
                        (None, None) => "ended".into(),
                    };
                    Ok(Some(End { exit_code: status.code(), words }))
                }
                Ok(None) => Ok(None),
                Err(source) => Err(AgentError::System { doing: "wait for the server".into(), source }),
            },
            Launched::Unit(manager) => {
                let state = manager.state(self.node)?;
                if !state.is_over() && !state.is_between_restarts() {
                    return Ok(None);
                }
                let words = match state.exit_status {
                    Some(status) => {
                        format!("ended with status {status} (systemd: {}, {})", state.active, state.sub)
                    }
                    None => format!("ended (systemd: {}, {})", state.active, state.sub),
                };
                Ok(Some(End { exit_code: state.exit_status, words }))
            }
        }
    }

    /// The error for a server that ended; under systemd also the end of its restarts, as a detached one has none.
    fn give_up(&mut self, end: &End, arguments: &StartArguments) -> AgentError {
        let lock = match self.lock.take() {
            Some(lock) => Ok(lock),
            None => NodeLock::take(self.node, "start", &arguments.lock),
        };
        // Without the lock somebody else is at work on this node: the unit is theirs now.
        if let (Launched::Unit(manager), Ok(_held)) = (&self.launched, &lock)
            && let Err(error) = manager.stop(self.node)
        {
            eprintln!("{error}");
        }
        let log_tail = logs::tail(&self.node.log(), self.log_offset, TAIL_LINES);
        let last: Vec<&str> = log_tail.iter().rev().take(3).rev().map(|line| line.trim()).collect();
        let words = &end.words;
        let sentence = match last.is_empty() {
            true => format!("the server {words} before it was ready, and logged nothing"),
            false => format!("the server {words} before it was ready; its log ends: {}", last.join(" / ")),
        };
        AgentError::Ended { sentence, exit_code: end.exit_code, log_tail }
    }

    fn not_ready(&self, timeout: Duration) -> AgentError {
        let seconds = timeout.as_secs_f64();
        AgentError::NotReady(match &self.record {
            Some(record) => format!(
                "the server runs (pid {}) but did not say that it is ready within {seconds} s; it is left running",
                record.identity.pid
            ),
            None => format!("the server did not come up within {seconds} s"),
        })
    }
}

/// Starts `agent hold` with the lock as its standard input and the log as its output.
fn spawn_detached(node: &NodeDirectory, lock: &NodeLock, executable: &Path) -> Result<Child, AgentError> {
    let path = node.log();
    let log = OpenOptions::new().append(true).create(true).mode(0o600).open(&path).doing("open", &path)?;
    let errors = log.try_clone().doing("open", &path)?;
    let mut command = Command::new(executable);
    command.args(["agent", "hold", "--node-dir"]).arg(node.path());
    command.arg("--executable").arg(executable).args(["--supervisor", "detached"]);
    command.current_dir(node.path()).stdin(lock.share()?).stdout(log).stderr(errors);
    // What happens to be set where the operator works must not override the node's configuration.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CHORDATA_") || name == "NOTIFY_SOCKET" {
            command.env_remove(name);
        }
    }
    command.spawn().doing("run", executable)
}
