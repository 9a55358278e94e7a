//! What a key costs in memory: a server that holds a million keys in a chain of one, beside a Redis server that holds
//! the same ([`redis`]). What counts is by how much resident memory grows, as the system sees it: what the servers say
//! of themselves leaves out what their allocators do not give back.
//!
//! Beside the server itself our engine alone is loaded in a process of its own: what is left is the server's. Then a
//! part of the keys is written again, one request each, with names that let the client send a write twice: what
//! results kept for that cost is seen then.
//!
//! It checks itself: both servers must say that they hold every key, and give back some of the values.

mod redis;

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use chordata_client::Client;
use chordata_protocol::{Id, Key, Record, Space, Value, Version};
use chordata_store::{Change, Engine, MemoryEngine};
use futures::stream::{self, StreamExt, TryStreamExt};

use self::redis::Redis;
use crate::BenchError;
use crate::chain::{fresh, remove};
use crate::cluster::{Cluster, Plan};
use crate::load::{KEY_BYTES, VALUE_BYTES, numbered_key};
use crate::process;
use crate::statistics::median;

/// Keys in one request.
const BATCH: u64 = 1000;
/// Requests with many keys at once.
const BATCHES_AT_ONCE: usize = 4;
/// Requests with one key at once.
const AT_ONCE: usize = 400;
/// Values that are read again.
const READ_AGAIN: u64 = 1000;
/// Memory is looked at when it has not grown for so long.
const SETTLED: Duration = Duration::from_millis(500);

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct MemorySettings {
    /// Keys of 16 B with values of 100 B
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..1_000_000_000_000))]
    pub keys: u64,
    /// Of these, written again one by one
    #[arg(long, default_value_t = 100_000)]
    pub again: u64,
    /// How often each is measured
    #[arg(long, default_value_t = 3)]
    pub repeats: usize,
    /// The Redis server
    #[arg(long, default_value = "redis-server", value_name = "PROGRAM")]
    pub redis: PathBuf,
    /// Where Redis has its socket; it is removed again
    #[arg(long, default_value = "target/bench-memory")]
    pub directory: PathBuf,
}

/// The part that needs a process of its own.
#[derive(Clone, Debug, clap::Args)]
pub struct EngineSettings {
    keys: u64,
}

/// One server, once. Memory in bytes beyond what it took when it was empty.
#[derive(Clone, Debug)]
struct Measured {
    empty: f64,
    loaded: f64,
    /// After a part of the keys was written again.
    again: Option<f64>,
    loading: Duration,
}

/// What was measured. Shows itself as a table.
#[derive(Clone, Debug)]
pub struct MemoryReport {
    settings: MemorySettings,
    ours: Vec<Measured>,
    engine: Vec<f64>,
    /// Its version and figures; or why there are none.
    redis: Result<(String, Vec<Measured>), String>,
}

/// The value of a key: it does not compress.
fn value(number: u64) -> Vec<u8> {
    let mut bytes = vec![0; VALUE_BYTES];
    fastrand::Rng::with_seed(number).fill(&mut bytes);
    bytes
}

fn key(number: u64) -> Key {
    Key::new(numbered_key(number))
}

