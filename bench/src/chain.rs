//! Chains of three servers, each in a process of its own: what replication costs writes, what it gives reads, and what
//! the disk allows.
//!
//! - Puts with three copies beside puts with one, on the same three servers' worth of processes.
//! - Gets at any replica whose copy is clean (CRAQ: Terrace and Freedman, USENIX ATC 2009) beside gets at the last one
//!   only. The client library reads at the head, which answers clean keys itself; where only the last one may answer,
//!   the head names it, and the library goes there. To see what spreading reads gives, they are also sent directly: to
//!   the replicas in turn, or to the last one. All of that for all keys, where every server is the last one of a third
//!   of them, and for the keys of one range. Servers of one machine share its processors: there the rates hardly
//!   differ, and what tells is the processor time of the *busiest* server, which bounds servers on machines of their
//!   own.
//! - Puts that are on three disks before they are answered, beside what one thread gets out of the same disk: appends
//!   of 4 KiB with fdatasync, one after the other.
//!
//! It checks itself: afterwards every cluster must have as many copies as it promised, its chains must be as they were
//! at the beginning, and the copies of a key must be equal.

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chordata_protocol::chain::View;
use chordata_protocol::{Address, Key, Range, Space};
use chordata_rpc::service::{Error, Options};
use chordata_rpc::{Pool, within};

use crate::BenchError;
use crate::cluster::{Cluster, Plan};
use crate::contest::{Contest, Sample};
use crate::load::{self, Operation, Pressure, Target, Workload};
use crate::process;

/// Servers of each cluster, and the longest chain.
const NODES: usize = 3;
/// How long a read that is sent directly is tried.
const LIMIT: Duration = Duration::from_secs(10);
/// Pause before it is tried again.
const PAUSE: Duration = Duration::from_millis(5);
/// Bytes of one append to the disk.
const APPENDED: usize = 4096;
/// Keys whose copies are compared in the end.
const COMPARED: usize = 100;
/// Three copies beside one: what is to be reached.
const COPIES_AIM: f64 = 0.4;
/// Puts on disk beside appends to it: what is to be reached.
const SYNC_AIM: f64 = 4.0;

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct ChainBenchSettings {
    /// Requests in flight for puts with three copies beside one; the largest is used for all else
    #[arg(long, value_delimiter = ',', default_values_t = [50, 400])]
    pub in_flight: Vec<usize>,
    /// How often each is measured
    #[arg(long, default_value_t = 7)]
    pub repeats: usize,
    /// How long each time, in milliseconds
    #[arg(long, default_value_t = 400, value_name = "MS")]
    pub measured_ms: u64,
    /// Different keys
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub keys: u32,
    /// Where data is kept that must be on disk; it is removed again
    #[arg(long, default_value = "target/bench-chain")]
    pub directory: PathBuf,
    /// Leave the part out that needs a disk
    #[arg(long)]
    pub no_sync: bool,
}

impl ChainBenchSettings {
    fn most_in_flight(&self) -> usize {
        self.in_flight.iter().copied().max().unwrap_or(1).max(1)
    }

    fn pressure(&self, in_flight: usize) -> Pressure {
        let measured = Duration::from_millis(self.measured_ms.max(1));
        Pressure { in_flight, warm_up: measured / 5, measured }
    }
}

/// What was measured. Shows itself as a table.
#[derive(Clone, Debug)]
pub struct ChainReport {
    settings: ChainBenchSettings,
    contests: Vec<Contest>,
    problems: Vec<String>,
}

impl ChainReport {
    /// Why the figures cannot be trusted, a sentence each.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

/// A cluster that holds the keys, and the chains that it had before it was measured.
struct Arena {
    name: &'static str,
    copies: usize,
    /// Who answers reads that are sent directly.
    choice: Choice,
    cluster: Cluster,
    chains: View,
    workload: Workload,
}

impl Arena {
    /// Three servers with these flags.
    async fn open(
        name: &'static str,
        copies: usize,
        plan: &Plan,
        settings: &ChainBenchSettings,
    ) -> Result<Arena, BenchError> {
        let cluster = Cluster::start(plan).await?;
        let workload = Workload::new(settings.keys as usize);
        load::fill(cluster.client(), &workload).await?;
        let chains = cluster.chains().await?;
        let choice = if chains.replication.clean_reads { Choice::InTurn } else { Choice::Last };
        Ok(Arena { name, copies, choice, cluster, chains, workload })
    }

