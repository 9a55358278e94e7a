//! Which storage engine suits our own pattern: keys in the order of their SHA-1, written in batches, synced or not.
//!
//! Contenders ([`contenders`]): fjall and redb by themselves, our engine on disk (redb with checksums and an overlay),
//! and our engine in memory. Writes take turns, because disks drift. Memory is measured in processes of their own: this
//! program runs itself again with a hidden subcommand, loads, reads, and ends without closing, so that the next one
//! shows how long a store takes to open that was killed.
//!
//! The numbers of one run are in `docs/decisions/0008-storage-engine.md`.

pub mod contenders;
pub mod group;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use chordata_protocol::{Id, Key, Space};

use self::contenders::{Contender, Contestant};
use crate::BenchError;

/// Records of a batch.
const BATCHES: [usize; 4] = [1, 10, 100, 1000];
/// Bytes of a value.
const SIZES: [usize; 2] = [100, 10_000];
/// Keys of one scan.
const SCANNED: usize = 100;
/// Writers that wait at the same time for their records to be durable.
const WRITERS: [u64; 3] = [1, 64, 1000];

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct StorageSettings {
    /// Where the stores are made and removed again
    #[arg(long, default_value = "target/bench-storage")]
    pub directory: PathBuf,
    /// How long each kind of write is repeated, in seconds
    #[arg(long, default_value_t = 1.0)]
    pub seconds: f64,
    /// Keys of 16 B with values of 100 B that are loaded for reads and for memory
    #[arg(long, default_value_t = 1_000_000)]
    pub keys: u64,
    /// Only load and read
    #[arg(long)]
    pub no_writes: bool,
}

/// What a process of its own does.
#[derive(Clone, Debug, clap::Args)]
pub struct PartSettings {
    #[arg(value_enum)]
    contender: Contender,
    directory: PathBuf,
    keys: u64,
    /// Open what is there instead of loading
    #[arg(long)]
    reopen: bool,
}

/// The key of this number: 16 bytes.
fn key(number: u64) -> (Id, Key) {
    let key = Key::new(format!("key-{number:012}"));
    (key.id(Space::default()), key)
}

fn value(random: &mut fastrand::Rng, bytes: usize) -> Vec<u8> {
    let mut value = vec![0; bytes];
    random.fill(&mut value);
    value
}

/// What was measured. Shows itself as tables.
#[derive(Clone, Debug, Default)]
pub struct StorageReport {
    writes: Vec<WriteRow>,
    groups: Vec<(u64, f64)>,
    parts: Vec<(Contender, Vec<(String, f64)>)>,
}

#[derive(Clone, Debug)]
struct WriteRow {
    batch: usize,
    bytes: usize,
    sync: bool,
    /// Records a second.
    rates: Vec<(Contender, f64)>,
}

/// Measures everything.
///
/// # Errors
/// When a store or one of the processes fails.
pub fn run(settings: &StorageSettings) -> Result<StorageReport, BenchError> {
    let mut report = StorageReport::default();
    if !settings.no_writes {
        for bytes in SIZES {
            for sync in [true, false] {
                for batch in BATCHES {
                    report.writes.push(write(settings, batch, bytes, sync)?);
                }
            }
        }
        for writers in WRITERS {
            let directory = fresh(&settings.directory, Contender::Disk)?;
            report.groups.push((writers, group::rate(&directory, writers, settings.seconds * 2.0)?));
        }
    }
    for contender in Contender::ALL {
        let directory = fresh(&settings.directory, contender)?;
        let mut figures = part(settings, contender, &directory, false)?;
        if contender != Contender::Memory {
            figures.extend(part(settings, contender, &directory, true)?);
        }
        report.parts.push((contender, figures));
        remove(&directory)?;
    }
    remove(&settings.directory)?;
    Ok(report)
}

fn fresh(directory: &Path, contender: Contender) -> Result<PathBuf, BenchError> {
    let directory = directory.join(contender.name());
    remove(&directory)?;
    std::fs::create_dir_all(&directory).map_err(BenchError::call)?;
    Ok(directory)
}

