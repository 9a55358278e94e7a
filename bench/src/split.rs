//! Eventual mode: how long until all replicas are equal after the ring was split and both sides went on.
//!
//! The nodes run in this process, on real sockets and with real disks, behind gates ([`chordata_rpc::gate`]) that are
//! closed between the two sides. On each side clients go on putting values under keys of their own, and under keys that
//! both sides write. When the gates open the clients stop, and the clock runs until every key is at its replicas with the
//! same version and hash, and nowhere else. It is checked that nothing acknowledged is missing.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chordata_client::{Client, Config};
use chordata_protocol::{Address, Id, Key, Peer, Range, Value, Version};
use chordata_rpc::gate::Gates;
use chordata_rpc::service::{CopiesOptions, Held};
use chordata_server::settings::{ConsistencySetting, DurabilitySetting};
use chordata_server::{Settings, Started, start};
use parking_lot::Mutex;

use crate::BenchError;
use crate::chain::{fresh, remove};

/// Copies of each key.
const REPLICAS: usize = 3;
/// How long the ring may take to settle, and replicas to become equal.
const PATIENCE: Duration = Duration::from_secs(180);
/// Pause between two looks at everything.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Keys in one page.
const PAGE: u32 = 5000;
/// Of so many keys of a client one is written by all.
const CONTESTED_ONE_IN: u64 = 10;

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct SplitSettings {
    /// Nodes; a third of them is parted from the others
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u8).range(4..=16))]
    pub nodes: u8,
    /// How long they are parted, in seconds
    #[arg(long, default_value_t = 30)]
    pub seconds: u64,
    /// Clients on each side
    #[arg(long, default_value_t = 4)]
    pub clients: u8,
    /// Where data is kept; it is removed again
    #[arg(long, default_value = "target/bench-split")]
    pub directory: PathBuf,
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct SplitReport {
    settings: SplitSettings,
    keys: usize,
    acknowledged: u64,
    refused: u64,
    /// Until each node gives copies to all others.
    one_ring: Duration,
    /// Until all replicas are equal.
    equal: Duration,
    problems: Vec<String>,
}

impl SplitReport {
    /// What is not as it must be.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

struct Cluster {
    gates: Gates,
    nodes: Vec<Started>,
}

fn failed(error: impl fmt::Display) -> BenchError {
    BenchError::Server(error.to_string())
}

impl Cluster {
    async fn start(settings: &SplitSettings, directory: &Path) -> Result<Cluster, BenchError> {
        let mut cluster = Cluster { gates: Gates::default(), nodes: Vec::new() };
        for number in 0..settings.nodes {
            let port = free_port()?;
            let settings = Settings {
                port: Some(port),
                data: Some(directory.join(number.to_string())),
                join: cluster.addresses().first().map(Address::to_string).into_iter().collect(),
                consistency: Some(ConsistencySetting::Eventual),
                durability: Some(DurabilitySetting::Sync),
                ..Settings::default()
            };
            let net = cluster.gates.net(&format!("127.0.0.1:{port}"));
            let started = start(settings.resolve().map_err(failed)?, Arc::new(net)).await.map_err(failed)?;
            cluster.nodes.push(started);
        }
        cluster.one_ring().await?;
        Ok(cluster)
    }

    fn peers(&self) -> Vec<Peer> {
        let mut peers: Vec<Peer> = self.nodes.iter().map(|node| node.node.me().clone()).collect();
        peers.sort();
        peers
    }

    fn addresses(&self) -> Vec<Address> {
        self.nodes.iter().map(|node| node.node.me().address.clone()).collect()
    }

