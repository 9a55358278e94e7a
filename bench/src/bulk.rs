//! `chordata load` beside `put_many`: what reading a table, noting what is done and all else of the command cost.
//!
//! A table with keys of 16 bytes and values of 100 is written to a file. The command loads it into a fresh cluster of
//! servers in processes of their own; in another fresh one, of the same kind, this program puts the same records straight
//! from memory, in batches of the same size and as many at once. They take turns. Every record must be there in the end,
//! and the command's memory (VmHWM) within its bound.

use std::fmt;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chordata_client::Client;
use chordata_protocol::{Key, Value};
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::BenchError;
use crate::chain::{fresh, remove};
use crate::cluster::{Cluster, Plan};

/// Copies of each key.
const REPLICAS: u64 = 3;
/// Bytes of a value.
const VALUE_BYTES: usize = 100;
/// As the command has them: rows in a batch, batches at once.
const BATCH: usize = 4096;
const IN_FLIGHT: usize = 8;
/// The command over `put_many`.
const AIM: f64 = 0.5;
/// Memory of the command, in bytes.
const MEMORY_MAX: u64 = 200 * 1000 * 1000;
/// How often the command's memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct BulkSettings {
    /// Rows of the table
    #[arg(long, default_value_t = 1_000_000)]
    pub rows: usize,
    /// Servers
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(3..=16))]
    pub nodes: u8,
    /// Turns
    #[arg(long, default_value_t = 1)]
    pub repeats: u8,
    /// The built command [default: `chordata` beside this program]
    #[arg(long, value_name = "FILE")]
    pub chordata: Option<PathBuf>,
    /// Where the table is kept; it is removed again
    #[arg(long, default_value = "target/bench-load")]
    pub directory: PathBuf,
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct BulkReport {
    settings: BulkSettings,
    /// Seconds of each turn: the command, `put_many`.
    turns: Vec<(f64, f64)>,
    /// The command's peak memory in bytes, the highest of all turns.
    peak: u64,
    problems: Vec<String>,
}

