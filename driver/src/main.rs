//! `chordata`: deploys servers, starts them, replays input files, and every other user command.

mod cli;
mod commands;
mod context;
mod failure;
mod hosts;
mod input;
mod inventory;
mod local;
mod replay;
mod report;
mod state;
mod suggest;
mod target;

use std::process::ExitCode;

use clap::Parser;
use cli::{Cli, Command};
use context::Context;
use failure::{Failure, Outcome};
use report::Output;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let command = match cli.command {
        // The server sets up its own logging and runtime.
        Command::Serve(arguments) => return chordata_server::command::serve(&arguments),
        Command::Agent { command } => return chordata_server::agent::run(command),
        command => command,
    };
    let level = ["warn", "info", "debug"][usize::from(cli.verbose).min(2)];
    if let Err(reason) = chordata_server::logging::init(level) {
        Failure::input(reason).tell();
        return ExitCode::from(2);
    }
    let context = Context {
        target: cli.target,
        output: Output { json: cli.json },
        hosts: cli.hosts,
        labels: cli.labels,
        yes: cli.yes,
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            Failure::failed(error).tell();
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(command, &context)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.tell();
            ExitCode::from(failure.exit_code())
        }
    }
}

async fn run(command: Command, context: &Context) -> Outcome {
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
        Command::Replay(arguments) => arguments.run(context).await,
        Command::Nodes => commands::look::nodes(context).await,
        Command::Lookup(arguments) => arguments.run(context).await,
        Command::Fingers(arguments) => arguments.run(context).await,
        Command::Rpc(arguments) => arguments.run(context).await,
        Command::Completions(arguments) => arguments.run(),
        Command::Serve(_) | Command::Agent { .. } => {
            Err(Failure::failed("this command runs without the driver's runtime"))
        }
    }
}
