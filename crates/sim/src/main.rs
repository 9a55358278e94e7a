//! Runs simulations by seed: what a failing test names as its replay.

use std::process::ExitCode;

use chordata_sim::run;
use chordata_sim::scenario::Scenario;
use clap::Parser;

/// Simulates the ring protocol.
#[derive(Parser, Debug)]
struct Arguments {
    /// graceful, crashes, lossy or partition; all of them unless given
    #[arg(long)]
    scenario: Option<Scenario>,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Print every event
    #[arg(long)]
    verbose: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let scenarios = arguments.scenario.map_or(Scenario::ALL.to_vec(), |one| vec![one]);
    let (mut passed, mut failed) = (0u64, 0u64);
    for scenario in scenarios {
        for seed in arguments.seed..arguments.seed.saturating_add(arguments.seeds) {
            match run::run(scenario, seed, arguments.verbose) {
                Ok(report) => {
                    passed += 1;
                    let hash = report.trace_hash;
                    println!("{} seed {seed}: ok, {} s, trace {hash:016x}", scenario.name(), report.seconds);
                    if arguments.seeds == 1 {
                        for (event, times) in &report.counters.events {
                            println!("  {times:>8}  {event}");
                        }
                    }
                }
                Err(wrong) => {
                    failed += 1;
                    println!("{} seed {seed}: FAILED: {wrong}", scenario.name());
                }
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
