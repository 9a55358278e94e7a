//! What goes wrong with a host, sorted by what the user does next.

use std::time::Duration;

use chordata_server::agent::report;

/// Lines of a server's log that a message repeats.
const TAIL_LINES_MAX: usize = 8;

/// Why something was not done on a host.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HostFailure {
    /// The inventory names something that must never reach a command line.
    #[error("{0}")]
    Refused(String),
    /// The host's key is not the known one, or not known: a person decides. Never tried again.
    #[error("{0}")]
    HostKey(String),
    /// The host does not let this user in.
    #[error("{0}")]
    Authentication(String),
    /// It does not answer.
    #[error("{0}")]
    Unreachable(String),
    /// It did not end in time.
    #[error("{what} did not end within {} s", .limit.as_secs())]
    TimedOut {
        /// The program.
        what: String,
        /// What it was given.
        limit: Duration,
    },
    /// The agent there could not do it.
    #[error("{}", with_log(.0))]
    Agent(#[from] report::Failure),
    /// A program there failed, or something else that the sentence says.
    #[error("{0}")]
    Failed(String),
}

fn with_log(failure: &report::Failure) -> String {
    let skipped = failure.log_tail.len().saturating_sub(TAIL_LINES_MAX);
    let log: String =
        failure.log_tail.iter().skip(skipped).map(|line| format!("\n    log: {line}")).collect();
    format!("{}{log}", failure.error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_ended_says_its_last_words() {
        let failure = report::Failure {
            error: "the server ended".into(),
            kind: report::FailureKind::Ended,
            exit_code: Some(4),
            log_tail: vec!["no ring to join".into()],
        };
        assert_eq!(HostFailure::from(failure).to_string(), "the server ended\n    log: no ring to join");
    }
}
