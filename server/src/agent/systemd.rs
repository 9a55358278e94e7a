//! systemd, where a host runs it: whether it can be had, and a node's unit under it.
//!
//! A node is under systemd when its unit file is installed. Whether the unit runs is asked of systemd; which
//! process serves is read from the pid file as without systemd, since the unit's process writes it too.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::unistd::Uid;

use super::bounded::{self, Answer};
use super::error::{AgentError, Doing};
use super::files;
use super::node::NodeDirectory;
use super::report::{Supervisor, SystemdFacts};
use super::unit;

/// How long systemctl may take. Nothing here waits for a unit's work, only for the manager's word.
const PATIENCE: Duration = Duration::from_secs(20);

/// How the server is to be kept running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum SupervisorChoice {
    /// systemd where it runs and would keep the server when the user logs out, else detached
    Auto,
    /// A unit: the system's for root, else the user's
    Systemd,
    /// A session of its own, with no supervisor
    Detached,
}

/// One of the two managers: the host's or the user's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manager {
    supervisor: Supervisor,
    unit_directory: PathBuf,
}

/// What systemd says of a unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct UnitState {
    /// `active`, `activating`, `inactive`, `failed`, ...
    pub(super) active: String,
    /// `running`, `start`, `auto-restart`, `dead`, ...
    pub(super) sub: String,
    /// The unit's process, when there is one.
    pub(super) main_pid: Option<i32>,
    /// How the last process ended; a signal's number when it was killed.
    pub(super) exit_status: Option<i32>,
    /// systemd has an order for it that is not carried out yet.
    pub(super) has_job: bool,
}

impl UnitState {
    /// Whether it has ended, and stays so unless somebody starts it. Right after an order its old state shows.
    pub(super) fn is_over(&self) -> bool {
        !self.has_job && matches!(self.active.as_str(), "inactive" | "failed" | "")
    }

    /// Whether the process ended and systemd is about to start the next.
    pub(super) fn is_between_restarts(&self) -> bool {
        self.sub.starts_with("auto-restart")
    }
}

impl Manager {
    /// The manager that this user's units belong to: root's are the host's.
    pub(super) fn of_this_user() -> Option<Manager> {
        if Uid::effective().is_root() {
            let unit_directory = PathBuf::from("/etc/systemd/system");
            return Some(Manager { supervisor: Supervisor::SystemdSystem, unit_directory });
        }
        let configuration = match std::env::var_os("XDG_CONFIG_HOME") {
            Some(path) if Path::new(&path).is_absolute() => PathBuf::from(path),
            _ => files::home()?.join(".config"),
        };
        Some(Manager {
            supervisor: Supervisor::SystemdUser,
            unit_directory: configuration.join("systemd/user"),
        })
    }

    /// The manager under which this node is installed, if it is and systemd runs at all.
    pub(super) fn of_installed(node: &NodeDirectory) -> Option<Manager> {
        Manager::of_this_user().filter(|manager| is_booted() && manager.unit_file(node).is_file())
    }

    pub(super) fn supervisor(&self) -> Supervisor {
        self.supervisor
    }

    fn unit_file(&self, node: &NodeDirectory) -> PathBuf {
        self.unit_directory.join(unit::name(node))
    }

    /// Whether the manager answers.
    fn answers(&self) -> bool {
        self.systemctl(&["show", "--property=Version"]).success
    }

    fn systemctl(&self, arguments: &[&str]) -> Answer {
        let mut command = Command::new("systemctl");
        if self.supervisor == Supervisor::SystemdUser {
            command.arg("--user");
            // A session without PAM has no such variable although the manager is there.
            if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
                command.env("XDG_RUNTIME_DIR", format!("/run/user/{}", Uid::effective()));
            }
        }
        bounded::run(command.args(["--no-pager", "--no-ask-password"]).args(arguments), PATIENCE)
    }

    fn order(&self, arguments: &[&str]) -> Result<(), AgentError> {
        let answer = self.systemctl(arguments);
        if answer.success {
            return Ok(());
        }
        Err(self.failure(&arguments.join(" "), &answer))
    }

    /// Writes the unit where it is missing or differs, and has it started at boot.
    pub(super) fn install(&self, node: &NodeDirectory, executable: &Path) -> Result<(), AgentError> {
        let file = self.unit_file(node);
        let text = unit::text(node, executable, self.supervisor);
        if files::read_if_there(&file)?.as_deref() != Some(text.as_bytes()) {
            std::fs::create_dir_all(&self.unit_directory).doing("create", &self.unit_directory)?;
            files::replace(&file, text.as_bytes())?;
        }
        // Also when the file was right: the last call may have ended between the writing and this.
        self.order(&["daemon-reload"])?;
        self.order(&["enable", &unit::name(node)])
    }

    /// Has the unit started, without waiting. Nothing happens when it runs; between restarts it starts at once.
    pub(super) fn start(&self, node: &NodeDirectory) -> Result<(), AgentError> {
        self.order(&["start", "--no-block", &unit::name(node)])
    }

    /// Has the unit stopped, without waiting, and not started again, neither now nor at boot.
    pub(super) fn stop(&self, node: &NodeDirectory) -> Result<(), AgentError> {
        let name = unit::name(node);
        // It may be disabled already; what counts is the stop.
        let _ = self.systemctl(&["disable", &name]);
        self.order(&["stop", "--no-block", &name])
    }

    /// Ends the unit's restarts without changing what happens at boot: the server was killed on purpose.
    pub(super) fn leave_dead(&self, node: &NodeDirectory) -> Result<(), AgentError> {
        self.order(&["stop", "--no-block", &unit::name(node)])
    }

    /// Forgets that the unit failed.
    pub(super) fn forget_failure(&self, node: &NodeDirectory) {
        let _ = self.systemctl(&["reset-failed", &unit::name(node)]);
    }

    /// Removes the unit. It must not run. Answers the file that was removed.
    pub(super) fn uninstall(&self, node: &NodeDirectory) -> Result<PathBuf, AgentError> {
        let file = self.unit_file(node);
        let _ = self.systemctl(&["disable", &unit::name(node)]);
        files::remove_if_there(&file)?;
        self.order(&["daemon-reload"])?;
        self.forget_failure(node);
        if self.supervisor == Supervisor::SystemdUser {
            // What `install` may have made; only empty directories go, and not being able to is no harm.
            for directory in self.unit_directory.ancestors().take(2) {
                let _ = std::fs::remove_dir(directory);
            }
        }
        Ok(file)
    }

    /// What systemd says of the node's unit.
    pub(super) fn state(&self, node: &NodeDirectory) -> Result<UnitState, AgentError> {
        let properties = "--property=ActiveState,SubState,MainPID,ExecMainStatus,Job";
        let answer = self.systemctl(&["show", properties, &unit::name(node)]);
        if answer.success {
            return Ok(parse_state(&answer.output));
        }
        Err(self.failure("show", &answer))
    }

    fn failure(&self, order: &str, answer: &Answer) -> AgentError {
        let manager = if self.supervisor == Supervisor::SystemdUser { " --user" } else { "" };
        AgentError::Supervisor(format!("systemctl{manager} {order} failed: {}", answer.complaint))
    }
}

