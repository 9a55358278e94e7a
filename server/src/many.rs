//! Many keys in one request: those that one node serves travel together.
//!
//! An owner is looked up for the first key that is left, and asked for its range; all keys of that range go there in
//! one call. Keys that have moved on meanwhile are left for the next round.

use std::future::Future;
use std::time::Duration;

use chordata_protocol::chain::WriteId;
use chordata_protocol::procedure::lookup::Located;
use chordata_protocol::{BadInput, Id, Key, Operation, Outcome, Peer, Policy, Record, Request, Response};
use chordata_rpc::service::{Error, Options, Route};
use futures::future::join_all;
use tokio::time::Instant;

use crate::node::Node;
use crate::peers::ANSWER_BYTES_MAX;
use crate::routing::{Carried, Routed};
use crate::trace;

/// Keys in one request, at most.
pub(crate) const KEYS_MAX: usize = 10_000;
/// Bytes of keys and values in one call to another node.
pub(crate) const CALL_BYTES_MAX: usize = 1024 * 1024;
/// How long keys that move are tried.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);

/// A key, what is to be done with it, and what came of it.
struct Item<I, T> {
    key: Key,
    id: Id,
    what: I,
    answer: Option<Result<T, Error>>,
}

/// What can be done with many keys.
trait Errand: Clone + Send {
    type Output: Clone + Send;
    const HANDLER: &'static str;

    fn size(&self) -> usize;
    /// Bytes that a result takes in the answer.
    fn result_size(output: &Self::Output) -> usize;
    fn here(
        &self,
        node: &Node,
        key: &Key,
        options: &Options,
    ) -> impl Future<Output = Result<Self::Output, Error>> + Send;
    fn there(
        node: &Node,
        owner: &Peer,
        items: Vec<(Key, Self)>,
        number: u128,
    ) -> impl Future<Output = Carried<Vec<Result<Self::Output, Error>>>> + Send;
}

/// Changing, under a name if it may be sent again.
#[derive(Clone)]
struct Write {
    operation: Operation,
    by: Option<WriteId>,
}

impl Errand for Write {
    type Output = Outcome;
    const HANDLER: &'static str = "put_many";

    fn size(&self) -> usize {
        self.operation.value().map_or(0, |value| value.len())
    }

    fn result_size(_: &Outcome) -> usize {
        0
    }

    async fn here(&self, node: &Node, key: &Key, options: &Options) -> Result<Outcome, Error> {
        let options = Options { by: self.by, ..*options };
        node.apply_here(key, &self.operation, &options).await.map(|placed| placed.result)
    }

    async fn there(
        node: &Node,
        owner: &Peer,
        items: Vec<(Key, Write)>,
        number: u128,
    ) -> Carried<Vec<Result<Outcome, Error>>> {
        let context = trace::context_for(number, PATIENCE);
        let items = items.into_iter().map(|(key, Write { operation, by })| (key, operation, by)).collect();
        match node.pool().ring(&owner.address).apply_many(context, items).await {
            Ok(answers) => Carried::Answered(Ok(answers)),
            Err(error) => Carried::Failed(error.into()),
        }
    }
}

/// Reading.
#[derive(Clone, Copy)]
struct Read;

impl Errand for Read {
    type Output = Option<Record>;
    const HANDLER: &'static str = "get_many";

    fn size(&self) -> usize {
        0
    }

    fn result_size(output: &Option<Record>) -> usize {
        output.as_ref().map_or(0, |record| record.value.len())
    }

    async fn here(&self, node: &Node, key: &Key, options: &Options) -> Result<Option<Record>, Error> {
        node.read_here(key, options).await.map(|placed| placed.result)
    }

    async fn there(
        node: &Node,
        owner: &Peer,
        items: Vec<(Key, Read)>,
        number: u128,
    ) -> Carried<Vec<Result<Option<Record>, Error>>> {
        let keys = items.into_iter().map(|(key, _)| key).collect();
        let context = trace::context_for(number, PATIENCE);
        match node.pool().ring(&owner.address).read_many(context, keys).await {
            Ok(answers) => Carried::Answered(Ok(answers)),
            Err(error) => Carried::Failed(error.into()),
        }
    }
}

impl Node {
    pub(crate) async fn apply_each(
        &self,
        items: Vec<(Key, Operation)>,
        options: Options,
        number: u128,
    ) -> Vec<Result<Outcome, Error>> {
        // Of many writes the first has the name that was given, the others those behind it.
        let name = |by: WriteId, place: u64| WriteId { sequence: by.sequence.saturating_add(place), ..by };
        let named = (0..).zip(items).map(|(place, (key, operation))| {
            (key, Write { operation, by: options.by.map(|by| name(by, place)) })
        });
        self.each(named.collect(), options, number).await
    }

    pub(crate) async fn read_each(
        &self,
        keys: Vec<Key>,
        options: Options,
        number: u128,
    ) -> Vec<Result<Option<Record>, Error>> {
        self.each(keys.into_iter().map(|key| (key, Read)).collect(), options, number).await
    }

