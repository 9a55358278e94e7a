//! What is committed survives restarts; a store is opened by its owner only, once.

use chordata_consensus::{Group, NodeId, ProposeError, Settings, StartError, Storage, StoreError};

use crate::ledger::{Command, Ledger};
use crate::nodes::{Nodes, until, voters};

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_one_restarts_with_all_it_committed() {
    let mut nodes = Nodes::on_disk().adjusted(|settings| {
        settings.snapshot_every = 20;
        settings.log_kept = 5;
    });
    nodes.found(&[1]).await;
    for round in 0..3 {
        for number in round * 30..(round + 1) * 30 {
            nodes.note(&[1], number).await;
        }
        let term = nodes.group(1).leader().borrow().term;
        let index = *nodes.group(1).applied().borrow();
        nodes.stop(&[1]).await;
        nodes.start(&[1]).await;
        assert_eq!(nodes.leader(&[1]).await, 1);
        nodes.group(1).confirm().await.unwrap();
        assert!(nodes.group(1).leader().borrow().term >= term);
        assert!(*nodes.group(1).applied().borrow() >= index);
        assert!(nodes.ledger(1).noted.into_iter().eq(0..(round + 1) * 30));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_that_all_restart_keep_everything() {
    let mut nodes = Nodes::on_disk().adjusted(|settings| settings.snapshot_every = 30);
    let all = [1, 2, 3];
    nodes.found(&all).await;
    for number in 0..100 {
        nodes.note(&all, number).await;
    }
    nodes.stop(&all).await;
    nodes.start(&all).await;
    nodes.leader(&all).await;
    for id in all {
        nodes.listed(id, &voters(&all)).await;
    }
    let counts = nodes.agreed(&all).await.counts();
    assert!((0..100).all(|number| counts[&number] >= 1));
    nodes.note(&all, 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_all_moved_find_each_other_by_what_they_are_told() {
    let mut nodes = Nodes::on_disk();
    let all = [1, 2, 3];
    nodes.found(&all).await;
    nodes.note(&all, 1).await;
    nodes.stop(&all).await;
    // Without the former leader: nobody can lead before two of them found each other.
    for id in [2, 3] {
        nodes.start_at(id, &format!("moved{id}")).await;
    }
    nodes.group(2).tell_address(NodeId(3), "moved3");
    nodes.group(3).tell_address(NodeId(2), "moved2");
    let leader = nodes.leader(&[2, 3]).await;
    nodes.start_at(1, "moved1").await;
    let moved = all.iter().map(|id| (NodeId(*id), format!("moved{id}"))).collect();
    nodes.group(leader).change_voters(&moved).await.unwrap();
    nodes.agreed(&all).await;
    for id in all {
        nodes.listed(id, &moved).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_opens_once_and_for_its_owner_only() {
    let mut nodes = Nodes::on_disk();
    nodes.found(&[1]).await;
    let again = Group::start(nodes.settings(1), Ledger::default(), nodes.net.wire("x")).await;
    assert!(matches!(again, Err(StartError::Store(StoreError::InUse { .. }))), "{:?}", again.err());
    let settings = Settings { id: NodeId(2), ..nodes.settings(1) };
    nodes.stop(&[1]).await;
    let other = Group::start(settings, Ledger::default(), nodes.net.wire("x")).await;
    assert!(
        matches!(other, Err(StartError::Store(StoreError::OtherNode { owner: NodeId(1), .. }))),
        "{:?}",
        other.err()
    );
    nodes.start(&[1]).await;
    nodes.leader(&[1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_damaged_or_missing_is_an_error_that_names_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let net = crate::net::Net::new();
    let start = |directory: std::path::PathBuf| {
        let settings = Settings::new(NodeId(1), Storage::Directory(directory));
        Group::start(settings, Ledger::default(), net.wire("n1"))
    };
    let missing = start(directory.path().join("missing")).await;
    assert!(matches!(&missing, Err(StartError::Store(StoreError::Broken { .. }))), "{:?}", missing.err());
    std::fs::write(directory.path().join("raft.redb"), b"this is no database, only text").unwrap();
    let damaged = start(directory.path().to_owned()).await;
    let error = damaged.err().unwrap();
    assert!(error.to_string().contains("raft.redb"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_was_shut_down_says_so() {
    let mut nodes = Nodes::on_disk();
    nodes.found(&[1]).await;
    let group = nodes.group(1).clone();
    group.shutdown().await;
    group.stopped().await;
    let error = group.propose(Command::Note(1)).await.unwrap_err();
    assert!(matches!(error, ProposeError::Fatal(_)), "{error}");
    assert!(!group.leader().borrow().is_me);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_whose_last_handle_is_dropped_stops_and_frees_its_store() {
    let mut nodes = Nodes::on_disk();
    nodes.found(&[1]).await;
    nodes.note(&[1], 5).await;
    nodes.net.unplug("n1");
    drop(nodes.up.remove(&1));
    let mut tries = 0;
    let group = loop {
        match Group::start(nodes.settings(1), Ledger::default(), nodes.net.wire("n1")).await {
            Ok(group) => break group,
            Err(StartError::Store(StoreError::InUse { .. })) if tries < 1000 => tries += 1,
            Err(error) => panic!("{error}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    };
    until("its own leadership again", || group.leader().borrow().is_me.then_some(())).await;
    group.confirm().await.unwrap();
    assert_eq!(group.read(|ledger, _| ledger.noted.clone()), [5]);
}
