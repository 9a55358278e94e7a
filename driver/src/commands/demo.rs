//! `demo`: a ring of servers on this machine, a replay of `input.txt`, and what came of it.

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use chordata_client::{Client, Config};
use chordata_protocol::{Address, Policy, Space};
use chordata_server::settings::{ConsistencySetting, DurabilitySetting};
use tokio::signal::unix::{SignalKind, signal};

use crate::commands::chains::Chains;
use crate::commands::eventual::Copies;
use crate::commands::look::{Nodes, fingers_of};
use crate::commands::replay::{show_run, verifiable};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::input;
use crate::inventory::REPLICATION;
use crate::local::{Server, Servers, Start, wait_until_whole};
use crate::replay::{Entry, Plan, Summary};
use crate::report;
use crate::state::{Last, State};
use crate::target::Connection;

/// The first port that is tried.
const PORT_FIRST: u16 = 18861;
/// How long the ring may take to become whole.
const WHOLE_WITHIN: Duration = Duration::from_secs(60);
/// What is replayed where there is no `input.txt`.
const INPUT: &str = include_str!("../../../input.txt");

/// `demo`. Exit code 1 when an answer is wrong or a server holds no key.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DemoArguments {
    /// Servers
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=64))]
    nodes: u16,
    /// The file to replay [default: input.txt of this directory, else a built-in copy]
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Size of the ring in bits, 3 to 160
    #[arg(long, default_value_t = Space::BITS_MAX, value_parser = clap::value_parser!(u8).range(3..=160))]
    bits: u8,
    /// How the servers keep data: in one copy (single), or in copies of every key on several servers, always the same
    /// (chain), or the same in time (eventual)
    #[arg(long, value_enum, default_value = "chain")]
    consistency: ConsistencySetting,
    /// Copies of each key, unless --consistency single: 1 to 16 [default: 3]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u8).range(1..=16))]
    replication: Option<u8>,
    /// When a write is on disk, unless --consistency single [default: interval]
    #[arg(long, value_enum)]
    durability: Option<DurabilitySetting>,
    /// How servers look owners up: finger, one-hop, successor or random
    #[arg(long, default_value_t = Policy::Finger)]
    policy: Policy,
    /// Show every node that was asked on the way of each operation
    #[arg(long)]
    trace: bool,
    /// Leave the servers running
    #[arg(long)]
    keep: bool,
}

/// Ports that nobody listens on at the moment, from the first on.
fn free_ports() -> impl Iterator<Item = u16> {
    (PORT_FIRST..PORT_FIRST + 2000).filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
}

impl DemoArguments {
    /// Runs the demo.
    pub(crate) async fn run(&self, context: &Context) -> Outcome {
        let is_single = self.consistency == ConsistencySetting::Single;
        for (flag, is_given) in
            [("--replication", self.replication.is_some()), ("--durability", self.durability.is_some())]
        {
            if is_single && is_given {
                return Err(Failure::input(format!(
                    "{flag} is for copies on several servers, and --consistency single keeps one"
                )));
            }
        }
        let space = Space::new(self.bits).unwrap_or_default();
        let lines = self.lines(space)?;
        let mut servers = Servers::new("demo", self.keep)?;
        // Before anything is started, so that no moment is left in which a signal would leave something behind.
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let shown = tokio::select! {
            shown = self.start_and_show(context, &mut servers, space, lines) => shown,
            _ = interrupt.recv() => Err(Failure::failed("interrupted: all servers are stopped")),
            _ = terminate.recv() => Err(Failure::failed("told to stop: all servers are stopped")),
        };
        if self.keep && shown.is_ok() {
            return self.leave(context, servers);
        }
        servers.stop().await;
        shown
    }

    fn lines(&self, space: Space) -> Outcome<Vec<input::Line>> {
        let here = PathBuf::from("input.txt");
        match &self.input {
            Some(path) => Ok(input::load(path, space)?),
            None if here.exists() => Ok(input::load(&here, space)?),
            None => Ok(input::parse(INPUT, "input.txt (built in)", space)?),
        }
    }

