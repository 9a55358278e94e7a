//! `experiment`: the classic experiments, insert, query and mixed requests, on one cluster or on one after another.

use std::path::PathBuf;
use std::time::Duration;

use chordata_server::settings::{ConsistencySetting, DurabilitySetting};
use clap::Subcommand;
use tokio::signal::unix::{SignalKind, signal};

use crate::context::Context;
use crate::experiment::result::Kind;
use crate::experiment::summary::Summary;
use crate::experiment::{Cells, KeySource, Place, Plan, RequestSource, load_keys, load_requests, measure};
use crate::failure::{Failure, Outcome};
use crate::local::Start;

/// Keys or requests for each entry node, unless another number, files or a time are given.
const GENERATED: u64 = 1000;
/// What `--sweep` compares.
const SWEEP_COPIES: [u8; 3] = [1, 3, 5];
const SWEEP_MODELS: [ConsistencySetting; 2] = [ConsistencySetting::Chain, ConsistencySetting::Eventual];
/// How clusters are started that are not a sweep.
const COPIES: u8 = 3;

/// What `--help` says.
pub(crate) const ABOUT: &str = "\
Measure inserts, queries and mixed requests.

The cluster is the one that every command means (-i, --node, the last `up`), and goes on as it was; or several are
started for it, one after another, and leave nothing behind: with --local N as processes of this machine, with -i and
--sweep (or --replication, --consistency, --durability) on the hosts of an inventory, beside its own cluster, which must
not run at that time.

Requests are sent to all nodes at once. The result is a file of JSON, which `chordata plot` draws.";

/// `experiment`. Exit code 1 when a request failed.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ExperimentArguments {
    #[command(subcommand)]
    command: ExperimentCommand,
}

/// Which of the three.
#[derive(Clone, Debug, Subcommand)]
enum ExperimentCommand {
    /// Store keys, each entry node its own
    Insert(InsertArguments),
    /// Read the same keys
    Query(InsertArguments),
    /// Mixed inserts and queries through nodes by lot; counts stale answers
    Request(RequestArguments),
    /// All three
    All(AllArguments),
}

#[derive(Clone, Debug, clap::Args)]
struct InsertArguments {
    #[command(flatten)]
    keys: KeyArguments,
    #[command(flatten)]
    run: RunArguments,
}

#[derive(Clone, Debug, clap::Args)]
struct RequestArguments {
    #[command(flatten)]
    requests: RequestFiles,
    #[command(flatten)]
    run: RunArguments,
}

#[derive(Clone, Debug, clap::Args)]
struct AllArguments {
    #[command(flatten)]
    keys: KeyArguments,
    #[command(flatten)]
    requests: RequestFiles,
    #[command(flatten)]
    run: RunArguments,
}

#[derive(Clone, Debug, clap::Args)]
struct KeyArguments {
    /// Files of keys, one on each line, a file for each entry node; a directory means its files
    #[arg(long, value_name = "PATH", num_args = 1.., conflicts_with = "generate")]
    keys: Vec<PathBuf>,
}

#[derive(Clone, Debug, clap::Args)]
struct RequestFiles {
    /// Files of requests, `insert, KEY, VALUE` or `query, KEY` on each line; a directory means its files
    #[arg(long, value_name = "PATH", num_args = 1.., conflicts_with = "generate")]
    requests: Vec<PathBuf>,
}

