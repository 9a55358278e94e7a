//! Clients' requests to a node whose data chains keep, and what changes the cluster: joining, leaving, forgetting.

use std::time::Duration;

use chordata_protocol::chain::{Applied, Command, Read, Refusal, Reply, StoreId, WriteId, WriteRequest};
use chordata_protocol::message::{Candidate, Response};
use chordata_protocol::{Id, Key, Operation, Outcome, Peer, Record, Request, Why};
use chordata_rpc::service::{Admission, Error, Joiner, Placed};
use chordata_rpc::{CallFailure, within};
use tokio::time::Instant;

use super::group::Agreement;
use super::waiters::Waiting;
use crate::node::Node;

/// How long a write waits for its commit, and a read for what it must wait for.
pub(super) const COMMIT_WITHIN: Duration = Duration::from_secs(8);
/// How long the leader may take for a command.
const PROPOSE_WITHIN: Duration = Duration::from_secs(4);
/// How long a node may take to be no member any more.
const LEAVE_WITHIN: Duration = Duration::from_secs(60);
/// Why a store is not admitted.
pub(crate) const BARRED: &str =
    "this store was forgotten by its cluster: empty its data directory to join as a new node";
/// Why a node cannot leave.
const LAST_MEMBER: &str =
    "this is the last node of the cluster, its keys would have nowhere to go: stop it instead";
const UNKNOWN_MEMBERS: &str =
    "this node does not know yet who else belongs to the cluster: ask again in a moment";
/// Pause before the leader is asked again.
const PAUSE: Duration = Duration::from_millis(100);
/// Predecessors of a joiner that are tried.
const PREDECESSORS_MAX: usize = 4;

pub(super) fn refused(refusal: Refusal) -> Error {
    match refusal {
        Refusal::NotHead(candidates) => Error::NotOwner(candidates),
        Refusal::Unavailable(reason) => Error::Unavailable(reason.to_owned()),
        Refusal::Overloaded => Error::Overloaded,
        Refusal::TooOld(view) => Error::TooOld(view),
    }
}

/// What a read finds.
enum Found {
    Here(Placed<Option<Record>>),
    /// When this comes, it is asked again.
    Later(Waiting<Reply>),
}

impl Node {
    /// Changes a key whose chain this node is the head of.
    pub(crate) async fn chain_apply(
        &self,
        id: Id,
        key: &Key,
        operation: &Operation,
        by: Option<WriteId>,
    ) -> Result<Placed<Outcome>, Error> {
        let now = self.now();
        let request = WriteRequest { id, key: key.clone(), operation: operation.clone(), by };
        let taken = self.with_chain(|chain, engine| {
            let current = match engine.version(id, key) {
                Ok(current) => current,
                Err(error) if error.is_survivable() => {
                    self.heal(chain, engine, (id, key), &error);
                    return Err(Refusal::Unavailable("the stored record is damaged: it is fetched again"));
                }
                Err(error) => crate::node::fatal(&error),
            };
            let caller = chain.caller();
            let answered = chain.replies.wait(caller);
            let (taken, effects) = chain.member.write(now, crate::wall::now(), caller, request, current);
            self.carry_chain(chain, engine, effects);
            taken.map(|()| answered)
        });
        let answered = taken.ok_or(Error::NotMember)?.map_err(refused)?;
        match tokio::time::timeout(COMMIT_WITHIN, answered).await {
            Ok(Ok(Reply::Done { outcome, at })) => Ok(Placed { result: outcome, at: Some(at) }),
            Ok(Ok(Reply::Unknown(reason))) => Err(Error::Unknown(reason.to_owned())),
            Ok(Ok(Reply::ReadAgain)) => Err(Error::Unknown("the node answered something else".to_owned())),
            Ok(Err(_)) => Err(Error::Unknown("the node stopped meanwhile".to_owned())),
            Err(_) => Err(Error::Unknown("the write is not committed yet".to_owned())),
        }
    }