    async fn start_and_show(
        &self,
        context: &Context,
        servers: &mut Servers,
        space: Space,
        lines: Vec<input::Line>,
    ) -> Outcome {
        let output = context.output;
        let began = Instant::now();
        let arguments = |servers: &Servers, port| {
            let bits = ["--bits".to_owned(), self.bits.to_string()];
            bits.into_iter().chain(self.start().arguments(servers, port)).collect()
        };
        let started = |server: &Server| {
            let (address, pid) = (&server.address, server.pid());
            output.remark(&format!("started {address} as a process of its own, pid {pid}"));
        };
        servers.start(self.nodes, free_ports().map(Ok), arguments, started).await?;
        let addresses = servers.addresses();
        let client = Client::connect(&addresses, Config::default()).await?;
        let view = wait_until_whole(&client, addresses.len(), WHOLE_WITHIN).await?;
        refresh_fingers(&client).await?;
        output.remark(&format!(
            "the ring of {} is whole after {}\n",
            report::count(addresses.len(), "server"),
            report::duration(began.elapsed())
        ));
        output.show(&Nodes::new(&view, space));
        output.remark("");
        if let Some(chains) = Chains::new(&view, space) {
            output.show(&chains);
            output.remark("");
        }
        if let Some(copies) = Copies::new(&view, space) {
            output.show(&copies);
            output.remark("");
        }
        output.show(&fingers_of(&client, addresses[0].clone()).await?);
        output.remark("");
        let connection = Connection::of_client(verifiable(&client, &view, context));
        let plan = Plan {
            lines,
            entry: Entry::RoundRobin,
            policy: self.policy,
            concurrency: 1,
            interval: Duration::ZERO,
            trace: self.trace,
        };
        let began = Instant::now();
        let done = show_run(&connection, &addresses, &plan, context, false).await;
        let summary = Summary::new(&done, began.elapsed());
        output.remark("");
        output.show(&summary);
        let held = verdict(&connection, context).await;
        summary.judge().and(held)
    }

    /// How data is kept.
    fn start(&self) -> Start {
        Start {
            consistency: self.consistency,
            replication: self.replication.unwrap_or(REPLICATION),
            durability: self.durability.unwrap_or(DurabilitySetting::Interval),
        }
    }

    fn leave(&self, context: &Context, servers: Servers) -> Outcome {
        let addresses = servers.addresses();
        let pids: Vec<String> = servers.pids().iter().map(u32::to_string).collect();
        let first = addresses.first().map(Address::to_string).unwrap_or_default();
        State::of_user()?.remember(&Last::Node(first.clone()))?;
        let directory = servers.leave();
        context.output.remark(&format!(
            "\nThe servers are left running, with their logs{} in {}.\n  talk to them:  chordata --node {first} put KEY VALUE\n                 chordata --node {first} lookup KEY --trace\n  stop them:     kill {}",
            if self.start().keeps() { " and data" } else { "" },
            directory.display(),
            pids.join(" ")
        ));
        Ok(())
    }
}

/// The ring does this by itself in a moment; the picture shall not have to wait for it.
async fn refresh_fingers(client: &Client) -> Outcome {
    let context = chordata_rpc::within(WHOLE_WITHIN);
    let answer = client.pool().client(&client.entry()).update_finger_table(context).await;
    let refreshed = answer.map_err(chordata_client::Failure::from_call)?;
    refreshed.map(|_| ()).map_err(|error| chordata_client::Failure::from(error).into())
}

/// Every server holds a key, or it is said which does not.
async fn verdict(connection: &Connection, context: &Context) -> Outcome {
    let view = connection.client.view().await;
    let members = view.members();
    let held: Vec<String> =
        members.iter().map(|status| format!("{} at {}", status.keys, status.me.address)).collect();
    let empty = members.iter().filter(|status| status.keys == 0).count();
    context.output.remark(&format!("keys held: {}", held.join(", ")));
    if empty == 0 {
        context
            .output
            .remark(&format!("every one of the {} held a key", report::count(members.len(), "server")));
        return Ok(());
    }
    Err(Failure::failed(format!("{} held no key", report::count(empty, "server"))))
}
