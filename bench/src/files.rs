//! A large file into a cluster and out of it, beside `cp` of the same file to the same disk.
//!
//! The client is a process of its own, which says how long it took and how much memory it had at most. The servers keep
//! what they are given on the same disk. `cp` makes as many copies as the cluster keeps, each synced at its end; it runs
//! before and after, since disks have moods.

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Instant;

use chordata_client::{Client, Config};
use chordata_files::{FileName, Files, Output, PutOptions, Source};
use chordata_protocol::Address;
use tokio::process::Command;

use crate::BenchError;
use crate::cluster::{Cluster, Plan};
use crate::process::peak_bytes;

/// The client must not take more memory.
const PEAK_MAX: f64 = 100e6;
/// The name of the file in the cluster.
const NAME: &str = "bench";

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct FilesSettings {
    /// The size of the file, in MiB
    #[arg(long, default_value_t = 1024)]
    mebibytes: usize,
    /// Servers
    #[arg(long, default_value_t = 5)]
    nodes: usize,
    /// Copies of each chunk
    #[arg(long, default_value_t = 3)]
    replication: usize,
    /// When a chunk is on disk: memory, interval or sync
    #[arg(long, default_value = "sync")]
    durability: String,
    /// Where files and servers' data are
    #[arg(long, default_value = "target/bench-files")]
    directory: PathBuf,
}

/// One way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Way {
    /// Into the cluster
    Put,
    /// Out of it
    Get,
}

/// The client's part.
#[derive(Clone, Debug, clap::Args)]
pub struct ClientSettings {
    #[arg(value_enum)]
    way: Way,
    /// The local file
    path: PathBuf,
    /// Servers
    nodes: Vec<String>,
}

/// What the client says.
#[derive(Clone, Debug)]
struct Trip {
    seconds: f64,
    peak_bytes: f64,
    hash: String,
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct FilesReport {
    settings: FilesSettings,
    put: Trip,
    get: Trip,
    /// Seconds for all copies, before and after.
    cp: [f64; 2],
    /// Of the source, of the manifest, of what came back.
    hashes: [String; 3],
    servers_peak_bytes: Vec<f64>,
}

impl FilesReport {
    /// What is not as it must be.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let [source, stored, back] = &self.hashes;
        if source != stored || source != back {
            problems.push(format!("the hashes differ: {source}, {stored}, {back}"));
        }
        for (name, trip) in [("put", &self.put), ("get", &self.get)] {
            if trip.peak_bytes > PEAK_MAX {
                problems.push(format!("the client's {name} took {:.0} MB of memory", trip.peak_bytes / 1e6));
            }
        }
        problems
    }
}

impl fmt::Display for FilesReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FilesSettings { mebibytes, nodes, replication, durability, .. } = &self.settings;
        #[allow(clippy::cast_precision_loss, reason = "sizes of files are far below 2^52")]
        let megabytes = (*mebibytes as f64) * 1.048_576;
        writeln!(
            f,
            "a file of {mebibytes} MiB, {nodes} servers, {replication} copies, durability {durability}\n"
        )?;
        let cp = (self.cp[0] + self.cp[1]) / 2.0;
        writeln!(f, "{:<28}{:>9}{:>10}{:>10}{:>14}", "", "seconds", "MB/s", "of cp", "client's peak")?;
        for (name, trip) in [("put", &self.put), ("get", &self.get)] {
            let (seconds, peak) = (trip.seconds, trip.peak_bytes / 1e6);
            let (rate, share) = (megabytes / seconds, cp / seconds);
            writeln!(f, "{name:<28}{seconds:>9.2}{rate:>10.0}{share:>9.2}x{peak:>11.0} MB")?;
        }
        for (name, seconds) in [("before", self.cp[0]), ("after", self.cp[1])] {
            let name = format!("cp {replication} times, synced, {name}");
            writeln!(f, "{name:<28}{seconds:>9.2}{:>10.0}", megabytes / seconds)?;
        }
        let peaks: Vec<String> =
            self.servers_peak_bytes.iter().map(|bytes| format!("{:.0}", bytes / 1e6)).collect();
        writeln!(f, "\nservers' peaks: {} MB", peaks.join(", "))?;
        writeln!(f, "blake3 {}", self.hashes[0])?;
        self.problems().iter().try_for_each(|problem| writeln!(f, "WRONG: {problem}"))
    }
}

