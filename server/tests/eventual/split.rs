//! A ring that is split: both sides go on, and become one again.
//!
//! The nodes of this test run in this process, each on the real network and with a real disk, but what they hear of
//! each other goes through gates that can be closed.

use std::sync::Arc;
use std::time::Duration;

use chordata_client::{Client, Config};
use chordata_protocol::{Address, Key, Peer, Value};
use chordata_rpc::gate::Gates;
use chordata_server::{Settings, Started, start};
use tempfile::TempDir;

use crate::copies::{equal, nothing_pending};
use crate::load::Load;
use crate::support::{WHOLE_WITHIN, eventually, free_port, within};

const NODES: usize = 6;
/// How long the ring is split.
const SPLIT: Duration = Duration::from_secs(10);

struct Cluster {
    gates: Gates,
    nodes: Vec<(Started, TempDir)>,
}

impl Cluster {
    async fn start() -> Cluster {
        let mut cluster = Cluster { gates: Gates::default(), nodes: Vec::new() };
        for _ in 0..NODES {
            let place = tempfile::tempdir().unwrap();
            let port = free_port();
            let settings = Settings {
                port: Some(port),
                data: Some(place.path().join("data")),
                join: cluster
                    .nodes
                    .first()
                    .map(|(node, _)| node.node.me().address.to_string())
                    .into_iter()
                    .collect(),
                consistency: Some(chordata_server::settings::ConsistencySetting::Eventual),
                durability: Some(chordata_server::settings::DurabilitySetting::Sync),
                stabilize_ms: Some(200),
                finger_ms: Some(500),
                ..Settings::default()
            };
            let net = cluster.gates.net(&format!("127.0.0.1:{port}"));
            let started = start(settings.resolve().unwrap(), Arc::new(net)).await.unwrap();
            cluster.nodes.push((started, place));
        }
        cluster.rings_of(&[NODES; NODES]).await;
        cluster
    }

    fn peers(&self) -> Vec<Peer> {
        self.nodes.iter().map(|(node, _)| node.node.me().clone()).collect()
    }

    fn addresses(&self) -> Vec<Address> {
        self.peers().into_iter().map(|peer| peer.address).collect()
    }

    /// Waits until each node gives copies to so many members.
    async fn rings_of(&self, counts: &[usize; NODES]) {
        eventually("the rings are as large as they should be", WHOLE_WITHIN, async || {
            let found =
                self.nodes.iter().map(|(node, _)| node.node.status_now().eventual.unwrap().members.len());
            let found: Vec<usize> = found.collect();
            if found == counts { Ok(()) } else { Err(format!("{found:?}, not {counts:?}")) }
        })
        .await;
    }

    async fn stop(self) {
        for (node, _) in self.nodes {
            node.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_of_a_split_go_on_and_become_equal() {
    within(
        200,
        Box::pin(async {
            let cluster = Cluster::start().await;
            let addresses = cluster.addresses();
            let (left, right) = addresses.split_at(NODES / 3);
            let mut load = Load::begin(&addresses, Config::default()).await;
            cluster.gates.part(1, left.iter().map(Address::as_str));
            let split = tokio::time::Instant::now();
            // Both sides write the same keys, too: one of the two wins, everywhere.
            let contested: Vec<Key> = (0..20).map(|number| Key::new(format!("contested {number}"))).collect();
            for (name, side) in [("left", left), ("right", right)] {
                let client = Client::connect(side, Config::default()).await.unwrap();
                for key in &contested {
                    eventually("this side takes writes", WHOLE_WITHIN, async || {
                        let put = client.put(key.clone(), Value::from(name)).await;
                        put.map(drop).map_err(|failure| failure.to_string())
                    })
                    .await;
                }
                load.add(client, name);
            }
            cluster.rings_of(&[2, 2, 4, 4, 4, 4]).await;
            load.goes_on().await;
            tokio::time::sleep_until(split + SPLIT).await;
            cluster.gates.open();
            let client = Client::connect(&addresses, Config::default()).await.unwrap();
            let peers = cluster.peers();
            let took = load.end(&client, &peers).await;
            cluster.rings_of(&[NODES; NODES]).await;
            println!("equal {took:.1?} after the gates were opened");
            let (held, _) = equal(&client, &peers).await;
            assert!(contested.iter().all(|key| held.contains_key(key)), "each has one of its values");
            nothing_pending(&client, &peers).await;
            cluster.stop().await;
        }),
    )
    .await;
}
