//! What proposers are told is what happened, whatever the network does meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use chordata_consensus::{Group, ProposeError};
use parking_lot::Mutex;

use crate::ledger::{Command, Ledger};
use crate::nodes::Nodes;

const ALL: [&str; 3] = ["n1", "n2", "n3"];

/// What became of each number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    CertainlyNot,
    Unknown,
}

fn outcome(answer: &Result<(u64, usize), ProposeError>) -> Outcome {
    match answer {
        Ok(_) => Outcome::Done,
        Err(ProposeError::Unknown | ProposeError::Fatal(_)) => Outcome::Unknown,
        Err(_) => Outcome::CertainlyNot,
    }
}

fn check(ledger: &Ledger, outcomes: &BTreeMap<u64, Outcome>) {
    let counts = ledger.counts();
    for (number, outcome) in outcomes {
        let count = counts.get(number).copied().unwrap_or(0);
        let right = match outcome {
            Outcome::Done => count == 1,
            Outcome::CertainlyNot => count == 0,
            Outcome::Unknown => count <= 1,
        };
        assert!(right, "{number} is there {count} times, and was {outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_leader_that_is_cut_off_takes_is_unknown_and_goes_when_another_leads() {
    let mut nodes = Nodes::in_memory();
    nodes.found(&[1, 2, 3]).await;
    nodes.group(1).propose(Command::Note(1)).await.unwrap();
    nodes.net.isolate(&["n1"], &ALL);
    let lost = nodes.group(1).propose(Command::Note(2));
    let (lost, new) = futures::future::join(lost, nodes.leader(&[2, 3])).await;
    assert_eq!(lost, Err(ProposeError::Unknown));
    nodes.group(new).propose(Command::Note(3)).await.unwrap();
    nodes.net.heal();
    let counts = nodes.agreed(&[1, 2, 3]).await.counts();
    assert_eq!((counts.get(&1), counts.get(&2), counts.get(&3)), (Some(&1), None, Some(&1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_is_removed_by_a_new_leader_is_unknown_and_not_refused() {
    let mut nodes =
        Nodes::in_memory().adjusted(|settings| settings.timing.propose_timeout = Duration::from_secs(20));
    nodes.found(&[1, 2, 3]).await;
    nodes.net.isolate(&["n1"], &ALL);
    let group = nodes.group(1).clone();
    let appended = tokio::spawn(async move { group.propose(Command::Note(2)).await });
    let new = nodes.leader(&[2, 3]).await;
    nodes.group(new).propose(Command::Note(3)).await.unwrap();
    nodes.net.heal();
    // Long before the time limit: the entry is gone, and who waited is told at once.
    let told = tokio::time::timeout(Duration::from_secs(10), appended).await.unwrap().unwrap();
    assert_eq!(told, Err(ProposeError::Unknown));
}

async fn write_for_ever(
    group: Group<Ledger>,
    numbers: Arc<AtomicU64>,
    outcomes: Arc<Mutex<BTreeMap<u64, Outcome>>>,
    enough: Arc<AtomicBool>,
) {
    while !enough.load(Ordering::Relaxed) {
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        let answer = group.propose(Command::Note(number)).await;
        outcomes.lock().insert(number, outcome(&answer));
        if answer.is_err() {
            // Refusals come at once; let the group do something meanwhile.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn outcomes_are_exact(mut nodes: Nodes, rounds: u32) {
    nodes.found(&[1, 2, 3]).await;
    let numbers = Arc::new(AtomicU64::new(0));
    let outcomes = Arc::new(Mutex::new(BTreeMap::new()));
    let enough = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..4)
        .flat_map(|_| nodes.up.values().cloned())
        .map(|group| {
            let (numbers, outcomes, enough) =
                (Arc::clone(&numbers), Arc::clone(&outcomes), Arc::clone(&enough));
            tokio::spawn(write_for_ever(group, numbers, outcomes, enough))
        })
        .collect();
    for _ in 0..rounds {
        let leader = nodes.leader(&[1, 2, 3]).await;
        let done = |outcomes: &BTreeMap<_, _>| outcomes.values().filter(|one| **one == Outcome::Done).count();
        let before = done(&outcomes.lock());
        crate::nodes::until("some are done", || (done(&outcomes.lock()) > before + 20).then_some(())).await;
        nodes.net.set_loss(fastrand::u8(0..10));
        nodes.net.isolate(&[&format!("n{leader}")], &ALL);
        let others: Vec<u128> = [1, 2, 3].into_iter().filter(|id| *id != leader).collect();
        nodes.leader(&others).await;
        nodes.net.set_loss(0);
        nodes.net.heal();
    }
    enough.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    let ledger = nodes.agreed(&[1, 2, 3]).await;
    let outcomes = outcomes.lock();
    check(&ledger, &outcomes);
    for wanted in [Outcome::Done, Outcome::CertainlyNot, Outcome::Unknown] {
        assert!(outcomes.values().any(|one| *one == wanted), "{wanted:?} never happened");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn outcomes_are_exact_while_leaders_are_cut_off_in_memory() {
    outcomes_are_exact(Nodes::in_memory(), 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outcomes_are_exact_while_leaders_are_cut_off_on_disk() {
    outcomes_are_exact(Nodes::on_disk().adjusted(|settings| settings.snapshot_every = 100), 4).await;
}