    async fn sample<T: Target>(
        &self,
        target: &T,
        workload: &Workload,
        operation: Operation,
        pressure: Pressure,
    ) -> Result<Sample, BenchError> {
        let mut cpu = Vec::with_capacity(2);
        let at_edge = || cpu.push((process::own_cpu_seconds(), self.cluster.cpu_seconds()));
        let counted = load::drive(target, workload, operation, pressure, at_edge).await?;
        let (mut client_cpu, mut server_cpu) = (None, Vec::new());
        if let [(client, servers), (client_after, servers_after)] = &cpu[..] {
            client_cpu = client.zip(*client_after).map(|(before, after)| after - before);
            let each = servers.iter().zip(servers_after);
            let each = each.map(|(before, after)| before.zip(*after).map(|(before, after)| after - before));
            server_cpu = each.collect::<Option<Vec<f64>>>().unwrap_or_default();
        }
        let seconds = counted.elapsed.as_secs_f64();
        Ok(Sample { operations: counted.requests as f64, seconds, client_cpu, server_cpu })
    }

    /// What is not as it was promised, a sentence each.
    async fn problems(&self) -> Result<Vec<String>, BenchError> {
        let mut problems = Vec::new();
        let view = self.cluster.view().await;
        problems.extend(view.problems().into_iter().map(|problem| format!("{}: {problem}", self.name)));
        let kept: u64 = view.nodes.iter().map(|status| status.keys).sum();
        let promised = (self.workload.len() * self.copies) as u64;
        if kept != promised {
            problems.push(format!("{}: {kept} copies are kept, not {promised}", self.name));
        }
        if view.chains() != Some(&self.chains) {
            let name = self.name;
            problems.push(format!("{name}: the chains changed meanwhile: the machine is too busy, or slow"));
        }
        let direct = Direct::of(self)?;
        for number in 0..COMPARED.min(self.workload.len()) {
            let key = Key::new(self.workload.key(number));
            let replicas = direct.readable(&key)?;
            let mut versions = Vec::with_capacity(replicas.len());
            for replica in replicas {
                versions.push(direct.read_at(replica, &key).await?.map(|record| record.version));
            }
            if versions.iter().any(|version| version.is_none() || *version != versions[0]) {
                problems.push(format!("{}: the copies of {key:?} differ: {versions:?}", self.name));
            }
        }
        Ok(problems)
    }
}

/// Which replica a read goes to.
#[derive(Clone, Copy, Debug)]
enum Choice {
    /// One after another.
    InTurn,
    /// The last one.
    Last,
}

/// Reads that go straight to replicas. Chains must not change meanwhile.
#[derive(Clone)]
struct Direct {
    pool: Pool,
    space: Space,
    /// Ranges with those who serve them, the head first.
    ranges: Arc<Vec<(Range, Vec<Address>)>>,
    choice: Choice,
    turn: Arc<AtomicUsize>,
}

impl Direct {
    fn of(arena: &Arena) -> Result<Direct, BenchError> {
        let Arena { cluster, chains, choice, .. } = arena;
        let serving = |active: &chordata_protocol::chain::view::Active| {
            let peers = active.serving().map(|link| Some(chains.peer(link.store)?.address.clone()));
            Some((active.range, peers.collect::<Option<Vec<Address>>>().filter(|all| !all.is_empty())?))
        };
        let ranges = chains.ranges.values().map(serving).collect::<Option<Vec<_>>>();
        let ranges =
            ranges.ok_or_else(|| BenchError::Call("a range is served by nobody known".to_owned()))?;
        let (pool, space) = (cluster.client().pool().clone(), cluster.client().space());
        Ok(Direct { pool, space, ranges: Arc::new(ranges), choice: *choice, turn: Arc::default() })
    }

    /// The replicas that may answer reads of a key.
    fn readable(&self, key: &Key) -> Result<&[Address], BenchError> {
        let id = key.id(self.space);
        let found = self.ranges.iter().find(|(range, _)| range.contains(id));
        let none = || BenchError::Call(format!("{key:?} is in no range"));
        let (_, replicas) = found.ok_or_else(none)?;
        Ok(match self.choice {
            Choice::InTurn => replicas,
            Choice::Last => &replicas[replicas.len() - 1..],
        })
    }