    async fn each<E: Errand>(
        &self,
        items: Vec<(Key, E)>,
        options: Options,
        number: u128,
    ) -> Vec<Result<E::Output, Error>> {
        let count = items.len();
        if count > KEYS_MAX {
            return vec![Err(BadInput::TooManyKeys(count, KEYS_MAX).into()); count];
        }
        if let Route::Direct = options.route {
            return join_all(items.iter().map(|(key, what)| what.here(self, key, &options))).await;
        }
        let Route::Entry(policy) = options.route else { return Vec::new() };
        let mut items: Vec<Item<E, E::Output>> =
            items.into_iter().map(|(key, what)| self.item(key, what)).collect();
        Box::pin(self.route_each(&mut items, policy, &options, number)).await;
        let lost = || Err(Error::Unavailable("the ring kept changing".to_owned()));
        items.into_iter().map(|item| item.answer.unwrap_or_else(lost)).collect()
    }

    fn item<E: Errand>(&self, key: Key, what: E) -> Item<E, E::Output> {
        let answer = key.check(self.space()).err().map(|bad| Err(bad.into()));
        Item { id: key.id(self.space()), key, what, answer }
    }

    async fn route_each<E: Errand>(
        &self,
        items: &mut [Item<E, E::Output>],
        policy: Policy,
        options: &Options,
        number: u128,
    ) {
        let deadline = Instant::now() + PATIENCE;
        while let Some(first) = items.iter().find(|item| item.answer.is_none()).map(|item| item.id) {
            let answered = items.iter().filter_map(|item| item.answer.as_ref()?.as_ref().ok());
            if answered.map(E::result_size).sum::<usize>() > ANSWER_BYTES_MAX {
                // More than one answer can carry: the client asks for the rest again.
                for item in items.iter_mut().filter(|item| item.answer.is_none()) {
                    item.answer = Some(Err(Error::Overloaded));
                }
                return;
            }
            if Instant::now() >= deadline {
                return;
            }
            if !self.serves(first) {
                if self.carry_range(items, first, policy, number).await.is_err() {
                    tokio::time::sleep(PAUSE).await;
                }
                continue;
            }
            let mine = items.iter_mut().filter(|item| item.answer.is_none() && self.serves(item.id));
            let here = mine.map(|item| async move {
                item.answer = settled(item.what.here(self, &item.key, options).await);
                item.answer.is_some()
            });
            if !join_all(here).await.contains(&true) {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Finds who serves an identifier and carries all items of its range there. An error: try again in a while.
    async fn carry_range<E: Errand>(
        &self,
        items: &mut [Item<E, E::Output>],
        id: Id,
        policy: Policy,
        number: u128,
    ) -> Result<(), ()> {
        let routed = Routed { handler: E::HANDLER, policy, trace: false, number, repeatable: false };
        let (range, owner) = match self.chain_located(id) {
            Some(located) => located,
            None => {
                let Located { owner, .. } = self.locate(&routed, id).await.map_err(|_| ())?;
                let described = self.call_for_walk(&owner, Request::Describe, number).await;
                let Ok(Response::Described(description)) = described else { return Err(()) };
                (description.serving.filter(|range| range.contains(id)).ok_or(())?, owner)
            }
        };
        let mut bytes = 0;
        let batch: Vec<usize> = (0..items.len())
            .filter(|place| items[*place].answer.is_none() && range.contains(items[*place].id))
            .take_while(|place| {
                let first = bytes == 0;
                bytes += items[*place].key.size() + items[*place].what.size() + 64;
                first || bytes <= CALL_BYTES_MAX
            })
            .collect();
        let load =
            batch.iter().map(|place| (items[*place].key.clone(), items[*place].what.clone())).collect();
        match E::there(self, &owner, load, number).await {
            Carried::Answered(Ok(answers)) => {
                let moved = answers.iter().any(|answer| settled(answer.clone()).is_none());
                for (place, answer) in batch.iter().zip(answers) {
                    items[*place].answer = settled(answer);
                }
                if moved { Err(()) } else { Ok(()) }
            }
            Carried::Answered(Err(error)) => {
                batch.iter().for_each(|place| items[*place].answer = Some(Err(error.clone())));
                Ok(())
            }
            Carried::Failed(failure) => {
                self.silent(&owner.address, owner.id);
                if !failure.is_certain() && E::HANDLER == "put_many" {
                    let unknown = Error::Unknown(failure.to_string());
                    batch.iter().for_each(|place| items[*place].answer = Some(Err(unknown.clone())));
                }
                Err(())
            }
        }
    }
}

/// An answer, unless it only says that the key is elsewhere by now, or did not fit.
fn settled<T>(answer: Result<T, Error>) -> Option<Result<T, Error>> {
    match answer {
        Err(Error::NotOwner(_) | Error::NotMember | Error::Overloaded) => None,
        answer => Some(answer),
    }
}
