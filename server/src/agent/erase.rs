//! `erase`: removes a node, and what was installed around it when that was the last one.
//!
//! Only what the agent, the server and the driver are known to make is removed, name by name. Everything else
//! stays and is reported. The node's lock file goes last, since it is what says that the directory is the agent's:
//! a run that was cut short is completed by the next.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::condition::{self, Condition};
use super::error::{AgentError, Doing};
use super::files;
use super::lock::{LockArguments, NodeLock};
use super::node::NodeDirectory;
use super::process;
use super::report::EraseReport;
use super::systemd::Manager;

/// `erase`: removes a node that does not run, with its data.
#[derive(Debug, clap::Args)]
pub struct EraseArguments {
    /// Directory of the node
    #[arg(long, value_name = "DIRECTORY")]
    pub(super) node_dir: PathBuf,
    /// The directory that holds `bin/` and `nodes/`: removed too when this was the last node in it
    #[arg(long, value_name = "DIRECTORY")]
    install_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(super) lock: LockArguments,
}

/// What was removed and what was left.
#[derive(Default)]
struct Tally {
    removed: Vec<PathBuf>,
    left: Vec<PathBuf>,
}

/// Removes the node.
///
/// # Errors
/// Running, while its server runs or may come back by itself. Refused, for a directory that is not the agent's.
pub(super) fn run(node: &NodeDirectory, arguments: &EraseArguments) -> Result<EraseReport, AgentError> {
    refuse_dangerous(node.path())?;
    let install = match &arguments.install_dir {
        Some(path) => Some(check_install_directory(&files::absolute(path)?, node)?),
        None => None,
    };
    let mut tally = Tally::default();
    let already_absent = !node.exists();
    if !already_absent {
        erase_node(node, arguments, &mut tally)?;
    }
    if let Some(install) = install {
        erase_install(&install, &mut tally)?;
    }
    let shown = |paths: Vec<PathBuf>| paths.into_iter().map(|path| path.display().to_string()).collect();
    Ok(EraseReport { already_absent, removed: shown(tally.removed), left: shown(tally.left) })
}

/// Directories that are never a node's or an installation, whatever is in them.
fn refuse_dangerous(path: &Path) -> Result<(), AgentError> {
    let home = files::home().and_then(|home| home.canonicalize().ok());
    if path.parent().is_none() || home.is_some_and(|home| home.starts_with(path)) {
        return Err(AgentError::Refused(format!("{} is not a directory to erase", path.display())));
    }
    Ok(())
}

fn check_install_directory(install: &Path, node: &NodeDirectory) -> Result<PathBuf, AgentError> {
    refuse_dangerous(install)?;
    if node.path().parent() != Some(install.join("nodes").as_path()) {
        return Err(AgentError::Refused(format!(
            "{} does not lie in {}/nodes",
            node.path().display(),
            install.display()
        )));
    }
    Ok(install.to_owned())
}

fn erase_node(node: &NodeDirectory, arguments: &EraseArguments, tally: &mut Tally) -> Result<(), AgentError> {
    if !node.is_ours() {
        // What an erase leaves that was cut short just before its last step.
        if node.path().parent().is_some_and(|parent| parent.ends_with("nodes")) && remove_empty(node.path())?
        {
            tally.removed.push(node.path().to_owned());
            return Ok(());
        }
        return Err(AgentError::Refused(format!(
            "{} was not made by the agent (it has no lock file of ours): nothing was erased",
            node.path().display()
        )));
    }
    let lock = NodeLock::take(node, "erase", &arguments.lock)?;
    refuse_running(node)?;
    if let Some(manager) = Manager::of_installed(node) {
        tally.removed.push(manager.uninstall(node)?);
    }
    for path in node.known_entries() {
        remove_known(&path)?;
    }
    files::remove_if_there(&node.lock())?;
    // Closed before the directory goes: on NFS an open file that was removed still has a name in there.
    drop(lock);
    remove_or_list(node.path(), tally)
}

/// Refuses while a server runs, may come back by itself, or was started by somebody else.
fn refuse_running(node: &NodeDirectory) -> Result<(), AgentError> {
    let running = match condition::look(node)? {
        Condition::Running { record, .. } => Some(record.identity.pid),
        Condition::Stopped { .. } => process::find_serving(node.path()),
    };
    if let Some(pid) = running {
        return Err(AgentError::Running { node: node.path().to_owned(), pid });
    }
    if let Some(manager) = Manager::of_installed(node) {
        let state = manager.state(node)?;
        if !state.is_over() {
            return Err(AgentError::Refused(format!(
                "the unit of {} is {} ({}): stop it first",
                node.path().display(),
                state.active,
                state.sub
            )));
        }
    }
    Ok(())
}