/// Measures.
///
/// # Errors
/// When a server does not start, a request fails, or a server does not hold what it was given.
pub async fn run(settings: &MemorySettings) -> Result<MemoryReport, BenchError> {
    let directory = fresh(&settings.directory)?;
    let version = redis::version(&settings.redis).await;
    let (mut ours, mut engine, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..settings.repeats.max(1) {
        ours.push(measure_ours(settings).await?);
        if version.is_ok() {
            theirs.push(measure_redis(settings, &directory.join("redis.sock")).await?);
        }
        engine.push(measure_engine(settings.keys).await?);
    }
    remove(&directory)?;
    Ok(MemoryReport {
        settings: settings.clone(),
        ours,
        engine,
        redis: version.map(|version| (version, theirs)),
    })
}

async fn measure_ours(settings: &MemorySettings) -> Result<Measured, BenchError> {
    let plan = Plan::new(1, "--consistency chain --replication 1 --durability memory");
    let cluster = Cluster::start(&plan).await?;
    let resident = || cluster.resident_bytes(0).unwrap_or(f64::NAN);
    let empty = settled(&resident).await;
    let began = Instant::now();
    load(cluster.client(), settings.keys).await?;
    let loading = began.elapsed();
    let loaded = settled(&resident).await;
    check_ours(&cluster, settings.keys).await?;
    write_again(cluster.client(), settings.again.min(settings.keys)).await?;
    let again = settled(&resident).await;
    Ok(Measured { empty, loaded: loaded - empty, again: Some(again - empty), loading })
}

/// Memory when it has not grown for a while.
async fn settled(resident: &impl Fn() -> f64) -> f64 {
    let mut before = resident();
    loop {
        tokio::time::sleep(SETTLED).await;
        let now = resident();
        // Heartbeats go on: a page more or less is nothing. Not a number: nothing is known.
        if now.is_nan() || (now - before).abs() < 256.0 * 1024.0 {
            return now;
        }
        before = now;
    }
}

async fn load(client: &Client, keys: u64) -> Result<(), BenchError> {
    let firsts = (0..keys).step_by(usize::try_from(BATCH).unwrap_or(usize::MAX));
    let batches = firsts.map(|first| async move {
        let numbers = first..(first + BATCH).min(keys);
        let entries = numbers.map(|number| (key(number), Value::from(value(number)))).collect();
        let outcomes = client.put_many(entries).await;
        outcomes.into_iter().try_for_each(|outcome| outcome.map(drop).map_err(BenchError::call))
    });
    stream::iter(batches).buffer_unordered(BATCHES_AT_ONCE).try_collect().await
}

async fn write_again(client: &Client, keys: u64) -> Result<(), BenchError> {
    let puts = (0..keys).map(|number| async move {
        let answer = client.put(key(number), Value::from(value(number))).await;
        answer.map(drop).map_err(BenchError::call)
    });
    stream::iter(puts).buffer_unordered(AT_ONCE).try_collect().await
}

async fn check_ours(cluster: &Cluster, keys: u64) -> Result<(), BenchError> {
    let held: u64 = cluster.view().await.nodes.iter().map(|status| status.keys).sum();
    if held != keys {
        return Err(BenchError::Call(format!("the server holds {held} keys, not {keys}")));
    }
    for number in sampled(keys) {
        let found = cluster.client().get(key(number)).await.map_err(BenchError::call)?.result;
        if found.is_none_or(|record| record.value.to_vec() != value(number)) {
            return Err(BenchError::Call(format!("the server does not give back {:?}", key(number))));
        }
    }
    Ok(())
}

/// Some of the numbers, from all over.
fn sampled(keys: u64) -> impl Iterator<Item = u64> {
    let step = (keys / READ_AGAIN).max(1);
    (0..keys).step_by(usize::try_from(step).unwrap_or(usize::MAX))
}

async fn measure_redis(settings: &MemorySettings, socket: &std::path::Path) -> Result<Measured, BenchError> {
    let mut redis = Redis::start(&settings.redis, socket).await?;
    let process = redis.process();
    let resident = || process::resident_bytes(&process).unwrap_or(f64::NAN);
    let empty = settled(&resident).await;
    let began = Instant::now();
    for first in (0..settings.keys).step_by(usize::try_from(BATCH).unwrap_or(usize::MAX)) {
        let numbers = first..(first + BATCH).min(settings.keys);
        redis.set_many(numbers.map(|number| (numbered_key(number), value(number)))).await?;
    }
    let loading = began.elapsed();
    let loaded = settled(&resident).await;
    let held = redis.count().await?;
    if held != settings.keys {
        return Err(BenchError::Call(format!("Redis holds {held} keys, not {}", settings.keys)));
    }
    for number in sampled(settings.keys) {
        if redis.get(&numbered_key(number)).await? != Some(value(number)) {
            return Err(BenchError::Call(format!("Redis does not give back {:?}", key(number))));
        }
    }
    redis.stop().await?;
    Ok(Measured { empty, loaded: loaded - empty, again: None, loading })
}

/// By how much a process grows that has nothing but our engine.
async fn measure_engine(keys: u64) -> Result<f64, BenchError> {
    let program = std::env::current_exe().map_err(BenchError::server)?;
    let mut command = tokio::process::Command::new(program);
    command.arg("memory-engine").arg(keys.to_string()).kill_on_drop(true);
    let output = command.output().await.map_err(BenchError::server)?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().map_err(|_| BenchError::Server(String::from_utf8_lossy(&output.stderr).into_owned()))
}

/// The part that needs a process of its own: prints by how many bytes it grew.
pub fn run_engine(settings: &EngineSettings) -> ExitCode {
    let resident = || process::resident_bytes("self").unwrap_or(f64::NAN);
    let (space, mut engine, empty) = (Space::default(), MemoryEngine::default(), resident());
    for number in 0..settings.keys {
        let key = key(number);
        let id: Id = key.id(space);
        let version = Version { epoch: 1, sequence: number };
        let record = Record { version, value: Value::from(value(number)), expires: None };
        if let Err(error) = engine.apply(vec![Change::Put(id, key, record)]) {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    }
    println!("{}", resident() - empty);
    drop(engine);
    ExitCode::SUCCESS
}

impl MemoryReport {
    /// Bytes a key of our server as a part of those of Redis; none: there is no Redis.
    pub fn ratio(&self) -> Option<f64> {
        let (_, theirs) = self.redis.as_ref().ok()?;
        let pairs = self.ours.iter().zip(theirs);
        Some(median(pairs.map(|(ours, theirs)| ours.loaded / theirs.loaded)))
    }

    fn line(&self, name: &str, figures: &[f64], f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = |bytes: f64| bytes / self.settings.keys as f64;
        let (low, high) = (
            figures.iter().copied().fold(f64::INFINITY, f64::min),
            figures.iter().copied().fold(0.0, f64::max),
        );
        writeln!(
            f,
            "  {name:<52} {:>9.1} {:>9.1} - {:>6.1} {:>9.1}",
            each(median(figures.iter().copied())),
            each(low),
            each(high),
            median(figures.iter().copied()) / 1e6
        )
    }
}

impl fmt::Display for MemoryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MemorySettings { keys, again, repeats, .. } = &self.settings;
        writeln!(
            f,
            "growth of resident memory, {keys} keys of {KEY_BYTES} B with values of {VALUE_BYTES} B; {repeats} times each"
        )?;
        writeln!(f, "  {:<52} {:>9} {:>18} {:>9}", "", "bytes/key", "min - max", "MB in all")?;
        let of = |take: fn(&Measured) -> Option<f64>, all: &[Measured]| {
            all.iter().filter_map(take).collect::<Vec<_>>()
        };
        let version = env!("CARGO_PKG_VERSION");
        let ours = format!("chordata {version}, chain of 1, --durability memory");
        self.line(&ours, &of(|measured| Some(measured.loaded), &self.ours), f)?;
        self.line("  of this our engine, alone in a process", &self.engine, f)?;
        let written = format!("  when {again} keys were written again one by one");
        self.line(&written, &of(|measured| measured.again, &self.ours), f)?;
        let load = |all: &[Measured]| {
            *keys as f64 / median(all.iter().map(|measured| measured.loading.as_secs_f64()))
        };
        let empty = |all: &[Measured]| median(all.iter().map(|measured| measured.empty)) / 1e6;
        match &self.redis {
            Ok((version, theirs)) => {
                self.line(
                    &format!("redis {version}, nothing saved"),
                    &of(|measured| Some(measured.loaded), theirs),
                    f,
                )?;
                writeln!(f, "ratio to redis: {:.2}", self.ratio().unwrap_or(f64::NAN))?;
                writeln!(
                    f,
                    "loaded at {:.0} keys/s (ours, {BATCHES_AT_ONCE} requests of {BATCH} keys at once) and {:.0} keys/s \
                     (redis, {BATCH} keys in a pipeline); empty: {:.1} and {:.1} MB",
                    load(&self.ours),
                    load(theirs),
                    empty(&self.ours),
                    empty(theirs)
                )?;
            }
            Err(reason) => {
                writeln!(f, "loaded at {:.0} keys/s; empty: {:.1} MB", load(&self.ours), empty(&self.ours))?;
                writeln!(f, "no ratio: {reason}")?;
            }
        }
        writeln!(f, "checked: every key is held, and {} values were given back", sampled(*keys).count())
    }
}
