//! What a run is like: seeds take turns over durability, replication factor and clean reads; the rest is by lot.

use std::time::Duration;

use chordata_protocol::chain::ChainSettings;
use chordata_protocol::replication::{Consistency, Durability, Lease, Replication};

/// What a run is like.
#[derive(Clone, PartialEq, Debug)]
pub struct Shape {
    /// What all nodes are told.
    pub settings: ChainSettings,
    /// Nodes before the cluster is disturbed.
    pub nodes: usize,
    /// At most so many while it is.
    pub nodes_max: usize,
    /// Client instances.
    pub clients: usize,
    /// Operations that one of them has under way at a time.
    pub lanes: usize,
    /// Keys that are written and read all the time, in every way.
    pub hot_keys: usize,
    /// Keys that are only put and read.
    pub plain_keys: usize,
    /// Keys that are written once, and seldom later.
    pub cold_keys: usize,
    /// Longest usual delay of a message, in microseconds.
    pub delay_max_us: u64,
    /// Share of messages that are always lost.
    pub loss: f64,
    /// Share of requests that always arrive twice.
    pub duplicated: f64,
    /// Longest usual sync of a disk, in microseconds.
    pub sync_max_us: u64,
    /// Keys on a page when a replica is listed.
    pub listed_max: usize,
    /// Shortest and longest pause between two disturbances, in milliseconds.
    pub pace_ms: (u64, u64),
    /// Is everything switched off once?
    pub power_cut: bool,
    /// Share of Prepares in the middle of which something happens to the leader or the chain.
    pub at_prepare: f64,
}

impl Shape {
    /// The shape of a seed.
    pub fn of(seed: u64) -> Shape {
        let mut random = fastrand::Rng::with_seed(seed ^ 0x5eed_0f5a_ab1e_c0de);
        let durability = [Durability::Sync, Durability::Interval, Durability::Memory][(seed % 3) as usize];
        let factor = [3, 3, 2, 3, 3, 1, 3, 3, 2, 3][(seed / 3 % 10) as usize];
        let clean_reads = !(seed / 2).is_multiple_of(3);
        let replication = Replication { consistency: Consistency::Chain, factor, durability, clean_reads };
        let small = random.bool();
        let settings = ChainSettings {
            replication,
            lease: Lease::default(),
            substitute_after: Duration::from_secs(if random.bool() { 30 } else { 5 }),
            frame_bytes: if small { 1000 } else { 64 * 1024 },
            log_max: if small { 200 } else { 64 * 1024 },
            frames_in_flight: random.usize(1..=4),
            uncommitted_max: if random.u8(..4) == 0 { 8 } else { 16 * 1024 },
            results_kept: Duration::from_secs(if random.bool() { 20 } else { 120 }),
            ..ChainSettings::default()
        };
        let nodes = random.usize(5..=8);
        Shape {
            settings,
            nodes,
            nodes_max: 9,
            clients: random.usize(4..=6),
            lanes: random.usize(2..=4),
            hot_keys: random.usize(2..=6),
            plain_keys: random.usize(2..=4),
            cold_keys: random.usize(100..=300),
            delay_max_us: [2_000, 10_000, 30_000][random.usize(..3)],
            loss: [0.0, 0.0, 0.005, 0.02][random.usize(..4)],
            duplicated: [0.0, 0.01, 0.05][random.usize(..3)],
            sync_max_us: [2_000, 10_000, 100_000][random.usize(..3)],
            listed_max: [7, 50, 4096][random.usize(..3)],
            pace_ms: [(50, 1500), (300, 4000), (1000, 8000)][random.usize(..3)],
            power_cut: random.u8(..4) == 0,
            at_prepare: [0.0, 0.1, 0.3][random.usize(..3)],
        }
    }

    /// In words, for failures and for people.
    pub fn words(&self) -> String {
        let Replication { factor, durability, clean_reads, .. } = self.settings.replication;
        let reads = if clean_reads { "clean reads" } else { "tail reads" };
        let cut = if self.power_cut { ", power cut" } else { "" };
        format!("{} nodes, k={factor}, {durability}, {reads}{cut}", self.nodes)
    }
}
