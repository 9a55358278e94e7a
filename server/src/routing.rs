//! Requests that this node routes for a client: look the owner up, carry the request there, and try again while the
//! ring changes.
//!
//! A request that certainly was not carried out is tried again until its time is up. One that may have been is not:
//! a write is then answered "unknown", a read is asked again, as reading twice does no harm.

use std::time::Duration;

use chordata_protocol::procedure::lookup::{self, Located, Lookup, NotLocated};
use chordata_protocol::{Id, Key, Operation, Outcome, Peer, Policy, Record, Why};
use chordata_rpc::CallFailure;
use chordata_rpc::service::{Answer, Error, Options, Placed, Route, Trip};
use tokio::time::Instant;

use crate::node::Node;
use crate::trace;

/// How long a request is tried.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause before the ring is asked again.
/// Nodes named by others' views that one attempt asks.
const VIEWS_FOLLOWED_MAX: usize = 4;
const PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(200));

/// What became of a request that was carried to an owner.
pub(crate) enum Carried<T> {
    Answered(Result<T, Error>),
    Failed(CallFailure),
}

/// What is the same for all attempts at a request.
pub(crate) struct Routed {
    pub(crate) handler: &'static str,
    pub(crate) policy: Policy,
    pub(crate) trace: bool,
    pub(crate) number: u128,
    /// May it be sent again when nobody knows whether it was done?
    pub(crate) repeatable: bool,
}

/// Carries a request to a node, and on to the one that its view names instead, if it does.
async fn carry_on<T, C, F>(carry: &C, owner: Peer) -> Carried<T>
where
    C: Fn(Peer) -> F,
    F: Future<Output = Carried<T>>,
{
    let mut to = owner;
    for _ in 0..VIEWS_FOLLOWED_MAX {
        match carry(to.clone()).await {
            Carried::Answered(Err(Error::NotOwner(candidates))) => {
                match candidates.into_iter().find(|named| named.why == Why::View && named.peer != to) {
                    Some(named) => to = named.peer,
                    None => return Carried::Answered(Err(Error::NotMember)),
                }
            }
            carried => return carried,
        }
    }
    Carried::Answered(Err(Error::NotMember))
}

fn trip(owner: Peer, path: Vec<lookup::Hop>, keep: bool) -> Trip {
    Trip {
        owner,
        hops: lookup::hops(&path),
        timeouts: lookup::timeouts(&path),
        path: if keep { path } else { Vec::new() },
    }
}

impl Node {
    pub(crate) fn trip_here(&self, id: Id, keep: bool) -> Trip {
        let hop = || lookup::Hop {
            peer: self.me().clone(),
            why: Why::Start,
            remaining: self.space().distance(self.me().id, id),
            elapsed: Duration::ZERO,
            answered: true,
        };
        trip(self.me().clone(), if keep { vec![hop()] } else { Vec::new() }, keep)
    }

    /// From here to a node that this one knew to ask.
    pub(crate) fn trip_to(&self, owner: &Peer, id: Id, keep: bool) -> Trip {
        let mut trip = self.trip_here(id, keep);
        if owner != self.me() {
            let remaining = self.space().distance(owner.id, id);
            let hop = lookup::Hop {
                peer: owner.clone(),
                why: Why::View,
                remaining,
                elapsed: Duration::ZERO,
                answered: true,
            };
            trip.path.extend(keep.then_some(hop));
            trip.owner = owner.clone();
            trip.hops = 1;
        }
        trip
    }

    /// Looks up who serves an identifier, from here.
    pub(crate) async fn locate(&self, routed: &Routed, id: Id) -> Result<Located, NotLocated> {
        let start = std::slice::from_ref(self.me());
        let walk = Lookup::new(self.space(), id, routed.policy, self.hop_limit(), start);
        self.drive(routed.handler, walk, routed.number).await
    }

    /// Looks an owner up, again while nobody is found, until the time is up.
    pub(crate) async fn lookup_here(&self, id: Id, policy: Policy, number: u128) -> Result<Trip, Error> {
        let routed = Routed { handler: "lookup", policy, trace: true, number, repeatable: true };
        let (deadline, mut pause) = (Instant::now() + PATIENCE, PAUSE.0);
        loop {
            match self.locate(&routed, id).await {
                Ok(Located { owner, path }) => return Ok(trip(owner, path, true)),
                Err(failed) => self.pause(&mut pause, deadline, failed.reason.to_string()).await?,
            }
        }
    }

    async fn pause(&self, pause: &mut Duration, deadline: Instant, reason: String) -> Result<(), Error> {
        if Instant::now() + *pause >= deadline {
            return Err(Error::Unavailable(reason));
        }
        tokio::time::sleep(*pause).await;
        *pause = (*pause * 2).min(PAUSE.1);
        Ok(())
    }