/// Removes a file, or a directory with what is in it; of a link only the link.
fn remove_known(path: &Path) -> Result<(), AgentError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path).doing("remove", path),
        Ok(_) => files::remove_if_there(path).map(drop),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).doing("look at", path),
    }
}

/// Removes the installation around the node, unless other nodes live in it.
fn erase_install(install: &Path, tally: &mut Tally) -> Result<(), AgentError> {
    let nodes = install.join("nodes");
    if nodes.is_dir() && !tally.left.iter().any(|left| left.starts_with(&nodes)) {
        remove_or_list(&nodes, tally)?;
    }
    if nodes.exists() {
        return Ok(());
    }
    let binaries = install.join("bin");
    if binaries.is_dir() {
        for path in entries(&binaries)? {
            // The programs under any version's name, and uploads that were cut short.
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.trim_start_matches('.').starts_with("chordata") && !path.is_dir() {
                files::remove_if_there(&path)?;
            }
        }
        remove_or_list(&binaries, tally)?;
    }
    if install.is_dir() { remove_or_list(install, tally) } else { Ok(()) }
}

/// Removes a directory if it is empty, else notes what is in it.
fn remove_or_list(directory: &Path, tally: &mut Tally) -> Result<(), AgentError> {
    if remove_empty(directory)? {
        tally.removed.push(directory.to_owned());
    } else {
        let noted = tally.left.clone();
        let inside = entries(directory)?;
        tally.left.extend(inside.into_iter().filter(|path| !noted.iter().any(|left| left.starts_with(path))));
    }
    Ok(())
}

