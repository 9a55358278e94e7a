//! `chordata`: deploys servers, starts them, replays input files, and every other user command.

mod cli;
mod commands;
mod context;
mod experiment;
mod failure;
mod hosts;
mod input;
mod inventory;
mod local;
mod plot;
mod replay;
mod report;
mod shell;
mod state;
mod suggest;
mod target;

use std::process::ExitCode;

use clap::Parser;
use cli::{Cli, Command};
use context::Context;
use failure::Failure;
use report::Output;

/// Requests allocate small things in many threads, where the C library takes its time.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

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
        output: Output { json: cli.json, in_shell: false },
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
    match runtime.block_on(commands::run(command, &context)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.tell();
            ExitCode::from(failure.exit_code())
        }
    }
}
