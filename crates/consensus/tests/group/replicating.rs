//! Groups that are founded and grow; followers; snapshots to those who lag.

use std::time::Duration;

use chordata_consensus::{BootstrapError, COMMAND_BYTES_MAX, ConfirmError, NodeId, ProposeError};

use crate::ledger::Command;
use crate::nodes::{Nodes, until, voters};

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_one_leads_commits_and_confirms() {
    let mut nodes = Nodes::in_memory();
    nodes.start(&[1]).await;
    let group = nodes.group(1);
    assert_eq!(group.propose(Command::Note(0)).await, Err(ProposeError::NotLeader { leader: None }));
    assert_eq!(group.confirm().await, Err(ConfirmError::NotLeader { leader: None }));

    group.bootstrap("n1").await.unwrap();
    let leadership = group.leader().borrow().clone();
    assert!(leadership.is_me && leadership.leader == Some(NodeId(1)));
    assert_eq!(leadership.address.as_deref(), Some("n1"));
    let (first, count) = group.propose(Command::Note(7)).await.unwrap();
    assert_eq!(count, 1);
    let (second, count) = group.propose(Command::Note(8)).await.unwrap();
    assert_eq!(count, 2);
    assert!(second > first);
    assert!(*group.applied().borrow() >= second, "applied before it is answered");
    group.confirm().await.unwrap();
    assert_eq!(group.read(|ledger, index| (ledger.noted.clone(), index)), (vec![7, 8], second));
    group.bootstrap("n1").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_grows_to_three_and_five_and_followers_name_the_leader() {
    let mut nodes = Nodes::in_memory();
    nodes.start(&[1, 2, 3, 4, 5]).await;
    nodes.group(1).bootstrap("n1").await.unwrap();
    nodes.group(1).propose(Command::Note(1)).await.unwrap();
    nodes.group(1).change_voters(&voters(&[1, 2, 3])).await.unwrap();
    nodes.group(1).propose(Command::Note(2)).await.unwrap();
    assert_eq!(nodes.agreed(&[1, 2, 3]).await.noted[..2], [1, 2]);
    assert_eq!(nodes.group(4).members().borrow().voters.len(), 0, "a node that is in no group");

    nodes.group(1).change_voters(&voters(&[1, 2, 3, 4, 5])).await.unwrap();
    nodes.group(1).propose(Command::Note(3)).await.unwrap();
    let all = [1, 2, 3, 4, 5];
    assert_eq!(nodes.agreed(&all).await.counts()[&3], 1);
    let leader = nodes.leader(&all).await;
    for follower in all.into_iter().filter(|id| *id != leader) {
        let group = nodes.group(follower);
        let leader = Some(NodeId(leader));
        assert_eq!(group.propose(Command::Note(9)).await, Err(ProposeError::NotLeader { leader }));
        assert_eq!(group.confirm().await, Err(ConfirmError::NotLeader { leader }));
        assert_eq!(group.bootstrap("x").await, Err(BootstrapError::AlreadyMember));
        nodes.listed(follower, &voters(&all)).await;
    }
    assert!(!nodes.agreed(&all).await.noted.contains(&9));
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_wait_together_share_entries() {
    let mut nodes = Nodes::on_disk();
    nodes.found(&[1]).await;
    let group = nodes.group(1);
    let before = *group.applied().borrow();
    let proposals = (0..2000).map(|number| group.propose(Command::Note(number)));
    let outcomes = futures::future::join_all(proposals).await;
    let last = outcomes.iter().map(|outcome| outcome.as_ref().unwrap().0).max().unwrap();
    assert!(last - before < 200, "2000 commands took {} entries", last - before);
    assert!(nodes.ledger(1).noted.into_iter().eq(0..2000), "in the order in which they were proposed");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_are_too_large_are_refused_and_large_ones_fit_the_messages() {
    let mut nodes = Nodes::in_memory();
    nodes.found(&[1, 2, 3]).await;
    let group = nodes.group(1);
    let error = group.propose(Command::Ballast(vec![1; COMMAND_BYTES_MAX])).await.unwrap_err();
    assert!(matches!(error, ProposeError::TooLarge { limit: COMMAND_BYTES_MAX, .. }), "{error}");
    let large = || group.propose(Command::Ballast(vec![1; COMMAND_BYTES_MAX - 10]));
    for outcome in futures::future::join_all((0..8).map(|_| large())).await {
        outcome.unwrap();
    }
    nodes.agreed(&[1, 2, 3]).await;
    assert!(nodes.net.largest() > COMMAND_BYTES_MAX);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_lags_behind_the_log_gets_a_snapshot_in_chunks() {
    let mut nodes = Nodes::on_disk().adjusted(|settings| {
        settings.snapshot_every = 50;
        settings.log_kept = 5;
    });
    nodes.found(&[1, 2, 3]).await;
    nodes.net.isolate(&["n3"], &["n1", "n2", "n3"]);
    for number in 0..150 {
        if number % 10 == 0 {
            let leader = nodes.leader(&[1, 2]).await;
            nodes.group(leader).propose(Command::Grow(100_000)).await.unwrap();
        }
        nodes.note(&[1, 2], number).await;
    }
    assert!(nodes.ledger(3).noted.len() < 20, "it was cut off");

    nodes.net.set_loss(10);
    nodes.net.heal();
    let group = nodes.group(3);
    until("the snapshot", || group.read(|ledger, _| (ledger.bulk.len() == 1_500_000).then_some(()))).await;
    nodes.net.set_loss(0);
    let ledger = nodes.agreed(&[1, 2, 3]).await;
    assert!((0..150).all(|number| ledger.counts()[&number] >= 1));
    assert_eq!(nodes.ledger(3), nodes.ledger(1), "the bulk as well");
    let before = nodes.ledger(3);
    nodes.stop(&[3]).await;
    nodes.start(&[3]).await;
    let (noted, bulk) = (before.noted.len(), before.bulk);
    nodes.group(3).read(|ledger, _| assert!(ledger.bulk == bulk && ledger.noted.len() >= noted - 50));
    nodes.agreed(&[1, 2, 3]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn loss_and_delay_slow_the_group_down_but_lose_nothing() {
    let mut nodes = Nodes::in_memory();
    nodes.found(&[1, 2, 3]).await;
    nodes.net.set_loss(10);
    nodes.net.set_delay(Duration::from_millis(3));
    for number in 0..100 {
        nodes.note(&[1, 2, 3], number).await;
    }
    nodes.net.set_loss(0);
    let counts = nodes.agreed(&[1, 2, 3]).await.counts();
    assert!((0..100).all(|number| counts.contains_key(&number)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_few_but_large_entries_is_replaced_by_a_snapshot_as_well() {
    let mut nodes = Nodes::on_disk().adjusted(|settings| settings.log_kept = 1);
    nodes.found(&[1]).await;
    let file = nodes.directory(1).join("raft.redb");
    for _ in 0..400 {
        nodes.group(1).propose(Command::Ballast(vec![1; 250_000])).await.unwrap();
    }
    let size = std::fs::metadata(&file).unwrap().len();
    assert!(size < 80_000_000, "the file has {size} bytes after 100 MB of commands");
    nodes.stop(&[1]).await;
    nodes.start(&[1]).await;
    nodes.leader(&[1]).await;
}
