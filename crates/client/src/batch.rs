//! Many keys at once: those of one owner travel in one request.

use std::collections::BTreeMap;
use std::time::Duration;

use chordata_protocol::chain::WriteId;
use chordata_protocol::{Address, BadInput, Key, Outcome, Policy, Record, Ttl, Value, Version};
use chordata_rpc::service::{Error, Level, Options, Route};
use chordata_rpc::within;
use tokio::time::Instant;

use crate::writes::{Naming, Writes};
use crate::{Client, Failure, PutOptions, Routing};

/// Keys in one request.
const KEYS_PER_REQUEST: usize = 1000;
/// Bytes of keys and values in one request.
const BYTES_PER_REQUEST: usize = 768 * 1024;
/// Pause after a round that brought nothing new (keys move, nodes are busy), times the number of such rounds; longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(25), Duration::from_millis(250));
/// How long one attempt may take that may be sent again.
const ATTEMPT_WITHIN: Duration = Duration::from_secs(3);
/// What is begun has at least so long, also when the time is nearly up.
const ATTEMPT_MIN: Duration = Duration::from_millis(250);

/// A key among many, and what is known of it so far.
struct Item<'a, I, T> {
    what: I,
    answer: Option<Result<T, Failure>>,
    /// The name under which it was sent, while that may have done something.
    name: Option<Naming<'a>>,
    /// An attempt of which nobody knows whether it was carried out.
    unknown: Option<Failure>,
    /// Why the last attempt brought nothing.
    last: Option<Failure>,
}

impl<I, T> Item<'_, I, T> {
    /// What came of an attempt: an answer, or a reason to try again.
    fn settle(&mut self, result: Result<T, Failure>, again: Again, writes: Option<&Writes>) {
        let reads = again == Again::Reading;
        let failure = match result.map_err(|failure| if reads { failure.of_reading() } else { failure }) {
            Ok(result) => {
                self.answer = Some(Ok(result));
                self.name = None;
                return;
            }
            Err(failure) => failure,
        };
        let first_sent = self.name.as_ref().map(|name| name.id.first_sent);
        match (failure, writes) {
            (failure @ (Failure::Unavailable(_) | Failure::Unreachable(_)), _) => {
                self.last = Some(failure);
            }
            (failure @ Failure::Unknown(_), _) if self.name.is_some() || again == Again::Later => {
                self.unknown = Some(failure);
            }
            // No attempt did anything: it is sent under a new name.
            (Failure::TooOld(view), Some(writes))
                if self.unknown.is_none() && first_sent.is_some_and(|first_sent| first_sent < view) =>
            {
                writes.saw(view);
            }
            (failure, _) => self.answer = Some(Err(self.unknown.take().unwrap_or(failure))),
        }
        if self.unknown.is_none() {
            self.name = None;
        }
    }

    /// The time is up. Once it is unknown whether a write was done, a later refusal does not make it certain.
    fn end(self) -> Result<T, Failure> {
        let lost = || Failure::Unavailable("the ring kept changing".to_owned());
        self.answer.unwrap_or_else(|| Err(self.unknown.or(self.last).unwrap_or_else(lost)))
    }
}

impl Client {
    /// Stores many values; an outcome per key, in their order. As with single writes, those whose outcome is unknown
    /// are sent again in a cluster of chains, and take effect once.
    pub async fn put_many(&self, entries: Vec<(Key, Value)>) -> Vec<Result<Outcome, Failure>> {
        self.put_many_with(entries, PutOptions::default()).await
    }

    /// The same, with what there is to choose of all these values.
    pub async fn put_many_with(
        &self,
        entries: Vec<(Key, Value)>,
        options: PutOptions,
    ) -> Vec<Result<Outcome, Failure>> {
        let PutOptions { ttl } = options;
        let size = |(key, value): &(Key, Value)| key.size() + value.len();
        let check = |(key, value): &(Key, Value)| {
            key.check(self.space()).and_then(|()| value.check()).and_then(|()| ttl.map_or(Ok(()), Ttl::check))
        };
        let writes = self.shared.writes.clone();
        let again = if self.shared.spread.is_some() { Again::Later } else { Again::Named };
        let work = Work {
            key: |(key, _): &(Key, Value)| key.clone(),
            check,
            size,
            again,
            weight: |_: &Outcome| 0,
            bytes_max: usize::MAX,
        };
        let outcomes =
            self.many(entries, work, writes.as_deref(), |client, to, route, batch, by, limit| async move {
                let options = Options { ttl, ..client.options(route, by) };
                client.pool().client(&to).put_many(within(limit), batch, options).await
            });
        // All are answered: nothing bounds their bytes.
        let outcomes: Vec<_> = outcomes.await.into_iter().flatten().collect();
        self.saw_all(outcomes.iter().flatten().map(|outcome| match outcome {
            Outcome::Written(version) => Some(*version),
            Outcome::Deleted(_) | Outcome::Conflict(_) => None,
        }));
        outcomes
    }

