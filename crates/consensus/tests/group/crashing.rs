//! Nodes that end in the middle of whatever they do, and come back with what they promised.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use chordata_consensus::{Group, NodeId, ProposeError, Settings, Storage};

use crate::ledger::{Command, Ledger};
use crate::net::Net;
use crate::nodes::{address, until, voters};

/// A node in a runtime of its own: when that is dropped, all of the node's tasks end where they are.
struct Process {
    group: Group<Ledger>,
    runtime: tokio::runtime::Runtime,
}

fn launch(net: &Net, directory: &Path, id: u128) -> Process {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let home = directory.join(address(id));
    std::fs::create_dir_all(&home).unwrap();
    let mut settings = Settings::new(NodeId(id), Storage::Directory(home));
    settings.snapshot_every = 40;
    settings.log_kept = 10;
    settings.timing.propose_timeout = Duration::from_millis(500);
    let started = Group::start(settings, Ledger::default(), net.wire(&address(id)));
    // Spawned, so that it runs on the node's own threads.
    let group = runtime.block_on(runtime.spawn(started)).unwrap().unwrap();
    net.plug(&address(id), group.clone());
    Process { group, runtime }
}

fn kill(net: &Net, id: u128, process: Process) {
    net.unplug(&address(id));
    // The tasks are gone first; only then may handles that are outside be dropped, or they would shut down in order.
    process.runtime.shutdown_timeout(Duration::from_secs(20));
    drop(process.group);
}

#[test]
fn nodes_that_are_killed_at_random_moments_lose_nothing_that_was_answered() {
    let directory = tempfile::tempdir().unwrap();
    let net = Net::new();
    let driver = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut up: BTreeMap<u128, Process> =
        (1..=3).map(|id| (id, launch(&net, directory.path(), id))).collect();
    driver.block_on(async {
        up[&1].group.bootstrap("n1").await.unwrap();
        up[&1].group.change_voters(&voters(&[1, 2, 3])).await.unwrap();
    });
    let mut random = fastrand::Rng::with_seed(11);
    let mut number = 0;
    let mut done = Vec::new();
    let mut refused = Vec::new();
    for _ in 0..25 {
        let groups: Vec<_> = up.values().map(|process| process.group.clone()).collect();
        // Commands go to all nodes, all the time, until the moment of the kill.
        let moment = Duration::from_micros(random.u64(1000..150_000));
        driver.block_on(async {
            let end = tokio::time::Instant::now() + moment;
            while tokio::time::Instant::now() < end {
                let proposed = groups.iter().map(|group| {
                    number += 1;
                    let number = number;
                    async move { (number, group.propose(Command::Note(number)).await) }
                });
                let Ok(outcomes) = tokio::time::timeout_at(end, futures::future::join_all(proposed)).await
                else {
                    break;
                };
                for (number, outcome) in outcomes {
                    match outcome {
                        Ok(_) => done.push(number),
                        Err(ProposeError::Unknown | ProposeError::Fatal(_)) => {}
                        Err(_) => refused.push(number),
                    }
                }
                tokio::task::yield_now().await;
            }
        });
        drop(groups);
        let victims: Vec<u128> = if random.u8(..4) == 0 { vec![1, 2, 3] } else { vec![random.u128(1..=3)] };
        for id in &victims {
            kill(&net, *id, up.remove(id).unwrap());
        }
        for id in victims {
            up.insert(id, launch(&net, directory.path(), id));
        }
        driver.block_on(until("a leader", || {
            up.values().any(|one| one.group.leader().borrow().is_me).then_some(())
        }));
    }
    assert!(done.len() > 50, "only {} commands were carried out", done.len());
    let ledger = driver.block_on(settled(&up));
    let counts = ledger.counts();
    for number in done {
        assert_eq!(counts.get(&number), Some(&1), "{number} was answered");
    }
    for number in refused {
        assert_eq!(counts.get(&number), None, "{number} was refused");
    }
    assert!(counts.values().all(|count| *count == 1), "something is doubled");
    for (id, process) in up {
        net.unplug(&address(id));
        driver.block_on(process.group.shutdown());
        process.runtime.shutdown_timeout(Duration::from_secs(20));
    }
}

/// Waits until all three hold the same, after one more command.
async fn settled(up: &BTreeMap<u128, Process>) -> Ledger {
    let mut last = u64::MAX;
    let index = loop {
        last -= 1;
        let mut committed = None;
        for process in up.values() {
            if let Ok((index, _)) = process.group.propose(Command::Note(last)).await {
                committed = Some(index);
                break;
            }
        }
        match committed {
            Some(index) => break index,
            None => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    for process in up.values() {
        let applied = process.group.applied();
        until("all entries applied", || (*applied.borrow() >= index).then_some(())).await;
    }
    let ledgers: Vec<Ledger> =
        up.values().map(|process| process.group.read(|ledger, _| ledger.clone())).collect();
    assert!(ledgers.iter().all(|ledger| ledger.noted == ledgers[0].noted), "the nodes differ");
    ledgers[0].clone()
}
