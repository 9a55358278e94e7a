//! Reads that take what any replica of a key has, on behalf of a client: [`Level::Any`](chordata_rpc::service::Level).
//!
//! What this node has itself is answered at once. For other keys the replicas are asked that its view of the chains
//! names, one after another, until one answers: no lease, no coordinator and no majority is needed.

use std::collections::BTreeMap;
use std::time::Duration;

use chordata_protocol::message::Candidate;
use chordata_protocol::{BadInput, Key, Peer, Record, Why};
use chordata_rpc::service::{Answer, Error, Options, Route};
use chordata_rpc::{CallFailure, within};
use futures::future::join_all;

use crate::many::{CALL_BYTES_MAX, KEYS_MAX};
use crate::node::Node;

/// How long one replica may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// A key, whom to ask for it, and what came of it.
struct Wanted {
    key: Key,
    replicas: Vec<Peer>,
    answer: Option<Result<(Option<Record>, Peer), Error>>,
    failure: Option<Error>,
}

impl Wanted {
    /// Who is asked in this round, if it still needs an answer.
    fn next(&self, round: usize) -> Option<&Peer> {
        self.replicas.get(round).filter(|_| self.answer.is_none())
    }
}

impl Node {
    /// What any replica has of a key.
    pub(crate) async fn any_routed(
        &self,
        key: Key,
        options: Options,
        number: u128,
    ) -> Result<Answer<Option<Record>>, Error> {
        let id = key.id(self.space());
        let mut answers = self.any_of(vec![key], options.route, number).await;
        let lost = || Err(Error::Unavailable("no replica answered".to_owned()));
        let (record, by) = answers.pop().unwrap_or_else(lost)?;
        let at = record.as_ref().map(|record| record.version);
        Ok(Answer { result: record, at, trip: self.trip_to(&by, id, options.trace) })
    }

    /// What any replicas have of many keys.
    pub(crate) async fn any_each(
        &self,
        keys: Vec<Key>,
        options: Options,
        number: u128,
    ) -> Vec<Result<Option<Record>, Error>> {
        let count = keys.len();
        if count > KEYS_MAX {
            return vec![Err(BadInput::TooManyKeys(count, KEYS_MAX).into()); count];
        }
        let answers = self.any_of(keys, options.route, number).await;
        answers.into_iter().map(|answer| answer.map(|(record, _)| record)).collect()
    }

    async fn any_of(
        &self,
        keys: Vec<Key>,
        route: Route,
        number: u128,
    ) -> Vec<Result<(Option<Record>, Peer), Error>> {
        let mut wanted: Vec<Wanted> = keys.into_iter().map(|key| self.wanted(key, number)).collect();
        let rounds = match route {
            Route::Direct => 0,
            Route::Entry(_) => wanted.iter().map(|wanted| wanted.replicas.len()).max().unwrap_or(0),
        };
        for round in 0..rounds {
            let mut by_node: BTreeMap<&Peer, Vec<usize>> = BTreeMap::new();
            for (place, wanted) in wanted.iter().enumerate() {
                if let Some(peer) = wanted.next(round) {
                    by_node.entry(peer).or_default().push(place);
                }
            }
            let batches = by_node.into_iter().flat_map(|(peer, places)| {
                let parts = cut(places, |place| wanted[place].key.size());
                parts.into_iter().map(move |places| (peer.clone(), places))
            });
            let asked: Vec<_> = batches
                .map(|(peer, places)| {
                    let keys = places.iter().map(|place| wanted[*place].key.clone()).collect();
                    async move {
                        let stub = self.pool().ring(&peer.address);
                        let answers = stub.read_any(within(ANSWER_WITHIN), keys).await;
                        (peer, places, answers.map_err(CallFailure::from))
                    }
                })
                .collect();
            for (peer, places, answers) in join_all(asked).await {
                match answers {
                    Ok(answers) => {
                        for (place, answer) in places.into_iter().zip(answers) {
                            wanted[place].take(&peer, answer);
                        }
                    }
                    Err(failure) => {
                        let error = Error::Unavailable(failure.to_string());
                        places.into_iter().for_each(|place| wanted[place].failure = Some(error.clone()));
                    }
                }
            }
        }
        wanted.into_iter().map(|wanted| wanted.end(route)).collect()
    }

    fn wanted(&self, key: Key, number: u128) -> Wanted {
        let (mut replicas, mut failure) = (Vec::new(), None);
        let here = match self.any_here(&key) {
            // What cannot be read here may be readable elsewhere.
            Some(Err(error)) if !matches!(error, Error::BadInput(_)) => {
                failure = Some(error);
                None
            }
            here => here,
        };
        if here.is_none() {
            replicas = self.chain_named(key.id(self.space()));
            replicas.retain(|peer| peer != self.me());
            // Not always the same one: any of them will do.
            if !replicas.is_empty() {
                let first = usize::try_from(number % replicas.len() as u128).unwrap_or(0);
                replicas.rotate_left(first);
            }
        }
        let answer = here.map(|answer| answer.map(|record| (record, self.me().clone())));
        Wanted { key, replicas, answer, failure }
    }
}

impl Wanted {
    fn take(&mut self, peer: &Peer, answer: Result<Option<Record>, Error>) {
        match answer {
            Ok(record) => self.answer = Some(Ok((record, peer.clone()))),
            // The answer was full: the client asks for the rest again.
            Err(Error::Overloaded) => self.answer = Some(Err(Error::Overloaded)),
            Err(error) => self.failure = Some(error),
        }
    }

    fn end(self, route: Route) -> Result<(Option<Record>, Peer), Error> {
        let Wanted { replicas, answer, failure, .. } = self;
        answer.unwrap_or_else(|| match route {
            Route::Direct => {
                let candidate = |peer| Candidate { peer, why: Why::View };
                Err(Error::NotOwner(replicas.into_iter().map(candidate).collect()))
            }
            Route::Entry(_) => {
                let reason = failure.map_or("this node knows none".to_owned(), |error| error.to_string());
                Err(Error::Unavailable(format!("no replica of the key answers: {reason}")))
            }
        })
    }
}

/// Parts that fit a call.
fn cut(places: Vec<usize>, size: impl Fn(usize) -> usize) -> Vec<Vec<usize>> {
    let (mut parts, mut bytes): (Vec<Vec<usize>>, usize) = (Vec::new(), 0);
    for place in places {
        bytes += size(place) + 64;
        match parts.last_mut() {
            Some(part) if bytes <= CALL_BYTES_MAX => part.push(place),
            Some(_) | None => {
                bytes = size(place) + 64;
                parts.push(vec![place]);
            }
        }
    }
    parts
}
