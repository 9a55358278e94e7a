//! The program behind `make bench`. What it measures is in the library.

use std::process::ExitCode;

use chordata_bench::fingers::{self, FingerSettings};
use chordata_bench::process::{self, Served};
use chordata_bench::throughput::{self, ThroughputSettings};
use clap::{Parser, Subcommand};

/// Measures Chordata on this machine.
#[derive(Parser, Debug)]
#[command(name = "chordata-bench", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Requests a second of one server, beside a bare tarpc service
    Rpc(ThroughputSettings),
    /// Hops of lookups on a ring of many nodes, and refreshes of all fingers at once; exit code 1 outside the bounds
    Fingers(FingerSettings),
    /// A server to measure
    #[command(hide = true)]
    Server {
        #[arg(value_enum)]
        served: Served,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Servers build the runtime that they have in service.
    if let Command::Server { served } = arguments.command {
        return served.run();
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    runtime.block_on(async {
        match arguments.command {
            Command::Rpc(settings) => match throughput::run(&settings).await {
                Ok(report) => {
                    print!("{report}");
                    println!("{}", process::machine());
                    ExitCode::SUCCESS
                }
                Err(error) => fail(&error),
            },
            Command::Fingers(settings) => match fingers::run(&settings).await {
                Ok(report) => {
                    print!("{report}");
                    println!("{}", process::machine());
                    ExitCode::from(u8::from(!report.problems().is_empty()))
                }
                Err(error) => fail(&error),
            },
            Command::Server { .. } => unreachable!("served above"),
        }
    })
}

fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::FAILURE
}
