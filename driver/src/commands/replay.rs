//! `replay`: carry out a file of puts and gets through the cluster, and verify every answer.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use chordata_client::Client;
use chordata_client::look::View;
use chordata_protocol::{Address, Key, Policy, Space};
use indicatif::{ProgressBar, ProgressStyle};

use crate::commands::data::AcksArguments;
use crate::commands::look::{hop_table, resolve_node};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::input::{self, InputOperation, Line};
use crate::replay::{Done, Entry, Plan, Summary, run};
use crate::target::Connection;

/// `replay`. Exit code 1 when an answer is wrong.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ReplayArguments {
    /// The file: lines such as put KEY VALUE, get KEY, delete KEY
    #[arg(default_value = "input.txt")]
    file: PathBuf,
    /// The server that each operation is sent to: round-robin, random, first, or a node (number, host's name or
    /// HOST:PORT)
    #[arg(long, default_value = "round-robin")]
    entry: String,
    /// How servers look owners up: finger, one-hop, successor or random
    #[arg(long, default_value_t = Policy::Finger)]
    policy: Policy,
    /// Operations at once; those on one key keep their order
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    concurrency: u32,
    /// Pause between two operations, in milliseconds
    #[arg(long, default_value_t = 0, value_name = "MS")]
    interval: u64,
    /// Show every node that was asked on the way of each operation
    #[arg(long)]
    trace: bool,
    /// Put a random prefix before every key, so that nothing that is stored already is touched
    #[arg(long)]
    fresh: bool,
    /// Only the summary, and what is wrong
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    acks: AcksArguments,
}

impl ReplayArguments {
    /// Replays a file.
    pub(crate) async fn run(&self, context: &Context) -> Outcome {
        // Mistakes in the file are found before anything is sent, and before anybody is asked anything. Whether
        // literal ids fit the ring is known once the ring is.
        input::load(&self.file, Space::default())?;
        let mut connection = context.target.connect(context.output).await?;
        connection.client = match self.acks.apply(&connection.client)? {
            Some(client) => client,
            None => verifiable(&connection.client, &connection.client.view().await, context),
        };
        let space = connection.client.space();
        let mut lines = input::load(&self.file, space)?;
        if self.fresh {
            freshen(&mut lines, space, context)?;
        }
        let servers: Vec<Address> =
            connection.client.view().await.members().iter().map(|status| status.me.address.clone()).collect();
        if servers.is_empty() {
            return Err(Failure::Unreachable("no node of the cluster is in the ring".to_owned()));
        }
        let plan = Plan {
            entry: self.entry(&connection).await?,
            lines,
            policy: self.policy,
            concurrency: self.concurrency as usize,
            interval: Duration::from_millis(self.interval),
            trace: self.trace,
        };
        let began = Instant::now();
        let done = show_run(&connection, &servers, &plan, context, self.quiet).await;
        let summary = Summary::new(&done, began.elapsed());
        context.output.show(&summary);
        summary.judge()
    }

    async fn entry(&self, connection: &Connection) -> Outcome<Entry> {
        Ok(match self.entry.as_str() {
            "round-robin" => Entry::RoundRobin,
            "random" => Entry::Random,
            "first" => Entry::First,
            named => Entry::Named(resolve_node(connection, named).await?),
        })
    }
}

/// A client whose answers can be verified. In eventual mode an older value is no wrong answer, unless all replicas are
/// written and read.
pub(crate) fn verifiable(client: &Client, view: &View, context: &Context) -> Client {
    let members = view.members();
    let kept = members.first().and_then(|status| status.settings.replication);
    let Some(kept) = kept.filter(|_| view.is_eventual()) else { return client.clone() };
    let acks = kept.factor.min(u8::try_from(members.len()).unwrap_or(u8::MAX));
    context.output.remark(&format!(
        "eventual mode: to know what gets must answer, every operation waits for {} (--acks {acks})",
        crate::report::count(acks.into(), "replica")
    ));
    client.with_acks(acks)
}

/// Gives every key a random prefix.
fn freshen(lines: &mut [Line], space: Space, context: &Context) -> Outcome {
    let prefix = format!("replay-{:08x}/", fastrand::u32(..));
    context.output.remark(&format!("every key begins with {prefix} (--fresh)"));
    for line in lines {
        let number = line.number;
        let key = match &mut line.operation {
            InputOperation::Put { key, .. }
            | InputOperation::Get { key }
            | InputOperation::Delete { key } => key,
        };
        let Key::Bytes(bytes) = key else {
            return Err(Failure::input(format!(
                "line {number}: --fresh puts a prefix before every key, {key} is an id and can have none"
            )));
        };
        bytes.splice(0..0, prefix.bytes());
        key.check(space).map_err(|bad| Failure::input(format!("line {number}, with its prefix: {bad}")))?;
    }
    Ok(())
}

/// Runs a plan and shows each operation, as a line or as JSON, with a progress bar where somebody watches.
pub(crate) async fn show_run(
    connection: &Connection,
    servers: &[Address],
    plan: &Plan,
    context: &Context,
    quiet: bool,
) -> Vec<Done> {
    let (output, space) = (context.output, connection.client.space());
    let bar = if output.is_watched() && (quiet || plan.lines.len() > 200) {
        ProgressBar::new(plan.lines.len() as u64)
    } else {
        ProgressBar::hidden()
    };
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} {per_sec} {eta} left") {
        bar.set_style(style);
    }
    if !output.json && !quiet {
        output.raw(Done::heading().as_bytes());
    }
    let done = run(&connection.client, servers, plan, |done| {
        bar.inc(1);
        let wrong = !matches!(
            done.verdict,
            crate::replay::Verdict::Stored
                | crate::replay::Verdict::Right { .. }
                | crate::replay::Verdict::Unjudged { .. }
        );
        if output.json {
            output.json(done);
        } else if !quiet || wrong {
            bar.suspend(|| {
                output.raw(done.row(space).as_bytes());
                if !done.path.is_empty() {
                    let path = hop_table(&done.path, space);
                    output.raw(
                        path.lines().map(|line| format!("       {line}\n")).collect::<String>().as_bytes(),
                    );
                }
            });
        }
    })
    .await;
    bar.finish_and_clear();
    done
}
