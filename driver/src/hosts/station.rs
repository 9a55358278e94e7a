//! A host that was reached: where the program and its node are there, and what the agent there can do.
//!
//! ```text
//! INSTALL_DIR/bin/chordata-server          the program: server and agent
//! INSTALL_DIR/nodes/CLUSTER-HOST/          the node's directory: several may share one installation
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use chordata_server::agent::report::{
    self, ConfigureReport, ConfigureRequest, EraseReport, FailureKind, ListenReport, ProbeReport,
    ReachReport, SignalReport, StartReport, StatusReport, StopReport,
};
use chordata_workload::{Job, Measured};
use serde::de::DeserializeOwned;

use super::connect::Sessions;
use super::failure::HostFailure;
use super::shell::{Background, Output, Shell};
use crate::inventory::Host;

/// How long a small program may take.
const SMALL_MAX: Duration = Duration::from_secs(20);
/// How much longer the driver waits than the agent itself does.
const GRACE: Duration = Duration::from_secs(15);
/// How long a server may take to end when it was told to.
const STOP_MAX: Duration = Duration::from_secs(30);
/// How long one host may take to connect to another, in milliseconds.
const REACH_MS: &str = "2000";

/// What a server is told by `signal`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Signal {
    /// Frozen.
    Stop,
    /// Let go on.
    Continue,
    /// Ended at once.
    Kill,
}

/// A host that was reached.
#[derive(Clone, Debug)]
pub(crate) struct Station {
    /// As in the inventory.
    pub(crate) host: Host,
    /// To run programs there.
    pub(crate) shell: Shell,
    /// The installation's directory there.
    pub(crate) install: String,
    /// The program there.
    pub(crate) program: String,
    /// The node's directory there.
    pub(crate) node: String,
    /// Who does this, for the node's lock and its log of operations.
    holder: String,
    /// Outlive the shell: its socket is in their directory.
    _sessions: Arc<Sessions>,
}

impl Station {
    /// Reaches a host.
    ///
    /// # Errors
    /// When it cannot be reached, or does not say where its home is.
    pub(crate) async fn open(
        host: &Host,
        cluster: &str,
        holder: &str,
        sessions: &Arc<Sessions>,
    ) -> Result<Station, HostFailure> {
        let shell = Shell::open(host, sessions).await?;
        let install = match host.install_dir.strip_prefix("~/") {
            None => host.install_dir.clone(),
            Some(below) => {
                let home = shell.run("printenv", &["HOME"], None, SMALL_MAX).await?.text();
                // A login script may have printed something before.
                let home = home.lines().last().unwrap_or_default().trim_end_matches('/').to_owned();
                if !home.starts_with('/') {
                    return Err(HostFailure::Failed(format!(
                        "the host does not say where `~` is (HOME is {home:?}): set install_dir to an absolute path"
                    )));
                }
                format!("{home}/{below}")
            }
        };
        Ok(Station {
            host: host.clone(),
            shell,
            program: format!("{install}/bin/chordata-server"),
            node: format!("{install}/nodes/{cluster}-{}", host.name),
            install,
            holder: holder.to_owned(),
            _sessions: sessions.clone(),
        })
    }

    /// The same host with the program elsewhere.
    pub(crate) fn with_program(&self, program: String) -> Station {
        Station { program, ..self.clone() }
    }

    /// Runs a small program.
    ///
    /// # Errors
    /// When the host was lost.
    pub(crate) async fn run(&self, program: &str, arguments: &[&str]) -> Result<Output, HostFailure> {
        self.shell.run(program, arguments, None, SMALL_MAX).await
    }

    /// Is there such a file or directory?
    ///
    /// # Errors
    /// When the host was lost.
    pub(crate) async fn exists(&self, path: &str) -> Result<bool, HostFailure> {
        Ok(self.run("test", &["-e", path]).await?.is_success())
    }

    /// What the server is doing; none where there is no program.
    ///
    /// # Errors
    /// As all verbs: when the host was lost, or the agent there could not do it.
    pub(crate) async fn status(&self) -> Result<Option<StatusReport>, HostFailure> {
        self.optional(&["status", "--node-dir", &self.node], SMALL_MAX).await
    }

    /// Writes the node's configuration and secret, or only tells what would change.
    ///
    /// # Errors
    /// As all verbs.
    pub(crate) async fn configure(
        &self,
        request: &ConfigureRequest,
        dry_run: bool,
    ) -> Result<ConfigureReport, HostFailure> {
        let input = serde_json::to_vec(request).map_err(|error| HostFailure::Failed(error.to_string()))?;
        let mut words = vec!["configure", "--node-dir", &self.node, "--holder", &self.holder];
        words.extend(dry_run.then_some("--dry-run"));
        self.call(&words, Some(&input), SMALL_MAX).await
    }

    /// Starts the server and waits until it is ready.
    ///
    /// # Errors
    /// As all verbs.
    pub(crate) async fn start(&self, limit: Duration) -> Result<StartReport, HostFailure> {
        let seconds = limit.as_secs_f64().to_string();
        let words = ["start", "--node-dir", &self.node, "--timeout", &seconds, "--holder", &self.holder];
        self.call(&words, None, limit + GRACE).await
    }

    /// Stops the server; none where there is no program.
    ///
    /// # Errors
    /// As all verbs.
    pub(crate) async fn stop(&self) -> Result<Option<StopReport>, HostFailure> {
        let seconds = STOP_MAX.as_secs().to_string();
        let words = ["stop", "--node-dir", &self.node, "--timeout", &seconds, "--holder", &self.holder];
        self.optional(&words, STOP_MAX + GRACE).await
    }

