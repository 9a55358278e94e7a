//! How a command fails: one exit code for each thing that a script may want to do about it.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | the operation failed, or a verification found a mismatch |
//! | 2 | bad usage or input |
//! | 3 | key not found |
//! | 4 | cluster not reachable, or not able to serve |
//! | 5 | outcome unknown |

use chordata_client::Failure as ClientFailure;
use chordata_files::Failure as FileFailure;

/// A command that was not done.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Exit code 1: what the report above already says, or this sentence.
    Failed(String),
    /// Exit code 2: a sentence, or a report that points at the line.
    Input(miette::Report),
    /// Exit code 3.
    NotFound(String),
    /// Exit code 4.
    Unreachable(String),
    /// Exit code 5.
    Unknown(String),
    /// Exit code 1, without a further word: everything has been said.
    Said,
    /// This exit code, without a further word.
    Told(u8),
}

/// What every command returns.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// Exit code 1.
    pub(crate) fn failed(reason: impl std::fmt::Display) -> Failure {
        Failure::Failed(reason.to_string())
    }

    /// Exit code 2.
    pub(crate) fn input(reason: impl std::fmt::Display) -> Failure {
        Failure::Input(miette::Report::msg(reason.to_string()))
    }

    /// The same exit code with another sentence.
    #[must_use]
    fn saying(self, text: String) -> Failure {
        match self {
            Failure::Failed(_) => Failure::Failed(text),
            Failure::NotFound(_) => Failure::NotFound(text),
            Failure::Unreachable(_) => Failure::Unreachable(text),
            Failure::Unknown(_) => Failure::Unknown(text),
            Failure::Input(_) => Failure::input(text),
            Failure::Told(_) | Failure::Said => self,
        }
    }

    /// The same with something more to know.
    #[must_use]
    pub(crate) fn with(self, more: &str) -> Failure {
        match self {
            Failure::Failed(text) => Failure::Failed(format!("{text} ({more})")),
            Failure::NotFound(text) => Failure::NotFound(format!("{text} ({more})")),
            Failure::Unreachable(text) => Failure::Unreachable(format!("{text} ({more})")),
            Failure::Unknown(text) => Failure::Unknown(format!("{text} ({more})")),
            Failure::Input(report) if report.source_code().is_none() => {
                Failure::input(format!("{report} ({more})"))
            }
            Failure::Input(_) | Failure::Told(_) | Failure::Said => self,
        }
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Failure::Failed(_) | Failure::Said => 1,
            Failure::Input(_) => 2,
            Failure::NotFound(_) => 3,
            Failure::Unreachable(_) => 4,
            Failure::Unknown(_) => 5,
            Failure::Told(code) => *code,
        }
    }

    /// Tells the user.
    pub(crate) fn tell(&self) {
        match self {
            Failure::Said | Failure::Told(_) => {}
            Failure::Input(report) if report.source_code().is_some() => eprintln!("{report:?}"),
            Failure::Input(report) => eprintln!("error: {report}"),
            Failure::Failed(reason)
            | Failure::NotFound(reason)
            | Failure::Unreachable(reason)
            | Failure::Unknown(reason) => eprintln!("error: {reason}"),
        }
    }
}

impl From<ClientFailure> for Failure {
    fn from(failure: ClientFailure) -> Failure {
        let text = failure.to_string();
        match failure {
            ClientFailure::BadInput(_) | ClientFailure::Refused(_) | ClientFailure::NoNodes => {
                Failure::input(text)
            }
            ClientFailure::Unreachable(_) | ClientFailure::Unavailable(_) => Failure::Unreachable(text),
            // Done, but not as safely as was asked for.
            ClientFailure::Unknown(_) | ClientFailure::FewerCopies(_) | ClientFailure::TooOld(_) => {
                Failure::Unknown(text)
            }
        }
    }
}

impl From<FileFailure> for Failure {
    fn from(failure: FileFailure) -> Failure {
        let text = failure.to_string();
        match failure {
            FileFailure::BadName(_) | FileFailure::NotSupported(_) | FileFailure::TooLarge(_) => {
                Failure::input(text)
            }
            FileFailure::NotFound(_) => Failure::NotFound(text),
            FileFailure::Cluster(failure) => failure.into(),
            FileFailure::Untidy { failure, .. } => Failure::from(*failure).saying(text),
            FileFailure::Condition(_)
            | FileFailure::Superseded(_)
            | FileFailure::Shared(_)
            | FileFailure::Changed(_)
            | FileFailure::Broken { .. }
            | FileFailure::SourceChanged(_)
            | FileFailure::BadEntry { .. }
            | FileFailure::Local(_) => Failure::Failed(text),
        }
    }
}

impl From<miette::Report> for Failure {
    fn from(report: miette::Report) -> Failure {
        Failure::Input(report)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::Failed(error.to_string())
    }
}
