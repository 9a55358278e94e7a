//! The coordinator's group: the view as a replicated state machine, and who watches it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use chordata_consensus::{NodeId, ProposeError, SendError, Transport};
use chordata_protocol::chain::{Applied, Command, Event, Occasion, StoreId, View};
use chordata_protocol::{Address, Peer};
use chordata_rpc::{CallFailure, Pool, within};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::{Chain, SharedView};
use crate::node::Node;

/// How long a message of the group may take.
const MESSAGE_WITHIN: std::time::Duration = std::time::Duration::from_secs(2);

/// What the group agrees on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Agreement {
    /// The first view of all.
    Found(Box<View>),
    /// A change of it.
    Command(Command),
}

/// The view, as the group's state machine. None: nothing was agreed on yet.
#[derive(Debug, Default)]
pub struct Agreed {
    view: Option<SharedView>,
}

/// The state machine's name elsewhere.
pub type Machine = Agreed;

/// A node's part in the group.
pub type Group = chordata_consensus::Group<Agreed>;

impl Agreed {
    /// With this view.
    pub(super) fn on(view: View) -> Agreed {
        Agreed { view: Some(Arc::new(view)) }
    }

    /// The newest view that was agreed on, as far as this node knows.
    pub fn view(&self) -> Option<&SharedView> {
        self.view.as_ref()
    }
}

impl chordata_consensus::Machine for Agreed {
    type Command = Agreement;
    type Answer = Applied;

    fn apply(&mut self, _: u64, command: Agreement) -> Applied {
        match (command, &mut self.view) {
            (Agreement::Found(view), empty @ None) => {
                *empty = Some(Arc::new(*view));
                Applied::Done
            }
            (Agreement::Command(command), Some(view)) => Arc::make_mut(view).apply(&command),
            (Agreement::Found(_), Some(_)) | (Agreement::Command(_), None) => Applied::Stale,
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        postcard::to_stdvec(&self.view).expect("a view has no maps of unknown length and no failing fields")
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        self.view = postcard::from_bytes(snapshot).map_err(|error| error.to_string())?;
        Ok(())
    }
}

/// Is the command certainly not carried out?
pub(super) fn is_certain(error: &ProposeError) -> bool {
    !matches!(error, ProposeError::Unknown | ProposeError::Fatal(_))
}

/// Messages of the group over the nodes' connections.
pub struct OverPool(pub Pool);

impl Transport for OverPool {
    async fn send(&self, to: &str, message: Vec<u8>) -> Result<Vec<u8>, SendError> {
        let stub = self.0.ring(&Address::new(to));
        match stub.group(within(MESSAGE_WITHIN), Bytes::from(message)).await {
            Ok(Ok(answer)) => Ok(answer.to_vec()),
            Ok(Err(error)) => Err(SendError::NotSent(error.to_string())),
            Err(error) => {
                let failure = CallFailure::from(error);
                if failure.is_certain() {
                    Err(SendError::NotSent(failure.to_string()))
                } else {
                    Err(SendError::NoAnswer(failure.to_string()))
                }
            }
        }
    }
}

impl Node {
    /// Tells the member and the coordinator the newest view that was agreed on.
    pub(super) fn chain_agreed(&self, group: &Group) {
        if let Some(view) = group.read(|machine, _| machine.view().cloned()) {
            self.chain_event(Event::View(Arc::clone(&view)));
            self.chain_occasion(Occasion::Agreed(view));
            self.with_chain(|chain, _| self.compare_generations(chain));
        }
    }

    /// Watches the group until it stops: who leads, what is agreed on, who votes.
    pub(super) async fn watch_group(self, group: Group) {
        let mut leader = group.leader();
        let mut applied = group.applied();
        let mut members = group.members();
        let mut led = (0, None, false);
        loop {
            let leadership = leader.borrow_and_update().clone();
            let now = (leadership.term, leadership.leader, leadership.is_me);
            // Only with a view is there something to lead.
            let view = group.read(|machine, _| machine.view().cloned());
            if let Some(view) = view.filter(|_| now != led) {
                led = now;
                if leadership.is_me {
                    info!(node = %self.me().address, "this node coordinates the cluster from now on");
                    self.chain_occasion(Occasion::Elected(Arc::clone(&view)));
                    self.voters_are(&members.borrow_and_update().voters);
                } else {
                    self.chain_occasion(Occasion::Deposed);
                }
                let store = leadership.leader.map(|NodeId(store)| StoreId(store));
                if let Some(peer) = store.and_then(|store| view.peer(store)) {
                    self.chain_event(Event::Leader(peer.clone()));
                }
            }
            tokio::select! {
                changed = leader.changed() => if changed.is_err() { return },
                changed = applied.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    applied.borrow_and_update();
                    self.chain_agreed(&group);
                }
                changed = members.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let voters = members.borrow_and_update().voters.clone();
                    self.voters_are(&voters);
                }
                reason = group.stopped() => {
                    warn!(node = %self.me().address, %reason, "the coordinator's group has stopped on this node");
                    return;
                }
            }
        }
    }

    fn voters_are(&self, voters: &BTreeMap<NodeId, String>) {
        let voters: BTreeSet<StoreId> = voters.keys().map(|NodeId(store)| StoreId(*store)).collect();
        self.chain_occasion(Occasion::Voters(voters));
    }

    pub(super) fn change_voters(&self, chain: &Chain, voters: &BTreeSet<StoreId>) {
        let Some(view) = chain.group.read(|machine, _| machine.view().cloned()) else { return };
        let wanted: BTreeMap<NodeId, String> = voters
            .iter()
            .filter_map(|store| {
                let peer: &Peer = view.peer(*store)?;
                Some((NodeId(store.0), peer.address.as_str().to_owned()))
            })
            .collect();
        let (node, group) = (self.clone(), chain.group.clone());
        tokio::spawn(async move {
            let outcome = group.change_voters(&wanted).await;
            if let Err(error) = outcome {
                info!(node = %node.me().address, %error, "the voters are not changed yet");
            }
            let now = group.members().borrow().voters.clone();
            node.voters_are(&now);
        });
    }
}
