//! The command line: four groups of commands and the flags that all of them share.

use clap::{Parser, Subcommand};

use crate::commands::cluster::ClusterCommand;
use crate::commands::{
    audit, data, demo, dump, experiment, file, load, look, manager, peer, plot, raw, recover, replay, shell,
    status,
};

/// The commands by groups: what `--help` shows instead of clap's one long list.
const GROUPS: &str = "\
Cluster:
  demo        Start servers on this machine, replay input.txt, show everything, stop them
  up          Deploy, start, and wait until the ring is whole; joins hosts new in the inventory
  down        Stop all servers; they keep their places and identities
  destroy     Stop all servers and erase everything of theirs
  check       Test hosts before anything is done to them
  deploy      Upload the program and the configuration
  start       Start servers
  stop        Stop servers
  restart     Restart servers one by one, each when the ring is whole again
  status      How every node is, and what is wrong
  logs        Logs of all hosts, merged
  exec        Run a command on all hosts
  join        Add a host of the inventory to the ring
  depart      Have a node hand its keys over and leave the ring
  forget      Remove a node that died for good (chains, eventual mode)
  recover     Accept losses, so that what is left can be used again (chains)
  kill        End a server at once, as a crash would
  pause       Freeze a server
  resume      Let a frozen server go on
  inventory   Print a commented inventory

Data:
  put         Store a value
  get         Print a value
  delete      Remove a value
  keys        List keys
  file        Store, fetch, list and remove files of any size
  load        Store the pairs of a table, a dictionary or a database
  dump        Write everything that the cluster holds; load ndjson reads it back
  replay      Carry out a file of puts and gets, and verify every answer
  shell       Give commands one after another, at a prompt

Experiments:
  experiment  Measure inserts, queries and mixed requests, on one cluster or a sweep of them
  plot        Draw the result of an experiment: pictures and a page

Look:
  nodes       The ring: number, id, address, share, keys, successor
  lookup      Where a key is, and the way there; --replicas: what each replica has
  fingers     A node's finger table
  audit       Compare all replicas of every key, and check ring and ranges

Named peers:
  manager     Run a manager: it knows servers on standby by name
  peer        Register peers; set up, query and take down a DHT of storm events

Raw:
  rpc         Call a server's method by its name
  serve       Run a server in the foreground
  completions Print completions for a shell";

const TEMPLATE: &str = "\
{about-with-newline}
{usage-heading} {usage}{after-help}

Options:
{options}

`chordata COMMAND --help` explains a command.
Exit codes: 0 done, 1 failed or mismatch, 2 bad usage or input, 3 key not found, 4 cluster not reachable, 5 outcome unknown.
";

/// Chordata: a Chord distributed hash table. Deploys servers, starts them, and talks to them.
#[derive(Parser, Debug)]
#[command(name = "chordata", version, help_template = TEMPLATE, after_help = GROUPS)]
#[command(disable_help_subcommand = true, subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) target: crate::target::TargetArguments,
    /// Only these hosts of the inventory (repeatable, or separated by commas)
    #[arg(
        long = "host",
        global = true,
        value_name = "NAME",
        value_delimiter = ',',
        help_heading = "Cluster"
    )]
    pub(crate) hosts: Vec<String>,
    /// Only hosts with this label
    #[arg(long = "label", global = true, value_name = "KEY=VALUE", help_heading = "Cluster")]
    pub(crate) labels: Vec<String>,
    /// Print JSON instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Do not ask before something is erased
    #[arg(short, long, global = true)]
    pub(crate) yes: bool,
    /// Log what the driver does (twice: more)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// All commands.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Start servers on this machine, replay input.txt, show everything, stop them
    Demo(demo::DemoArguments),
    #[command(flatten)]
    Cluster(ClusterCommand),
    /// How every node is, and what is wrong
    Status(status::StatusArguments),
    /// Remove a node that died for good: others take over what it held (chains, eventual mode)
    #[command(long_about = recover::FORGET)]
    Forget(recover::ForgetArguments),
    /// Accept losses, so that what is left can be used again (chains)
    #[command(long_about = recover::RECOVER)]
    Recover(recover::RecoverArguments),
    /// Store a value
    Put(data::PutArguments),
    /// Print a value: its bytes and nothing else
    Get(data::GetArguments),
    /// Remove a value
    Delete(data::DeleteArguments),
    /// List keys, node by node around the ring; --node N (a number, a host's name or HOST:PORT) lists those of one
    Keys(data::KeysArguments),
    /// Store, fetch, list and remove files of any size
    File {
        #[command(subcommand)]
        command: file::FileCommand,
    },
    /// Store the pairs of a table, a dictionary or a database; `chordata load csv --help` and so on say more
    Load(Box<load::LoadArguments>),
    /// Write everything that the cluster holds, a JSON object a line; `load ndjson` reads it back
    Dump(dump::DumpArguments),
    /// Carry out a file of puts and gets, and verify every answer
    Replay(replay::ReplayArguments),
    /// Give commands one after another, at a prompt or on standard input
    #[command(long_about = shell::ABOUT)]
    Shell(shell::ShellArguments),
    /// Measure inserts, queries and mixed requests: on a running cluster, or on several that it starts
    #[command(long_about = experiment::ABOUT)]
    Experiment(experiment::ExperimentArguments),
    /// Draw the result of an experiment: pictures and a page
    Plot(plot::PlotArguments),
    /// The ring: number, id, address, share, keys, successor
    Nodes,
    /// Where a key is, and the way there
    Lookup(look::LookupArguments),
    /// Compare all replicas of every key, and check ring and ranges
    #[command(long_about = audit::ABOUT)]
    Audit(audit::AuditArguments),
    /// A node's finger table
    Fingers(look::FingersArguments),
    /// Run a manager: it knows servers on standby by name, and makes one ring of some of them at a time
    Manager(manager::ManagerArguments),
    /// Commands for a manager: register peers; set up, query and take down a DHT of storm events
    Peer(peer::PeerArguments),
    /// Call a server's method by its name
    Rpc(raw::RpcArguments),
    /// Run a server in the foreground
    Serve(Box<chordata_server::command::ServeArguments>),
    /// What the driver runs on hosts
    #[command(hide = true)]
    Agent {
        #[command(subcommand)]
        command: chordata_server::agent::AgentCommand,
    },
    /// Print completions for a shell
    Completions(raw::CompletionsArguments),
}