    /// Takes note of versions that were seen: in eventual mode what this client writes later is newer.
    pub fn saw_all(&self, versions: impl Iterator<Item = Option<Version>>) {
        if let Some(spread) = &self.shared.spread {
            spread.saw(versions.max().flatten());
        }
    }

    /// Reads many values; an answer per key, in their order.
    pub async fn get_many(&self, keys: Vec<Key>) -> Vec<Result<Option<Record>, Failure>> {
        self.read_many(keys, Level::Linearizable).await
    }

    /// The same, until the values have about so many bytes (an answer of one node more at most): none for a key that was
    /// not read then. For those who must keep all answers in memory.
    pub async fn get_many_up_to(
        &self,
        keys: Vec<Key>,
        bytes_max: usize,
    ) -> Vec<Option<Result<Option<Record>, Failure>>> {
        self.read_up_to(keys, Level::Linearizable, bytes_max).await
    }

    pub(crate) async fn read_many(
        &self,
        keys: Vec<Key>,
        level: Level,
    ) -> Vec<Result<Option<Record>, Failure>> {
        // All are answered: nothing bounds their bytes.
        self.read_up_to(keys, level, usize::MAX).await.into_iter().flatten().collect()
    }

    async fn read_up_to(
        &self,
        keys: Vec<Key>,
        level: Level,
        bytes_max: usize,
    ) -> Vec<Option<Result<Option<Record>, Failure>>> {
        let work = Work {
            key: Key::clone,
            check: |key: &Key| key.check(self.space()),
            size: Key::size,
            again: Again::Reading,
            weight: |record: &Option<Record>| record.as_ref().map_or(0, |record| record.value.len()),
            bytes_max,
        };
        let records = self.many(keys, work, None, |client, to, route, batch, _, limit| async move {
            let options = Options { level, ..client.options(route, None) };
            client.pool().client(&to).get_many(within(limit), batch, options).await
        });
        let records = records.await;
        let read = records.iter().flatten().flatten();
        self.saw_all(read.map(|record: &Option<Record>| Some(record.as_ref()?.version)));
        records
    }

