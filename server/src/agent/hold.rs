//! The hidden verb that becomes the server: own session, pid file, then `exec`.
//!
//! `start` and the systemd unit run `EXECUTABLE agent hold ...`, and this process turns into `EXECUTABLE serve
//! --config SERVER.TOML` under the same number. So the pid file is written by the very process it names, before
//! there is a server; a starter that dies at any moment leaves either nothing or a server with its record. The
//! starter's lock comes in as standard input and is let go once the record is written.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use super::condition::{self, Condition};
use super::error::{AgentError, Doing};
use super::node::NodeDirectory;
use super::record::PidRecord;
use super::report::Supervisor;

/// `hold`: not for people.
#[derive(Debug, clap::Args)]
pub struct HoldArguments {
    /// Directory of the node
    #[arg(long, value_name = "DIRECTORY")]
    node_dir: PathBuf,
    /// The program that serves
    #[arg(long, value_name = "FILE")]
    executable: PathBuf,
    /// Who keeps this process running
    #[arg(long)]
    supervisor: Supervisor,
}

/// Becomes the server, or says on standard error (the log) why not.
///
/// Exit code 2 tells systemd that trying again is of no use.
pub(super) fn run(arguments: &HoldArguments) -> ExitCode {
    let Err(error) = become_server(arguments);
    eprintln!("the server was not started: {error}");
    match error {
        AgentError::System { .. } => ExitCode::FAILURE,
        _ => ExitCode::from(2),
    }
}

fn become_server(arguments: &HoldArguments) -> Result<std::convert::Infallible, AgentError> {
    // Fails only for a process that leads a session already, as under systemd: then there is nothing to do.
    let _ = nix::unistd::setsid();
    let node = NodeDirectory::new(&arguments.node_dir)?;
    if !node.is_configured() {
        return Err(AgentError::NotConfigured(node.path().to_owned()));
    }
    let record = PidRecord::of_this_process(&node, arguments.supervisor)?;
    if let Condition::Running { record: other, .. } = condition::look(&node)?
        && other.identity != record.identity
    {
        return Err(AgentError::Running { node: node.path().to_owned(), pid: other.identity.pid });
    }
    let mut server = Command::new(&arguments.executable);
    server.arg("serve").arg("--config").arg(node.config()).current_dir(node.path());
    record.write(&node)?;
    let nothing = File::open("/dev/null").doing("open", std::path::Path::new("/dev/null"))?;
    nix::unistd::dup2_stdin(nothing).doing("empty", std::path::Path::new("standard input"))?;
    close_inherited_files();
    Err(server.exec()).doing("run", &arguments.executable)
}

/// Closes what a careless parent left open: a pipe of an SSH session that the server keeps would keep the session.
fn close_inherited_files() {
    let Ok(open) = std::fs::read_dir("/proc/self/fd") else { return };
    let numbers: Vec<i32> = open
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|number| *number > 2)
        .collect();
    for number in numbers {
        // Nothing of ours is open here any more but the list itself, which is closed by now (and says so).
        let _ = nix::unistd::close(number);
    }
}