/// Measures.
///
/// # Errors
/// When servers do not start, files cannot be written, or the client fails.
pub async fn run(settings: &FilesSettings) -> Result<FilesReport, BenchError> {
    std::fs::create_dir_all(&settings.directory).map_err(BenchError::server)?;
    let place = Place(settings.directory.join(format!("run-{}", std::process::id())));
    std::fs::create_dir(&place.0).map_err(BenchError::server)?;
    let (source, back) = (place.0.join("source"), place.0.join("back"));
    make(&source, settings.mebibytes).map_err(BenchError::server)?;
    let before = copies(&source, settings.replication).map_err(BenchError::server)?;
    let flags = format!(
        "--consistency chain --replication {} --durability {}",
        settings.replication, settings.durability
    );
    let cluster = Cluster::start(&Plan::new(settings.nodes, &flags).keeping(&place.0)).await?;
    let put = client(Way::Put, &source, cluster.addresses()).await?;
    let get = client(Way::Get, &back, cluster.addresses()).await?;
    let servers_peak_bytes = (0..settings.nodes).filter_map(|number| cluster.peak_bytes(number)).collect();
    drop(cluster);
    let after = copies(&source, settings.replication).map_err(BenchError::server)?;
    let hash = |path: &Path| hash(path).map_err(BenchError::server);
    let hashes = [hash(&source)?, put.hash.clone(), hash(&back)?];
    Ok(FilesReport { settings: settings.clone(), put, get, cp: [before, after], hashes, servers_peak_bytes })
}

/// A directory that is removed at the end, however that comes.
struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("{} is left: {error}", self.0.display());
        }
    }
}

/// A file that nothing can make smaller, on disk.
fn make(path: &Path, mebibytes: usize) -> std::io::Result<()> {
    let mut random = fastrand::Rng::with_seed(7);
    let (mut file, mut block) = (File::create(path)?, vec![0; 1 << 20]);
    for _ in 0..mebibytes {
        random.fill(&mut block);
        file.write_all(&block)?;
    }
    file.sync_all()
}

/// So many copies, each synced; how long they took, in seconds.
fn copies(source: &Path, count: usize) -> std::io::Result<f64> {
    let began = Instant::now();
    let names: Vec<PathBuf> =
        (0..count).map(|number| source.with_file_name(format!("cp-{number}"))).collect();
    for name in &names {
        let done = std::process::Command::new("cp").arg(source).arg(name).status()?;
        if !done.success() {
            return Err(std::io::Error::other("cp failed"));
        }
        File::open(name)?.sync_all()?;
    }
    let elapsed = began.elapsed().as_secs_f64();
    names.iter().try_for_each(std::fs::remove_file)?;
    Ok(elapsed)
}

fn hash(path: &Path) -> std::io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(hasher.finalize().to_hex().to_string())
}

async fn client(way: Way, path: &Path, nodes: &[Address]) -> Result<Trip, BenchError> {
    let program = std::env::current_exe().map_err(BenchError::server)?;
    let name = match way {
        Way::Put => "put",
        Way::Get => "get",
    };
    let mut command = Command::new(program);
    command.args(["files-client", name]).arg(path).args(nodes.iter().map(Address::as_str));
    let output =
        command.stderr(Stdio::inherit()).kill_on_drop(true).output().await.map_err(BenchError::server)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut words = text.split_whitespace();
    let mut number = || words.next()?.parse::<f64>().ok();
    let (seconds, peak_bytes) = (number(), number());
    match (seconds, peak_bytes, words.next()) {
        (Some(seconds), Some(peak_bytes), Some(hash)) if output.status.success() => {
            Ok(Trip { seconds, peak_bytes, hash: hash.to_owned() })
        }
        _ => Err(BenchError::Call(format!("the client's {name} failed: {text:?}"))),
    }
}

/// The client: says its seconds, its peak of memory in bytes, and the hash.
pub fn run_client(settings: &ClientSettings) -> ExitCode {
    let done = tokio::runtime::Runtime::new()
        .map_err(|error| error.to_string())
        .and_then(|runtime| runtime.block_on(carry(settings)));
    match done {
        Ok((seconds, hash)) => {
            println!("{seconds} {} {hash}", peak_bytes("self").unwrap_or(f64::NAN));
            ExitCode::SUCCESS
        }
        Err(reason) => {
            eprintln!("error: {reason}");
            ExitCode::FAILURE
        }
    }
}

async fn carry(settings: &ClientSettings) -> Result<(f64, String), String> {
    let nodes: Vec<Address> = settings.nodes.iter().map(|node| Address::new(node)).collect();
    let client = Client::connect(&nodes, Config::default()).await.map_err(|failure| failure.to_string())?;
    let (files, name) = (Files::new(client), FileName::new(NAME).map_err(|bad| bad.to_string())?);
    let began = Instant::now();
    let hash = match settings.way {
        Way::Put => {
            let source = Source::File(settings.path.clone());
            let put = files.put_from(source, &name, PutOptions::default()).await;
            put.map_err(|failure| failure.to_string())?.info.hash
        }
        Way::Get => {
            let output = Output::File(settings.path.clone());
            let got = files.download(&name, output, None).await;
            got.map_err(|failure| failure.to_string())?.info.hash
        }
    };
    Ok((began.elapsed().as_secs_f64(), hash.to_string()))
}
