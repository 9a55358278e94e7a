//! Cell after cell: a cluster is found or started, warmed up, measured, and ended again.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use chordata_workload::job::{Keys, Work};
use chordata_workload::{Facts, Measured};

use super::clock::Moment;
use super::plan::{KeySource, Plan};
use super::result::{Cell, Experiment, Kind, NodeLoad, Results, Run, Settings};
use super::stage::{Place, Stage, Wish};
use super::{generate, summary};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::local::{Start, word};
use crate::report::{Output, count};

/// The clusters to measure.
#[derive(Clone, Debug)]
pub(crate) struct Cells {
    /// Where they are.
    pub(crate) place: Place,
    /// How each is started; empty for one that runs.
    pub(crate) starts: Vec<Start>,
}

/// Measures everything, and writes the result after each cell, so that an interruption does not lose the cells before.
/// `name` gives the file its name from the moment of the beginning, if it has none.
///
/// # Errors
/// When a cluster cannot be started or reached. Requests that fail are counted.
pub(crate) async fn measure(
    plan: &Plan,
    cells: &Cells,
    context: &Context,
    out: Option<&Path>,
) -> Outcome<(Results, std::path::PathBuf)> {
    let began = Moment::now();
    let path = out.map_or_else(|| format!("experiment-{}.json", began.stamp()).into(), Path::to_owned);
    let mut results = Results::new(began.text(), settings(plan, cells, context)?, Facts::here());
    // That the file can be written is known before an hour of measuring.
    results.save(&path)?;
    let mixed = plan.kinds.contains(&Kind::Request);
    let wish = Wish { http: plan.is_http, on_hosts: plan.on_hosts, mixed };
    let starts: Vec<Option<Start>> = match cells.place {
        Place::Running | Place::Addresses(_) => vec![None],
        Place::Local(_) | Place::Hosts => cells.starts.iter().copied().map(Some).collect(),
    };
    let number = starts.len();
    for (place, start) in starts.into_iter().enumerate() {
        if let Some(start) = start {
            context.output.remark(&format!(
                "cluster {} of {number}: {}, {} of each key, durability {}",
                place + 1,
                word(&start.consistency),
                count(start.replication.into(), "copy").replace("copys", "copies"),
                word(&start.durability),
            ));
        }
        let stage = match (&cells.place, start) {
            (Place::Addresses(addresses), _) => Stage::of_addresses(addresses),
            (Place::Local(servers), Some(start)) => Stage::local(*servers, start, wish).await?,
            (Place::Hosts, Some(start)) => Box::pin(Stage::hosts(context, start, wish)).await?,
            _ => Stage::running(context, wish).await?,
        };
        let measured = cell(plan, &stage, start.is_some(), context.output).await;
        stage.end().await?;
        results.cells.push(measured?);
        results.save(&path)?;
    }
    results.settings.generators = generators(&results);
    results.save(&path)?;
    Ok((results, path))
}

fn settings(plan: &Plan, cells: &Cells, context: &Context) -> Outcome<Settings> {
    let cluster = match &cells.place {
        Place::Running => match context.target.find(Output { json: true, ..context.output })? {
            crate::target::Target::Inventory(inventory) => format!("the running cluster {}", inventory.name),
            crate::target::Target::Node(node) => format!("the running cluster of {node}"),
        },
        Place::Addresses(addresses) => format!("{} that answer HTTP", count(addresses.len(), "server")),
        Place::Local(servers) => format!("{} of this machine", count((*servers).into(), "server")),
        Place::Hosts => {
            let inventory = context.target.find_inventory(Output { json: true, ..context.output })?;
            format!("{} of the inventory {}", count(inventory.hosts.len(), "server"), inventory.name)
        }
    };
    Ok(Settings {
        cluster,
        transport: if plan.is_http { "http" } else { "rpc" }.to_owned(),
        in_flight: plan.in_flight,
        pipeline: plan.pipeline,
        value_bytes: plan.value_bytes,
        keys: plan.keys_in_words(),
        requests: plan.requests_in_words(),
        seconds: plan.limit.map(|limit| limit.as_secs_f64()),
        warm_up_seconds: plan.warm_up.as_secs_f64(),
        repeats: plan.repeats,
        generators: plan.generators,
        on_hosts: plan.on_hosts,
    })
}

/// Generators that took part, as they say themselves.
fn generators(results: &Results) -> usize {
    let runs =
        results.cells.iter().flat_map(|cell| &cell.experiments).flat_map(|experiment| &experiment.runs);
    runs.map(|run| run.measured.generators.len()).max().unwrap_or(0)
}

async fn cell(plan: &Plan, stage: &Stage, is_fresh: bool, output: Output) -> Outcome<Cell> {
    let mut measuring =
        Measuring { plan, stage, is_fresh, output, warm: BTreeSet::new(), experiments: Vec::new() };
    for repeat in 1..=plan.repeats {
        measuring.repeat(repeat).await?;
    }
    Ok(Cell {
        consistency: stage.kept.consistency.clone(),
        replication: stage.kept.replication,
        durability: stage.kept.durability.clone(),
        nodes: stage.entries.len(),
        start_seconds: stage.started_in.map(|took| took.as_secs_f64()),
        experiments: measuring.experiments,
    })
}

