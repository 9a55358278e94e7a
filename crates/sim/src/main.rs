//! Runs simulations by seed: what a failing test names as its replay.

use std::process::ExitCode;
use std::str::FromStr;

use chordata_sim::scenario::{Report, Scenario};
use chordata_sim::{chain, run};
use clap::Parser;

/// What is simulated: the ring in one of its scenarios, or chains.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Ring(Scenario),
    Chain,
}

impl Kind {
    fn all() -> Vec<Kind> {
        Scenario::ALL.into_iter().map(Kind::Ring).chain([Kind::Chain]).collect()
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Ring(scenario) => scenario.name(),
            Kind::Chain => "chain",
        }
    }

    fn run(self, seed: u64, verbose: bool) -> Result<Report, String> {
        match self {
            Kind::Ring(scenario) => run::run(scenario, seed, verbose),
            Kind::Chain => chain::run::run(seed, verbose),
        }
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Kind, String> {
        let found = Kind::all().into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| format!("{text:?} is no scenario: graceful, crashes, lossy, partition or chain"))
    }
}

/// Simulates the ring protocol, or chain replication.
#[derive(Parser, Debug)]
struct Arguments {
    /// graceful, crashes, lossy or partition (the ring), or chain; all of them unless given
    #[arg(long)]
    scenario: Option<Kind>,
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
    let scenarios = arguments.scenario.map_or(Kind::all(), |one| vec![one]);
    let (mut passed, mut failed) = (0u64, 0u64);
    for scenario in scenarios {
        for seed in arguments.seed..arguments.seed.saturating_add(arguments.seeds) {
            match scenario.run(seed, arguments.verbose) {
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
