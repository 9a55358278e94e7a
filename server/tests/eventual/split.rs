//! A ring that is split: both sides go on, and become one again.
//!
//! The nodes of this test run in this process, each on the real network and with a real disk, but what they hear of
//! each other goes through gates that can be closed.

use std::sync::Arc;
use std::time::Duration;

use chordata_client::{Client, Config};
use chordata_protocol::{Address, Key, Peer, Placement, Value};
use chordata_rpc::gate::Gates;
use chordata_server::settings::{ConsistencySetting, DurabilitySetting, Resolved};
use chordata_server::start::Ending;
use chordata_server::{Settings, Started, start};
use tempfile::TempDir;

use crate::copies::{equal, nothing_pending};
use crate::load::Load;
use crate::support::{WHOLE_WITHIN, eventually, free_port, within};

pub(crate) const NODES: usize = 6;
/// How long the ring is split.
const SPLIT: Duration = Duration::from_secs(10);

struct Member {
    started: Started,
    settings: Resolved,
    place: TempDir,
}

pub(crate) struct Cluster {
    pub(crate) gates: Gates,
    nodes: Vec<Member>,
}

impl Cluster {
    pub(crate) async fn start(count: usize) -> Cluster {
        let mut cluster = Cluster { gates: Gates::default(), nodes: Vec::new() };
        for _ in 0..count {
            cluster.add(0, Placement::Bisect).await;
        }
        cluster.rings_of(&vec![count; count]).await;
        cluster
    }

    /// One more joins, through the first.
    async fn add(&mut self, side: u8, placement: Placement) {
        let place = tempfile::tempdir().unwrap();
        let port = free_port();
        let settings = Settings {
            port: Some(port),
            data: Some(place.path().join("data")),
            join: self.addresses().first().map(Address::to_string).into_iter().collect(),
            consistency: Some(ConsistencySetting::Eventual),
            durability: Some(DurabilitySetting::Sync),
            stabilize_ms: Some(200),
            finger_ms: Some(500),
            ..Settings::default()
        };
        let settings = Resolved { placement, ..settings.resolve().unwrap() };
        let address = format!("127.0.0.1:{port}");
        self.gates.part(side, [address.as_str()]);
        let net = Arc::new(self.gates.net(&address));
        let started = start(settings.clone(), net).await.unwrap();
        self.nodes.push(Member { started, settings, place });
    }

    /// Stops a node that has lost its place, and starts it again as its process would.
    async fn start_displaced(&mut self, number: usize) {
        let Member { started, mut settings, place } = self.nodes.remove(number);
        (settings.displaced, settings.placement) = (true, Placement::Bisect);
        let net = Arc::new(self.gates.net(started.node.me().address.as_str()));
        started.stop().await;
        let started = start(settings.clone(), net).await.unwrap();
        self.nodes.insert(number, Member { started, settings, place });
    }

    pub(crate) fn peers(&self) -> Vec<Peer> {
        self.nodes.iter().map(|member| member.started.node.me().clone()).collect()
    }

    pub(crate) fn addresses(&self) -> Vec<Address> {
        self.peers().into_iter().map(|peer| peer.address).collect()
    }

    /// Waits until each node gives copies to so many members.
    pub(crate) async fn rings_of(&self, counts: &[usize]) {
        eventually("the rings are as large as they should be", WHOLE_WITHIN, async || {
            let members = |member: &Member| member.started.node.status_now().eventual.unwrap().members.len();
            let found: Vec<usize> = self.nodes.iter().map(members).collect();
            if found == counts { Ok(()) } else { Err(format!("{found:?}, not {counts:?}")) }
        })
        .await;
    }

    pub(crate) async fn stop(self) {
        for member in self.nodes {
            member.started.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_of_a_split_go_on_and_become_equal() {
    within(
        200,
        Box::pin(async {
            let cluster = Cluster::start(NODES).await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_nodes_that_got_one_place_on_the_two_sides_one_moves() {
    let story = async {
        let mut cluster = Cluster::start(2).await;
        let other = cluster.addresses()[1].clone();
        cluster.gates.part(1, [other.as_str()]);
        cluster.rings_of(&[1, 1]).await;
        // It is free on this side, as it may be for whoever joins in the middle of the widest gap.
        let taken = cluster.peers()[1].id;
        cluster.add(0, Placement::Fixed(taken)).await;
        assert_eq!(cluster.peers()[2].id, taken);
        for (node, name) in [(0, "left"), (1, "right")] {
            let client = Client::connect(&cluster.addresses()[node..=node], Config::default()).await.unwrap();
            for number in 0..50 {
                client.put(Key::new(format!("{name} {number}")), Value::from(name)).await.unwrap();
            }
        }
        cluster.gates.open();
        let (one, two) = (&cluster.nodes[1].started, &cluster.nodes[2].started);
        let displaced = tokio::select! {
            ending = one.left() => (1, ending),
            ending = two.left() => (2, ending),
        };
        assert_eq!(displaced.1, Ending::Displaced);
        cluster.start_displaced(displaced.0).await;
        cluster.rings_of(&[3, 3, 3]).await;
        let client = Client::connect(&cluster.addresses(), Config::default()).await.unwrap();
        let (held, _) = equal(&client, &cluster.peers()).await;
        assert_eq!(held.len(), 100, "nothing of either side is lost");
        cluster.stop().await;
    };
    within(120, Box::pin(story)).await;
}