    async fn read_at(
        &self,
        replica: &Address,
        key: &Key,
    ) -> Result<Option<chordata_protocol::Record>, BenchError> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let answer = self.pool.client(replica).get(within(LIMIT), key.clone(), Options::DIRECT).await;
            match answer.map_err(BenchError::call)? {
                // A busy machine may be late with leases.
                Err(Error::Unavailable(_)) if Instant::now() < deadline => tokio::time::sleep(PAUSE).await,
                answer => return Ok(answer.map_err(BenchError::call)?.result),
            }
        }
    }
}

impl Target for Direct {
    async fn put(&self, _: Vec<u8>, _: Vec<u8>) -> Result<(), BenchError> {
        Err(BenchError::Call("writes go through the head".to_owned()))
    }

    async fn get(&self, key: Vec<u8>) -> Result<Option<usize>, BenchError> {
        let key = Key::new(key);
        let replicas = self.readable(&key)?;
        let place = self.turn.fetch_add(1, Ordering::Relaxed) % replicas.len();
        Ok(self.read_at(&replicas[place], &key).await?.map(|record| record.value.len()))
    }
}

/// Measures.
///
/// # Errors
/// When a server does not start, a request fails, or the disk does.
pub async fn run(settings: &ChainBenchSettings) -> Result<ChainReport, BenchError> {
    let mut contests = Vec::new();
    let three = Plan::new(NODES, "--consistency chain --replication 3 --durability memory");
    let one = Plan::new(NODES, "--consistency chain --replication 1 --durability memory");
    let three = Arena::open("three copies", 3, &three, settings).await?;
    let one = Arena::open("one copy", 1, &one, settings).await?;
    contests.extend(copies(settings, [&three, &one]).await?);
    let mut problems = one.problems().await?;
    drop(one);

    let last = "--consistency chain --replication 3 --durability memory --clean-reads false";
    let last = Arena::open("last replica only", 3, &Plan::new(NODES, last), settings).await?;
    contests.extend(reads(settings, [&three, &last]).await?);
    problems.extend(last.problems().await?);
    problems.extend(three.problems().await?);
    drop((last, three));

    if !settings.no_sync {
        let directory = fresh(&settings.directory)?;
        let plan = Plan::new(NODES, "--consistency chain --replication 3 --durability sync");
        let synced = Arena::open("sync", 3, &plan.keeping(&directory), settings).await?;
        contests.push(synced_puts(settings, &synced, &directory).await?);
        problems.extend(synced.problems().await?);
        drop(synced);
        remove(&directory)?;
    }
    Ok(ChainReport { settings: settings.clone(), contests, problems })
}

async fn copies(settings: &ChainBenchSettings, arenas: [&Arena; 2]) -> Result<Vec<Contest>, BenchError> {
    let name = |in_flight: &usize| format!("puts, client library, {in_flight} in flight");
    let contest = |in_flight| Contest::new(name(in_flight), ["3 copies", "1 copy"], Some(COPIES_AIM));
    let mut contests: Vec<Contest> = settings.in_flight.iter().map(contest).collect();
    for _ in 0..settings.repeats.max(1) {
        for (contest, in_flight) in contests.iter_mut().zip(&settings.in_flight) {
            let pressure = settings.pressure((*in_flight).max(1));
            let put = |contender: usize| {
                let arena = arenas[contender];
                arena.sample(arena.cluster.client(), &arena.workload, Operation::Put, pressure)
            };
            contest.turn(put).await?;
        }
    }
    Ok(contests)
}

async fn reads(settings: &ChainBenchSettings, arenas: [&Arena; 2]) -> Result<Vec<Contest>, BenchError> {
    let pressure = settings.pressure(settings.most_in_flight());
    let in_flight = pressure.in_flight;
    let contest =
        |what: &str, names| Contest::new(format!("gets, {what}, {in_flight} in flight"), names, None);
    let mut contests = [
        contest("client library, all keys", ["clean reads: at the head", "at the last one, by its name"]),
        contest("sent directly, all keys", ["clean reads: any replica in turn", "at the last one"]),
        contest("sent directly, keys of one range", ["clean reads: any replica in turn", "at the last one"]),
    ];
    let direct = [Direct::of(arenas[0])?, Direct::of(arenas[1])?];
    let hot = [one_range(&direct[0], arenas[0])?, one_range(&direct[1], arenas[1])?];
    for _ in 0..settings.repeats.max(1) {
        let [by_library, directly, directly_hot] = &mut contests;
        let get = |contender: usize| {
            let arena = arenas[contender];
            arena.sample(arena.cluster.client(), &arena.workload, Operation::Get, pressure)
        };
        by_library.turn(get).await?;
        let get = |contender: usize| {
            let arena: &Arena = arenas[contender];
            arena.sample(&direct[contender], &arena.workload, Operation::Get, pressure)
        };
        directly.turn(get).await?;
        let get = |contender: usize| {
            arenas[contender].sample(&direct[contender], &hot[contender], Operation::Get, pressure)
        };
        directly_hot.turn(get).await?;
    }
    Ok(contests.into())
}

