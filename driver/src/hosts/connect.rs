//! An SSH session with a host, by the system's own ssh: its configuration, agents, jump hosts and known hosts all count.
//!
//! One connection a host, shared by all that is done there (sshd allows ten sessions on one). It ends with the
//! session here; should the driver be killed, ssh ends it after [`IDLE_MAX`] of idleness.
//!
//! Only what may pass by itself (no answer, a refused or reset connection) is tried again. A host key that is not the
//! known one never is, and its message says which file knows which key: the ssh crate has no kind for it, so it is
//! recognised by ssh's words.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use openssh::{ControlPersist, KnownHosts, Session, SessionBuilder};

use super::failure::HostFailure;
use crate::failure::{Failure, Outcome};
use crate::inventory::{Access, Host, HostKeys, Inventory, expand_home};
use crate::state::State;

/// How long a host may take to answer on its SSH port.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long all of the log-in may take, by way of jump hosts too.
const LOGIN_MAX: Duration = Duration::from_secs(25);
/// How often a silent host is asked whether it is still there; after three times it is given up.
const ALIVE_INTERVAL: Duration = Duration::from_secs(4);
/// How long a connection without anybody stays.
const IDLE_MAX: NonZeroUsize = NonZeroUsize::new(60).expect("60 is not zero");
/// Attempts, at most, and for how long new ones are begun: a dead host takes two.
const ATTEMPTS_MAX: u32 = 3;
const ATTEMPTS_WITHIN: Duration = Duration::from_secs(8);
/// The first pause between two attempts; the next is twice as long.
const PAUSE: Duration = Duration::from_millis(300);
/// The longest directory that sockets can be in: their paths must stay under 108 bytes.
const SOCKET_DIRECTORY_MAX: usize = 40;

/// What all sessions of a command share.
#[derive(Debug)]
pub(crate) struct Sessions {
    /// For control sockets and forwards: private, and with a short path.
    directory: tempfile::TempDir,
    /// Where keys are remembered that were accepted at first sight.
    accepted: Option<PathBuf>,
}

impl Sessions {
    /// For the hosts of an inventory.
    ///
    /// # Errors
    /// When there is no place for sockets, or for the keys of new hosts.
    pub(crate) fn of(inventory: &Inventory) -> Outcome<Sessions> {
        let remembers = |host: &Host| {
            host.access != Access::Local
                && host.host_keys == HostKeys::AcceptNew
                && host.known_hosts.is_none()
        };
        let accepted = match inventory.hosts.iter().any(remembers) {
            true => Some(State::of_user()?.cluster_directory(&inventory.name)?.join("known_hosts")),
            false => None,
        };
        let standard = std::env::temp_dir();
        let base =
            if standard.as_os_str().len() <= SOCKET_DIRECTORY_MAX { &standard } else { Path::new("/tmp") };
        let directory = tempfile::Builder::new().prefix("chordata-").tempdir_in(base);
        let directory = directory.map_err(|error| {
            Failure::failed(format!("no directory for SSH sockets in {}: {error}", base.display()))
        })?;
        Ok(Sessions { directory, accepted })
    }

    /// A path for a socket of a forward.
    pub(super) fn socket(&self, number: usize) -> PathBuf {
        self.directory.path().join(format!("forward-{number}"))
    }