    /// Carries a request to the owner of an identifier.
    pub(crate) async fn route<T, C, F>(&self, routed: Routed, id: Id, carry: C) -> Result<Answer<T>, Error>
    where
        C: Fn(Peer) -> F,
        F: Future<Output = Carried<Placed<T>>>,
    {
        let (deadline, mut pause) = (Instant::now() + PATIENCE, PAUSE.0);
        // Once nobody knows whether an attempt was carried out, a later refusal does not make it certain.
        let mut uncertain: Option<String> = None;
        let outcome = |uncertain: &Option<String>, error: Error| match uncertain {
            Some(reason) => Error::Unknown(reason.clone()),
            None => error,
        };
        loop {
            let reason = match self.locate(&routed, id).await {
                Err(failed) => failed.reason.to_string(),
                Ok(Located { owner, path }) => match carry_on(&carry, owner.clone()).await {
                    Carried::Answered(Ok(Placed { result, at })) => {
                        return Ok(Answer { result, at, trip: trip(owner, path, routed.trace) });
                    }
                    // It has handed the key over, or left, since it was found.
                    Carried::Answered(Err(Error::NotOwner(_) | Error::NotMember)) => {
                        "the key moves to another node".to_owned()
                    }
                    Carried::Answered(Err(error)) => return Err(outcome(&uncertain, error)),
                    Carried::Failed(failure) => {
                        self.silent(&owner.address, owner.id);
                        if !failure.is_certain() && !routed.repeatable {
                            return Err(Error::Unknown(failure.to_string()));
                        }
                        if !failure.is_certain() && routed.handler != "get" {
                            uncertain = Some(failure.to_string());
                        }
                        failure.to_string()
                    }
                },
            };
            let paused = self.pause(&mut pause, deadline, reason).await;
            paused.map_err(|error| outcome(&uncertain, error))?;
        }
    }

    /// Changes a key, here or wherever it is served.
    pub(crate) async fn apply_routed(
        &self,
        handler: &'static str,
        key: Key,
        operation: Operation,
        options: Options,
        number: u128,
    ) -> Result<Answer<Outcome>, Error> {
        key.check(self.space())?;
        operation.check()?;
        let id = key.id(self.space());
        let policy = match options.route {
            Route::Direct => None,
            Route::Entry(policy) => (!self.serves(id)).then_some(policy),
        };
        let Some(policy) = policy else {
            let result = self.apply_at(id, &key, &operation, &options).await;
            self.trace_key(number, handler, &key, id, &result);
            let Placed { result, at } = result?;
            return Ok(Answer { result, at, trip: self.trip_here(id, options.trace) });
        };
        self.trace_entry(number, handler, &key, id);
        let by = options.by;
        let routed = Routed { handler, policy, trace: options.trace, number, repeatable: by.is_some() };
        // Boxed: room for it in the future of every request would cost those that need no walk.
        let walk = self.route(routed, id, |owner| {
            let (key, operation) = (key.clone(), operation.clone());
            async move {
                if owner == *self.me() {
                    return Carried::Answered(self.apply_at(id, &key, &operation, &options).await);
                }
                let context = trace::context_for(number, PATIENCE);
                match self.pool().ring(&owner.address).apply(context, key, operation, by).await {
                    Ok(answer) => Carried::Answered(answer),
                    Err(error) => Carried::Failed(error.into()),
                }
            }
        });
        Box::pin(walk).await
    }

    /// Reads a key, here or wherever it is served.
    pub(crate) async fn read_routed(
        &self,
        key: Key,
        options: Options,
        number: u128,
    ) -> Result<Answer<Option<Record>>, Error> {
        key.check(self.space())?;
        let id = key.id(self.space());
        let policy = match options.route {
            Route::Direct => None,
            Route::Entry(policy) => (!self.serves(id)).then_some(policy),
        };
        let Some(policy) = policy else {
            let result = self.read_at(id, &key, &options).await;
            self.trace_key(number, "get", &key, id, &result);
            let Placed { result, at } = result?;
            return Ok(Answer { result, at, trip: self.trip_here(id, options.trace) });
        };
        self.trace_entry(number, "get", &key, id);
        let routed = Routed { handler: "get", policy, trace: options.trace, number, repeatable: true };
        // Boxed: room for it in the future of every request would cost those that need no walk.
        let walk = self.route(routed, id, |owner| {
            let key = key.clone();
            async move {
                if owner == *self.me() {
                    return Carried::Answered(self.read_at(id, &key, &options).await);
                }
                let context = trace::context_for(number, PATIENCE);
                match self.pool().ring(&owner.address).read(context, key).await {
                    Ok(answer) => Carried::Answered(answer),
                    Err(error) => Carried::Failed(error.into()),
                }
            }
        });
        Box::pin(walk).await
    }

    pub(crate) fn trace_entry(&self, number: u128, handler: &str, key: &Key, id: Id) {
        if trace::is_on() {
            trace::hop(self.me(), number, format_args!("{handler} {key} ({id:?}) entered here"));
        }
    }

    pub(crate) fn trace_key<T>(
        &self,
        number: u128,
        handler: &str,
        key: &Key,
        id: Id,
        result: &Result<T, Error>,
    ) {
        if trace::is_on() {
            let became = match result {
                Ok(_) => "done here".to_owned(),
                Err(error) => format!("refused: {error}"),
            };
            trace::hop(self.me(), number, format_args!("{handler} {key} ({id:?}) {became}"));
        }
    }
}
