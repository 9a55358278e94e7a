//! Measures commits and confirmations of one and of three voters in one process, on disk.
//!
//! `cargo run --release -p chordata-consensus --example measure [directory]`
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on has failed")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chordata_consensus::{Group, Machine, NodeId, SendError, Settings, Storage, Transport};

#[derive(Default)]
struct Sum(u64);

impl Machine for Sum {
    type Command = (u64, Vec<u8>);
    type Answer = u64;

    fn apply(&mut self, _index: u64, (number, _payload): (u64, Vec<u8>)) -> u64 {
        self.0 = self.0.wrapping_add(number);
        self.0
    }

    fn snapshot(&self) -> Vec<u8> {
        self.0.to_le_bytes().to_vec()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        self.0 = u64::from_le_bytes(snapshot.try_into().map_err(|_| "not eight bytes")?);
        Ok(())
    }
}

type Plugged = Arc<Mutex<BTreeMap<String, Group<Sum>>>>;

struct Direct(Plugged);

impl Transport for Direct {
    async fn send(&self, to: &str, message: Vec<u8>) -> Result<Vec<u8>, SendError> {
        let target = self.0.lock().unwrap().get(to).cloned();
        match target {
            Some(group) => Ok(group.receive(message).await),
            None => Err(SendError::NotSent("no such node".to_owned())),
        }
    }
}

fn command(number: u64) -> (u64, Vec<u8>) {
    (number, vec![7; 100])
}

fn percentiles(name: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 100].as_secs_f64() * 1000.0;
    println!("  {name}: median {:.2} ms, 99 % {:.2} ms, largest {:.2} ms", at(50), at(99), at(100));
}

async fn measure(leader: &Group<Sum>) {
    let mut times = Vec::new();
    for number in 0..500 {
        let begun = Instant::now();
        leader.propose(command(number)).await.unwrap();
        times.push(begun.elapsed());
    }
    percentiles("one proposal at a time", times);
    let mut times = Vec::new();
    for _ in 0..500 {
        let begun = Instant::now();
        leader.confirm().await.unwrap();
        times.push(begun.elapsed());
    }
    percentiles("one confirmation at a time", times);
    for proposers in [16, 256, 2048] {
        let begun = Instant::now();
        let end = begun + Duration::from_secs(3);
        let tasks: Vec<_> = (0..proposers)
            .map(|_| {
                let leader = leader.clone();
                tokio::spawn(async move {
                    let mut done = 0_u32;
                    while Instant::now() < end {
                        leader.propose(command(1)).await.unwrap();
                        done += 1;
                    }
                    done
                })
            })
            .collect();
        let mut done = 0;
        for task in tasks {
            done += task.await.unwrap();
        }
        println!(
            "  {proposers} proposers: {:.0} proposals/s",
            f64::from(done) / begun.elapsed().as_secs_f64()
        );
    }
}

/// From the leader's falling silent until another is elected.
async fn hand_on(groups: &[Group<Sum>]) {
    let mut times = Vec::new();
    for _ in 0..20 {
        let leader = loop {
            let leads = |group: &&Group<Sum>| group.leader().borrow().is_me;
            if let Some(leader) = groups.iter().find(leads) {
                break leader;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        leader.propose(command(1)).await.unwrap();
        let begun = Instant::now();
        leader.step_down().await.unwrap();
        times.push(begun.elapsed());
    }
    percentiles("handing leadership on", times);
}

#[tokio::main]
async fn main() {
    let home = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    for voters in [1_u128, 3] {
        let directory = tempfile::tempdir_in(&home).unwrap();
        let plugged = Plugged::default();
        let mut groups = Vec::new();
        for id in 1..=voters {
            let path = directory.path().join(id.to_string());
            std::fs::create_dir(&path).unwrap();
            let settings = Settings::new(NodeId(id), Storage::Directory(path));
            let group = Group::start(settings, Sum::default(), Direct(Arc::clone(&plugged))).await.unwrap();
            plugged.lock().unwrap().insert(id.to_string(), group.clone());
            groups.push(group);
        }
        groups[0].bootstrap("1").await.unwrap();
        let all = (1..=voters).map(|id| (NodeId(id), id.to_string())).collect();
        groups[0].change_voters(&all).await.unwrap();
        println!("{voters} voter(s):");
        measure(&groups[0]).await;
        if voters > 1 {
            hand_on(&groups).await;
        }
        for group in groups {
            group.shutdown().await;
        }
        plugged.lock().unwrap().clear();
    }
}