fn remove(directory: &Path) -> Result<(), BenchError> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(BenchError::call(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn write(settings: &StorageSettings, batch: usize, bytes: usize, sync: bool) -> Result<WriteRow, BenchError> {
    let mut rates = Vec::new();
    for contender in Contender::ALL {
        if contender == Contender::Memory && sync {
            continue;
        }
        let directory = fresh(&settings.directory, contender)?;
        let mut contestant = contender.open(&directory)?;
        let mut random = fastrand::Rng::with_seed(1);
        let (mut number, mut writing) = (0, Duration::ZERO);
        while writing.as_secs_f64() < settings.seconds {
            let entries: Vec<_> = (0..batch)
                .map(|_| {
                    number += 1;
                    (key(number), value(&mut random, bytes))
                })
                .collect();
            let started = Instant::now();
            contestant.write(entries, sync)?;
            writing += started.elapsed();
        }
        let started = Instant::now();
        contestant.finish()?;
        writing += started.elapsed();
        rates.push((contender, number as f64 / writing.as_secs_f64()));
        drop(contestant);
        remove(&directory)?;
    }
    Ok(WriteRow { batch, bytes, sync, rates })
}

/// Runs the part that needs a process of its own, and reads what it prints: a name and a number a line.
fn part(
    settings: &StorageSettings,
    contender: Contender,
    directory: &Path,
    reopen: bool,
) -> Result<Vec<(String, f64)>, BenchError> {
    let program = std::env::current_exe().map_err(BenchError::call)?;
    let mut command = Command::new(program);
    command.arg("storage-part").arg(contender.name()).arg(directory).arg(settings.keys.to_string());
    if reopen {
        command.arg("--reopen");
    }
    let output = command.output().map_err(BenchError::call)?;
    let text = String::from_utf8_lossy(&output.stdout);
    // It ends by a signal on purpose: its last line says that it came so far.
    if !text.lines().any(|line| line == "end") {
        return Err(BenchError::Call(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let figures = text.lines().filter_map(|line| {
        let (name, number) = line.rsplit_once(' ')?;
        Some((name.to_owned(), number.parse().ok()?))
    });
    Ok(figures.collect())
}

/// Resident memory of this process, in bytes.
fn resident() -> f64 {
    crate::process::resident_bytes("self").unwrap_or(f64::NAN)
}

fn on_disk(directory: &Path) -> f64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => on_disk(&entry.path()),
        Ok(meta) => std::os::unix::fs::MetadataExt::blocks(&meta) as f64 * 512.0,
        Err(_) => 0.0,
    });
    sizes.sum()
}

/// The part that needs a process of its own. It ends without closing the store, as if it were killed.
pub fn run_part(settings: &PartSettings) -> ExitCode {
    match measure_part(settings) {
        Ok(()) => std::process::abort(),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure_part(settings: &PartSettings) -> Result<(), BenchError> {
    let PartSettings { contender, directory, keys, reopen } = settings;
    let (keys, mut random) = (*keys, fastrand::Rng::with_seed(2));
    let empty = resident();
    let started = Instant::now();
    let mut contestant = contender.open(directory)?;
    if *reopen {
        println!("open after a kill, s {}", started.elapsed().as_secs_f64());
        println!("memory then, MB {}", (resident() - empty) / 1e6);
        println!("end");
        return Ok(());
    }
    let started = Instant::now();
    for first in (0..keys).step_by(1000) {
        let numbers = first..(first + 1000).min(keys);
        contestant.write(numbers.map(|number| (key(number), value(&mut random, 100))).collect(), false)?;
    }
    contestant.finish()?;
    println!("load, records/s {}", keys as f64 / started.elapsed().as_secs_f64());
    println!("memory after the load, MB {}", (resident() - empty) / 1e6);
    read(&*contestant, keys, &mut random)?;
    println!("memory after reads, MB {}", (resident() - empty) / 1e6);
    println!("on disk, MB {}", on_disk(directory) / 1e6);
    println!("end");
    // It is not closed: the next process is to find it as a kill leaves it.
    std::mem::forget(contestant);
    Ok(())
}

fn read(contestant: &dyn Contestant, keys: u64, random: &mut fastrand::Rng) -> Result<(), BenchError> {
    let reads = keys.min(300_000);
    let wanted: Vec<_> = (0..reads).map(|_| key(random.u64(0..keys))).collect();
    let started = Instant::now();
    for key in &wanted {
        if contestant.read(key)? != 100 {
            return Err(BenchError::Call("a value is missing".to_owned()));
        }
    }
    println!("point reads/s {}", reads as f64 / started.elapsed().as_secs_f64());
    let started = Instant::now();
    let mut scanned = 0;
    for from in &wanted[..wanted.len().min(5000)] {
        scanned += contestant.scan(from, SCANNED)?;
    }
    println!("records scanned/s {}", scanned as f64 / started.elapsed().as_secs_f64());
    Ok(())
}

impl fmt::Display for StorageReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "records written a second")?;
        write!(f, "| batch | value | synced |")?;
        Contender::ALL.iter().try_for_each(|contender| write!(f, " {} |", contender.name()))?;
        writeln!(f, "\n|---|---|---|{}", "---|".repeat(Contender::ALL.len()))?;
        for row in &self.writes {
            write!(f, "| {} | {} B | {} |", row.batch, row.bytes, if row.sync { "yes" } else { "no" })?;
            for contender in Contender::ALL {
                match row.rates.iter().find(|(other, _)| *other == contender) {
                    Some((_, rate)) => write!(f, " {rate:.0} |")?,
                    None => write!(f, " - |")?,
                }
            }
            writeln!(f)?;
        }
        writeln!(f, "\nsingle synced records of 100 B a second through the committer (disk)")?;
        for (writers, rate) in &self.groups {
            writeln!(f, "{writers} writers at the same time: {rate:.0}")?;
        }
        writeln!(f)?;
        for (contender, figures) in &self.parts {
            for (name, figure) in figures {
                writeln!(f, "{}: {name}: {figure:.2}", contender.name())?;
            }
        }
        Ok(())
    }
}