    /// An answer for each; none for those that were left when the answers weighed enough.
    async fn many<I, T, K, C, Z, W, S, F>(
        &self,
        items: Vec<I>,
        work: Work<K, C, Z, W>,
        writes: Option<&Writes>,
        send: S,
    ) -> Vec<Option<Result<T, Failure>>>
    where
        I: Clone,
        K: Fn(&I) -> Key,
        C: Fn(&I) -> Result<(), BadInput>,
        Z: Fn(&I) -> usize,
        W: Fn(&T) -> usize,
        S: Fn(Client, Address, Route, Vec<I>, Option<WriteId>, Duration) -> F,
        F: Future<Output = Result<Vec<Result<T, Error>>, tarpc::client::RpcError>>,
    {
        let Work { key, check, size, again, weight, bytes_max } = work;
        let deadline = Instant::now() + self.shared.config.patience;
        let new = |what: I| {
            let answer = check(&what).err().map(|bad| Err(Failure::BadInput(bad)));
            Item { what, answer, name: None, unknown: None, last: None }
        };
        let mut items: Vec<Item<'_, I, T>> = items.into_iter().map(new).collect();
        let (mut left, mut vain, mut bytes) = (usize::MAX, 0, 0_usize);
        'rounds: loop {
            let open: Vec<usize> = (0..items.len()).filter(|place| items[*place].answer.is_none()).collect();
            vain = if open.len() < left { 0 } else { vain + 1 };
            left = open.len();
            let pause = (PAUSE.0 * vain).min(PAUSE.1);
            if open.is_empty() || (vain > 0 && Instant::now() + pause >= deadline) {
                break;
            }
            tokio::time::sleep(pause).await;
            let mut by_node: BTreeMap<Address, Vec<usize>> = BTreeMap::new();
            for place in open {
                match self.target(&key(&items[place].what)).await {
                    Ok(node) => by_node.entry(node).or_default().push(place),
                    Err(failure) => items[place].settle(Err(failure), Again::Reading, writes),
                }
            }
            for (node, mut places) in by_node {
                places.sort_by_key(|place| items[*place].name.as_ref().map(|name| name.id.sequence));
                let batches = batches(
                    &places,
                    |place| size(&items[place].what),
                    |one, next| follows(items[one].name.as_ref(), items[next].name.as_ref()),
                );
                for batch in batches {
                    if bytes >= bytes_max {
                        break 'rounds;
                    }
                    let by = writes.and_then(|writes| named(&mut items, &batch, writes));
                    let load = batch.iter().map(|place| items[*place].what.clone()).collect();
                    let limit = deadline.saturating_duration_since(Instant::now()).max(ATTEMPT_MIN);
                    let limit =
                        if by.is_some() || again != Again::Named { limit.min(ATTEMPT_WITHIN) } else { limit };
                    let result = send(self.clone(), node.clone(), self.route(), load, by, limit).await;
                    let results = self.results(&node, batch.len(), result);
                    bytes += results.iter().flatten().map(&weight).sum::<usize>();
                    for (place, result) in batch.into_iter().zip(results) {
                        items[place].settle(result, again, writes);
                    }
                }
            }
        }
        let is_enough = bytes >= bytes_max;
        items.into_iter().map(|item| (!is_enough || item.answer.is_some()).then(|| item.end())).collect()
    }

    fn route(&self) -> Route {
        match self.shared.config.routing {
            Routing::Client(_) => Route::Direct,
            Routing::Entry(policy) => Route::Entry(policy),
        }
    }

    /// Whom to send a key to.
    async fn target(&self, key: &Key) -> Result<Address, Failure> {
        let policy: Policy = match self.shared.config.routing {
            Routing::Entry(_) => return Ok(self.entry()),
            Routing::Client(policy) => policy,
        };
        let id = key.id(self.space());
        if let Some(spread) = &self.shared.spread {
            return Ok(self.replica(spread, id).await);
        }
        if let Some(owner) = self.shared.owners.lock().owner(id) {
            return Ok(owner.address);
        }
        let owner = self.locate(id, policy).await?.owner;
        let status =
            crate::status_of(self.pool(), &owner.address, self.shared.config.connect_timeout).await?;
        match status.serving {
            Some(range) => self.shared.owners.lock().serves(&owner, range),
            None => self.shared.owners.lock().served(&owner, id),
        }
        Ok(owner.address)
    }

    /// The answers of a node to so many requests; it is not asked first again if it does not have the keys.
    fn results<T>(
        &self,
        node: &Address,
        count: usize,
        result: Result<Vec<Result<T, Error>>, tarpc::client::RpcError>,
    ) -> Vec<Result<T, Failure>> {
        match result {
            Ok(mut results) => {
                if results.iter().any(|result| matches!(result, Err(Error::NotOwner(_) | Error::NotMember))) {
                    self.forget_address(node);
                }
                let silent = || Err(Error::Unknown("the node left this one out of its answer".to_owned()));
                results.resize_with(count, silent);
                results.into_iter().map(|result| result.map_err(Failure::from)).collect()
            }
            Err(error) => {
                self.forget_address(node);
                if let Routing::Entry(_) = self.shared.config.routing {
                    self.entry_failed(node);
                }
                let failure = Failure::from_call(error);
                (0..count).map(|_| Err(failure.clone())).collect()
            }
        }
    }

    fn forget_address(&self, node: &Address) {
        if let Some(spread) = &self.shared.spread {
            spread.avoid(node);
            self.entry_failed(node);
        }
        let peer = chordata_protocol::Peer::new(chordata_protocol::Id::ZERO, node.clone());
        self.shared.owners.lock().forget(&peer);
    }
}

/// What it means to send an item again whose outcome is unknown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Again {
    /// Nothing: it is a read.
    Reading,
    /// Nothing, if it has a name; else it is not done.
    Named,
    /// Eventual mode: another write of the same value.
    Later,
}

/// How to treat the items of a request for many.
struct Work<K, C, Z, W> {
    key: K,
    check: C,
    size: Z,
    /// When nobody knows what became of it.
    again: Again,
    /// Of an answer, in bytes.
    weight: W,
    /// When the answers weigh so much, nothing more is sent.
    bytes_max: usize,
}

/// Can the second be sent behind the first in one request? Names in a request are those behind the first one's.
fn follows(one: Option<&Naming<'_>>, next: Option<&Naming<'_>>) -> bool {
    match (one, next) {
        (None, None) => true,
        (Some(one), Some(next)) => {
            next.id.sequence == one.id.sequence + 1 && next.id.first_sent == one.id.first_sent
        }
        (None, Some(_)) | (Some(_), None) => false,
    }
}