/// Removes a directory if it is empty. Answers whether it is gone.
fn remove_empty(directory: &Path) -> Result<bool, AgentError> {
    match fs::remove_dir(directory) {
        Ok(()) => Ok(true),
        // Another node's erase, in parallel.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => Ok(false),
        Err(error) => Err(error).doing("remove", directory),
    }
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>, AgentError> {
    let mut paths = Vec::new();
    let listed = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(paths),
        listed => listed.doing("list", directory)?,
    };
    for entry in listed {
        paths.push(entry.doing("list", directory)?.path());
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::record::PidRecord;
    use super::super::report::Supervisor;
    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        arguments: EraseArguments,
    }

    fn erase(directory: &Path, install: Option<&Path>) -> Result<EraseReport, AgentError> {
        let mut words = vec!["x".as_ref(), "--node-dir".as_ref(), directory.as_os_str()];
        if let Some(install) = install {
            words.extend(["--install-dir".as_ref(), install.as_os_str()]);
        }
        let arguments = Line::parse_from(words).arguments;
        run(&NodeDirectory::new(&arguments.node_dir)?, &arguments)
    }

    /// An installation as `deploy`, `configure` and a server's run leave it.
    fn installation(nodes: &[&str]) -> (tempfile::TempDir, PathBuf) {
        let base = tempfile::tempdir().expect("temporary directory");
        let install = base.path().canonicalize().expect("it is there").join(".chordata");
        fs::create_dir_all(install.join("bin")).expect("directory");
        fs::write(install.join("bin/chordata-server"), "").expect("write");
        fs::write(install.join("bin/.chordata-server.partial"), "").expect("write");
        for name in nodes {
            let node = install.join("nodes").join(name);
            fs::create_dir_all(node.join("data/deep/er")).expect("directory");
            fs::write(node.join("data/deep/er/file"), "x").expect("write");
            fs::write(node.join("lock"), "chordata lock\n").expect("write");
            for file in ["server.toml", "secret", "log", "audit.log", "pid", "server.toml.new"] {
                fs::write(node.join(file), "").expect("write");
            }
        }
        (base, install)
    }

    #[test]
    fn the_last_node_takes_the_installation_along_and_the_others_do_not() {
        let (base, install) = installation(&["n1", "n2"]);
        let first = erase(&install.join("nodes/n1"), Some(&install)).expect("erased");
        assert!(!install.join("nodes/n1").exists() && install.join("bin/chordata-server").exists());
        assert_eq!(first.left, [install.join("nodes/n2").display().to_string()]);

        let second = erase(&install.join("nodes/n2"), Some(&install)).expect("erased");
        assert_eq!(second.left, [""; 0]);
        assert_eq!(fs::read_dir(base.path()).expect("there").count(), 0, "nothing is left");

        let third = erase(&install.join("nodes/n2"), Some(&install)).expect("nothing to do");
        assert!(third.already_absent && third.removed.is_empty());
    }

    #[test]
    fn what_is_not_ours_is_left_and_told() {
        let (_base, install) = installation(&["n1"]);
        let note = install.join("nodes/n1/notes.txt");
        fs::write(&note, "mine").expect("write");
        let report = erase(&install.join("nodes/n1"), Some(&install)).expect("erased");
        assert_eq!(report.left, [note.display().to_string()]);
        assert!(note.exists() && !install.join("nodes/n1/data").exists());

        let (_base, install) = installation(&["n1"]);
        let (tool, plan) = (install.join("bin/tool"), install.join("plan.txt"));
        fs::write(&tool, "mine").expect("write");
        fs::write(&plan, "mine").expect("write");
        let report = erase(&install.join("nodes/n1"), Some(&install)).expect("erased");
        assert_eq!(report.left, [tool.display().to_string(), plan.display().to_string()]);
        assert!(tool.exists() && plan.exists() && !install.join("bin/chordata-server").exists());
    }

    #[test]
    fn links_are_removed_and_what_they_lead_to_is_not() {
        let (base, install) = installation(&["n1"]);
        let elsewhere = base.path().join("big-disk");
        fs::create_dir(&elsewhere).expect("directory");
        fs::write(elsewhere.join("file"), "x").expect("write");
        fs::remove_dir_all(install.join("nodes/n1/data")).expect("ours");
        std::os::unix::fs::symlink(&elsewhere, install.join("nodes/n1/data")).expect("link");
        erase(&install.join("nodes/n1"), None).expect("erased");
        assert!(!install.join("nodes/n1").exists() && elsewhere.join("file").exists());
    }

    #[test]
    fn directories_that_are_not_a_nodes_are_refused() {
        let base = tempfile::tempdir().expect("temporary directory");
        fs::write(base.path().join("server.toml"), "").expect("write");
        fs::create_dir(base.path().join("data")).expect("directory");
        let home = files::home().expect("a home");
        for path in [Path::new("/"), Path::new("/etc"), &home, home.parent().expect("a parent"), base.path()]
        {
            assert!(matches!(erase(path, None), Err(AgentError::Refused(_))), "{path:?}");
        }
        assert!(base.path().join("data").exists());
        let (_base, install) = installation(&["n1"]);
        let wrong = erase(&install.join("nodes/n1"), Some(base.path()));
        assert!(matches!(wrong, Err(AgentError::Refused(_))), "{wrong:?}");
    }

    #[test]
    fn a_run_that_was_cut_short_is_completed() {
        let (_base, install) = installation(&["n1"]);
        let node = install.join("nodes/n1");
        for file in ["server.toml", "secret", "pid"] {
            fs::remove_file(node.join(file)).expect("ours");
        }
        fs::remove_dir_all(node.join("data")).expect("ours");
        erase(&node, None).expect("erased");
        assert!(!node.exists());

        fs::create_dir(&node).expect("as left before the very last step");
        erase(&node, Some(&install)).expect("erased");
        assert!(!install.exists());
    }

    #[test]
    fn a_running_server_is_not_erased() {
        let (_base, install) = installation(&["n1"]);
        let node = NodeDirectory::new(&install.join("nodes/n1")).expect("a path");
        let mut server = std::process::Command::new("sh");
        let mut server = server
            .args(["-c", "read line"])
            .current_dir(node.path())
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("sh runs");
        PidRecord::adopted(server.id() as i32, &node, Supervisor::Detached)
            .expect("readable")
            .expect("it lives")
            .write(&node)
            .expect("writable");
        let refusal = erase(node.path(), None);
        assert!(matches!(refusal, Err(AgentError::Running { .. })), "{refusal:?}");
        assert!(node.data().exists());
        server.kill().expect("ours");
        server.wait().expect("it ends");
        erase(node.path(), None).expect("erased");
    }
}
