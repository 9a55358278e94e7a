//! What a confirmation proves, and what it costs.

use std::time::Duration;

use chordata_consensus::ConfirmError;

use crate::ledger::Command;
use crate::nodes::{Nodes, until};

const ALL: [&str; 3] = ["n1", "n2", "n3"];

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cut_off_confirms_nothing_once_another_leads() {
    let mut nodes = Nodes::in_memory();
    nodes.found(&[1, 2, 3]).await;
    nodes.group(1).confirm().await.unwrap();
    nodes.net.isolate(&["n1"], &ALL);
    let new = nodes.leader(&[2, 3]).await;
    nodes.group(new).confirm().await.unwrap();

    assert!(nodes.group(1).leader().borrow().is_me, "it still believes in itself");
    assert_eq!(nodes.group(1).confirm().await, Err(ConfirmError::NoQuorum));
    nodes.net.heal();
    until("the old leader learns of the new one", || (!nodes.group(1).leader().borrow().is_me).then_some(()))
        .await;
    assert!(matches!(nodes.group(1).confirm().await, Err(ConfirmError::NotLeader { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_confirms_only_those_who_called_before_it_began() {
    let mut nodes = Nodes::in_memory().adjusted(|settings| {
        settings.timing.heartbeat = Duration::from_secs(3);
        settings.timing.election_min = Duration::from_secs(10);
        settings.timing.election_max = Duration::from_secs(20);
    });
    nodes.found(&[1, 2, 3]).await;
    let asked = || nodes.net.sent("n1", "n2") + nodes.net.sent("n1", "n3");
    nodes.net.hold_answers(true);
    let before = asked();
    let leader = nodes.group(1).clone();
    let first = tokio::spawn(async move { leader.confirm().await });
    until("the first round is under way", || (asked() >= before + 2).then_some(())).await;

    // Given: answers of a round that began before the second call. When they arrive after it, and nothing else does:
    let leader = nodes.group(1).clone();
    let second = tokio::spawn(async move { leader.confirm().await });
    nodes.net.cut_requests("n1", &ALL);
    nodes.net.hold_answers(false);
    assert_eq!(first.await.unwrap(), Ok(()));
    assert_eq!(second.await.unwrap(), Err(ConfirmError::NoQuorum));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_callers_share_few_rounds() {
    let mut nodes = Nodes::in_memory();
    nodes.found(&[1, 2, 3]).await;
    nodes.net.set_delay(Duration::from_millis(5));
    let before = nodes.net.sent("n1", "n2");
    let outcomes = futures::future::join_all((0..1000).map(|_| nodes.group(1).confirm())).await;
    assert!(outcomes.iter().all(Result::is_ok));
    let rounds = nodes.net.sent("n1", "n2") - before;
    assert!(rounds < 50, "{rounds} messages for 1000 callers");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_confirmation_a_new_leader_has_all_that_was_committed() {
    let mut nodes = Nodes::in_memory();
    nodes.found(&[1, 2, 3]).await;
    for number in 0..20 {
        nodes.group(1).propose(Command::Note(number)).await.unwrap();
    }
    nodes.net.isolate(&["n1"], &ALL);
    let new = nodes.leader(&[2, 3]).await;
    nodes.group(new).confirm().await.unwrap();
    nodes.group(new).read(|ledger, _| assert!((0..20).all(|number| ledger.noted.contains(&number))));
}