/// Where and how it is measured.
#[derive(Clone, Debug, clap::Args)]
struct RunArguments {
    /// So many keys (or requests) for each entry node, made up [default: 1000; with --seconds as many as there is time
    /// for]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    generate: Option<u64>,
    /// Start so many servers on this machine for it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64), conflicts_with = "http_at")]
    local: Option<u16>,
    /// One cluster for each of 1, 3 and 5 copies in chains and in eventual mode
    #[arg(long)]
    sweep: bool,
    /// Copies of each key: a cluster for each number [default: 3]
    #[arg(long, value_name = "K,...", value_delimiter = ',', value_parser = clap::value_parser!(u8).range(1..=16))]
    replication: Vec<u8>,
    /// Models: clusters for each [default: chain]
    #[arg(long, value_enum, value_name = "MODEL,...", value_delimiter = ',')]
    consistency: Vec<ConsistencySetting>,
    /// When a write is on disk [default: memory, that is never]
    #[arg(long, value_enum)]
    durability: Option<DurabilitySetting>,
    /// Send over HTTP, by the classic routes, instead of the client library
    #[arg(long)]
    http: bool,
    /// Where nodes answer HTTP, for a running cluster: then nothing else of it is needed
    #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',')]
    http_at: Vec<String>,
    /// File with the bearer token for HTTP
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Requests under way at each entry node
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    in_flight: u32,
    /// Requests written to a connection at once, over HTTP; more than 1 is another experiment than the classic one
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pipeline: u32,
    /// Bytes of a value (inserts and queries)
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1_048_576))]
    value_bytes: u32,
    /// Length of each run; keys and requests are repeated until then
    #[arg(long, value_name = "S", value_parser = seconds)]
    seconds: Option<Duration>,
    /// Length of the run before the first of each kind, which does not count
    #[arg(long, default_value = "1", value_name = "S", value_parser = seconds)]
    warm_up: Duration,
    /// Runs of each kind
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    repeat: u32,
    /// Threads of this process that send
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    generators: u32,
    /// Let the inventory's hosts send, each to its own node
    #[arg(long, conflicts_with_all = ["local", "http_at", "generators"])]
    on_hosts: bool,
    /// File for the result [default: experiment-DATE-TIME.json]
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "expected a number of seconds".to_owned())?;
    match Duration::try_from_secs_f64(number) {
        Ok(duration) if duration <= Duration::from_secs(86_400) => Ok(duration),
        _ => Err("expected a number of seconds, at most a day".to_owned()),
    }
}

impl ExperimentArguments {
    /// Measures.
    pub(crate) async fn run(&self, context: &Context) -> Outcome {
        let (kinds, keys, requests, run) = match &self.command {
            ExperimentCommand::Insert(InsertArguments { keys, run }) => {
                (vec![Kind::Insert], &keys.keys[..], &[][..], run)
            }
            ExperimentCommand::Query(InsertArguments { keys, run }) => {
                (vec![Kind::Query], &keys.keys[..], &[][..], run)
            }
            ExperimentCommand::Request(RequestArguments { requests, run }) => {
                (vec![Kind::Request], &[][..], &requests.requests[..], run)
            }
            ExperimentCommand::All(AllArguments { keys, requests, run }) => {
                (vec![Kind::Insert, Kind::Query, Kind::Request], &keys.keys[..], &requests.requests[..], run)
            }
        };
        // Mistakes in files are found before anything is started or sent.
        let plan = run.plan(kinds, keys, requests)?;
        let cells = run.cells(context)?;
        plan.check(&cells)?;
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let measured = tokio::select! {
            measured = Box::pin(measure(&plan, &cells, context, run.out.as_deref())) => measured,
            // Servers of this machine end with what was dropped; those on hosts are erased by the next experiment there.
            _ = interrupt.recv() => Err(Failure::failed(stopped("interrupted", &cells))),
            _ = terminate.recv() => Err(Failure::failed(stopped("told to stop", &cells))),
        };
        let (results, path) = measured?;
        let summary = Summary::new(&results, path.display().to_string());
        context.output.show(&summary);
        match summary.unanswered() {
            0 => Ok(()),
            failed => Err(Failure::failed(format!("{failed} requests were not answered as they should be"))),
        }
    }
}

fn stopped(how: &str, cells: &Cells) -> String {
    let left = match cells.place {
        Place::Hosts => "servers may be left on the hosts, the next experiment there erases them",
        Place::Local(_) => "all servers are stopped",
        Place::Running | Place::Addresses(_) => "keys of the experiment may be left in the cluster",
    };
    format!("{how}: {left}; what was measured of the clusters before is in the file")
}

