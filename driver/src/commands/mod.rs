//! One file per command, or per handful of commands that belong together.

pub(crate) mod audit;
pub(crate) mod chains;
pub(crate) mod cluster;
pub(crate) mod data;
pub(crate) mod demo;
pub(crate) mod dump;
pub(crate) mod eventual;
pub(crate) mod experiment;
pub(crate) mod file;
pub(crate) mod forget;
pub(crate) mod load;
pub(crate) mod look;
pub(crate) mod manager;
pub(crate) mod peer;
pub(crate) mod plot;
pub(crate) mod process;
pub(crate) mod quorum;
pub(crate) mod raw;
pub(crate) mod recover;
pub(crate) mod replay;
pub(crate) mod replicas;
pub(crate) mod shell;
pub(crate) mod status;

use crate::cli::Command;
use crate::context::Context;
use crate::failure::{Failure, Outcome};

/// Does what a command line says.
///
/// # Errors
/// As the command has them.
pub(crate) async fn run(command: Command, context: &Context) -> Outcome {
    match command {
        Command::Demo(arguments) => arguments.run(context).await,
        Command::Cluster(command) => command.run(context).await,
        Command::Status(arguments) => arguments.run(context).await,
        Command::Forget(arguments) => arguments.run(context).await,
        Command::Recover(arguments) => arguments.run(context).await,
        Command::Audit(arguments) => arguments.run(context).await,
        Command::Put(arguments) => arguments.run(context).await,
        Command::Get(arguments) => arguments.run(context).await,
        Command::Delete(arguments) => arguments.run(context).await,
        Command::Keys(arguments) => arguments.run(context).await,
        Command::File { command } => command.run(context).await,
        Command::Load(arguments) => arguments.run(context).await,
        Command::Dump(arguments) => arguments.run(context).await,
        Command::Replay(arguments) => arguments.run(context).await,
        Command::Shell(arguments) => arguments.run(context).await,
        Command::Experiment(arguments) => arguments.run(context).await,
        Command::Plot(arguments) => arguments.run(context),
        Command::Nodes => look::nodes(context).await,
        Command::Lookup(arguments) => arguments.run(context).await,
        Command::Fingers(arguments) => arguments.run(context).await,
        Command::Rpc(arguments) => arguments.run(context).await,
        Command::Manager(arguments) => arguments.run(context).await,
        Command::Peer(arguments) => arguments.run(context).await,
        Command::Completions(arguments) => arguments.run(),
        Command::Serve(_) | Command::Agent { .. } => {
            Err(Failure::failed("this command runs without the driver's runtime"))
        }
    }
}