/// Those keys of an arena that are in the range of its first key.
fn one_range(direct: &Direct, arena: &Arena) -> Result<Workload, BenchError> {
    let first = Key::new(arena.workload.key(0)).id(direct.space);
    let range = direct.ranges.iter().map(|(range, _)| *range).find(|range| range.contains(first));
    let range = range.ok_or_else(|| BenchError::Call("the first key is in no range".to_owned()))?;
    Ok(arena.workload.those(|key| range.contains(Key::new(key).id(direct.space))))
}

async fn synced_puts(
    settings: &ChainBenchSettings,
    arena: &Arena,
    directory: &Path,
) -> Result<Contest, BenchError> {
    let pressure = settings.pressure(settings.most_in_flight());
    let what = format!("puts on disk at 3 servers, client library, {} in flight", pressure.in_flight);
    let names = ["3 copies, --durability sync", "one thread: append 4 KiB, fdatasync"];
    let mut contest = Contest::new(what, names, Some(SYNC_AIM));
    for _ in 0..settings.repeats.max(1) {
        let measure = |contender: usize| async move {
            if contender == 0 {
                let client = arena.cluster.client();
                return arena.sample(client, &arena.workload, Operation::Put, pressure).await;
            }
            let (directory, measured) = (directory.to_owned(), pressure.measured);
            let appended = tokio::task::spawn_blocking(move || append(&directory, measured)).await;
            appended.map_err(BenchError::call)?
        };
        contest.turn(measure).await?;
    }
    Ok(contest)
}

/// Appends and syncs, one after the other, for so long.
fn append(directory: &Path, measured: Duration) -> Result<Sample, BenchError> {
    let path = directory.join("appended");
    let mut file = File::create(&path).map_err(BenchError::call)?;
    let bytes = [b'a'; APPENDED];
    let mut append = || file.write_all(&bytes).and_then(|()| file.sync_data()).map_err(BenchError::call);
    // The first one also makes the file.
    append()?;
    let (began, mut operations) = (Instant::now(), 0.0);
    while began.elapsed() < measured {
        append()?;
        operations += 1.0;
    }
    let seconds = began.elapsed().as_secs_f64();
    drop(file);
    std::fs::remove_file(&path).map_err(BenchError::call)?;
    Ok(Sample { operations, seconds, ..Sample::default() })
}

/// An empty directory here, with nothing of an earlier run in it.
pub(crate) fn fresh(directory: &Path) -> Result<PathBuf, BenchError> {
    remove(directory)?;
    std::fs::create_dir_all(directory).map_err(BenchError::call)?;
    directory.canonicalize().map_err(BenchError::call)
}

/// Removes a directory, if it is there.
pub(crate) fn remove(directory: &Path) -> Result<(), BenchError> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(BenchError::call(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

impl fmt::Display for ChainReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ChainBenchSettings { repeats, measured_ms, keys, .. } = &self.settings;
        writeln!(
            f,
            "chordata {}: {NODES} servers, {keys} keys of {} B, values of {} B, {repeats} turns of {measured_ms} ms each\n",
            env!("CARGO_PKG_VERSION"),
            load::KEY_BYTES,
            load::VALUE_BYTES,
        )?;
        Contest::heads(f)?;
        self.contests.iter().try_for_each(|contest| write!(f, "{contest}"))?;
        if self.problems.is_empty() {
            return writeln!(f, "\nchecked: the chains did not change, all copies are there and equal");
        }
        writeln!(f, "\nthe figures are NOT to be trusted:")?;
        self.problems.iter().try_for_each(|problem| writeln!(f, "  {problem}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appends_reach_the_disk_and_leave_nothing_behind() {
        let directory = std::env::temp_dir().join(format!("chordata-bench-append-{}", std::process::id()));
        let directory = fresh(&directory).unwrap();
        let sample = append(&directory, Duration::from_millis(20)).unwrap();
        assert!(sample.operations > 0.0 && sample.seconds >= 0.02);
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
        remove(&directory).unwrap();
    }
}