impl RunArguments {
    fn plan(&self, kinds: Vec<Kind>, keys: &[PathBuf], requests: &[PathBuf]) -> Outcome<Plan> {
        let generated = match (self.generate, self.seconds) {
            (Some(count), _) => Some(count),
            (None, Some(_)) => None,
            (None, None) => Some(GENERATED),
        };
        let is_http = self.http || !self.http_at.is_empty();
        if !is_http && (self.pipeline > 1 || self.token_file.is_some()) {
            return Err(Failure::input("--pipeline and --token-file are for HTTP: say --http"));
        }
        let token = match &self.token_file {
            None => None,
            Some(path) => {
                let text = std::fs::read_to_string(path);
                let text = text
                    .map_err(|error| Failure::input(format!("the token file {}: {error}", path.display())))?;
                Some(text.trim().to_owned())
            }
        };
        Ok(Plan {
            kinds,
            is_http,
            token,
            keys: match keys {
                [] => KeySource::Generated(generated),
                paths => KeySource::Listed(load_keys(paths)?),
            },
            requests: match requests {
                [] => RequestSource::Generated(generated),
                paths => RequestSource::Listed(load_requests(paths)?),
            },
            in_flight: self.in_flight as usize,
            pipeline: self.pipeline as usize,
            value_bytes: self.value_bytes as usize,
            limit: self.seconds,
            warm_up: self.warm_up,
            repeats: self.repeat,
            generators: self.generators as usize,
            on_hosts: self.on_hosts,
        })
    }

    fn cells(&self, context: &Context) -> Outcome<Cells> {
        let chooses = self.sweep
            || !self.replication.is_empty()
            || !self.consistency.is_empty()
            || self.durability.is_some();
        if self.local.is_some() && context.target.inventory.is_some() {
            return Err(Failure::input(
                "--local and -i both say where servers are started: give one of them",
            ));
        }
        let place = match (self.local, &self.http_at[..], chooses) {
            (Some(servers), _, _) => Place::Local(servers),
            (None, [], true) => {
                if context.target.inventory.is_none() {
                    return Err(Failure::input(
                        "--sweep, --replication, --consistency and --durability say how servers are started: say where, \
                         with --local N or -i INVENTORY",
                    ));
                }
                Place::Hosts
            }
            (None, [], false) => Place::Running,
            (None, _, true) => {
                return Err(Failure::input(
                    "--http-at is for servers that run: they are as they were started",
                ));
            }
            (None, addresses, false) => Place::Addresses(addresses.to_vec()),
        };
        let servers = match place {
            Place::Local(servers) => usize::from(servers),
            Place::Hosts => context.target.find_inventory(context.output)?.hosts.len(),
            Place::Running | Place::Addresses(_) => usize::MAX,
        };
        let starts = self.starts();
        if let Some(start) = starts.iter().find(|start| usize::from(start.replication) > servers) {
            return Err(Failure::input(format!(
                "{} copies of each key need as many servers, and there are {servers}",
                start.replication
            )));
        }
        Ok(Cells { place, starts })
    }

    fn starts(&self) -> Vec<Start> {
        let durability = self.durability.unwrap_or(DurabilitySetting::Memory);
        let copies: &[u8] = match (&self.replication[..], self.sweep, self.local) {
            ([], true, _) => &SWEEP_COPIES,
            ([], false, Some(1)) => &[1],
            ([], false, Some(2)) => &[2],
            ([], false, _) => &[COPIES],
            (given, _, _) => given,
        };
        let models: &[ConsistencySetting] = match (&self.consistency[..], self.sweep) {
            ([], true) => &SWEEP_MODELS,
            ([], false) => &[ConsistencySetting::Chain],
            (given, _) => given,
        };
        let mut starts = Vec::new();
        for consistency in models {
            // One copy is one copy, whatever number is asked for.
            let copies = if *consistency == ConsistencySetting::Single { &[1][..] } else { copies };
            starts.extend(copies.iter().map(|copies| Start {
                consistency: *consistency,
                replication: *copies,
                durability,
            }));
        }
        starts
    }
}