/// The name of the first of a batch; those that have none are given theirs, one behind the other.
fn named<'a, I, T>(items: &mut [Item<'a, I, T>], batch: &[usize], writes: &'a Writes) -> Option<WriteId> {
    if items[*batch.first()?].name.is_none() {
        for (place, name) in batch.iter().zip(writes.begin_many(batch.len())) {
            items[*place].name = Some(name);
        }
    }
    items[*batch.first()?].name.as_ref().map(|name| name.id)
}

/// Cuts a list of places so that each part fits a request, and each place in it can follow the one before.
fn batches(
    places: &[usize],
    size: impl Fn(usize) -> usize,
    follows: impl Fn(usize, usize) -> bool,
) -> Vec<Vec<usize>> {
    let mut parts: Vec<Vec<usize>> = Vec::new();
    let mut bytes = 0;
    for place in places {
        let more = size(*place) + 64;
        match parts.last_mut() {
            Some(part)
                if part.len() < KEYS_PER_REQUEST
                    && bytes + more <= BYTES_PER_REQUEST
                    && part.last().is_some_and(|last| follows(*last, *place)) =>
            {
                bytes += more;
                part.push(*place);
            }
            Some(_) | None => {
                bytes = more;
                parts.push(vec![*place]);
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(writes: &Writes, count: usize) -> Vec<Item<'_, usize, u32>> {
        let new = |what| Item { what, answer: None, name: None, unknown: None, last: None };
        let mut items: Vec<Item<'_, usize, u32>> = (0..count).map(new).collect();
        let all: Vec<usize> = (0..count).collect();
        assert_eq!(named(&mut items, &all, writes).map(|by| by.sequence), Some(1));
        items
    }

    fn sequences(items: &[Item<'_, usize, u32>]) -> Vec<Option<u64>> {
        items.iter().map(|item| item.name.as_ref().map(|name| name.id.sequence)).collect()
    }

    #[test]
    fn what_may_have_been_done_keeps_its_name_and_what_was_not_gets_a_new_one() {
        let writes = Writes::new(5).unwrap();
        let mut items = items(&writes, 5);
        items[0].settle(Ok(1), Again::Named, Some(&writes));
        items[1].settle(Err(Failure::Unknown("no answer".into())), Again::Named, Some(&writes));
        items[2].settle(Err(Failure::Unavailable("elsewhere".into())), Again::Named, Some(&writes));
        items[3].settle(Err(Failure::Unknown("no answer".into())), Again::Named, Some(&writes));
        items[3].settle(Err(Failure::Unavailable("elsewhere".into())), Again::Named, Some(&writes));
        items[4].settle(Err(Failure::TooOld(9)), Again::Named, Some(&writes));
        assert_eq!(sequences(&items), [None, Some(2), None, Some(4), None]);
        assert!(items.iter().skip(1).all(|item| item.answer.is_none()), "they are sent again");

        // Those with names cannot travel with those that get theirs now, nor across a gap.
        let parts = batches(
            &[2, 4, 1, 3],
            |_| 1,
            |one, next| follows(items[one].name.as_ref(), items[next].name.as_ref()),
        );
        assert_eq!(parts, [vec![2, 4], vec![1], vec![3]]);
        let by = named(&mut items, &parts[0], &writes).unwrap();
        assert_eq!((by.sequence, by.done_below, by.first_sent), (6, 2, 9));
        assert_eq!(named(&mut items, &parts[1], &writes).unwrap().sequence, 2);

        // Nobody knows whether an earlier attempt did it: a later refusal makes that no more certain.
        items[1].settle(Err(Failure::TooOld(9)), Again::Named, Some(&writes));
        let unknown = Err(Failure::Unknown("no answer".into()));
        let ends: Vec<Result<u32, Failure>> = items.into_iter().map(Item::end).collect();
        assert_eq!(ends[..2], [Ok(1), unknown.clone()]);
        assert_eq!(ends[3], unknown);
        assert!(matches!(ends[2], Err(Failure::Unavailable(_))));
        assert_eq!(writes.begin().id.done_below, 8, "nothing is open any more");
    }

    #[test]
    fn without_names_an_unknown_outcome_is_final_for_writes_and_of_no_matter_for_reads() {
        let new = || Item::<'_, (), u32> { what: (), answer: None, name: None, unknown: None, last: None };
        let unknown = || Err(Failure::Unknown("no answer".into()));
        let mut write = new();
        write.settle(unknown(), Again::Named, None);
        assert_eq!(write.answer, Some(unknown()));
        let mut read = new();
        read.settle(unknown(), Again::Reading, None);
        assert_eq!(read.answer, None);
        assert!(read.end().unwrap_err().is_certain());
    }
}
