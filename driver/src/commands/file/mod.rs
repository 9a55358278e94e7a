//! `file put`, `get`, `ls`, `stat`, `rm`, `tidy`: files of any size. What they guarantee is in `crates/files`.

mod get;
mod ls;
mod progress;
mod put;
mod rm;
mod stat;
mod tidy;

use std::time::Duration;

use chordata_files::{FileName, Files};
use chordata_server::agent::utc;

use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::target::Connection;

/// What to do with files.
#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum FileCommand {
    /// Store a file: in chunks, visible only when it is whole. Goes on where an interrupted one ended
    Put(put::PutArguments),
    /// Fetch a file, verified. Goes on where an interrupted one ended
    Get(get::GetArguments),
    /// List files; with --node N (a number, a host's name or HOST:PORT) those of which that node stores anything
    Ls(ls::LsArguments),
    /// What a file is, and which nodes have how much of it
    Stat(stat::StatArguments),
    /// Remove files
    Rm(rm::RmArguments),
    /// Remove what belongs to no file: chunks that were left over, uploads that were given up
    Tidy(tidy::TidyArguments),
}

impl FileCommand {
    /// Does it.
    pub(crate) async fn run(&self, context: &Context) -> Outcome {
        match self {
            FileCommand::Put(arguments) => arguments.run(context).await,
            FileCommand::Get(arguments) => arguments.run(context).await,
            FileCommand::Ls(arguments) => arguments.run(context).await,
            FileCommand::Stat(arguments) => arguments.run(context).await,
            FileCommand::Rm(arguments) => arguments.run(context).await,
            FileCommand::Tidy(arguments) => arguments.run(context).await,
        }
    }
}

/// The files of a connection's cluster.
fn files_of(connection: &Connection) -> Files {
    Files::new(connection.client.clone())
}

/// A file's name as it was typed.
fn parse_name(text: &str) -> Result<FileName, String> {
    FileName::new(text).map_err(|bad| bad.to_string())
}

/// Bytes as people read them.
fn size(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

/// A rate as people read it.
fn rate(bytes: u64, elapsed: Duration) -> String {
    // A rate is told to three digits: what a float loses of a size does not matter.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "see above"
    )]
    let a_second = (bytes as f64 / elapsed.as_secs_f64().max(1e-6)) as u64;
    format!("{}/s", size(a_second))
}

/// The beginning of a hash: enough to tell files apart.
fn short(hash: &chordata_files::Hash) -> String {
    hash.to_string()[..12].to_owned()
}

/// A moment, in UTC.
fn moment(milliseconds: u64) -> String {
    utc(milliseconds / 1000)
}

/// What a connection to the cluster failed with is said together with what can be done about it.
fn resumable(failure: chordata_files::Failure, what: &str) -> Failure {
    match failure {
        chordata_files::Failure::Cluster(failure) => {
            let advice = format!("; what {what} so far is kept: the same command goes on there");
            match Failure::from(failure) {
                Failure::Unreachable(reason) => Failure::Unreachable(reason + &advice),
                Failure::Unknown(reason) => Failure::Unknown(reason + &advice),
                other => other,
            }
        }
        other => other.into(),
    }
}
