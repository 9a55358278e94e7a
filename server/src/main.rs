//! `chordata-server`: one node of a ring. Everything is in the library.

use std::process::ExitCode;

use chordata_server::agent::{self, AgentCommand};
use chordata_server::command::{self, ServeArguments};
use clap::{Parser, Subcommand};

/// Requests allocate small things in many threads, where the C library takes its time.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// One node of a Chordata ring.
///
/// Without --join it starts a ring; with it, it joins one. It prints "ready ID ADDRESS" when it is in the ring.
#[derive(Parser, Debug)]
#[command(name = "chordata-server", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArguments,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run a node (what happens without a command, too)
    Serve(Box<ServeArguments>),
    /// What the driver runs on hosts
    #[command(hide = true)]
    Agent {
        #[command(subcommand)]
        command: AgentCommand,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command {
        Some(Command::Serve(serve)) => command::serve(&serve),
        Some(Command::Agent { command }) => agent::run(command),
        None => command::serve(&arguments.serve),
    }
}
