//! The program behind `make bench`. What it measures is in the library.

use std::fmt::Display;
use std::process::ExitCode;

use chordata_bench::BenchError;
use chordata_bench::bulk::{self, BulkSettings};
use chordata_bench::chain::{self, ChainBenchSettings};
use chordata_bench::files::{self, ClientSettings, FilesSettings};
use chordata_bench::fingers::{self, FingerSettings};
use chordata_bench::memory::{self, EngineSettings, MemorySettings};
use chordata_bench::process::{self, Served};
use chordata_bench::split::{self, SplitSettings};
use chordata_bench::stall::{self, StallSettings};
use chordata_bench::storage::{self, PartSettings, StorageSettings};
use chordata_bench::throughput::{self, ThroughputSettings};
use chordata_server::Settings;
use clap::{Parser, Subcommand};

/// What the servers use: it is this program that is measured.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

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
    /// A large file into a cluster and out of it, beside `cp`; exit code 1 if it does not come back as it was, or the
    /// client takes too much memory
    Files(FilesSettings),
    /// A part of that which needs a process of its own
    #[command(hide = true)]
    FilesClient(ClientSettings),
    /// Storage engines on our own pattern: batches, synced and not, reads, scans, memory
    Storage(StorageSettings),
    /// A part of that which needs a process of its own
    #[command(hide = true)]
    StoragePart(PartSettings),
    /// Chains of three servers: puts with three copies beside one, gets at any replica beside the last, puts on disk;
    /// exit code 1 if the copies are not as they must be
    Chain(ChainBenchSettings),
    /// How long requests stand still when a server is killed, and how long until all is whole again; exit code 1 if a
    /// read or an acknowledged write is not as it must be
    Stall(StallSettings),
    /// Eventual mode: how long until all replicas are equal after the ring was split; exit code 1 if something that was
    /// acknowledged is missing
    Split(SplitSettings),
    /// `chordata load` of a table, beside put_many of the same records from memory; exit code 1 if something is missing
    Load(BulkSettings),
    /// Bytes of memory a key, beside Redis
    Memory(MemorySettings),
    /// A part of that which needs a process of its own
    #[command(hide = true)]
    MemoryEngine(EngineSettings),
    /// A server to measure
    #[command(hide = true)]
    Server {
        #[arg(value_enum)]
        served: Served,
        #[command(flatten)]
        settings: Box<Settings>,
    },
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        // Servers build the runtime that they have in service.
        Command::Server { served, settings } => served.run(*settings),
        Command::FilesClient(settings) => files::run_client(&settings),
        Command::StoragePart(settings) => storage::run_part(&settings),
        Command::MemoryEngine(settings) => memory::run_engine(&settings),
        Command::Storage(settings) => show(storage::run(&settings), |_| false),
        Command::Rpc(settings) => show(wait(throughput::run(&settings)), |_| false),
        Command::Fingers(settings) => {
            show(wait(fingers::run(&settings)), |report| !report.problems().is_empty())
        }
        Command::Files(settings) => show(wait(files::run(&settings)), |report| !report.problems().is_empty()),
        Command::Chain(settings) => show(wait(chain::run(&settings)), |report| !report.problems().is_empty()),
        Command::Stall(settings) => show(wait(stall::run(&settings)), |report| !report.problems().is_empty()),
        Command::Split(settings) => show(wait(split::run(&settings)), |report| !report.problems().is_empty()),
        Command::Load(settings) => show(wait(bulk::run(&settings)), |report| !report.problems().is_empty()),
        Command::Memory(settings) => show(wait(memory::run(&settings)), |_| false),
    }
}

fn wait<T>(measurement: impl Future<Output = Result<T, BenchError>>) -> Result<T, BenchError> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| BenchError::Server(error.to_string()))?;
    runtime.block_on(measurement)
}

/// Prints what was measured; exit code 1 if there is nothing, or it is not as it must be.
fn show<T: Display>(result: Result<T, BenchError>, is_wrong: impl Fn(&T) -> bool) -> ExitCode {
    match result {
        Ok(report) => {
            print!("{report}");
            println!("{}", process::machine());
            ExitCode::from(u8::from(is_wrong(&report)))
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
