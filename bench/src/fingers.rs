//! Are fingers really used, and do refreshes that meet each other end?
//!
//! Lookups of random keys from random nodes, by the `lookup` call, under each routing policy: hops against theory.
//! With fingers half of log2 n (Stoica et al., IEEE/ACM ToN 2003, section V-B and figure 10), by successors half the
//! ring. Every owner that is found is checked against the definition. Then `update_finger_table` is called on all
//! nodes at the same moment, twice: the system that this one replaces stopped there for ever. Both must end, and the
//! second must find nothing to change.

use std::fmt;
use std::time::{Duration, Instant};

use chordata_protocol::{Id, Policy, Space, waits};
use chordata_rpc::service::FingerRefresh;
use chordata_rpc::within;
use chordata_server::settings::PlacementSetting;
use futures::future::try_join_all;
use futures::stream::{self, StreamExt, TryStreamExt};
use hdrhistogram::Histogram;

use crate::BenchError;
use crate::ring::LocalRing;

/// Lookups out at once.
const AT_ONCE: usize = 16;
/// How long one lookup may take.
const LOOKUP_WITHIN: Duration = Duration::from_secs(20);
/// How long a refresh of all nodes, called on all, may take before it counts as a deadlock.
const REFRESH_WITHIN: Duration = Duration::from_secs(60);
/// How far the mean of hops under `finger` may be from half of log2 n.
const FINGER_TOLERANCE: f64 = 0.5;
/// How far the mean of hops under `successor` may be from half the ring, as a part of it.
const SUCCESSOR_TOLERANCE: f64 = 0.1;

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct FingerSettings {
    /// Nodes of the ring
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    pub nodes: u16,
    /// Lookups under `finger`
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub lookups: u32,
    /// Lookups under each other policy
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub other_lookups: u32,
    /// How nodes get their places; the paper's rings are hashed
    #[arg(long, value_enum, default_value_t = PlacementSetting::Hash)]
    pub placement: PlacementSetting,
    /// Of the random keys and nodes
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Lookups under one policy.
#[derive(Clone, Debug)]
pub struct Hops {
    /// Which.
    pub policy: Policy,
    /// Nodes asked after the first, the owner included.
    pub hops: Histogram<u64>,
    /// Of these, that found another node than the owner.
    pub wrong: u32,
    /// Nodes that did not answer on the way.
    pub timeouts: u32,
    /// All together.
    pub elapsed: Duration,
}

/// `update_finger_table` on all nodes at once.
#[derive(Clone, Debug)]
pub struct Refreshes {
    /// What each answered.
    pub answers: Vec<FingerRefresh>,
    /// Until the last had.
    pub elapsed: Duration,
}

/// What was counted. Shows itself as a table.
#[derive(Clone, Debug)]
pub struct FingerReport {
    nodes: u16,
    start: Duration,
    refreshes: Vec<Refreshes>,
    policies: Vec<Hops>,
}

/// Starts a ring, counts, and stops it.
///
/// # Errors
/// When the ring does not start or become whole, a call fails, or a refresh does not end in time.
pub async fn run(settings: &FingerSettings) -> Result<FingerReport, BenchError> {
    let began = Instant::now();
    let ring = LocalRing::start(usize::from(settings.nodes), settings.placement).await?;
    let start = began.elapsed();
    let mut refreshes = Vec::new();
    for _ in 0..2 {
        refreshes.push(refresh_on_all(&ring).await?);
    }
    let mut policies = Vec::new();
    for policy in [Policy::Finger, Policy::Successor, Policy::OneHop, Policy::Random] {
        let lookups = if policy == Policy::Finger { settings.lookups } else { settings.other_lookups };
        policies.push(look_up(&ring, policy, lookups, settings.seed).await?);
    }
    ring.stop().await;
    Ok(FingerReport { nodes: settings.nodes, start, refreshes, policies })
}

async fn refresh_on_all(ring: &LocalRing) -> Result<Refreshes, BenchError> {
    let began = Instant::now();
    let pool = ring.client().pool();
    let calls = ring.addresses().into_iter().map(|address| async move {
        let answer = pool.client(&address).update_finger_table(within(REFRESH_WITHIN)).await;
        answer.map_err(BenchError::call)?.map_err(BenchError::call)
    });
    let answers = tokio::time::timeout(REFRESH_WITHIN, try_join_all(calls)).await;
    let what = "the end of update_finger_table, called on all nodes at once: a deadlock".to_owned();
    let answers = answers.map_err(|_| BenchError::TimedOut { what, seconds: REFRESH_WITHIN.as_secs() })??;
    Ok(Refreshes { answers, elapsed: began.elapsed() })
}

async fn look_up(ring: &LocalRing, policy: Policy, lookups: u32, seed: u64) -> Result<Hops, BenchError> {
    let mut random = fastrand::Rng::with_seed(seed);
    let (pool, addresses, space) = (ring.client().pool(), ring.addresses(), ring.client().space());
    let questions = (0..lookups).map(|_| (random_id(&mut random, space), random.usize(..addresses.len())));
    let began = Instant::now();
    let trips = stream::iter(questions).map(|(target, entry)| {
        let stub = pool.client(&addresses[entry]);
        async move {
            let answer = stub.lookup(within(LOOKUP_WITHIN), target, policy).await;
            let trip = answer.map_err(BenchError::call)?.map_err(BenchError::call)?;
            Ok::<_, BenchError>((trip.owner == *ring.owner(target), trip))
        }
    });
    let trips: Vec<_> = trips.buffer_unordered(AT_ONCE).try_collect().await?;
    let mut hops = Histogram::new(3).expect("three digits are a valid precision");
    for (_, trip) in &trips {
        hops.saturating_record(u64::from(trip.hops));
    }
    let wrong = trips.iter().filter(|(is_right, _)| !is_right).count();
    Ok(Hops {
        policy,
        hops,
        wrong: u32::try_from(wrong).unwrap_or(u32::MAX),
        timeouts: trips.iter().map(|(_, trip)| trip.timeouts).sum(),
        elapsed: began.elapsed(),
    })
}

fn random_id(random: &mut fastrand::Rng, space: Space) -> Id {
    space.hash(&random.u128(..).to_be_bytes())
}

impl FingerReport {
    /// Lookups under this policy.
    pub fn hops(&self, policy: Policy) -> Option<&Hops> {
        self.policies.iter().find(|hops| hops.policy == policy)
    }

    /// The bounds of the mean of hops, where theory gives any.
    fn bounds(&self, policy: Policy) -> Option<(f64, f64)> {
        let nodes = f64::from(self.nodes);
        match policy {
            Policy::Finger => {
                let middle = nodes.log2() / 2.0;
                Some((middle - FINGER_TOLERANCE, middle + FINGER_TOLERANCE))
            }
            // From a node's own keys none, from those of the node before it n - 1.
            Policy::Successor => {
                let middle = (nodes - 1.0) / 2.0;
                Some((middle * (1.0 - SUCCESSOR_TOLERANCE), middle * (1.0 + SUCCESSOR_TOLERANCE)))
            }
            Policy::OneHop | Policy::Random => None,
        }
    }

    /// Figures that are not what they must be, a sentence each.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (call, refreshes) in self.refreshes.iter().enumerate() {
            let all = u32::from(self.nodes);
            let partial = refreshes
                .answers
                .iter()
                .filter(|answer| (answer.nodes, answer.refreshed) != (all, all))
                .count();
            if partial > 0 {
                problems.push(format!("refresh {}: {partial} answers do not say {all} nodes", call + 1));
            }
            let changed: u64 = refreshes.answers.iter().map(|answer| answer.changed).sum();
            if call > 0 && changed > 0 {
                problems.push(format!("refresh {} changed {changed} fingers that were right", call + 1));
            }
        }
        for hops in &self.policies {
            let (policy, mean) = (hops.policy.name(), hops.hops.mean());
            if hops.wrong > 0 {
                problems.push(format!("{policy}: {} lookups found another node than the owner", hops.wrong));
            }
            if let Some((low, high)) = self.bounds(hops.policy)
                && !(low..=high).contains(&mean)
            {
                problems.push(format!("{policy}: {mean:.2} hops on average, not from {low:.2} to {high:.2}"));
            }
        }
        problems
    }
}