/// One cluster being measured.
struct Measuring<'a> {
    plan: &'a Plan,
    stage: &'a Stage,
    is_fresh: bool,
    output: Output,
    warm: BTreeSet<Kind>,
    experiments: Vec<Experiment>,
}

impl Measuring<'_> {
    async fn repeat(&mut self, repeat: u32) -> Outcome {
        let (plan, entries) = (self.plan, self.stage.entries.len());
        let has = |kind: Kind| plan.kinds.contains(&kind);
        // On a cluster that runs, queries alone ask for what the first repeat of inserts has stored.
        let keys_of = if has(Kind::Insert) || self.is_fresh { repeat } else { 1 };
        let mut keys = plan.keys(keys_of, entries);
        if has(Kind::Insert) {
            let run = self.run(Kind::Insert, Work::Insert(keys.clone()), &keys).await?;
            keys = stored(&keys, &run);
        } else if has(Kind::Query) && self.is_fresh {
            self.output.remark("storing the keys that are then asked for");
            let limit = plan.limit.filter(|_| keys.iter().any(|keys| keys.len().is_none()));
            let run = self.generate(Work::Insert(keys.clone()), limit, repeat.into()).await?;
            keys = stored(&keys, &run);
        }
        if has(Kind::Query) {
            self.stage.settle().await;
            self.run(Kind::Query, Work::Query(keys.clone()), &keys).await?;
        }
        if has(Kind::Request) {
            self.run(Kind::Request, Work::Requests(plan.requests(repeat, entries)), &keys).await?;
        }
        Ok(())
    }

    /// Warms up if need be, measures, and keeps what came of it.
    async fn run(&mut self, kind: Kind, work: Work, keys: &[Keys]) -> Outcome<Measured> {
        let plan = self.plan;
        if self.warm.insert(kind) && !plan.warm_up.is_zero() {
            let work = plan.warm_up(kind, keys);
            self.generate(work, Some(plan.warm_up), 0).await?;
        }
        let seed = self.experiments.iter().map(|experiment| experiment.runs.len() as u64).sum::<u64>() + 1;
        let before = self.stage.processor_seconds();
        let measured = self.generate(work, plan.limit, seed).await?;
        let after = self.stage.processor_seconds();
        if kind == Kind::Insert {
            self.stage.settle().await;
        }
        let mut nodes: Vec<NodeLoad> = self.stage.loads().await;
        for (node, (before, after)) in nodes.iter_mut().zip(before.into_iter().zip(after)) {
            node.processor_seconds = before.zip(after).map(|(before, after)| (after - before).max(0.0));
        }
        self.tell(kind, &measured);
        let run = Run { measured: measured.clone(), nodes };
        match self.experiments.iter_mut().find(|experiment| experiment.kind == kind) {
            Some(experiment) => experiment.runs.push(run),
            None => self.experiments.push(Experiment { kind, runs: vec![run] }),
        }
        Ok(measured)
    }

    async fn generate(&self, work: Work, limit: Option<Duration>, seed: u64) -> Outcome<Measured> {
        let (plan, stage) = (self.plan, self.stage);
        let transport = stage.transport(plan.is_http, plan.token.as_deref());
        let job = plan.job(work, limit, &stage.entries, transport, seed);
        if plan.on_hosts {
            generate::on_hosts(&job, &stage.stations).await
        } else {
            generate::here(&job, plan.generators).await
        }
    }

    fn tell(&self, kind: Kind, measured: &Measured) {
        let failed = match measured.unanswered() {
            0 => String::new(),
            failed => format!(", {failed} FAILED"),
        };
        self.output.remark(&format!(
            "{:8}{:>9} a second{failed}",
            kind.name(),
            summary::grouped(measured.per_second())
        ));
        for failure in &measured.failures {
            self.output.remark(&format!("  {failure}"));
        }
    }
}

/// The keys that a run has got to, where their number was open.
fn stored(keys: &[Keys], run: &Measured) -> Vec<Keys> {
    let begun = run.entries.iter().map(|entry| entry.begun);
    keys.iter()
        .zip(begun)
        .map(|(keys, begun)| match keys {
            Keys::Generated { prefix, count } => {
                let count = count.map_or(begun, |count| count.min(begun));
                Keys::Generated { prefix: prefix.clone(), count: Some(count) }
            }
            Keys::Listed(_) => keys.clone(),
        })
        .collect()
}

impl Plan {
    /// Queries alone on a running cluster must know how many keys there are.
    ///
    /// # Errors
    /// When they do not.
    pub(crate) fn check(&self, cells: &Cells) -> Outcome {
        let runs = matches!(cells.place, Place::Running | Place::Addresses(_));
        let is_open = self.keys == KeySource::Generated(None);
        if runs && is_open && self.kinds.contains(&Kind::Query) && !self.kinds.contains(&Kind::Insert) {
            return Err(Failure::input(
                "how many keys were inserted? Say --generate N as the insert did, or --keys FILES",
            ));
        }
        Ok(())
    }
}
