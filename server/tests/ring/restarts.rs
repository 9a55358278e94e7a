//! Whole rings that stop and come back: the same nodes, one ring, whatever the order.

use crate::support::process::Process;
use crate::support::ring::{Server, TestRing};
use crate::support::{QUICK, WHOLE_WITHIN, entry, eventually, within};

/// The addresses that it kept on disk.
fn known_on_disk(server: &Server) -> String {
    std::fs::read_to_string(server.home.path().join("data/known.toml")).unwrap_or_default()
}

/// Those of the ring that it did not keep.
fn not_kept(ring: &TestRing, server: &Server) -> Vec<String> {
    let known = known_on_disk(server);
    let others = ring.servers.iter().filter(|other| other.address != server.address);
    others.map(|other| other.address.to_string()).filter(|address| !known.contains(address)).collect()
}

/// Waits until each has the addresses of all others on its disk.
async fn all_is_kept(ring: &TestRing) {
    eventually("everybody has kept the others' addresses", WHOLE_WITHIN, async || {
        let missing: Vec<String> = ring.servers.iter().flat_map(|server| not_kept(ring, server)).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("missing: {missing:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_whole_ring_that_was_stopped_is_one_ring_again_in_another_order() {
    within(150, async {
        let mut ring = TestRing::start(4, &QUICK).await;
        let ids = ring.ids();
        ring.servers.iter_mut().for_each(Server::terminate);
        // The one that started the ring comes last.
        for place in [2, 3, 1, 0] {
            ring.servers[place].begin_again();
        }
        ring.servers.iter_mut().for_each(Server::await_ready);
        ring.whole().await;
        assert_eq!(ring.ids(), ids, "everybody has the id that it had");
        let client = ring.client_of(1).await;
        client.put(entry(1).0, entry(1).1).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn nodes_that_come_back_one_by_one_each_alone_at_first_merge() {
    within(150, async {
        let mut ring = TestRing::start(3, &QUICK).await;
        let ids = ring.ids();
        all_is_kept(&ring).await;
        ring.servers.iter_mut().for_each(Server::terminate);
        ring.servers[2].start_again();
        ring.whole_with(&[2]).await;
        ring.servers[0].start_again();
        ring.whole_with(&[0, 2]).await;
        ring.servers[1].start_again();
        ring.whole().await;
        assert_eq!(ring.ids(), ids);
    })
    .await;
}

#[tokio::test]
async fn a_node_that_is_stopped_has_kept_every_address_that_it_knew() {
    within(60, async {
        let mut ring = TestRing::start(3, &QUICK).await;
        ring.servers.iter_mut().for_each(Server::terminate);
        for server in &ring.servers {
            assert_eq!(not_kept(&ring, server), [""; 0], "{} forgot these", server.address);
        }
    })
    .await;
}

#[tokio::test]
async fn a_ring_of_one_comes_back_by_itself() {
    within(60, async {
        let mut ring = TestRing::start(1, &["--id", "0x2a"]).await;
        assert_eq!(ring.servers[0].id.to_literal(), "0x2a");
        ring.servers[0].terminate();
        ring.servers[0].start_again();
        assert_eq!(ring.servers[0].id.to_literal(), "0x2a");
        ring.whole().await;
    })
    .await;
}

#[tokio::test]
async fn a_stranger_at_an_old_address_does_not_keep_a_node_out_of_its_ring() {
    within(90, async {
        let mut ring = TestRing::start(3, &QUICK).await;
        all_is_kept(&ring).await;
        ring.servers[0].terminate();
        ring.servers[1].terminate();
        ring.whole_with(&[2]).await;
        // Somebody else's server has the port now; it is asked first.
        let home = tempfile::tempdir().unwrap();
        let port = ring.servers[0].address.port().expect("it has a port").to_string();
        let stranger = Process::start(home.path(), &["--port".to_owned(), port], &[]);
        stranger.ready();
        ring.servers[1].start_again();
        ring.whole_with(&[1, 2]).await;
    })
    .await;
}

#[tokio::test]
async fn a_node_that_moves_to_another_port_keeps_its_id() {
    within(90, async {
        let mut ring = TestRing::start(3, &QUICK).await;
        all_is_kept(&ring).await;
        let before = ring.servers[1].id;
        ring.servers[1].process.kill();
        ring.servers[1].move_to_another_port();
        ring.servers[1].start_again();
        assert_eq!(ring.servers[1].id, before);
        ring.whole().await;
    })
    .await;
}