impl fmt::Display for FingerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} nodes in one process, whole and quiet after {:.1} s\n",
            self.nodes,
            self.start.as_secs_f64()
        )?;
        writeln!(f, "update_finger_table on all {} nodes at once (one refresh may answer many)", self.nodes)?;
        for (call, refreshes) in self.refreshes.iter().enumerate() {
            let of = |take: fn(&FingerRefresh) -> u64| refreshes.answers.iter().map(take);
            writeln!(
                f,
                "  time {}: all ended after {:.0} ms; calls in all {} ({} to {} an answer); entries changed {}",
                call + 1,
                refreshes.elapsed.as_secs_f64() * 1e3,
                of(|answer| answer.calls).sum::<u64>(),
                of(|answer| answer.calls).min().unwrap_or(0),
                of(|answer| answer.calls).max().unwrap_or(0),
                of(|answer| answer.changed).sum::<u64>(),
            )?;
        }
        writeln!(
            f,
            "\n{:<10} {:>8} {:>7} {:>5} {:>5} {:>5} {:>15} {:>9} {:>6} {:>10}",
            "policy", "lookups", "mean", "p1", "p50", "p99", "mean must be", "timeouts", "wrong", "lookups/s"
        )?;
        for hops in &self.policies {
            let bounds =
                self.bounds(hops.policy).map_or(String::new(), |(low, high)| format!("{low:.2} - {high:.2}"));
            let at = |quantile| hops.hops.value_at_quantile(quantile);
            writeln!(
                f,
                "{:<10} {:>8} {:>7.2} {:>5} {:>5} {:>5} {:>15} {:>9} {:>6} {:>10.0}",
                hops.policy.name(),
                hops.hops.len(),
                hops.hops.mean(),
                at(0.01),
                at(0.5),
                at(0.99),
                bounds,
                hops.timeouts,
                hops.wrong,
                hops.hops.len() as f64 / hops.elapsed.as_secs_f64(),
            )?;
        }
        writeln!(f, "\nwho may await whom:\n{}", waits::listing())?;
        match self.problems()[..] {
            [] => writeln!(f, "every figure is within its bounds"),
            ref problems => problems.iter().try_for_each(|problem| writeln!(f, "OUT OF BOUNDS: {problem}")),
        }
    }
}
