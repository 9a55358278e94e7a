//! The program behind `make bench`. What it measures is in the library.

use std::process::ExitCode;

use chordata_bench::fingers::{self, FingerSettings};
use chordata_bench::process::{self, Served};
use chordata_bench::storage::{self, PartSettings, StorageSettings};
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
    /// Storage engines on our own pattern: batches, synced and not, reads, scans, memory
    Storage(StorageSettings),
    /// A part of that which needs a process of its own
    #[command(hide = true)]
    StoragePart(PartSettings),
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
    match arguments.command {
        Command::Server { served } => return served.run(),
        Command::StoragePart(settings) => return storage::run_part(&settings),
        Command::Storage(settings) => {
            return match storage::run(&settings) {
                Ok(report) => {
                    print!("{report}");
                    println!("{}", process::machine());
                    ExitCode::SUCCESS
                }
                Err(error) => fail(&error),
            };
        }
        Command::Rpc(_) | Command::Fingers(_) => {}
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
            Command::Server { .. } | Command::Storage(_) | Command::StoragePart(_) => {
                unreachable!("done above")
            }
        }
    })
}

fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::FAILURE
}
