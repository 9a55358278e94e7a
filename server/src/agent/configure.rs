//! `configure`: a node's directory, its configuration and its secret, written only where they differ.
//!
//! A second run with the same input changes nothing and says so. A crash between the two files leaves one new and
//! one old; the next run completes it. The server reads both at its next start.

use std::io::Read;
use std::path::PathBuf;

use super::error::AgentError;
use super::files;
use super::lock::{LockArguments, NodeLock};
use super::node::NodeDirectory;
use super::report::{ConfigureReport, ConfigureRequest};

/// The most that is read from standard input.
const LONGEST_REQUEST: u64 = 4 * 1024 * 1024;

/// `configure`: writes a node's configuration from a JSON object on standard input.
#[derive(Debug, clap::Args)]
pub struct ConfigureArguments {
    /// Directory of the node
    #[arg(long, value_name = "DIRECTORY")]
    pub(super) node_dir: PathBuf,
    /// Only tell what would change
    #[arg(long)]
    pub(super) dry_run: bool,
    #[command(flatten)]
    pub(super) lock: LockArguments,
}

/// Reads the request.
///
/// # Errors
/// BadInput when it is too long or not a [`ConfigureRequest`].
pub(super) fn read_request(input: impl Read) -> Result<ConfigureRequest, AgentError> {
    let mut text = Vec::new();
    input
        .take(LONGEST_REQUEST + 1)
        .read_to_end(&mut text)
        .map_err(|source| AgentError::System { doing: "read standard input".into(), source })?;
    if text.len() as u64 > LONGEST_REQUEST {
        return Err(AgentError::BadInput(format!("the request is longer than {LONGEST_REQUEST} bytes")));
    }
    // The place and not serde_json's words, which may quote the content: the secret is in there.
    serde_json::from_slice(&text).map_err(|error| {
        AgentError::BadInput(format!(
            "standard input is not {{\"config\": TEXT, \"secret\": TEXT or null}}: line {}, column {}",
            error.line(),
            error.column()
        ))
    })
}

/// Writes what differs.
pub(super) fn run(
    node: &NodeDirectory,
    arguments: &ConfigureArguments,
    request: &ConfigureRequest,
) -> Result<ConfigureReport, AgentError> {
    if let Err(error) = request.config.parse::<toml::Table>() {
        return Err(AgentError::BadInput(format!("the configuration is not TOML: {}", error.message())));
    }
    let mut changes = Vec::new();
    if arguments.dry_run {
        let differences = differs(node, request)?;
        changes.extend(differences.secret.then_some("secret"));
        changes.extend(differences.config.then_some("server.toml"));
    } else {
        write(node, arguments, request, &mut changes)?;
    }
    Ok(ConfigureReport {
        changed: !changes.is_empty(),
        changes: changes.into_iter().map(str::to_owned).collect(),
        config_hash: files::hash(request.config.as_bytes()),
        node_dir: node.path().display().to_string(),
    })
}

struct Differences {
    config: bool,
    secret: bool,
}

fn differs(node: &NodeDirectory, request: &ConfigureRequest) -> Result<Differences, AgentError> {
    let config = files::read_if_there(&node.config())?;
    let secret = files::read_if_there(&node.secret())?;
    Ok(Differences {
        config: config.as_deref() != Some(request.config.as_bytes()),
        secret: secret.as_deref() != request.secret.as_deref().map(str::as_bytes),
    })
}

fn write(
    node: &NodeDirectory,
    arguments: &ConfigureArguments,
    request: &ConfigureRequest,
    changes: &mut Vec<&'static str>,
) -> Result<(), AgentError> {
    if node.exists() && !node.is_ours() && !is_empty(node) {
        return Err(AgentError::Refused(format!(
            "{} exists, has files in it, and was not made by the agent: choose another directory",
            node.path().display()
        )));
    }
    files::create_private_directory(node.path())?;
    let _lock = NodeLock::take_new(node, "configure", &arguments.lock)?;
    let differences = differs(node, request)?;
    // The secret first: a server with the new configuration and no secret would not be what was asked for.
    if differences.secret {
        match &request.secret {
            Some(secret) => files::replace(&node.secret(), secret.as_bytes())?,
            None => drop(files::remove_if_there(&node.secret())?),
        }
        changes.push("secret");
    }
    if differences.config {
        files::replace(&node.config(), request.config.as_bytes())?;
        changes.push("server.toml");
    }
    let mut tightened = files::set_mode(node.path(), 0o700)?;
    if request.secret.is_some() {
        tightened |= files::set_mode(&node.secret(), 0o600)?;
    }
    if tightened {
        changes.push("permissions");
    }
    Ok(())
}

