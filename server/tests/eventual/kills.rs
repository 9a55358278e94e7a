//! Kill -9 under load: of single nodes in every role, of a majority, of all.

use chordata_client::Config;
use chordata_protocol::{Address, Key};

use crate::copies::REPLICAS;
use crate::load::Load;
use crate::support::ring::TestRing;
use crate::support::within;
use crate::{SYNC, blocking};

/// The place in the list of servers of that replica of a key.
fn replica(ring: &TestRing, key: &Key, number: usize) -> usize {
    let mut members = ring.peers();
    members.sort();
    let owner = members.partition_point(|peer| peer.id < key.id(chordata_protocol::Space::default()));
    let address: &Address = &members[(owner + number) % members.len()].address;
    ring.servers.iter().position(|server| server.address == *address).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_replica_of_a_key_dies_once_under_load_and_comes_back() {
    within(200, async {
        let mut ring = TestRing::start(5, SYNC).await;
        let mut load = Load::begin(&ring.addresses(), Config::default()).await;
        for number in 0..REPLICAS {
            let victim = replica(&ring, &Key::new("any"), number);
            blocking(|| ring.servers[victim].process.kill());
            load.goes_on().await;
            blocking(|| ring.servers[victim].start_again());
            ring.whole().await;
            load.goes_on().await;
        }
        let (client, nodes) = (ring.client().await, ring.peers());
        load.end(&client, &nodes).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_of_five_that_are_left_go_on_alone() {
    within(200, async {
        let mut ring = TestRing::start(5, SYNC).await;
        let mut load = Load::begin(&ring.addresses(), Config::default()).await;
        blocking(|| ring.servers[..3].iter_mut().for_each(|server| server.process.kill()));
        load.goes_on().await;
        ring.whole_with(&[3, 4]).await;
        load.goes_on().await;
        for server in &mut ring.servers[..3] {
            blocking(|| server.start_again());
        }
        ring.whole().await;
        let (client, nodes) = (ring.client().await, ring.peers());
        load.end(&client, &nodes).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_of_the_whole_cluster_loses_nothing() {
    within(200, async {
        let mut ring = TestRing::start(5, SYNC).await;
        let mut load = Load::begin(&ring.addresses(), Config::default()).await;
        load.goes_on().await;
        blocking(|| ring.servers.iter_mut().for_each(|server| server.process.kill()));
        ring.servers.iter_mut().for_each(|server| server.begin_again());
        blocking(|| ring.servers.iter_mut().for_each(|server| server.await_ready()));
        ring.whole().await;
        load.goes_on().await;
        let (client, nodes) = (ring.client().await, ring.peers());
        load.end(&client, &nodes).await;
    })
    .await;
}
