//! From a place that was granted into the ring: behind the predecessor, and again if the ring changes meanwhile.

use std::time::Duration;

use chordata_protocol::ring::{Change, Event};
use chordata_protocol::{Address, Peer, Placement};
use chordata_rpc::Pool;
use chordata_rpc::service::Joiner;
use tokio::time::Instant;

use super::StartError;
use super::admission::{BACKOFF, CONNECT_WITHIN, nearest_before};
use crate::node::Node;

pub(super) struct Joining<'a> {
    pub(super) node: &'a Node,
    pub(super) pool: &'a Pool,
    pub(super) patience: Duration,
    pub(super) contacts: &'a [Address],
}

impl Joining<'_> {
    /// Enters the ring behind the predecessor, asking for the place again if the ring changes meanwhile.
    pub(super) async fn enter(&self, predecessor: Option<Peer>) -> Result<(), StartError> {
        let Some(mut predecessor) = predecessor else {
            self.node.event(Event::StartAlone);
            return Ok(());
        };
        let (deadline, mut pause) = (Instant::now() + self.patience.max(CONNECT_WITHIN), BACKOFF.0);
        let too_fast = || StartError::NoRing("the ring changed too fast to enter it".to_owned());
        loop {
            let mut changes = self.node.watch();
            self.node.event(Event::StartJoin(predecessor.clone()));
            loop {
                let remaining = deadline.saturating_duration_since(Instant::now());
                match tokio::time::timeout(remaining, changes.recv()).await {
                    Ok(Ok(Change::Joined)) => return Ok(()),
                    Ok(Ok(Change::JoinFailed)) => break,
                    Ok(_) => {}
                    Err(_) => return Err(too_fast()),
                }
            }
            // Whoever cannot be reached says so at once, again and again.
            if Instant::now() + pause >= deadline {
                return Err(too_fast());
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(BACKOFF.1);
            predecessor = self.place_again(&predecessor, deadline).await?;
        }
    }

    async fn place_again(&self, last: &Peer, deadline: Instant) -> Result<Peer, StartError> {
        let mut pause = BACKOFF.0;
        let me = self.node.me();
        loop {
            if self.node.has_chains() {
                // Its place is its own: only somebody of the ring is to be found.
                let mut contacts = vec![last.address.clone()];
                contacts
                    .extend(self.node.inspect(|ring, _| {
                        ring.known().peers().map(|peer| peer.address).collect::<Vec<_>>()
                    }));
                contacts.extend(self.contacts.iter().filter(|contact| **contact != me.address).cloned());
                if let Some(peer) = nearest_before(self.pool, &contacts, self.node.space(), me.id).await {
                    return Ok(peer);
                }
            }
            for contact in std::iter::once(&last.address).chain(self.contacts) {
                if *contact == me.address || self.node.has_chains() {
                    continue;
                }
                let joiner = Joiner {
                    address: me.address.clone(),
                    placement: Placement::Fixed(me.id),
                    store: 0,
                    incarnation: 0,
                };
                let context = chordata_rpc::within(CONNECT_WITHIN);
                if let Ok(Ok(admission)) = self.pool.client(contact).connect(context, joiner).await {
                    return Ok(admission.predecessor);
                }
            }
            if Instant::now() + pause >= deadline {
                return Err(StartError::NoRing(
                    "the ring changed and did not admit this node again".to_owned(),
                ));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(BACKOFF.1);
        }
    }
}