impl BulkReport {
    /// What is not as it must be.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

fn key(row: usize) -> Vec<u8> {
    format!("{row:016}").into_bytes()
}

fn value(row: usize) -> Vec<u8> {
    let mut value = format!("{row:x}/").into_bytes();
    value.resize(VALUE_BYTES, b'v');
    value
}

fn write_table(path: &Path, rows: usize) -> std::io::Result<()> {
    let mut file = BufWriter::new(std::fs::File::create(path)?);
    file.write_all(b"key,value\n")?;
    for row in 0..rows {
        file.write_all(&key(row))?;
        file.write_all(b",")?;
        file.write_all(&value(row))?;
        file.write_all(b"\n")?;
    }
    file.flush()
}

async fn cluster(settings: &BulkSettings) -> Result<Cluster, BenchError> {
    let flags = format!("--consistency chain --replication {REPLICAS} --durability memory");
    Cluster::start(&Plan::new(usize::from(settings.nodes), &flags)).await
}

/// Are all copies of all records there?
async fn check(cluster: &Cluster, settings: &BulkSettings, who: &str) -> Result<Option<String>, BenchError> {
    let view = cluster.view().await;
    let kept: u64 = view.nodes.iter().map(|status| status.keys).sum();
    let promised = settings.rows as u64 * REPLICAS;
    if kept != promised {
        return Ok(Some(format!("{who}: {kept} copies are kept, not {promised}")));
    }
    let client = cluster.client();
    for row in [0, settings.rows / 2, settings.rows - 1] {
        let found = client.get(Key::new(key(row))).await.map_err(BenchError::call)?;
        if found.result.is_none_or(|record| *record.value != value(row)[..]) {
            return Ok(Some(format!("{who}: row {row} is not as it was stored")));
        }
    }
    Ok(None)
}

/// Stores the records from memory; how long that took.
async fn put_all(client: &Client, rows: usize) -> Result<f64, BenchError> {
    let records: Vec<Vec<(Key, Value)>> = (0..rows.div_ceil(BATCH))
        .map(|batch| {
            let rows = batch * BATCH..rows.min((batch + 1) * BATCH);
            rows.map(|row| (Key::new(key(row)), Value::from(value(row)))).collect()
        })
        .collect();
    let began = Instant::now();
    let mut away = JoinSet::new();
    for batch in records {
        if away.len() >= IN_FLIGHT {
            ended(away.join_next().await)?;
        }
        let client = client.clone();
        away.spawn(async move { Box::pin(client.put_many(batch)).await });
    }
    while !away.is_empty() {
        ended(away.join_next().await)?;
    }
    Ok(began.elapsed().as_secs_f64())
}

type Outcomes = Vec<Result<chordata_protocol::Outcome, chordata_client::Failure>>;

fn ended(batch: Option<Result<Outcomes, tokio::task::JoinError>>) -> Result<(), BenchError> {
    let outcomes = batch.transpose().map_err(BenchError::call)?.unwrap_or_default();
    outcomes.into_iter().try_for_each(|outcome| outcome.map(drop).map_err(BenchError::call))
}

/// Has the command load the table: how long that took, as it says itself, and its peak memory in bytes.
async fn load_all(
    settings: &BulkSettings,
    cluster: &Cluster,
    table: &Path,
) -> Result<(f64, u64), BenchError> {
    let beside = std::env::current_exe().map_err(BenchError::server)?.with_file_name("chordata");
    let program = settings.chordata.clone().unwrap_or(beside);
    let home = table.with_file_name("home");
    std::fs::create_dir_all(&home).map_err(BenchError::server)?;
    let mut command = Command::new(&program);
    command.args(["--json", "--node", cluster.addresses()[0].as_str(), "load", "csv"]).arg(table);
    command.args(["--in-flight", &IN_FLIGHT.to_string()]).current_dir(&home).env("XDG_STATE_HOME", &home);
    command.stdout(std::process::Stdio::piped()).kill_on_drop(true);
    let child = command.spawn();
    let child = child.map_err(|error| BenchError::Server(format!("{}: {error}", program.display())))?;
    let status = format!("/proc/{}/status", child.id().unwrap_or_default());
    let mut peak = 0;
    let mut output = std::pin::pin!(child.wait_with_output());
    let output = loop {
        tokio::select! {
            output = &mut output => break output.map_err(BenchError::server)?,
            () = tokio::time::sleep(LOOK_EVERY) => peak = peak_of(&status).unwrap_or(0).max(peak),
        }
    };
    if !output.status.success() {
        return Err(BenchError::Call(format!("load failed: {}", String::from_utf8_lossy(&output.stdout))));
    }
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    let seconds = report.split("\"seconds\":").nth(1).and_then(|rest| rest.split(',').next()?.parse().ok());
    let seconds =
        seconds.ok_or_else(|| BenchError::Call(format!("load does not say how long it took: {report}")))?;
    Ok((seconds, peak))
}

/// VmHWM, in bytes.
fn peak_of(status: &str) -> Option<u64> {
    let status = std::fs::read_to_string(status).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// Measures.
///
/// # Errors
/// When a server does not start, or a write fails.
pub async fn run(settings: &BulkSettings) -> Result<BulkReport, BenchError> {
    let directory = fresh(&settings.directory)?;
    let table = directory.join("table.csv");
    write_table(&table, settings.rows).map_err(BenchError::server)?;
    let (mut turns, mut peak, mut problems) = (Vec::new(), 0, Vec::new());
    for _ in 0..settings.repeats.max(1) {
        let one = cluster(settings).await?;
        let (loading, memory) = Box::pin(load_all(settings, &one, &table)).await?;
        problems.extend(check(&one, settings, "load").await?);
        drop(one);
        let other = cluster(settings).await?;
        let putting = Box::pin(put_all(other.client(), settings.rows)).await?;
        problems.extend(check(&other, settings, "put_many").await?);
        peak = peak.max(memory);
        turns.push((loading, putting));
    }
    remove(&directory)?;
    if peak == 0 || peak > MEMORY_MAX {
        problems.push(format!("load took {peak} bytes of memory, more than {MEMORY_MAX}, or nobody knows"));
    }
    Ok(BulkReport { settings: settings.clone(), turns, peak, problems })
}

impl fmt::Display for BulkReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BulkSettings { rows, nodes, .. } = self.settings;
        writeln!(
            f,
            "chordata {}: a table of {rows} rows (keys of 16 B, values of {VALUE_BYTES} B), {nodes} servers, {REPLICAS} copies, \
             in memory",
            env!("CARGO_PKG_VERSION"),
        )?;
        for (loading, putting) in &self.turns {
            let rate = |seconds: f64| rows as f64 / seconds;
            writeln!(
                f,
                "load csv {:.0} rows/s ({loading:.1} s), put_many from memory {:.0} rows/s ({putting:.1} s): {:.2} (aim {AIM})",
                rate(*loading),
                rate(*putting),
                putting / loading,
            )?;
        }
        writeln!(
            f,
            "peak memory of load: {:.0} MB (bound {} MB)",
            self.peak as f64 / 1e6,
            MEMORY_MAX / 1_000_000
        )?;
        self.problems.iter().try_for_each(|problem| writeln!(f, "NOT as it must be: {problem}"))
    }
}