    /// Reads a key that this node has a serving replica of.
    pub(crate) async fn chain_read(&self, id: Id, key: &Key) -> Result<Placed<Option<Record>>, Error> {
        let deadline = Instant::now() + COMMIT_WITHIN;
        loop {
            let now = self.now();
            let found = self.with_chain(|chain, engine| {
                let caller = chain.caller();
                match chain.member.read(now, caller, id, key) {
                    Read::Here(as_of) => match engine.get(id, key) {
                        Ok(record) => {
                            let at = record.as_ref().map_or(as_of, |record| record.version);
                            Ok(Found::Here(Placed { result: record, at: Some(at) }))
                        }
                        Err(error) if error.is_survivable() => {
                            self.heal(chain, engine, (id, key), &error);
                            Err(Error::Unavailable(format!("{error}; it is fetched again from a replica")))
                        }
                        Err(error) => crate::node::fatal(&error),
                    },
                    Read::Wait => Ok(Found::Later(chain.replies.wait(caller))),
                    Read::Ask(peer) => Err(Error::NotOwner(vec![Candidate { peer, why: Why::View }])),
                    Read::Elsewhere(candidates) => Err(Error::NotOwner(candidates)),
                    Read::Unavailable(reason) => Err(Error::Unavailable(reason.to_owned())),
                }
            });
            let answered = match found.ok_or(Error::NotMember)?? {
                Found::Here(placed) => return Ok(placed),
                Found::Later(answered) => answered,
            };
            if tokio::time::timeout_at(deadline, answered).await.is_err() {
                return Err(Error::Unavailable("a write of the key is not committed yet".to_owned()));
            }
        }
    }

    // Changes of the cluster.

    /// Has the group agree on a command, if this node leads it.
    pub(crate) async fn propose_here(&self, command: Command) -> Result<Applied, Error> {
        let Some(group) = self.with_chain(|chain, _| chain.group.clone()) else {
            return Err(Error::NotMember);
        };
        match group.propose(Agreement::Command(command)).await {
            Ok((_, applied)) => {
                self.chain_agreed(&group);
                Ok(applied)
            }
            Err(error) if super::group::is_certain(&error) => {
                let leader = self.leader().map(|peer| Candidate { peer, why: Why::View });
                Err(Error::NotOwner(leader.into_iter().collect()))
            }
            Err(error) => Err(Error::Unknown(error.to_string())),
        }
    }

    pub(crate) fn accept_loss_here(&self) -> Result<(), Error> {
        let led = self.with_chain(|chain, _| chain.coordinator.leads()).unwrap_or(false);
        if !led {
            let leader = self.leader().map(|peer| Candidate { peer, why: Why::View });
            return Err(Error::NotOwner(leader.into_iter().collect()));
        }
        self.chain_occasion(chordata_protocol::chain::Occasion::AcceptLoss);
        Ok(())
    }

    fn leader(&self) -> Option<Peer> {
        self.with_chain(|chain, _| chain.member.leader().cloned()).flatten()
    }

