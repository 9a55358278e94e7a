//! `load`: stores the pairs of a table, a dictionary or a database.
//!
//! ```text
//! source  ──rows──▶  batches  ──put_many, several at once──▶  cluster
//!         (reading)           (pump)         │
//!                                  rejects, state, in the order of the rows
//! ```
//!
//! A thread reads the source ([`reading`]); rows become batches, of which several are on their way at once ([`pump`]).
//! Memory holds a few batches, however long the source is. A key is never on its way twice at once, so the last of
//! several rows with one key is what stays. What became of a batch is noted in the order of the rows: rejects in their
//! file ([`rejects`]), and how far everything is acknowledged in the state of the load ([`state`]), where `--resume` goes
//! on. Puts can be repeated: what was acknowledged but not noted yet is stored again.

mod arguments;
mod progress;
mod pump;
mod reading;
mod rejects;
mod report;
mod state;

use std::time::{Duration, Instant};

pub(crate) use arguments::LoadArguments;
use arguments::{Common, Job};
use chordata_client::Client;
use chordata_protocol::Space;
use progress::Progress;
use pump::{Ended, Pump};
use reading::{Chunk, Feed};
use rejects::Rejects;
use report::{Counts, LoadReport};
use state::LoadState;

use crate::context::Context;
use crate::failure::{Failure, Outcome};

/// Chunks of rows that are read ahead.
const CHUNKS_AHEAD: usize = 4;

impl LoadArguments {
    /// Loads.
    pub(crate) async fn run(&self, context: &Context) -> Outcome {
        let job = self.job()?;
        if job.common.dry_run {
            return Box::pin(look(&job, context)).await;
        }
        let connection = context.target.connect(context.output).await?;
        let client = job.common.acks.apply(&connection.client)?.unwrap_or_else(|| connection.client.clone());
        Box::pin(load(&job, &client, context)).await
    }
}

/// Reads everything and stores nothing.
async fn look(job: &Job, context: &Context) -> Outcome {
    let feed = Feed::open(&job.source)?;
    let mut progress = Progress::new(context.output, &feed, "read");
    let mut report = LoadReport::new(job, true);
    let began = Instant::now();
    let (sender, mut chunks) = tokio::sync::mpsc::channel::<Chunk>(CHUNKS_AHEAD);
    let looking = async {
        while let Some(chunk) = chunks.recv().await {
            for item in chunk {
                report.look(item, Space::default());
            }
            progress.show(report.counts.rows());
        }
    };
    let (read, ()) = futures::join!(Box::pin(feed.run(&job.choice, sender)), looking);
    progress.end();
    report.took(began.elapsed());
    context.output.show(&report);
    read.map_err(|error| job.source.failure(&error))?;
    if report.counts.failed > 0 { Err(Failure::Said) } else { Ok(()) }
}

/// Reads everything and stores it.
async fn load(job: &Job, client: &Client, context: &Context) -> Outcome {
    let output = context.output;
    let Common { resume, patience, in_flight, .. } = &job.common;
    let feed = Feed::open(&job.source)?;
    let cluster = chordata_client::status_of(client.pool(), &client.entry(), Duration::from_secs(5)).await?;
    let mut state = LoadState::find(job, cluster.settings.cluster)?;
    if *resume {
        state = state.begin_again(job)?;
    }
    let keep = state.rejects();
    let rejects = Rejects::new(state.rejects_file(job), keep, &job.source)?;
    if *resume {
        match state.rows() {
            0 => output
                .remark("no earlier load of this source was broken off: it is loaded from its beginning"),
            rows => output.remark(&format!("the first {rows} rows are stored already: going on behind them")),
        }
    } else if let Some(rows) = state.drop_earlier() {
        output.remark(&format!(
            "an earlier load of this source was broken off behind row {rows}: with --resume it would go on there"
        ));
    }
    let mut progress = Progress::new(output, &feed, "stored");
    let (sender, chunks) = tokio::sync::mpsc::channel::<Chunk>(CHUNKS_AHEAD);
    let began = Instant::now();
    let skip = state.rows();
    let patience = Duration::from_secs(*patience);
    let pump = Pump::new(client.clone(), state, rejects, usize::from(*in_flight), patience);
    let (read, ended) =
        futures::join!(Box::pin(feed.run(&job.choice, sender)), Box::pin(pump.run(chunks, &mut progress)));
    progress.end();
    let mut ended: Ended = ended?;
    let is_whole = read.is_ok() && ended.failure.is_none();
    if is_whole {
        ended.state.remove()?;
    } else {
        ended.state.keep()?;
    }
    let mut report = LoadReport::new(job, false);
    report.counts = Counts { skipped: skip + ended.counts.skipped, ..ended.counts };
    report.problems = std::mem::take(&mut ended.problems);
    report.rejects = ended.rejects;
    report.took(began.elapsed());
    output.show(&report);
    let can_resume = job.source.can_resume() && ended.state.rows() > 0;
    let resume = if can_resume { "; --resume goes on from there" } else { "" };
    let so_far = format!("{} rows of the source were dealt with before that{resume}", ended.state.rows());
    if let Some(failure) = ended.failure {
        return Err(failure.with(&so_far));
    }
    if let Err(error) = read {
        return Err(job.source.failure(&error).with(&so_far));
    }
    if report.counts.failed > 0 { Err(Failure::Said) } else { Ok(()) }
}
