//! The network between the nodes of a test: by address, and under the test's control.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chordata_consensus::{Group, MESSAGE_BYTES_MAX, SendError, Transport};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::ledger::Ledger;

#[derive(Default)]
struct State {
    nodes: BTreeMap<String, Group<Ledger>>,
    cut: BTreeSet<(String, String)>,
    delay: Duration,
    /// How many of a hundred messages are lost, and as many answers.
    loss: u8,
    sent: BTreeMap<(String, String), u64>,
    largest: usize,
}

/// All nodes that are up, and what lies between them.
#[derive(Clone)]
pub(crate) struct Net {
    state: Arc<Mutex<State>>,
    /// While true, answers wait.
    hold: watch::Sender<bool>,
}

impl Net {
    pub(crate) fn new() -> Self {
        Self { state: Arc::default(), hold: watch::Sender::new(false) }
    }

    pub(crate) fn plug(&self, address: &str, group: Group<Ledger>) {
        self.state.lock().nodes.insert(address.to_owned(), group);
    }

    pub(crate) fn unplug(&self, address: &str) {
        let gone = self.state.lock().nodes.remove(address);
        drop(gone);
    }

    /// Cuts these off from all others, in both directions.
    pub(crate) fn isolate(&self, addresses: &[&str], others: &[&str]) {
        let mut state = self.state.lock();
        for one in addresses {
            for other in others.iter().filter(|other| !addresses.contains(other)) {
                state.cut.insert(((*one).to_owned(), (*other).to_owned()));
                state.cut.insert(((*other).to_owned(), (*one).to_owned()));
            }
        }
    }

    /// Cuts what this one sends; what was answered still comes back.
    pub(crate) fn cut_requests(&self, from: &str, to: &[&str]) {
        let mut state = self.state.lock();
        state.cut.extend(to.iter().map(|to| (from.to_owned(), (*to).to_owned())));
    }

    pub(crate) fn heal(&self) {
        self.state.lock().cut.clear();
    }

    pub(crate) fn set_delay(&self, delay: Duration) {
        self.state.lock().delay = delay;
    }

    pub(crate) fn set_loss(&self, percent: u8) {
        self.state.lock().loss = percent;
    }

    pub(crate) fn hold_answers(&self, hold: bool) {
        self.hold.send_replace(hold);
    }

    /// Messages that were sent from one to another.
    pub(crate) fn sent(&self, from: &str, to: &str) -> u64 {
        self.state.lock().sent.get(&(from.to_owned(), to.to_owned())).copied().unwrap_or(0)
    }

    pub(crate) fn largest(&self) -> usize {
        self.state.lock().largest
    }

    pub(crate) fn wire(&self, from: &str) -> Wire {
        Wire { from: from.to_owned(), net: self.clone() }
    }

    fn lost(&self) -> bool {
        fastrand::u8(..100) < self.state.lock().loss
    }
}

/// The network as one node sees it.
pub(crate) struct Wire {
    from: String,
    net: Net,
}

impl Transport for Wire {
    async fn send(&self, to: &str, message: Vec<u8>) -> Result<Vec<u8>, SendError> {
        assert!(message.len() <= MESSAGE_BYTES_MAX, "a message of {} bytes", message.len());
        let path = (self.from.clone(), to.to_owned());
        let back = (to.to_owned(), self.from.clone());
        let (delay, target) = {
            let mut state = self.net.state.lock();
            *state.sent.entry(path.clone()).or_default() += 1;
            state.largest = state.largest.max(message.len());
            let target = state.nodes.get(to).filter(|_| !state.cut.contains(&path)).cloned();
            (state.delay, target)
        };
        let Some(target) = target else { return Err(SendError::NotSent("cut".to_owned())) };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if self.net.lost() {
            return Err(SendError::NoAnswer("lost".to_owned()));
        }
        let answer = target.receive(message).await;
        let mut hold = self.net.hold.subscribe();
        hold.wait_for(|hold| !hold).await.unwrap();
        if self.net.lost() || self.net.state.lock().cut.contains(&back) {
            return Err(SendError::NoAnswer("lost".to_owned()));
        }
        Ok(answer)
    }
}