fn parse_state(text: &str) -> UnitState {
    let mut state = UnitState::default();
    for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
        match key {
            "ActiveState" => state.active = value.to_owned(),
            "SubState" => state.sub = value.to_owned(),
            "MainPID" => state.main_pid = value.parse().ok().filter(|pid| *pid > 0),
            "Job" => state.has_job = value.parse::<u64>().is_ok_and(|job| job > 0),
            "ExecMainStatus" => state.exit_status = value.parse().ok(),
            _ => {}
        }
    }
    state
}

/// Whether systemd is the host's first process: what sd_booted(3) looks at.
fn is_booted() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// Whether this user's manager outlives the user's sessions.
fn lingers() -> bool {
    super::probe::user_name().is_some_and(|name| Path::new("/var/lib/systemd/linger").join(name).exists())
}

/// The manager to start a node under, or none for a detached process.
///
/// # Errors
/// Supervisor, when systemd was asked for and is not to be had.
pub(super) fn choose(choice: SupervisorChoice) -> Result<Option<Manager>, AgentError> {
    if choice == SupervisorChoice::Detached {
        return Ok(None);
    }
    let found = if is_booted() { Manager::of_this_user().filter(Manager::answers) } else { None };
    if let Some(manager) = &found
        && manager.supervisor == Supervisor::SystemdUser
        && !lingers()
    {
        let _ = bounded::run(Command::new("loginctl").arg("enable-linger"), PATIENCE);
        if !lingers() && choice == SupervisorChoice::Auto {
            // The manager would take the server along at logout; a session of its own survives.
            return Ok(None);
        }
    }
    match (found, choice) {
        (None, SupervisorChoice::Systemd) => Err(AgentError::Supervisor(
            "systemd is not to be had here: it is not the first process, or the user's manager does not answer; \
             use --supervisor detached"
                .into(),
        )),
        (found, _) => Ok(found),
    }
}

/// Looks at systemd without changing anything.
pub(super) fn facts() -> SystemdFacts {
    let booted = is_booted();
    let manager = Manager::of_this_user().filter(|manager| booted && manager.answers());
    let linger = lingers();
    let user_manager = manager.as_ref().is_some_and(|found| found.supervisor == Supervisor::SystemdUser);
    let would_use = match manager {
        Some(manager) if manager.supervisor == Supervisor::SystemdSystem || linger => manager.supervisor,
        _ => Supervisor::Detached,
    };
    SystemdFacts { booted, user_manager, linger, would_use }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_units_state_is_read_in_any_order() {
        let state =
            parse_state("MainPID=42\nSubState=running\nActiveState=active\nExecMainStatus=0\nNew=x\n");
        assert_eq!((state.active.as_str(), state.sub.as_str()), ("active", "running"));
        assert_eq!((state.main_pid, state.exit_status, state.has_job), (Some(42), Some(0), false));
        assert!(!state.is_over());
    }

    #[test]
    fn a_unit_that_waits_for_its_restart_is_not_over() {
        let state =
            parse_state("ActiveState=activating\nSubState=auto-restart\nMainPID=0\nExecMainStatus=4\n");
        assert!(!state.is_over() && state.is_between_restarts());
        assert_eq!((state.main_pid, state.exit_status), (None, Some(4)));
        assert!(parse_state("ActiveState=failed\nSubState=failed\n").is_over());
    }

    #[test]
    fn a_unit_with_an_order_under_way_is_not_over() {
        assert!(!parse_state("ActiveState=inactive\nSubState=dead\nJob=1234\n").is_over());
        assert!(parse_state("ActiveState=inactive\nSubState=dead\nJob=0\n").is_over());
        assert!(parse_state("ActiveState=inactive\nSubState=dead\nJob=\n").is_over());
    }
}
