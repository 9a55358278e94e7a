//! Voters that come, go, die, return and are handed leadership.

use std::time::{Duration, Instant};

use chordata_consensus::{ChangeError, NodeId, ProposeError, StepDownError};

use crate::ledger::Command;
use crate::nodes::{Nodes, until, voters};

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_voter_is_replaced_and_stays_quiet_when_it_returns() {
    let mut nodes = Nodes::on_disk();
    nodes.found(&[1, 2, 3]).await;
    nodes.stop(&[3]).await;
    nodes.start(&[4]).await;
    nodes.make_voters(&[1, 2], &[1, 2, 4]).await;
    nodes.listed(1, &voters(&[1, 2, 4])).await;
    nodes.agreed(&[1, 2, 4]).await;

    let leader = nodes.leader(&[1, 2, 4]).await;
    let term = nodes.group(leader).leader().borrow().term;
    let before = nodes.net.sent("n3", "n1") + nodes.net.sent("n3", "n2");
    nodes.start(&[3]).await;
    let asked = || nodes.net.sent("n3", "n1") + nodes.net.sent("n3", "n2") - before;
    until("its call for an election", || (asked() >= 2).then_some(())).await;
    // In this time it would call for several more.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        nodes.note(&[1, 2, 4], 77).await;
    }
    assert!(asked() <= 4, "{} calls for elections", asked());
    assert_eq!(nodes.leader(&[1, 2, 4]).await, leader);
    assert_eq!(nodes.group(leader).leader().borrow().term, term, "nobody was deposed");
    assert!(!nodes.ledger(3).noted.contains(&77));
    nodes.make_voters(&[1, 2, 4], &[1, 2, 3]).await;
    nodes.agreed(&[1, 2, 3]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn former_voters_know_that_they_vote_no_more() {
    let mut nodes = Nodes::in_memory();
    nodes.found(&[1, 2, 3, 4, 5]).await;
    nodes.group(1).change_voters(&voters(&[1, 2, 3])).await.unwrap();
    for former in [4, 5] {
        let members = nodes.group(former).members();
        until("the news", || (!members.borrow().voters.contains_key(&NodeId(former))).then_some(())).await;
    }
    nodes.listed(1, &voters(&[1, 2, 3])).await;
    nodes.agreed(&[1, 2, 3]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_change_twice_is_one_and_others_than_the_leader_refuse() {
    let mut nodes = Nodes::in_memory();
    nodes.found(&[1, 2, 3]).await;
    let before = *nodes.group(1).applied().borrow();
    nodes.group(1).change_voters(&voters(&[1, 2, 3])).await.unwrap();
    assert_eq!(*nodes.group(1).applied().borrow(), before, "nothing was written");
    nodes.agreed(&[1, 2, 3]).await;
    let refused = nodes.group(2).change_voters(&voters(&[1, 2])).await;
    assert_eq!(refused, Err(ChangeError::NotLeader { leader: Some(NodeId(1)) }));
    let refused = nodes.group(2).change_voters(&voters(&[1, 2, 3])).await;
    assert_eq!(refused, Err(ChangeError::NotLeader { leader: Some(NodeId(1)) }));
    assert_eq!(nodes.group(1).change_voters(&voters(&[])).await, Err(ChangeError::NoVoters));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voter_that_cannot_catch_up_is_named_and_changes_nothing() {
    let mut nodes =
        Nodes::in_memory().adjusted(|settings| settings.timing.change_timeout = Duration::from_secs(1));
    nodes.found(&[1]).await;
    let missing = nodes.group(1).change_voters(&voters(&[1, 2, 3])).await;
    assert_eq!(missing, Err(ChangeError::Behind(vec![NodeId(2), NodeId(3)])));
    nodes.group(1).propose(Command::Note(1)).await.unwrap();
    assert_eq!(nodes.group(1).members().borrow().voters, voters(&[1]));
    nodes.start(&[2, 3]).await;
    nodes.group(1).change_voters(&voters(&[1, 2, 3])).await.unwrap();
    nodes.agreed(&[1, 2, 3]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_not_wanted_makes_room() {
    let mut nodes = Nodes::in_memory();
    nodes.found(&[1, 2, 3]).await;
    nodes.start(&[4]).await;
    let group = nodes.group(1).clone();
    let (made, again) = tokio::spawn(async move {
        let made = group.change_voters(&voters(&[2, 3, 4])).await;
        (made, group.change_voters(&voters(&[2, 3])).await)
    })
    .await
    .unwrap();
    made.unwrap();
    // It leads until its next tick, and changes nothing any more.
    assert!(matches!(again, Err(ChangeError::NotLeader { .. })), "{again:?}");
    until("its end as a leader", || (!nodes.group(1).leader().borrow().is_me).then_some(())).await;
    let new = nodes.leader(&[2, 3, 4]).await;
    nodes.listed(new, &voters(&[2, 3, 4])).await;
    nodes.agreed(&[2, 3, 4]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_member_is_another_node_at_the_same_address() {
    let mut nodes = Nodes::in_memory();
    nodes.found(&[1, 2, 3]).await;
    nodes.note(&[1, 2, 3], 1).await;
    nodes.stop(&[3]).await;
    nodes.start_at(9, "n3").await;
    let before = nodes.net.sent("n1", "n3");
    until("messages for the old one", || (nodes.net.sent("n1", "n3") > before + 5).then_some(())).await;
    nodes.note(&[1, 2], 2).await;
    assert_eq!(*nodes.group(9).applied().borrow(), 0, "it took nothing that was meant for another");
    assert!(nodes.group(9).members().borrow().voters.is_empty());

    let wanted = [(NodeId(1), "n1".to_owned()), (NodeId(2), "n2".to_owned()), (NodeId(9), "n3".to_owned())];
    nodes.group(1).change_voters(&wanted.into()).await.unwrap();
    nodes.agreed(&[1, 2, 9]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_steps_down_in_favour_of_another() {
    let mut nodes = Nodes::in_memory();
    nodes.found(&[1, 2, 3]).await;
    nodes.note(&[1, 2, 3], 1).await;
    nodes.group(2).step_down().await.unwrap();
    assert!(nodes.group(1).leader().borrow().is_me, "a follower has nothing to hand on");
    nodes.group(1).step_down().await.unwrap();
    let new = nodes.leader(&[1, 2, 3]).await;
    assert_ne!(new, 1);
    nodes.agreed(&[1, 2, 3]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_without_a_successor_leads_on() {
    let mut nodes = Nodes::in_memory();
    nodes.found(&[1]).await;
    assert_eq!(nodes.group(1).step_down().await, Err(StepDownError::Alone));
    nodes.group(1).propose(Command::Note(1)).await.unwrap();

    let mut nodes = Nodes::in_memory();
    nodes.found(&[1, 2, 3]).await;
    nodes.net.isolate(&["n2"], &["n1", "n2", "n3"]);
    nodes.net.isolate(&["n3"], &["n1", "n2", "n3"]);
    assert_eq!(nodes.group(1).step_down().await, Err(StepDownError::NobodyElse));
    // It takes commands again, although it cannot commit them yet.
    assert_eq!(nodes.group(1).propose(Command::Note(2)).await, Err(ProposeError::Unknown));
    nodes.net.heal();
    nodes.agreed(&[1, 2, 3]).await;
}
