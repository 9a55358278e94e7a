//! The nodes of a test: started, stopped, waited for.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use chordata_consensus::{ChangeError, Group, Members, NodeId, ProposeError, Settings, Storage};

use crate::ledger::{Command, Ledger};
use crate::net::Net;

/// Nothing in these tests takes longer, unless it is broken.
const PATIENCE: Duration = Duration::from_secs(30);

/// Nodes 1, 2, 3, ... at the addresses "n1", "n2", "n3", ...
pub(crate) struct Nodes {
    pub(crate) net: Net,
    pub(crate) up: BTreeMap<u128, Group<Ledger>>,
    pub(crate) adjust: fn(&mut Settings),
    directory: Option<tempfile::TempDir>,
}

pub(crate) fn address(id: u128) -> String {
    format!("n{id}")
}

pub(crate) fn voters(ids: &[u128]) -> BTreeMap<NodeId, String> {
    ids.iter().map(|id| (NodeId(*id), address(*id))).collect()
}

/// Waits until `condition` gives something.
pub(crate) async fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl Nodes {
    pub(crate) fn in_memory() -> Self {
        Self { net: Net::new(), up: BTreeMap::new(), adjust: |_| {}, directory: None }
    }

    pub(crate) fn on_disk() -> Self {
        Self { directory: Some(tempfile::tempdir().unwrap()), ..Self::in_memory() }
    }

    pub(crate) fn adjusted(mut self, adjust: fn(&mut Settings)) -> Self {
        self.adjust = adjust;
        self
    }

    pub(crate) fn directory(&self, id: u128) -> PathBuf {
        let directory = self.directory.as_ref().unwrap().path().join(address(id));
        std::fs::create_dir_all(&directory).unwrap();
        directory
    }

    pub(crate) fn settings(&self, id: u128) -> Settings {
        let storage = match &self.directory {
            None => Storage::Memory,
            Some(_) => Storage::Directory(self.directory(id)),
        };
        let mut settings = Settings::new(NodeId(id), storage);
        (self.adjust)(&mut settings);
        settings
    }

    pub(crate) async fn start(&mut self, ids: &[u128]) {
        for id in ids {
            self.start_at(*id, &address(*id)).await;
        }
    }

    pub(crate) async fn start_at(&mut self, id: u128, address: &str) {
        let group = Group::start(self.settings(id), Ledger::default(), self.net.wire(address)).await.unwrap();
        self.net.plug(address, group.clone());
        self.up.insert(id, group);
    }

    pub(crate) async fn stop(&mut self, ids: &[u128]) {
        for id in ids {
            self.net.unplug(&address(*id));
            self.up.remove(id).unwrap().shutdown().await;
        }
    }

    /// A group of these, led by the first.
    pub(crate) async fn found(&mut self, ids: &[u128]) {
        self.start(ids).await;
        let first = &self.up[&ids[0]];
        first.bootstrap(&address(ids[0])).await.unwrap();
        first.change_voters(&voters(ids)).await.unwrap();
    }

    pub(crate) fn group(&self, id: u128) -> &Group<Ledger> {
        &self.up[&id]
    }

    /// Waits until this node's list has these voters and nobody else.
    pub(crate) async fn listed(&self, id: u128, voters: &BTreeMap<NodeId, String>) {
        let members = self.group(id).members();
        let listed =
            |members: &Members| members.voters == *voters && members.learners.is_empty() && !members.changing;
        until("the new list", || listed(&members.borrow()).then_some(())).await;
    }

    /// The one of `among` that all of them take for the leader.
    pub(crate) async fn leader(&self, among: &[u128]) -> u128 {
        until("a leader that all agree on", || {
            let believed: Vec<_> = among.iter().map(|id| self.group(*id).leader().borrow().clone()).collect();
            let leader = believed[0].leader?;
            let agreed = believed.iter().all(|one| one.leader == Some(leader));
            let leads = self.up.get(&leader.0).is_some_and(|group| group.leader().borrow().is_me);
            (agreed && leads && among.contains(&leader.0)).then_some(leader.0)
        })
        .await
    }

    /// Has whoever leads of `among` change the voters, again with the next leader, until it is done.
    pub(crate) async fn make_voters(&self, among: &[u128], wanted: &[u128]) {
        let begun = Instant::now();
        loop {
            let leader = self.leader(among).await;
            match self.group(leader).change_voters(&voters(wanted)).await {
                Ok(()) => return,
                Err(ChangeError::NotLeader { .. } | ChangeError::Unknown | ChangeError::Behind(_)) => {}
                Err(error) => panic!("{error}"),
            }
            assert!(begun.elapsed() < PATIENCE, "no leader stayed for as long as a change takes");
            // Who leads is known a moment after it changed.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Notes `number` with whoever leads of `among`, until it is done. Only for numbers that may be noted twice.
    pub(crate) async fn note(&self, among: &[u128], number: u64) -> u64 {
        let begun = Instant::now();
        loop {
            let leader = self.leader(among).await;
            match self.group(leader).propose(Command::Note(number)).await {
                Ok((index, _)) => return index,
                Err(ProposeError::NotLeader { .. } | ProposeError::Unknown) => {}
                Err(error) => panic!("{error}"),
            }
            assert!(begun.elapsed() < PATIENCE, "{number} was never noted");
        }
    }

    pub(crate) fn ledger(&self, id: u128) -> Ledger {
        self.group(id).read(|ledger, _| ledger.clone())
    }

    /// Waits until all of them applied this index.
    pub(crate) async fn applied(&self, ids: &[u128], index: u64) {
        for id in ids {
            let applied = self.group(*id).applied();
            until("all entries applied", || (*applied.borrow() >= index).then_some(())).await;
        }
    }

    /// Waits until all of them hold the same, and gives it.
    pub(crate) async fn agreed(&self, ids: &[u128]) -> Ledger {
        let last = self.note(ids, u64::MAX).await;
        self.applied(ids, last).await;
        let ledger = self.ledger(ids[0]);
        for id in &ids[1..] {
            assert_eq!(self.ledger(*id).noted, ledger.noted, "{id} differs from {}", ids[0]);
        }
        ledger
    }
}
