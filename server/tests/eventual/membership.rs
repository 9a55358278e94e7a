//! Nodes that join, depart, are given up, and come back without what they had in memory.

use chordata_client::Config;
use chordata_rpc::service::Error;
use chordata_rpc::within as deadline;

use crate::copies::{EQUAL_WITHIN, equal, nothing_pending, status};
use crate::load::Load;
use crate::support::ring::{TestRing, stub};
use crate::support::{CALL, answer, entry, eventually, within};
use crate::{MEMORY, SYNC, blocking};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_joins_and_two_depart_under_load() {
    within(200, async {
        let mut ring = TestRing::start(5, SYNC).await;
        let mut load = Load::begin(&ring.addresses(), Config::default()).await;
        blocking(|| drop(ring.add().peer()));
        ring.whole().await;
        load.goes_on().await;
        for _ in 0..2 {
            let mut leaver = ring.servers.remove(1);
            let client = ring.client().await;
            answer(stub(&client, &leaver).depart(deadline(CALL * 4)).await).unwrap();
            assert_eq!(blocking(|| leaver.process.exit_code()), Some(0), "{}", leaver.process.log());
            assert!(!leaver.home.path().join("data/identity.toml").exists(), "it is no member any more");
            ring.whole().await;
            load.goes_on().await;
        }
        let (client, nodes) = (ring.client().await, ring.peers());
        // Tombstones wait for nobody who has departed: all of them go in the end.
        load.end(&client, &nodes).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tombstones_wait_for_a_node_that_is_away_until_it_is_forgotten() {
    within(150, async {
        let mut ring = TestRing::start(4, SYNC).await;
        let client = ring.client().await;
        for (key, value) in (0..40).map(entry) {
            client.put(key, value).await.unwrap();
        }
        let mut gone = ring.servers.remove(2);
        blocking(|| gone.process.kill());
        ring.whole().await;
        let client = ring.client().await;
        for (key, _) in (0..40).map(entry) {
            client.delete(key).await.unwrap();
        }
        let first = ring.servers[0].address.clone();
        eventually("somebody waits for it", EQUAL_WITHIN, async || {
            let mut awaited = Vec::new();
            for server in &ring.servers {
                awaited.extend(status(&client, &server.address).await?.eventual.unwrap().awaited);
            }
            let is_it = awaited.iter().all(|(_, peer)| peer.as_ref() == Some(&gone.peer()));
            if is_it && !awaited.is_empty() { Ok(()) } else { Err(format!("{awaited:?}")) }
        })
        .await;
        // One that is there is not given up by mistake.
        let present = ring.servers[1].id;
        let refused = answer(client.pool().client(&first).forget(deadline(CALL), present).await);
        assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
        answer(client.pool().client(&first).forget(deadline(CALL), gone.id).await).unwrap();
        nothing_pending(&client, &ring.peers()).await;
        let (held, _) = equal(&client, &ring.peers()).await;
        assert_eq!(held.len(), 0, "all were deleted");
        // It comes back with what was deleted, and is not let in.
        blocking(|| gone.begin_again());
        assert_eq!(blocking(|| gone.process.exit_code()), Some(1), "{}", gone.process.log());
        assert!(gone.process.log().contains("forgotten"), "{}", gone.process.log());
        let (held, _) = equal(&client, &ring.peers()).await;
        assert_eq!(held.len(), 0, "and nothing came back with it");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_had_everything_in_memory_comes_back_as_another_store() {
    within(150, async {
        let mut ring = TestRing::start(4, MEMORY).await;
        let client = ring.client().await;
        for (key, value) in (0..40).map(entry) {
            client.put(key, value).await.unwrap();
        }
        equal(&client, &ring.peers()).await;
        let address = ring.servers[1].address.clone();
        let before = status(&client, &address).await.unwrap().eventual.unwrap().store;
        blocking(|| {
            ring.servers[1].process.kill();
            ring.servers[1].start_again();
        });
        ring.whole().await;
        let after = status(&client, &address).await.unwrap().eventual.unwrap();
        assert_ne!(after.store, before);
        for (key, _) in (0..20).map(entry) {
            client.delete(key).await.unwrap();
        }
        // Nobody waits for the store that is gone.
        nothing_pending(&client, &ring.peers()).await;
        let (held, _) = equal(&client, &ring.peers()).await;
        assert_eq!(held.len(), 20);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copied_data_directory_is_no_second_node() {
    within(150, async {
        let mut ring = TestRing::start(3, SYNC).await;
        let client = ring.client().await;
        for (key, value) in (0..20).map(entry) {
            client.put(key, value).await.unwrap();
        }
        let copy = tempfile::tempdir().unwrap();
        let original = &mut ring.servers[1];
        blocking(|| original.terminate());
        copy_directory(&original.home.path().join("data"), &copy.path().join("data"));
        blocking(|| original.start_again());
        ring.whole().await;
        let join = ring.servers[0].address.to_string();
        let port = crate::support::free_port().to_string();
        let arguments = ["--port", &port, "--data", "data", "--join", &join, "--join-timeout", "3"];
        let (code, says) = blocking(|| crate::support::process::refused_at(copy.path(), &arguments, &[]));
        assert_eq!(code, Some(1), "{says}");
        assert!(says.contains("is taken by"), "{says}");
        let (held, _) = equal(&client, &ring.peers()).await;
        assert_eq!(held.len(), 20);
    })
    .await;
}

fn copy_directory(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_directory(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
