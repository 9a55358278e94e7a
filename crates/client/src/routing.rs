//! Carrying a request to the node that serves its key.

use std::future::Future;
use std::time::Duration;

use chordata_protocol::chain::WriteId;
use chordata_protocol::message::Candidate;
use chordata_protocol::procedure::lookup::{self, Hop, Located, Lookup};
use chordata_protocol::procedure::{Procedure, Step};
use chordata_protocol::{
    CallError, Id, Key, Operation, Outcome, Peer, Policy, Record, Request, Response, Time, Why,
};
use chordata_rpc::service::{Answer, Error, Level, Options, Route, Trip};
use chordata_rpc::{ChordataStub, within};
use tarpc::client::RpcError;
use tokio::time::Instant;

use crate::failure::Failure;
use crate::spread::Spread;
use crate::{Client, Routing};

/// Pause before the ring is asked again, first and longest.
/// Nodes named by others' views that one attempt asks.
const VIEWS_FOLLOWED_MAX: usize = 3;
const PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(250));
/// How long one attempt at a request that may be sent again may take.
const ATTEMPT_WITHIN: Duration = Duration::from_secs(3);
/// How long one step of a lookup may take.
const STEP_WITHIN: Duration = Duration::from_secs(2);
/// The most nodes that a lookup asks.
const HOP_LIMIT: u32 = 512;

/// Who is to be asked instead of a node, by the view that this one has.
fn view_names<'a>(candidates: &'a [Candidate], instead_of: Option<&Peer>) -> Option<&'a Peer> {
    let named = candidates.iter().filter(|candidate| candidate.why == Why::View);
    named.map(|candidate| &candidate.peer).find(|peer| Some(*peer) != instead_of)
}

impl Client {
    pub(crate) async fn apply(&self, key: Key, operation: Operation) -> Result<Answer<Outcome>, Failure> {
        loop {
            let naming = self.shared.writes.as_ref().map(|writes| writes.begin());
            let by = naming.as_ref().map(|naming| naming.id);
            match (self.apply_named(&key, &operation, by).await, &self.shared.writes) {
                // No attempt did anything: it is sent under a new name.
                (Err(Failure::TooOld(view)), Some(writes)) if by.is_some_and(|by| by.first_sent < view) => {
                    writes.saw(view);
                }
                (result, _) => return result,
            }
        }
    }

    async fn apply_named(
        &self,
        key: &Key,
        operation: &Operation,
        by: Option<WriteId>,
    ) -> Result<Answer<Outcome>, Failure> {
        let id = key.id(self.shared.space);
        let send = |stub: ChordataStub, route: Route, limit: Duration| {
            let (key, operation) = (key.clone(), operation.clone());
            let options = Options { ttl: operation.ttl(), ..self.options(route, by) };
            async move {
                match operation {
                    Operation::Put { value, .. } => stub.put(within(limit), key, value, options).await,
                    Operation::Delete => stub.delete(within(limit), key, options).await,
                    Operation::CompareAndSwap { expected, value, .. } => {
                        stub.compare_and_swap(within(limit), key, expected, value, options).await
                    }
                }
            }
        };
        // In eventual mode a put that is sent again is a later one of the same value, and a swap is refused.
        let repeatable = by.is_some() || self.shared.spread.is_some();
        self.carry(id, repeatable, false, send).await
    }

    pub(crate) async fn read(&self, key: Key, level: Level) -> Result<Answer<Option<Record>>, Failure> {
        let id = key.id(self.shared.space);
        let send = |stub: ChordataStub, route: Route, limit: Duration| {
            let (key, options) = (key.clone(), Options { level, ..self.options(route, None) });
            async move { stub.get(within(limit), key, options).await }
        };
        self.carry(id, true, true, send).await
    }

