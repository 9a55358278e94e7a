//! A node that is told to join: never a second ring by silence.

use std::time::{Duration, Instant};

use chordata_client::{Client, Config};
use chordata_protocol::Address;
use chordata_rpc::within as deadline;

use crate::support::process::{Process, refused};
use crate::support::ring::{Server, TestRing, status, stub};
use crate::support::{
    CALL, LOOK_EVERY, QUICK, WHOLE_WITHIN, answer, dead_address, eventually, free_port, within,
};

#[test]
fn a_dead_join_target_is_given_up_after_the_timeout_with_exit_code_4() {
    let target = dead_address();
    let began = Instant::now();
    let (code, log) = refused(&["--port", "0", "--join", target.as_str(), "--join-timeout", "1.5"], &[]);
    assert_eq!(code, Some(4), "{log}");
    // It stops before a pause that would end beyond the timeout.
    assert!(began.elapsed() > Duration::from_millis(500), "it did not try for long: {log}");
    assert!(began.elapsed() < Duration::from_secs(15));
    assert!(log.contains("no ring to join") && log.contains(target.as_str()), "{log}");
    assert!(!log.contains("in the ring at"), "it started a ring of its own: {log}");
}

#[test]
fn a_host_that_does_not_exist_is_no_ring_and_a_malformed_one_a_mistake() {
    let (code, log) =
        refused(&["--port", "0", "--join", "no-such-host.invalid", "--join-timeout", "0.3"], &[]);
    assert_eq!(code, Some(4), "{log}");
    assert!(log.contains("no-such-host.invalid:18861"), "{log}");
    for bad in ["host:port", "host:0", "host:70000", ":5", "a b"] {
        let (code, log) = refused(&["--port", "0", "--join", bad], &[]);
        assert_eq!(code, Some(2), "{bad}: {log}");
        assert!(log.contains("HOST:PORT") || log.contains("the host is missing"), "{bad}: {log}");
    }
}

#[test]
fn a_node_that_is_told_to_join_only_itself_starts_no_ring() {
    let port = free_port().to_string();
    let me = format!("127.0.0.1:{port}");
    let (code, log) = refused(&["--port", &port, "--join", &me, "--join-timeout", "0.3"], &[]);
    assert_eq!(code, Some(4), "{log}");
    assert!(log.contains("nobody to ask but this node itself"), "{log}");
}

#[tokio::test]
async fn bootstrap_starts_a_ring_although_it_names_others() {
    within(60, async {
        let target = dead_address();
        let server = Server::start(Some(&target), &["--bootstrap"]);
        let client = Client::connect(std::slice::from_ref(&server.address), Config::default()).await.unwrap();
        eventually("it is a ring of one", WHOLE_WITHIN, async || {
            let view = client.view().await;
            let one = view.is_whole() && view.members().len() == 1;
            if one { Ok(()) } else { Err(format!("{:?}", view.problems())) }
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn bootstrap_does_not_take_a_node_out_of_the_ring_that_it_was_in() {
    within(90, async {
        let mut ring = TestRing::start(2, &QUICK).await;
        ring.servers[1].terminate();
        ring.servers[1].begin_again_with(&["--bootstrap"]);
        ring.servers[1].await_ready();
        ring.whole().await;
    })
    .await;
}

#[tokio::test]
async fn a_node_waits_for_a_target_that_comes_later() {
    within(90, async {
        let port = free_port().to_string();
        let target = Address::new(&format!("127.0.0.1:{port}"));
        let mut early = Server::begin(Some(&target), &QUICK);
        let deadline = Instant::now() + CALL;
        while !early.process.log().contains("not admitted yet") {
            assert!(Instant::now() < deadline, "{}", early.process.log());
            std::thread::sleep(LOOK_EVERY);
        }
        let home = tempfile::tempdir().unwrap();
        let late = Process::start(home.path(), &["--port".to_owned(), port], &[]);
        late.ready();
        early.await_ready();
        let client = Client::connect(&[target, early.address.clone()], Config::default()).await.unwrap();
        eventually("they are one ring", WHOLE_WITHIN, async || {
            let view = client.view().await;
            if view.is_whole() && view.members().len() == 2 { Ok(()) } else { Err("not yet".to_owned()) }
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn one_dead_target_among_several_does_not_matter() {
    within(60, async {
        let ring = TestRing::start(1, &QUICK).await;
        let dead = dead_address();
        let targets = format!("{dead},{}", ring.servers[0].address);
        let joiner = Server::start(Some(&Address::new(&targets)), &QUICK);
        let client = ring.client().await;
        assert!(status(&client, &joiner).await.member);
    })
    .await;
}

#[tokio::test]
async fn a_ring_of_3_bits_takes_8_nodes_and_tells_the_ninth_that_it_is_full() {
    within(150, async {
        let settings: Vec<&'static str> = QUICK.into_iter().chain(["--bits", "3"]).collect();
        let mut ring = TestRing::start(1, &settings).await;
        for _ in 1..8 {
            ring.add();
        }
        let view = ring.whole().await;
        let ids: Vec<String> = view.members().iter().map(|status| status.me.id.to_literal()).collect();
        assert_eq!(ids, (0..8).map(|id| format!("0x{id}")).collect::<Vec<_>>(), "every place is taken");

        let join = ring.servers[3].address.to_string();
        let began = Instant::now();
        let (code, log) = refused(&["--port", "0", "--join", &join, "--join-timeout", "4"], &[]);
        println!("{log}");
        assert_eq!(code, Some(1), "{log}");
        assert!(log.contains("this ring of 3 bits is full"), "{log}");
        assert!(began.elapsed() < Duration::from_secs(3), "it does not wait for a place that cannot come");
        ring.whole().await;
    })
    .await;
}

#[tokio::test]
async fn ids_of_one_s_own_are_taken_or_refused() {
    within(60, async {
        let ring = TestRing::start(1, &["--id", "5", "--bits", "8"]).await;
        let join = ring.servers[0].address.clone();
        let (code, log) = refused(&["--port", "0", "--join", join.as_str(), "--id", "5"], &[]);
        assert_eq!(code, Some(1), "{log}");
        assert!(log.contains("the id 0x5 is taken by") && log.contains(join.as_str()), "{log}");

        // The ring decides its size; a joiner need not know it, but an id must be inside.
        let (code, log) = refused(&["--port", "0", "--join", join.as_str(), "--id", "256"], &[]);
        assert_eq!(code, Some(1), "{log}");
        assert!(log.contains("0x100 is outside this ring of 8 bits"), "{log}");

        let joiner = Server::start(Some(&join), &["--id", "0xc8"]);
        assert_eq!(joiner.id.to_literal(), "0xc8");
        let client = ring.client().await;
        let settings = status(&client, &joiner).await.settings;
        assert_eq!(settings.bits, 8, "it took the ring's size");
        let stub = stub(&client, &joiner);
        answer(stub.update_finger_table(deadline(CALL)).await).unwrap();
        let fingers = answer(stub.fingers(deadline(CALL)).await).unwrap();
        assert_eq!(fingers.last().map(|row| row.to), Some(7), "one finger a bit");
    })
    .await;
}

#[tokio::test]
async fn nodes_that_join_one_after_another_through_one_node_share_the_ring_evenly() {
    within(90, async {
        let mut ring = TestRing::start(1, &[]).await;
        for _ in 1..8 {
            ring.add();
        }
        let view = ring.whole().await;
        let shares: Vec<f64> = view.members().iter().map(|status| status.share).collect();
        assert!(shares.iter().all(|share| (share - 0.125).abs() < 0.001), "each has an eighth: {shares:?}");
    })
    .await;
}
