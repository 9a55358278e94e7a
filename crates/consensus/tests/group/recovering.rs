//! A group is rebuilt from one node when the quorum is lost for good.

use chordata_consensus::{Machine, NodeId, Recovery, StoreError, forget, recover_quorum};

use crate::nodes::{Nodes, until, voters};

#[tokio::test(flavor = "multi_thread")]
async fn one_node_rebuilds_the_group_and_the_old_members_cannot_reach_it() {
    let mut nodes = Nodes::on_disk();
    let all = [1, 2, 3];
    nodes.found(&all).await;
    for number in 0..20 {
        nodes.note(&all, number).await;
    }
    let kept = nodes.agreed(&all).await;
    let index = *nodes.group(1).applied().borrow();
    let term = nodes.group(1).leader().borrow().term;
    let recovery = Recovery {
        id: NodeId(3),
        address: "n3".into(),
        state: kept.snapshot(),
        index: index + 1000,
        term: 0,
    };
    let running = recover_quorum(&nodes.directory(3), &recovery);
    assert!(matches!(running, Err(StoreError::InUse { .. })), "{running:?}");
    nodes.stop(&all).await;

    recover_quorum(&nodes.directory(3), &recovery).unwrap();
    nodes.start(&[3]).await;
    assert_eq!(nodes.leader(&[3]).await, 3);
    nodes.group(3).confirm().await.unwrap();
    assert_eq!(nodes.ledger(3).noted, kept.noted);
    assert_eq!(nodes.group(3).members().borrow().voters, voters(&[3]));
    assert!(nodes.note(&[3], 100).await > index + 1000, "indexes go on above all that was ever seen");
    assert!(nodes.group(3).leader().borrow().term > term);

    // The others come back, against all that was said: they lead their old group and cannot touch the new one.
    nodes.start(&[1, 2]).await;
    nodes.leader(&[1, 2]).await;
    nodes.note(&[1, 2], 200).await;
    let before = nodes.net.sent("n1", "n3") + nodes.net.sent("n2", "n3");
    let sent = || nodes.net.sent("n1", "n3") + nodes.net.sent("n2", "n3");
    until("messages of the old group", || (sent() > before + 5).then_some(())).await;
    assert!(!nodes.ledger(3).noted.contains(&200));
    nodes.note(&[3], 101).await;

    // Nor do they join it before they forget.
    nodes.stop(&[1, 2]).await;
    for id in [1, 2] {
        forget(&nodes.directory(id), NodeId(id)).unwrap();
    }
    nodes.start(&[1, 2]).await;
    nodes.group(3).change_voters(&voters(&all)).await.unwrap();
    let ledger = nodes.agreed(&all).await;
    assert!(ledger.noted.contains(&101) && !ledger.noted.contains(&200));
    nodes.stop(&all).await;
    nodes.start(&all).await;
    nodes.agreed(&all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuilt_group_goes_on_above_what_its_own_log_knew_and_takes_a_damaged_one() {
    let mut nodes = Nodes::on_disk();
    nodes.found(&[1]).await;
    for number in 0..10 {
        nodes.note(&[1], number).await;
    }
    let index = *nodes.group(1).applied().borrow();
    let term = nodes.group(1).leader().borrow().term;
    let state = nodes.ledger(1).snapshot();
    nodes.stop(&[1]).await;
    let recovery = Recovery { id: NodeId(1), address: "n1".into(), state, index: 0, term: 0 };
    let mixed_up = recover_quorum(&nodes.directory(1), &Recovery { id: NodeId(2), ..recovery.clone() });
    assert!(matches!(mixed_up, Err(StoreError::OtherNode { .. })), "{mixed_up:?}");
    recover_quorum(&nodes.directory(1), &recovery).unwrap();
    nodes.start(&[1]).await;
    assert!(nodes.note(&[1], 10).await > index);
    assert!(nodes.group(1).leader().borrow().term > term);
    assert!(nodes.ledger(1).noted.into_iter().eq(0..11));
    nodes.stop(&[1]).await;

    std::fs::write(nodes.directory(1).join("raft.redb"), b"damaged").unwrap();
    recover_quorum(&nodes.directory(1), &Recovery { index: 500, term: 9, ..recovery }).unwrap();
    nodes.start(&[1]).await;
    assert!(nodes.note(&[1], 10).await > 500);
    assert!(nodes.group(1).leader().borrow().term > 9);
    assert!(nodes.ledger(1).noted.into_iter().eq(0..11));
}