    /// Waits until each node gives copies to all.
    async fn one_ring(&self) -> Result<(), BenchError> {
        let deadline = Instant::now() + PATIENCE;
        let knows_all = |node: &Started| {
            let members = node.node.status_now().eventual.map(|part| part.members.len());
            members == Some(self.nodes.len())
        };
        while !self.nodes.iter().all(knows_all) {
            if Instant::now() >= deadline {
                return Err(failed("the nodes did not become one ring"));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }
}

/// A port that nobody listens on at the moment.
fn free_port() -> Result<u16, BenchError> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).map_err(failed)?;
    Ok(listener.local_addr().map_err(failed)?.port())
}

/// The last version that was acknowledged of each key.
type Acknowledged = Arc<Mutex<BTreeMap<Key, Version>>>;

#[derive(Clone)]
struct Writers {
    acknowledged: Acknowledged,
    done: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Writers {
    async fn go_on(self, client: Client, name: String) {
        let mut random = fastrand::Rng::new();
        let mut round = 0_u64;
        while !self.stop.load(Ordering::Relaxed) {
            round += 1;
            let key = if random.u64(..CONTESTED_ONE_IN) == 0 {
                Key::new(format!("of all, {}", random.u16(..200)))
            } else {
                Key::new(format!("of {name}, {}", random.u16(..5000)))
            };
            let value = Value::from(format!("{name} in round {round}"));
            match client.put(key.clone(), value).await {
                Ok(answer) => {
                    self.done.fetch_add(1, Ordering::Relaxed);
                    let mut acknowledged = self.acknowledged.lock();
                    let last = acknowledged.entry(key).or_default();
                    *last = (*last).max(answer.at.unwrap_or_default());
                }
                Err(_) => {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

/// Measures.
///
/// # Errors
/// When a node does not start, or replicas do not become equal in time.
pub async fn run(settings: &SplitSettings) -> Result<SplitReport, BenchError> {
    let directory = fresh(&settings.directory)?;
    let cluster = Cluster::start(settings, &directory).await?;
    let addresses = cluster.addresses();
    let (left, right) = addresses.split_at(addresses.len() / 3);
    let writers = Writers {
        acknowledged: Arc::default(),
        done: Arc::default(),
        refused: Arc::default(),
        stop: Arc::default(),
    };
    cluster.gates.part(1, left.iter().map(Address::as_str));
    let mut tasks = Vec::new();
    for (name, side) in [("left", left), ("right", right)] {
        for number in 0..settings.clients {
            let client = Client::connect(side, Config::default()).await.map_err(failed)?;
            tasks.push(tokio::spawn(writers.clone().go_on(client, format!("{name} {number}"))));
        }
    }
    tokio::time::sleep(Duration::from_secs(settings.seconds)).await;
    writers.stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.map_err(failed)?;
    }
    cluster.gates.open();
    let opened = Instant::now();
    cluster.one_ring().await?;
    let one_ring = opened.elapsed();
    let client = Client::connect(&addresses, Config::default()).await.map_err(failed)?;
    let held = become_equal(&client, &cluster.peers()).await?;
    let equal = opened.elapsed();
    let acknowledged = writers.acknowledged.lock().clone();
    let problems = acknowledged.iter().filter_map(|(key, version)| match held.get(key) {
        Some(Held::Value { version: found, .. }) if found >= version => None,
        other => {
            Some(format!("{key} was acknowledged with version {version}, and its replicas hold {other:?}"))
        }
    });
    let report = SplitReport {
        settings: settings.clone(),
        keys: held.len(),
        acknowledged: writers.done.load(Ordering::Relaxed),
        refused: writers.refused.load(Ordering::Relaxed),
        one_ring,
        equal,
        problems: problems.collect(),
    };
    for node in cluster.nodes {
        node.stop().await;
    }
    remove(&directory)?;
    Ok(report)
}

type Copies = BTreeMap<Key, Held>;

/// Waits until every key is at its replicas and nowhere else; what they hold.
async fn become_equal(client: &Client, members: &[Peer]) -> Result<Copies, BenchError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut all = Vec::new();
        for member in members {
            all.push(everything(client, &member.address).await?);
        }
        match agreed(client, members, &all) {
            Ok(held) => return Ok(held),
            Err(reason) if Instant::now() >= deadline => return Err(failed(reason)),
            Err(_) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

async fn everything(client: &Client, node: &Address) -> Result<Copies, BenchError> {
    let range = Range { low: Id::ZERO, high: Id::ZERO };
    let (mut copies, mut after) = (Copies::new(), None);
    loop {
        let options = CopiesOptions { range, after, limit: PAGE, mark: None, ended_by: None };
        let page = client.copies(node, options).await.map_err(failed)?;
        after = page.copies.last().map(|(key, _)| key.clone());
        copies.extend(page.copies);
        if !page.more {
            return Ok(copies);
        }
    }
}

fn agreed(client: &Client, members: &[Peer], all: &[Copies]) -> Result<Copies, String> {
    let mut agreed = Copies::new();
    for (key, held) in all.iter().flatten() {
        agreed.entry(key.clone()).or_insert(*held);
    }
    for (key, held) in &agreed {
        let owner = members.partition_point(|peer| peer.id < key.id(client.space()));
        for (place, copies) in all.iter().enumerate() {
            let steps = (place + members.len() - owner % members.len()) % members.len();
            let wanted = (steps < REPLICAS).then_some(held);
            if copies.get(key) != wanted {
                return Err(format!("{key} at {}: {:?}, not {wanted:?}", members[place], copies.get(key)));
            }
        }
    }
    Ok(agreed)
}

impl fmt::Display for SplitReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SplitSettings { nodes, seconds, clients, .. } = &self.settings;
        let parted = usize::from(*nodes) / 3;
        writeln!(
            f,
            "chordata {}: {nodes} nodes in eventual mode, durability sync, {parted} of them parted from the others for {seconds} s;\n\
             {clients} clients on each side",
            env!("CARGO_PKG_VERSION"),
        )?;
        writeln!(f, "puts acknowledged       {:>10}", self.acknowledged)?;
        writeln!(f, "puts refused            {:>10}", self.refused)?;
        writeln!(f, "keys in the end         {:>10}", self.keys)?;
        writeln!(f, "one ring again after    {:>8.1} s", self.one_ring.as_secs_f64())?;
        writeln!(f, "all replicas equal after{:>8.1} s", self.equal.as_secs_f64())?;
        for problem in &self.problems {
            writeln!(f, "PROBLEM  {problem}")?;
        }
        Ok(())
    }
}