    /// Carries a request, however routing is set. `repeatable`: may one with unknown outcome be sent again? `reads`: does
    /// it change nothing?
    async fn carry<T, S, F>(
        &self,
        id: Id,
        repeatable: bool,
        reads: bool,
        send: S,
    ) -> Result<Answer<T>, Failure>
    where
        S: Fn(ChordataStub, Route, Duration) -> F,
        F: Future<Output = Result<Result<Answer<T>, Error>, RpcError>>,
    {
        let deadline = Instant::now() + self.shared.config.patience;
        let (mut pause, mut unknown) = (PAUSE.0, None);
        loop {
            let limit = deadline.saturating_duration_since(Instant::now());
            let limit = if repeatable { limit.min(ATTEMPT_WITHIN) } else { limit };
            let attempt = match (self.shared.config.routing, &self.shared.spread) {
                (Routing::Entry(policy), _) => self.by_entry(policy, limit, &send).await,
                (Routing::Client(_), Some(spread)) => self.by_replica(spread, id, limit, &send).await,
                (Routing::Client(policy), None) => self.by_client(id, policy, limit, reads, &send).await,
            };
            let failure = match attempt {
                Ok(answer) => {
                    if let Some(spread) = &self.shared.spread {
                        spread.saw(answer.at);
                    }
                    return Ok(answer);
                }
                Err(failure @ (Failure::BadInput(_) | Failure::Refused(_) | Failure::NoNodes)) => {
                    return Err(failure);
                }
                // It is done, and what was sent again would be another write.
                Err(failure @ Failure::FewerCopies(_)) => {
                    if let (Failure::FewerCopies(Error::FewerCopies { version, .. }), Some(spread)) =
                        (&failure, &self.shared.spread)
                    {
                        spread.saw(Some(*version));
                    }
                    return Err(failure);
                }
                Err(failure @ Failure::TooOld(_)) => return Err(unknown.unwrap_or(failure)),
                Err(failure @ Failure::Unknown(_)) if !repeatable => return Err(failure),
                Err(failure) => failure,
            };
            if let Failure::Unknown(_) = failure {
                unknown = Some(failure.clone());
            }
            if Instant::now() + pause >= deadline {
                // Once it is unknown whether a write was done, a later refusal does not make it certain.
                let failure = unknown.unwrap_or(failure);
                return Err(if reads { failure.of_reading() } else { failure });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    async fn by_entry<T, S, F>(&self, policy: Policy, limit: Duration, send: &S) -> Result<Answer<T>, Failure>
    where
        S: Fn(ChordataStub, Route, Duration) -> F,
        F: Future<Output = Result<Result<Answer<T>, Error>, RpcError>>,
    {
        let entry = self.entry();
        let stub = self.shared.pool.client(&entry);
        let (failure, elsewhere) = match send(stub, Route::Entry(policy), limit).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => {
                let is_gone = matches!(error, Error::NotMember);
                (Failure::from(error), is_gone)
            }
            Err(error) => (Failure::from_call(error), false),
        };
        if elsewhere || matches!(failure, Failure::Unreachable(_) | Failure::Unknown(_)) {
            self.entry_failed(&entry);
        }
        Err(failure)
    }

    /// Eventual mode: asks this client's replica of the key; where nobody knows one, any node.
    async fn by_replica<T, S, F>(
        &self,
        spread: &Spread,
        id: Id,
        limit: Duration,
        send: &S,
    ) -> Result<Answer<T>, Failure>
    where
        S: Fn(ChordataStub, Route, Duration) -> F,
        F: Future<Output = Result<Result<Answer<T>, Error>, RpcError>>,
    {
        let node = self.replica(spread, id).await;
        let failure = match send(self.shared.pool.client(&node), Route::Direct, limit).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error @ Error::NotMember)) => {
                spread.avoid(&node);
                self.entry_failed(&node);
                Failure::from(error)
            }
            Ok(Err(error)) => Failure::from(error),
            Err(error) => {
                spread.avoid(&node);
                self.entry_failed(&node);
                Failure::from_call(error)
            }
        };
        Err(failure)
    }

    /// Whom to ask about an identifier: one of its replicas, or any node if none of them answers.
    pub(crate) async fn replica(&self, spread: &Spread, id: Id) -> chordata_protocol::Address {
        if spread.is_due() {
            let entry = self.entry();
            match self.shared.pool.client(&entry).get_conn_info(within(STEP_WITHIN)).await {
                Ok(Ok(members)) => spread.learn(&members.value),
                // It is not in the ring, or does not answer: the next one is asked when it is time again.
                Ok(Err(Error::NotMember)) | Err(_) => self.entry_failed(&entry),
                // The ring is not numbered yet: what was known is good enough.
                Ok(Err(_)) => {}
            }
        }
        let replicas = spread.replicas(id);
        match replicas.first() {
            Some(first) if !spread.are_avoided(&replicas) => first.clone(),
            _ => self.entry(),
        }
    }

    /// The next request begins elsewhere, if there is an elsewhere.
    pub(crate) fn entry_failed(&self, entry: &chordata_protocol::Address) {
        let mut entries = self.shared.entries.lock();
        if entries.first() == Some(entry) {
            entries.rotate_left(1);
        }
    }

    async fn by_client<T, S, F>(
        &self,
        id: Id,
        policy: Policy,
        limit: Duration,
        reads: bool,
        send: &S,
    ) -> Result<Answer<T>, Failure>
    where
        S: Fn(ChordataStub, Route, Duration) -> F,
        F: Future<Output = Result<Result<Answer<T>, Error>, RpcError>>,
    {
        let named = match &self.shared.config.home {
            Some(home) if reads && self.shared.writes.is_some() => {
                match send(self.shared.pool.client(home), Route::Direct, limit).await {
                    Ok(Ok(answer)) => return Ok(answer),
                    Ok(Err(Error::NotOwner(candidates))) => view_names(&candidates, None).cloned(),
                    Ok(Err(_)) | Err(_) => None,
                }
            }
            Some(_) | None => None,
        };
        let remembered = named.or_else(|| self.shared.owners.lock().owner(id));
        let (owner, path) = match remembered {
            Some(owner) => (owner, None),
            None => {
                let located = Box::pin(self.locate(id, policy)).await?;
                (located.owner, Some(located.path))
            }
        };
        let began = Instant::now();
        let asked = owner.clone();
        let (owner, sent) = self.send_on(owner, limit, send).await;
        match sent {
            Ok(Ok(mut answer)) => {
                // Another replica that answered a read is not the one to ask for the next range.
                if owner == asked {
                    self.shared.owners.lock().served(&answer.trip.owner, id);
                }
                answer.trip = self.trip(owner, id, path, began.elapsed());
                Ok(answer)
            }
            Ok(Err(error @ (Error::NotOwner(_) | Error::NotMember))) => {
                self.shared.owners.lock().forget(&owner);
                Err(error.into())
            }
            Ok(Err(error)) => Err(error.into()),
            Err(error) => {
                self.shared.owners.lock().forget(&owner);
                Err(Failure::from_call(error))
            }
        }
    }

    /// Sends to a node, and on to the one that its view names instead, if it does.
    async fn send_on<T, S, F>(
        &self,
        owner: Peer,
        limit: Duration,
        send: &S,
    ) -> (Peer, Result<Result<Answer<T>, Error>, RpcError>)
    where
        S: Fn(ChordataStub, Route, Duration) -> F,
        F: Future<Output = Result<Result<Answer<T>, Error>, RpcError>>,
    {
        let mut to = owner;
        let mut followed = 0;
        loop {
            let stub = self.shared.pool.client(&to.address);
            match send(stub, Route::Direct, limit).await {
                Ok(Err(Error::NotOwner(candidates))) if followed < VIEWS_FOLLOWED_MAX => {
                    followed += 1;
                    match view_names(&candidates, Some(&to)) {
                        Some(named) => to = named.clone(),
                        None => return (to, Ok(Err(Error::NotOwner(candidates)))),
                    }
                }
                sent => return (to, sent),
            }
        }
    }

    fn trip(&self, owner: Peer, id: Id, path: Option<Vec<Hop>>, elapsed: Duration) -> Trip {
        let keep = self.shared.config.trace;
        // A remembered owner is asked first and last: no node after the start.
        let path = match path {
            Some(path) => path,
            None if !keep => return Trip { owner, hops: 0, timeouts: 0, path: Vec::new() },
            None => vec![Hop {
                remaining: self.shared.space.distance(owner.id, id),
                peer: owner.clone(),
                why: Why::Cached,
                elapsed,
                answered: true,
            }],
        };
        Trip {
            owner,
            hops: lookup::hops(&path),
            timeouts: lookup::timeouts(&path),
            path: if keep { path } else { Vec::new() },
        }
    }

    /// Looks up who serves an identifier, asking one node after another from here.
    ///
    /// # Errors
    /// When nobody is found at the moment, or no node answers at all.
    pub async fn locate(&self, id: Id, policy: Policy) -> Result<Located, Failure> {
        let began = Instant::now();
        let now = || Time::from_micros(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
        let entries = self.shared.entries.lock().clone();
        // Where the entry nodes are on the ring does not matter: they are only asked.
        let start: Vec<Peer> = entries.iter().map(|address| Peer::new(Id::ZERO, address.clone())).collect();
        let mut walk = Lookup::new(self.shared.space, id, policy, HOP_LIMIT, &start).from_addresses();
        loop {
            match walk.step(now()) {
                Step::Done(Ok(located)) => return self.with_ids(located).await,
                Step::Done(Err(failed)) if failed.path.iter().all(|hop| !hop.answered) => {
                    return Err(Failure::Unreachable("no node of the cluster answers".to_owned()));
                }
                Step::Done(Err(failed)) => return Err(Failure::Unavailable(failed.reason.to_string())),
                Step::Sleep(pause) => tokio::time::sleep(pause).await,
                Step::Ask(questions) => {
                    for (ticket, peer, request) in questions {
                        let answer = self.ask(&peer, request).await;
                        walk.answered(now(), ticket, answer);
                    }
                }
            }
        }
    }

    async fn ask(&self, peer: &Peer, request: Request) -> Result<Response, CallError> {
        let Request::Find { target, policy } = request else { return Err(CallError::Unreachable) };
        match self.shared.pool.client(&peer.address).find(within(STEP_WITHIN), target, policy).await {
            Ok(Ok(found)) => Ok(Response::Found(found)),
            Ok(Err(_)) => Ok(Response::NotMember),
            Err(_) => Err(CallError::TimedOut),
        }
    }

    /// The start of a lookup was known by its address only: its place on the ring is asked for.
    async fn with_ids(&self, mut located: Located) -> Result<Located, Failure> {
        let space = self.shared.space;
        if let Some(first) = located.path.first_mut().filter(|hop| hop.why == Why::Start && hop.answered) {
            let status = crate::status_of(&self.shared.pool, &first.peer.address, STEP_WITHIN).await?;
            let target = first.remaining;
            first.peer.id = status.me.id;
            first.remaining = space.distance(status.me.id, target);
            if located.owner.address == first.peer.address {
                located.owner = status.me;
            }
        }
        Ok(located)
    }
}
