//! How long requests stand still when a server of a chain is killed, and how long until the cluster is whole again.
//!
//! Five servers, chains of three, on disk within a second. Meanwhile ([`traffic`]) every range is written to and read
//! from at a steady pace, whether earlier requests are answered or not. Then one server is killed (kill -9): it is the
//! head of one range, in the middle of a second, the last of a third, and in the chains of no others. The *gap* of a
//! range is the longest time in which no request to it was answered; the time before the kill shows how long gaps are
//! when nothing happens. When every range is served again the server is started again, under the same traffic, until
//! the whole cluster says that it is whole.
//!
//! The leader of the coordinator's group is killed in every second round: then a leader is elected first, and it must
//! wait until the leases that its predecessor gave are over.
//!
//! It checks itself: a read must find what an acknowledged write put there before, all through, and in the end every
//! acknowledged write is read again.

mod traffic;

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use chordata_protocol::chain::View;
use chordata_protocol::{Id, Range};

use self::traffic::{Kind, Traffic};
use crate::BenchError;
use crate::chain::{fresh, remove};
use crate::cluster::{Cluster, Plan};
use crate::statistics::median;

/// How long every range must have been answering until it counts as served again.
const STEADY: Duration = Duration::from_secs(1);
/// How long that may take.
const SERVED_WITHIN: Duration = Duration::from_secs(30);
/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct StallSettings {
    /// Servers
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(4..=16))]
    pub nodes: u8,
    /// Copies of each key
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=5))]
    pub replication: u8,
    /// How often a server is killed; in every second round it is the coordinator's leader
    #[arg(long, default_value_t = 4)]
    pub rounds: usize,
    /// Writes a second to each range, and as many reads
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rate: u32,
    /// How long a server that serves is watched before it is killed, in milliseconds
    #[arg(long, default_value_t = 2_000, value_name = "MS")]
    pub before_ms: u64,
    /// Where data is kept; it is removed again
    #[arg(long, default_value = "target/bench-stall")]
    pub directory: PathBuf,
}

/// The part of the killed server in a range's chain.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Part {
    Head,
    Middle,
    Tail,
    Elsewhere,
}

impl Part {
    const ALL: [Part; 4] = [Part::Head, Part::Middle, Part::Tail, Part::Elsewhere];

    fn name(self) -> &'static str {
        match self {
            Part::Head => "head",
            Part::Middle => "middle",
            Part::Tail => "tail",
            Part::Elsewhere => "elsewhere",
        }
    }
}

/// The longest gaps in the ranges in which the killed server had one part, in milliseconds.
#[derive(Clone, Debug, PartialEq)]
struct Gaps {
    part: Part,
    kind: Kind,
    /// Before it was killed.
    before: f64,
    /// From then until all was served again.
    killed: f64,
    /// From its start until the cluster was whole.
    returning: f64,
}

/// One server killed and started again.
#[derive(Clone, Debug)]
struct Round {
    leader: bool,
    gaps: Vec<Gaps>,
    /// Requests that failed for good while it was away.
    failed: u64,
    ready: Duration,
    whole: Duration,
}

/// What was measured. Shows itself as a table.
#[derive(Clone, Debug)]
pub struct StallReport {
    settings: StallSettings,
    rounds: Vec<Round>,
    acknowledged: usize,
    read: u64,
    problems: Vec<String>,
}