    /// Does something with whoever leads, again until it has an answer or the time is up.
    async fn with_leader<T, F>(&self, limit: Duration, ask: impl Fn(Peer) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<Result<T, Error>, CallFailure>>,
    {
        let deadline = Instant::now() + limit;
        let mut reason = "nobody is known to lead the cluster's coordinator".to_owned();
        let mut hint: Option<Peer> = None;
        loop {
            if let Some(peer) = hint.take().or_else(|| self.leader()) {
                match ask(peer).await {
                    Ok(Ok(answer)) => return Ok(answer),
                    Ok(Err(Error::NotOwner(mut candidates))) => {
                        hint = candidates.pop().map(|candidate| candidate.peer);
                        reason = "the coordinator's leader is changing".to_owned();
                    }
                    Ok(Err(error)) => return Err(error),
                    Err(failure) => reason = failure.to_string(),
                }
            }
            if Instant::now() + PAUSE >= deadline {
                return Err(Error::Unavailable(reason));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Has whoever leads agree on a command. Such commands may be sent twice.
    async fn propose_at_leader(&self, command: Command) -> Result<Applied, Error> {
        self.with_leader(PROPOSE_WITHIN, |peer| {
            let command = command.clone();
            async move {
                if peer == *self.me() {
                    return Ok(self.propose_here(command).await);
                }
                let stub = self.pool().ring(&peer.address);
                stub.propose(within(PROPOSE_WITHIN), command).await.map_err(CallFailure::from)
            }
        })
        .await
    }

    /// Admits a node: the group grants its place.
    pub(crate) async fn chain_admit(&self, joiner: Joiner) -> Result<Admission, Error> {
        let Joiner { address, placement, store, incarnation } = joiner;
        let store = StoreId(store);
        let command = Command::Admit {
            store,
            incarnation: chordata_protocol::chain::Incarnation(incarnation),
            address,
            placement,
        };
        let (place, view) = match self.propose_at_leader(command).await? {
            Applied::Admitted { place, view } => (place, view),
            Applied::Taken(peer) => return Err(Error::IdTaken(peer.id, peer.address)),
            Applied::Full => return Err(Error::RingFull(self.space().bits())),
            Applied::Barred => {
                return Err(Error::Barred(BARRED.to_owned()));
            }
            Applied::Prepared(_) | Applied::Done | Applied::Stale => {
                return Err(Error::Unavailable("the cluster is changing".to_owned()));
            }
        };
        let predecessor = self.live_predecessor(place).await;
        tracing::info!(node = %self.me().address, "{store} is admitted at {place:?}");
        Ok(Admission {
            id: place,
            successor: predecessor.clone(),
            view: Some(view),
            briefing: None,
            predecessor,
            settings: self.cluster().clone(),
        })
    }

    /// The nearest member before a place that answers; this node, if none of the first few does.
    async fn live_predecessor(&self, place: Id) -> Peer {
        let before: Vec<Peer> = self
            .with_chain(|chain, _| {
                let members = chain.member.view().map(|view| view.clockwise(place)).unwrap_or_default();
                let others = members.into_iter().map(|(_, member)| member.peer.clone());
                let mut others: Vec<Peer> = others.filter(|peer| peer.id != place).collect();
                others.reverse();
                others
            })
            .unwrap_or_default();
        for peer in before.into_iter().take(PREDECESSORS_MAX) {
            if peer == *self.me() {
                break;
            }
            if let Ok(Response::Pong(id)) = self.call(&peer, Request::Ping, 0).await
                && id == peer.id
            {
                return peer;
            }
        }
        self.me().clone()
    }

    /// Stops being a member: others take over what this node keeps. Answers when that is done.
    pub(crate) async fn chain_leave(&self) -> Result<(), Error> {
        // The view says who would take over, not the ring: a node that has just come back may not have neighbours yet.
        let (store, is_last) = self
            .with_chain(|chain, _| {
                let store = chain.member.store();
                let view = chain.member.view();
                (store, view.map(|view| view.members.keys().all(|member| *member == store)))
            })
            .ok_or(Error::NotMember)?;
        if is_last.ok_or_else(|| Error::Unavailable(UNKNOWN_MEMBERS.to_owned()))? {
            return Err(Error::Unavailable(LAST_MEMBER.to_owned()));
        }
        let mut changed = self.subscribe_serving();
        self.propose_at_leader(Command::Leave(store)).await?;
        let deadline = Instant::now() + LEAVE_WITHIN;
        loop {
            let gone = self.with_chain(|chain, _| chain.member.is_removed()).unwrap_or(true);
            if gone {
                return Ok(());
            }
            if tokio::time::timeout_at(deadline, changed.changed()).await.is_err() {
                let reason = "the others have not taken over yet: it goes on, ask again later";
                return Err(Error::Unavailable(reason.to_owned()));
            }
        }
    }

    /// A member will not come back: its places go to others, and its store may not return.
    pub(crate) async fn chain_forget(&self, id: Id) -> Result<(), Error> {
        let store = self.with_chain(|chain, _| {
            let view = chain.member.view()?;
            let member = view.members.iter().find(|(_, member)| member.peer.id == id)?;
            Some(*member.0)
        });
        let Some(store) = store.flatten() else {
            return Err(Error::Unavailable(format!("no member has the id {id:?}")));
        };
        match self.propose_at_leader(Command::Forget(store)).await? {
            Applied::Done => Ok(()),
            _ => Err(Error::Unavailable("it is the last member, or was forgotten already".to_owned())),
        }
    }

    /// An operator accepts that writes may be lost where no complete copy is left.
    pub(crate) async fn chain_accept_loss(&self) -> Result<(), Error> {
        self.with_leader(PROPOSE_WITHIN, |peer| async move {
            if peer == *self.me() {
                return Ok(self.accept_loss_here());
            }
            let stub = self.pool().ring(&peer.address);
            stub.accept_loss(within(PROPOSE_WITHIN)).await.map_err(CallFailure::from)
        })
        .await
    }
}