fn is_empty(node: &NodeDirectory) -> bool {
    std::fs::read_dir(node.path()).is_ok_and(|mut entries| entries.next().is_none())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use clap::Parser;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        arguments: ConfigureArguments,
    }

    fn arguments(directory: &Path, more: &[&str]) -> ConfigureArguments {
        let directory = directory.to_str().expect("UTF-8");
        Line::parse_from(["x", "--node-dir", directory].iter().chain(more)).arguments
    }

    fn configure(directory: &Path, config: &str, secret: Option<&str>, more: &[&str]) -> ConfigureReport {
        let arguments = arguments(directory, more);
        let node = NodeDirectory::new(&arguments.node_dir).expect("a path");
        let request = ConfigureRequest { config: config.into(), secret: secret.map(Into::into) };
        run(&node, &arguments, &request).expect("configured")
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("it is there").permissions().mode() & 0o777
    }

    #[test]
    fn the_second_time_nothing_changes() {
        let base = tempfile::tempdir().expect("temporary directory");
        let directory = base.path().join("nodes/n1");
        let first = configure(&directory, "a = 1\n", Some("s"), &[]);
        assert_eq!(first.changes, ["secret", "server.toml"]);
        assert_eq!((mode(&directory), mode(&directory.join("secret"))), (0o700, 0o600));

        let written = fs::metadata(directory.join("server.toml")).expect("written").modified().expect("time");
        assert!(!configure(&directory, "a = 1\n", Some("s"), &[]).changed);
        let after =
            fs::metadata(directory.join("server.toml")).expect("still there").modified().expect("time");
        assert_eq!(written, after);
    }

    #[test]
    fn a_dry_run_tells_and_writes_nothing() {
        let base = tempfile::tempdir().expect("temporary directory");
        let directory = base.path().join("n1");
        let report = configure(&directory, "a = 1", Some("s"), &["--dry-run"]);
        assert_eq!(report.changes, ["secret", "server.toml"]);
        assert!(!directory.exists());
    }

    #[test]
    fn a_secret_that_is_no_longer_given_is_removed() {
        let base = tempfile::tempdir().expect("temporary directory");
        configure(base.path(), "a = 1", Some("s"), &[]);
        assert_eq!(configure(base.path(), "a = 1", None, &[]).changes, ["secret"]);
        assert!(!base.path().join("secret").exists());
    }

    #[test]
    fn permissions_that_somebody_widened_are_narrowed_again() {
        let base = tempfile::tempdir().expect("temporary directory");
        configure(base.path(), "a = 1", Some("s"), &[]);
        fs::set_permissions(base.path().join("secret"), fs::Permissions::from_mode(0o644)).expect("ours");
        assert_eq!(configure(base.path(), "a = 1", Some("s"), &[]).changes, ["permissions"]);
        assert_eq!(mode(&base.path().join("secret")), 0o600);
    }

    #[test]
    fn what_a_crash_left_half_done_is_completed() {
        let base = tempfile::tempdir().expect("temporary directory");
        configure(base.path(), "a = 1", Some("old"), &[]);
        // The crash came after the new secret was written and while the new configuration was.
        fs::write(base.path().join("secret"), "new").expect("ours");
        fs::write(base.path().join("server.toml.new"), "a =").expect("ours");
        assert_eq!(configure(base.path(), "a = 2", Some("new"), &[]).changes, ["server.toml"]);
        assert_eq!(fs::read_to_string(base.path().join("server.toml")).expect("there"), "a = 2");
        assert!(!base.path().join("server.toml.new").exists());
    }

    #[test]
    fn somebody_elses_directory_and_bad_toml_are_refused_and_nothing_changes() {
        let base = tempfile::tempdir().expect("temporary directory");
        fs::write(base.path().join("thesis.txt"), "").expect("write");
        let arguments = arguments(base.path(), &[]);
        let node = NodeDirectory::new(&arguments.node_dir).expect("a path");
        for (config, kind) in [("a = 1", "Refused"), ("a = = 1", "BadInput")] {
            let request = ConfigureRequest { config: config.into(), secret: None };
            let error = run(&node, &arguments, &request).expect_err("refused");
            assert!(format!("{error:?}").starts_with(kind), "{error:?}");
        }
        assert_eq!(fs::read_dir(base.path()).expect("there").count(), 1);
    }

    #[test]
    fn an_error_about_the_request_never_quotes_it() {
        for text in ["\"hunter2\"", "{\"secret\": [\"hunter2\"]}", "{\"hunter2\": 1}"] {
            let error = read_request(text.as_bytes()).expect_err("not a request");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        assert!(read_request(&b"{\"config\": \"a = 1\"}"[..]).expect("a request").secret.is_none());
    }
}