    /// Freezes, releases or kills the server.
    ///
    /// # Errors
    /// As all verbs.
    pub(crate) async fn signal(&self, signal: Signal) -> Result<SignalReport, HostFailure> {
        let name = match signal {
            Signal::Stop => "STOP",
            Signal::Continue => "CONT",
            Signal::Kill => "KILL",
        };
        let words = ["signal", "--node-dir", &self.node, "--signal", name, "--holder", &self.holder];
        self.call(&words, None, SMALL_MAX).await
    }

    /// Erases the node, and the installation if it was the last one there.
    ///
    /// # Errors
    /// As all verbs.
    pub(crate) async fn erase(&self) -> Result<EraseReport, HostFailure> {
        let words =
            ["erase", "--node-dir", &self.node, "--install-dir", &self.install, "--holder", &self.holder];
        self.call(&words, None, STOP_MAX).await
    }

    /// Facts about the host, and how long they took.
    ///
    /// # Errors
    /// As all verbs.
    pub(crate) async fn probe(&self) -> Result<(ProbeReport, Duration), HostFailure> {
        let (port, bind) = (self.host.listen_port.to_string(), self.host.bind.to_string());
        let words = ["agent", "probe", "--port", &port, "--bind", &bind, "--install-dir", &self.install];
        let began = Instant::now();
        let output = self.shell.run(&self.program, &words, None, SMALL_MAX).await?;
        let took = began.elapsed();
        Ok((self.read("probe", &output)?, took))
    }

    /// Listens on the node's port until the answer is dropped.
    ///
    /// # Errors
    /// As all verbs.
    pub(crate) async fn listen(&self) -> Result<(ListenReport, Background), HostFailure> {
        let (port, bind) = (self.host.listen_port.to_string(), self.host.bind.to_string());
        let words = ["agent", "listen", "--port", &port, "--bind", &bind, "--seconds", "120"];
        let (line, background) = self.shell.first_line(&self.program, &words, SMALL_MAX).await?;
        Ok((report::parse(line.as_bytes())?, background))
    }

    /// Tries to connect from there to others.
    ///
    /// # Errors
    /// As all verbs.
    pub(crate) async fn reach(&self, targets: &[String]) -> Result<ReachReport, HostFailure> {
        let mut words = vec!["agent", "reach", "--timeout-ms", REACH_MS];
        words.extend(targets.iter().map(String::as_str));
        // Sixty-four are tried at once, each for three seconds at most.
        let limit = SMALL_MAX + Duration::from_secs(3) * u32::try_from(targets.len() / 64).unwrap_or(1);
        let output = self.shell.run(&self.program, &words, None, limit).await?;
        self.read("reach", &output)
    }

    /// Hands on the lines of the server's log, and with `follow` those that come.
    ///
    /// # Errors
    /// When the host was lost, or there is no log.
    pub(crate) async fn logs(
        &self,
        lines: usize,
        follow: bool,
        mut line: impl FnMut(&str),
    ) -> Result<(), HostFailure> {
        let lines = lines.to_string();
        let mut words = vec!["agent", "logs", "--node-dir", &self.node, "--lines", &lines];
        words.extend(follow.then_some("--follow"));
        let mut complaint = String::new();
        let code = self.shell.stream(&self.program, &words, true, |from, text| match from {
            super::shell::From::Output => line(text),
            super::shell::From::Error => complaint = text.to_owned(),
        });
        match code.await? {
            Some(0) => Ok(()),
            Some(127) => Err(self.not_deployed()),
            _ if complaint.is_empty() => Err(HostFailure::Failed("the log cannot be read".to_owned())),
            _ => Err(HostFailure::Failed(complaint)),
        }
    }

    /// Sends requests from there.
    ///
    /// # Errors
    /// As all verbs.
    pub(crate) async fn generate(&self, job: &Job, limit: Duration) -> Result<Measured, HostFailure> {
        let input = serde_json::to_vec(job).map_err(|error| HostFailure::Failed(error.to_string()))?;
        self.call(&["generate"], Some(&input), limit).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        words: &[&str],
        input: Option<&[u8]>,
        limit: Duration,
    ) -> Result<T, HostFailure> {
        let output = self.ask(words, input, limit).await?;
        if is_absent(&output) {
            return Err(self.not_deployed());
        }
        self.read(words[0], &output)
    }

    /// The same; none where there is no program.
    async fn optional<T: DeserializeOwned>(
        &self,
        words: &[&str],
        limit: Duration,
    ) -> Result<Option<T>, HostFailure> {
        let output = self.ask(words, None, limit).await?;
        if is_absent(&output) { Ok(None) } else { self.read(words[0], &output).map(Some) }
    }

    async fn ask(
        &self,
        words: &[&str],
        input: Option<&[u8]>,
        limit: Duration,
    ) -> Result<Output, HostFailure> {
        let mut arguments = vec!["agent"];
        arguments.extend(words);
        self.shell.run(&self.program, &arguments, input, limit).await
    }

    fn read<T: DeserializeOwned>(&self, verb: &str, output: &Output) -> Result<T, HostFailure> {
        match report::parse(&output.stdout) {
            Err(failure) if failure.kind == FailureKind::Unreadable => Err(HostFailure::Failed(format!(
                "{} agent {verb} gave no answer ({}): is it of another version? `chordata deploy` replaces it",
                self.program,
                output.complaint()
            ))),
            answer => Ok(answer?),
        }
    }

    fn not_deployed(&self) -> HostFailure {
        HostFailure::Failed(format!("there is no {}: `chordata deploy` comes first", self.program))
    }
}

fn is_absent(output: &Output) -> bool {
    output.code == Some(127) && output.stdout.is_empty()
}