impl StallReport {
    /// What must not be, a sentence each.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

/// Measures.
///
/// # Errors
/// When a server does not start, or a range is not served again in time.
pub async fn run(settings: &StallSettings) -> Result<StallReport, BenchError> {
    let directory = fresh(&settings.directory)?;
    let flags = format!("--consistency chain --replication {} --durability interval", settings.replication);
    let plan = Plan::new(usize::from(settings.nodes), &flags).keeping(&directory);
    let mut cluster = Cluster::start(&plan).await?;
    let ranges: Vec<Range> = cluster.chains().await?.ranges.values().map(|active| active.range).collect();
    let traffic = Traffic::start(cluster.client(), &ranges, settings.rate);
    let mut rounds = Vec::new();
    for number in 0..settings.rounds.max(1) {
        rounds.push(round(settings, &mut cluster, &traffic, &ranges, number).await?);
    }
    let (acknowledged, read, problems) = traffic.end().await?;
    drop(cluster);
    remove(&directory)?;
    Ok(StallReport { settings: settings.clone(), rounds, acknowledged, read, problems })
}

async fn round(
    settings: &StallSettings,
    cluster: &mut Cluster,
    traffic: &Traffic,
    ranges: &[Range],
    number: usize,
) -> Result<Round, BenchError> {
    let began = Instant::now();
    tokio::time::sleep(Duration::from_millis(settings.before_ms)).await;
    let (victim, leader) = choose(cluster, number).await?;
    let chains = cluster.chains().await?;
    let parts: Vec<Part> =
        ranges.iter().map(|range| part(&chains, range.high, cluster, victim)).collect::<Result<_, _>>()?;
    let failed = traffic.failed();
    let killed = Instant::now();
    cluster.kill(victim).await?;
    served_again(traffic, ranges.len(), killed).await?;
    let restarted = Instant::now();
    let failed = traffic.failed() - failed;
    cluster.restart(victim).await?;
    let ready = restarted.elapsed();
    cluster.become_whole().await?;
    let whole = restarted.elapsed();
    let end = Instant::now();
    let mut gaps = Vec::new();
    for part in Part::ALL {
        let of_part: Vec<usize> = (0..ranges.len()).filter(|range| parts[*range] == part).collect();
        if of_part.is_empty() {
            continue;
        }
        for kind in Kind::ALL {
            let longest = |from: Instant, to: Instant| {
                let of_each = of_part.iter().map(|range| traffic.gap(*range, kind, from, to));
                of_each.max().unwrap_or_default().as_secs_f64() * 1e3
            };
            gaps.push(Gaps {
                part,
                kind,
                before: longest(began, killed),
                killed: longest(killed, restarted),
                returning: longest(restarted, end),
            });
        }
    }
    Ok(Round { leader, gaps, failed, ready, whole })
}

/// The server to kill, and whether it leads the coordinator's group: in every second round that one.
async fn choose(cluster: &Cluster, number: usize) -> Result<(usize, bool), BenchError> {
    let view = cluster.view().await;
    let named = view.nodes.iter().find_map(|status| status.chain.as_ref()?.leader.clone());
    let named = named.ok_or_else(|| BenchError::Call("no node knows who leads".to_owned()))?;
    let addresses = cluster.addresses();
    let leads = addresses.iter().position(|address| *address == named.address);
    let leads =
        leads.ok_or_else(|| BenchError::Call(format!("{named} leads, who is not of this cluster")))?;
    let by_turns = (leads + 1 + number / 2 % (addresses.len() - 1)) % addresses.len();
    Ok(if number % 2 == 1 { (leads, true) } else { (by_turns, false) })
}

/// What a server is in the chain that serves an identifier.
fn part(chains: &View, id: Id, cluster: &Cluster, victim: usize) -> Result<Part, BenchError> {
    let (_, active) =
        chains.range_of(id).ok_or_else(|| BenchError::Call(format!("{id:?} is in no range")))?;
    let serving: Vec<_> = active.serving().map(|link| chains.peer(link.store)).collect();
    let address = &cluster.addresses()[victim];
    let place = serving.iter().position(|peer| peer.is_some_and(|peer| peer.address == *address));
    Ok(match place {
        None => Part::Elsewhere,
        Some(0) => Part::Head,
        Some(last) if last + 1 == serving.len() => Part::Tail,
        Some(_) => Part::Middle,
    })
}

/// Waits until every range has been answering reads and writes for a while.
async fn served_again(traffic: &Traffic, ranges: usize, killed: Instant) -> Result<(), BenchError> {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = Instant::now();
        let from = now.checked_sub(STEADY).unwrap_or(now);
        let steady = (0..ranges)
            .all(|range| Kind::ALL.iter().all(|kind| traffic.gap(range, *kind, from, now) < STEADY / 4));
        if steady && now.duration_since(killed) > STEADY * 2 {
            return Ok(());
        }
        if now.duration_since(killed) > SERVED_WITHIN {
            let what = "every range is served again after a server was killed".to_owned();
            return Err(BenchError::TimedOut { what, seconds: SERVED_WITHIN.as_secs() });
        }
    }
}

impl StallReport {
    fn rounds(&self, leader: bool) -> impl Iterator<Item = &Round> {
        self.rounds.iter().filter(move |round| round.leader == leader)
    }

    fn line(&self, leader: bool, part: Part, kind: Kind, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<&Gaps> = self
            .rounds(leader)
            .filter_map(|round| round.gaps.iter().find(|gaps| gaps.part == part && gaps.kind == kind))
            .collect();
        if all.is_empty() {
            return Ok(());
        }
        let figures = |take: fn(&Gaps) -> f64| all.iter().map(move |gaps| take(gaps));
        let most = figures(|gaps| gaps.killed).fold(0.0, f64::max);
        writeln!(
            f,
            "  {:<10} {:<6} {:>10.0} {:>10.0} {:>10.0} {:>10.0}",
            part.name(),
            kind.name(),
            median(figures(|gaps| gaps.before)),
            median(figures(|gaps| gaps.killed)),
            most,
            median(figures(|gaps| gaps.returning)),
        )
    }
}

impl fmt::Display for StallReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StallSettings { nodes, replication, rate, .. } = &self.settings;
        writeln!(
            f,
            "chordata {}: {nodes} servers, chains of {replication}, --durability interval; {rate} writes and {rate} reads \
             a second to each range",
            env!("CARGO_PKG_VERSION"),
        )?;
        writeln!(
            f,
            "longest time without an answer, in ms, by the part of the killed server in the range's chain"
        )?;
        for leader in [false, true] {
            let rounds = self.rounds(leader).count();
            if rounds == 0 {
                continue;
            }
            let who = if leader { "the coordinator's leader" } else { "a server that does not lead" };
            writeln!(f, "\nkilled: {who} ({rounds} times)")?;
            writeln!(
                f,
                "  {:<10} {:<6} {:>10} {:>10} {:>10} {:>10}",
                "part", "", "before", "killed", "(most)", "returning"
            )?;
            for part in Part::ALL {
                for kind in Kind::ALL {
                    self.line(leader, part, kind, f)?;
                }
            }
            let seconds = |take: fn(&Round) -> Duration| {
                median(self.rounds(leader).map(|round| take(round).as_secs_f64()))
            };
            let failed: u64 = self.rounds(leader).map(|round| round.failed).sum();
            writeln!(
                f,
                "  started again: ready after {:.1} s, the cluster whole after {:.1} s; requests given up: {failed}",
                seconds(|round| round.ready),
                seconds(|round| round.whole),
            )?;
        }
        if self.problems.is_empty() {
            return writeln!(
                f,
                "\nchecked: all {} acknowledged writes are there; {} reads found what was acknowledged before",
                self.acknowledged, self.read
            );
        }
        writeln!(f, "\nwhat must not be:")?;
        self.problems.iter().try_for_each(|problem| writeln!(f, "  {problem}"))
    }
}