    /// Logs in.
    ///
    /// # Errors
    /// When the host does not answer, is another than the known one, or does not let us in.
    pub(super) async fn open(&self, host: &Host) -> Result<Session, HostFailure> {
        // The inventory refuses them too; here stands the last door before ssh's command line, where `--` cannot
        // be put in front of the destination.
        for word in [Some(host.ssh.as_str()), host.user.as_deref()].into_iter().flatten() {
            if word.starts_with('-') || word.is_empty() {
                return Err(HostFailure::Refused(format!(
                    "{word:?} is no name for ssh: it would be an option"
                )));
            }
        }
        let builder = self.builder(host)?;
        let began = Instant::now();
        let mut pause = PAUSE;
        for attempt in 1.. {
            let failure = match tokio::time::timeout(LOGIN_MAX, builder.connect_mux(&host.ssh)).await {
                Ok(Ok(session)) => return Ok(session),
                Ok(Err(error)) => self.interpret(host, &words(&error)),
                Err(_) => HostFailure::Unreachable(format!(
                    "{} did not let us in within {} s",
                    host.ssh,
                    LOGIN_MAX.as_secs()
                )),
            };
            let may_pass = matches!(failure, HostFailure::Unreachable(_));
            if !may_pass || attempt >= ATTEMPTS_MAX || began.elapsed() + pause > ATTEMPTS_WITHIN {
                return Err(failure);
            }
            tracing::info!("{}: {failure}; trying again", host.name);
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        unreachable!("the loop above ends by its own count")
    }

    fn builder(&self, host: &Host) -> Result<SessionBuilder, HostFailure> {
        let path = |path: &Path| expand_home(path).map_err(|report| HostFailure::Failed(report.to_string()));
        let mut builder = SessionBuilder::default();
        builder
            .control_directory(self.directory.path())
            .control_persist(ControlPersist::IdleFor(IDLE_MAX))
            .connect_timeout(CONNECT_TIMEOUT)
            .server_alive_interval(ALIVE_INTERVAL)
            .known_hosts_check(match host.host_keys {
                HostKeys::Strict => KnownHosts::Strict,
                HostKeys::AcceptNew => KnownHosts::Add,
            });
        if let Some(user) = &host.user {
            builder.user(user.clone());
        }
        if let Some(port) = host.port {
            builder.port(port);
        }
        if let Some(file) = &host.identity_file {
            builder.keyfile(path(file)?);
        }
        if let Some(file) = &host.ssh_config {
            builder.config_file(path(file)?);
        }
        if let Some(file) = self.known_hosts(host) {
            builder.user_known_hosts_file(path(file)?);
        }
        Ok(builder)
    }

    /// The file that knows the host's key; none: as ssh decides.
    fn known_hosts<'a>(&'a self, host: &'a Host) -> Option<&'a Path> {
        let accepted = || self.accepted.as_deref().filter(|_| host.host_keys == HostKeys::AcceptNew);
        host.known_hosts.as_deref().or_else(accepted)
    }

    fn interpret(&self, host: &Host, text: &str) -> HostFailure {
        let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
        let file = match (offending(text), self.known_hosts(host)) {
            (Some(place), _) => place.to_owned(),
            (None, Some(file)) => file.display().to_string(),
            (None, None) => "the known_hosts that ssh uses for it".to_owned(),
        };
        let ssh = &host.ssh;
        if says(&["REMOTE HOST IDENTIFICATION HAS CHANGED"]) {
            HostFailure::HostKey(format!(
                "{ssh} shows another host key than the one in {file}: it is another machine, or somebody is in between. \
                 If it was set up anew, remove the old key with `ssh-keygen -R {ssh}` (with `-f` and that file)"
            ))
        } else if says(&["Host key verification failed", "host key is known for"]) {
            HostFailure::HostKey(format!(
                "the host key of {ssh} is not in {file}: log in once with ssh and compare the key, or set \
                 host_keys = \"accept-new\" to accept keys at first sight"
            ))
        } else if says(&["Permission denied", "Too many authentication failures"]) {
            HostFailure::Authentication(format!(
                "{ssh} does not let us in: {}. Check `user` and `identity_file`, and whether `ssh {ssh}` works \
                 without a password",
                last_line(text)
            ))
        } else if says(&[
            "timed out",
            "Connection refused",
            "Connection reset",
            "Connection closed",
            "kex_exchange_identification",
            "No route to host",
            "Network is unreachable",
            "Temporary failure in name resolution",
        ]) {
            HostFailure::Unreachable(format!("{ssh} does not answer: {}", last_line(text)))
        } else {
            HostFailure::Failed(format!("ssh to {ssh} failed: {}", last_line(text)))
        }
    }
}

/// An error of the ssh crate with its causes, where ssh's own words are.
pub(super) fn words(error: &openssh::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}\n{cause}");
        source = cause.source();
    }
    text
}

/// `/home/me/.ssh/known_hosts:3`, from `Offending ED25519 key in /home/me/.ssh/known_hosts:3`.
fn offending(text: &str) -> Option<&str> {
    let line = text.lines().find(|line| line.trim_start().starts_with("Offending"))?;
    line.split_once(" in ").map(|(_, place)| place.trim())
}

fn last_line(text: &str) -> &str {
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it did not say why")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(line: &str) -> Host {
        let inventory = Inventory::parse(&format!("[[host]]\nname = \"h1\"\n{line}\n"), "/nowhere/x.toml");
        inventory.expect("a sound inventory").hosts.remove(0)
    }

    fn sessions() -> Sessions {
        Sessions { directory: tempfile::tempdir().expect("temporary directory"), accepted: None }
    }

    const CHANGED: &str = "@@@@\n@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nOffending ED25519 key in \
                           /home/me/.ssh/known_hosts:3\nHost key verification failed.";

    #[test]
    fn a_changed_key_names_the_file_and_is_told_from_an_unknown_one() {
        let failure = sessions().interpret(&host(""), CHANGED);
        assert!(
            matches!(&failure, HostFailure::HostKey(text) if text.contains("known_hosts:3")),
            "{failure}"
        );
        let unknown = "No ED25519 host key is known for h1 and you have requested strict checking.\nHost key \
                       verification failed.";
        let failure = sessions().interpret(&host("known_hosts = \"/k\""), unknown);
        assert!(matches!(&failure, HostFailure::HostKey(text) if text.contains("is not in /k")), "{failure}");
    }

    #[test]
    fn what_may_pass_is_told_from_what_does_not() {
        let interpret = |text: &str| sessions().interpret(&host(""), text);
        assert!(matches!(
            interpret("connect to host h1 port 22: Connection timed out"),
            HostFailure::Unreachable(_)
        ));
        assert!(matches!(
            interpret("root@h1: Permission denied (publickey)."),
            HostFailure::Authentication(_)
        ));
        assert!(matches!(interpret("/x: line 1: Bad configuration option: foo"), HostFailure::Failed(_)));
    }

    #[tokio::test]
    async fn a_name_that_would_be_an_option_is_refused_here_too() {
        let mut host = host("");
        host.ssh = "-oProxyCommand=touch /tmp/owned".to_owned();
        let refused = sessions().open(&host).await.expect_err("an option is no host");
        assert!(matches!(refused, HostFailure::Refused(_)), "{refused}");
    }
}
