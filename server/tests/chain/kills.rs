//! Kill -9 of nodes in every role, under load: others take over, and the node is taken back.

use std::time::Duration;

use chordata_client::Client;
use chordata_client::look::View;
use chordata_protocol::{Address, Key};
use chordata_rpc::service::Status;
use nix::sys::signal::Signal;

use crate::load::Load;
use crate::ring::{INTERVAL, Role, SYNC, a_leader, blocking, replicas, server_at, whole};
use crate::support::ring::{Server, TestRing, status};
use crate::support::within;

/// How long the writes of a range may stand still whose chain has lost a node, on a busy machine.
const STALL_MAX: Duration = Duration::from_secs(8);
/// How long those of a range may that has nothing to do with it, while the coordinator's group has the same leader.
const STALL_ELSEWHERE_MAX: Duration = Duration::from_millis(1500);

/// Kills a server, waits until every range goes on without it, and starts it again. When it was killed.
async fn kill_and_bring_back(ring: &mut TestRing, load: &Load, victim: &Address) -> u64 {
    let killed = load.book.now();
    blocking(|| server_at(ring, victim).process.kill());
    load.everything_is_written(killed).await;
    blocking(|| server_at(ring, victim).start_again());
    killed
}

/// Prints how long each range stood still since then; the longest of those that this node was in, and of the others.
fn stalls(load: &Load, view: &View, client: &Client, victim: &Address, since: u64) -> (Duration, Duration) {
    let (mut hit, mut spared) = (Duration::ZERO, Duration::ZERO);
    let now = load.book.now();
    for key in &load.steady {
        let chain = replicas(view, client, key);
        let stall = load.book.longest_stall(key, since, now);
        let place = chain.iter().position(|address| address == victim);
        let longest = if place.is_some() { &mut hit } else { &mut spared };
        *longest = stall.max(*longest);
        println!("  {key}: stood still for {stall:.2?}; the dead was at place {place:?} of its chain");
    }
    (hit, spared)
}

/// A node that has this role for a steady key, but does not lead the coordinator's group.
fn victim(view: &View, client: &Client, keys: &[Key], role: Role, leader: &Address) -> Address {
    let mut chains = keys.iter().map(|key| replicas(view, client, key));
    let found = chains.find_map(|chain| {
        let address = match role {
            Role::Head => chain.first(),
            Role::Middle => chain.get(1),
            Role::Tail => chain.last(),
        };
        address.filter(|address| *address != leader).cloned()
    });
    found.expect("one node leads, and several have the role")
}

async fn every_role_dies_under_load(settings: &[&'static str]) {
    let mut ring = TestRing::start(5, settings).await;
    let load = Load::begin(&ring).await;
    let client = ring.client().await;
    for role in [Role::Head, Role::Middle, Role::Tail] {
        let view = ring.whole().await;
        let leader = a_leader(&ring).await;
        let victim = victim(&view, &client, &load.steady, role, &leader.address);
        println!("kill the {role:?}, {victim}; the coordinator's leader is {leader}");
        let killed = kill_and_bring_back(&mut ring, &load, &victim).await;
        whole(&ring, "it is back").await;
        let (hit, spared) = stalls(&load, &view, &client, &victim, killed);
        assert!(hit < STALL_MAX, "after the death of the {role:?} a range stood still for {hit:?}");
        // On a machine that is too busy there are elections for no reason; they are short, but longer than nothing.
        let limit = if a_leader(&ring).await == leader { STALL_ELSEWHERE_MAX } else { STALL_MAX };
        assert!(spared < limit, "a range without the {role:?} stood still for {spared:?}");
    }
    load.end(&ring).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn head_middle_and_tail_die_under_load_with_interval_durability() {
    within(200, every_role_dies_under_load(INTERVAL)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn head_middle_and_tail_die_under_load_with_sync_durability() {
    within(200, every_role_dies_under_load(SYNC)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_coordinators_leader_dies_under_load() {
    within(150, async {
        let mut ring = TestRing::start(5, SYNC).await;
        let load = Load::begin(&ring).await;
        let client = ring.client().await;
        for _ in 0..2 {
            let view = ring.whole().await;
            let leader = a_leader(&ring).await;
            println!("kill the leader, {leader}");
            let killed = kill_and_bring_back(&mut ring, &load, &leader.address).await;
            whole(&ring, "it is back").await;
            let (hit, spared) = stalls(&load, &view, &client, &leader.address, killed);
            assert!(hit.max(spared) < STALL_MAX, "a range stood still for {:?}", hit.max(spared));
        }
        load.end(&ring).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lost_its_disk_joins_as_a_new_one() {
    Box::pin(within(150, async {
        let mut ring = TestRing::start(5, SYNC).await;
        let load = Load::begin(&ring).await;
        let client = ring.client().await;
        let (lost, before) = (2, status(&client, &ring.servers[2]).await);
        let killed = load.book.now();
        blocking(|| {
            let server: &mut Server = &mut ring.servers[lost];
            server.process.kill();
            std::fs::remove_dir_all(server.home.path().join("data")).unwrap();
            server.start_again();
        });
        assert_eq!(ring.servers[lost].id, before.me.id, "its address has its old place");
        whole(&ring, "it came without its data").await;
        let store = |status: Status| status.chain.unwrap().store;
        let now = status(&client, &ring.servers[lost]).await;
        assert_ne!(store(now), store(before), "it is another store");
        load.everything_is_written(killed).await;
        load.end(&ring).await;
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_freeze_and_wake_up_answer_nothing_old() {
    within(150, async {
        let mut ring = TestRing::start(5, INTERVAL).await;
        let load = Load::begin(&ring).await;
        let client = ring.client().await;
        for role in [None, Some(Role::Head), Some(Role::Tail)] {
            let view = ring.whole().await;
            let leader = a_leader(&ring).await.address;
            let frozen = match role {
                None => leader,
                Some(role) => victim(&view, &client, &load.steady, role, &leader),
            };
            println!("freeze {frozen}, {}", role.map_or("the leader".to_owned(), |role| format!("{role:?}")));
            let since = load.book.now();
            let frozen = server_at(&mut ring, &frozen);
            let address = frozen.address.clone();
            frozen.process.signal(Signal::SIGSTOP);
            load.everything_is_written(since).await;
            frozen.process.signal(Signal::SIGCONT);
            whole(&ring, "it woke up").await;
            let (hit, spared) = stalls(&load, &view, &client, &address, since);
            assert!(hit.max(spared) < STALL_MAX, "a range stood still for {:?}", hit.max(spared));
        }
        load.end(&ring).await;
    })
    .await;
}
