//! Many keys at once: those of one owner travel in one request.

use std::collections::BTreeMap;
use std::time::Duration;

use chordata_protocol::{Address, BadInput, Key, Outcome, Policy, Record, Value};
use chordata_rpc::service::{Error, Route};
use chordata_rpc::within;

use crate::{Client, Failure, Routing};

/// Keys in one request.
const KEYS_PER_REQUEST: usize = 1000;
/// Bytes of keys and values in one request.
const BYTES_PER_REQUEST: usize = 768 * 1024;
/// Rounds that bring nothing new (keys move, nodes are busy), after which the rest is given up.
const VAIN_ROUNDS_MAX: u32 = 8;
/// Pause after a round that brought nothing new, times the number of such rounds.
const PAUSE: Duration = Duration::from_millis(25);

impl Client {
    /// Stores many values; an outcome per key, in their order.
    pub async fn put_many(&self, entries: Vec<(Key, Value)>) -> Vec<Result<Outcome, Failure>> {
        let size = |(key, value): &(Key, Value)| key.size() + value.len();
        let check = |(key, value): &(Key, Value)| key.check(self.space()).and_then(|()| value.check());
        self.many(
            entries,
            |(key, _)| key,
            check,
            size,
            |client, to, route, batch, limit| async move {
                let options = client.options(route, None);
                client.pool().client(&to).put_many(within(limit), batch, options).await
            },
        )
        .await
    }

    /// Reads many values; an answer per key, in their order.
    pub async fn get_many(&self, keys: Vec<Key>) -> Vec<Result<Option<Record>, Failure>> {
        self.many(
            keys,
            |key| key,
            |key: &Key| key.check(self.space()),
            Key::size,
            |client, to, route, batch, limit| async move {
                let options = client.options(route, None);
                client.pool().client(&to).get_many(within(limit), batch, options).await
            },
        )
        .await
    }

    async fn many<I, T, S, F>(
        &self,
        items: Vec<I>,
        key: impl Fn(&I) -> &Key,
        check: impl Fn(&I) -> Result<(), BadInput>,
        size: impl Fn(&I) -> usize,
        send: S,
    ) -> Vec<Result<T, Failure>>
    where
        I: Clone,
        S: Fn(Client, Address, Route, Vec<I>, std::time::Duration) -> F,
        F: Future<Output = Result<Vec<Result<T, Error>>, tarpc::client::RpcError>>,
    {
        let mut answers: Vec<Option<Result<T, Failure>>> =
            items.iter().map(|item| check(item).err().map(|bad| Err(Failure::BadInput(bad)))).collect();
        let (mut left, mut vain) = (usize::MAX, 0);
        loop {
            let open: Vec<usize> = (0..items.len()).filter(|place| needs_answer(&answers[*place])).collect();
            vain = if open.len() < left { 0 } else { vain + 1 };
            left = open.len();
            if open.is_empty() || vain > VAIN_ROUNDS_MAX {
                break;
            }
            tokio::time::sleep(PAUSE * vain).await;
            let mut by_node: BTreeMap<Address, Vec<usize>> = BTreeMap::new();
            for place in open {
                match self.target(key(&items[place])).await {
                    Ok(node) => by_node.entry(node).or_default().push(place),
                    Err(failure) => answers[place] = Some(Err(failure)),
                }
            }
            for (node, places) in by_node {
                for batch in batches(&places, |place| size(&items[place])) {
                    let load = batch.iter().map(|place| items[*place].clone()).collect();
                    let limit = self.shared.config.patience;
                    let result = send(self.clone(), node.clone(), self.route(), load, limit).await;
                    self.settle(&node, &batch, result, &mut answers);
                }
            }
        }
        let lost = || Err(Failure::Unavailable("the ring kept changing".to_owned()));
        answers.into_iter().map(|answer| answer.unwrap_or_else(lost)).collect()
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

    fn settle<T>(
        &self,
        node: &Address,
        batch: &[usize],
        result: Result<Vec<Result<T, Error>>, tarpc::client::RpcError>,
        answers: &mut [Option<Result<T, Failure>>],
    ) {
        match result {
            Ok(results) => {
                for (place, result) in batch.iter().zip(results) {
                    if let Err(Error::NotOwner(_) | Error::NotMember) = &result {
                        self.forget_address(node);
                    }
                    answers[*place] = Some(result.map_err(Failure::from));
                }
            }
            Err(error) => {
                self.forget_address(node);
                let failure = Failure::from_call(error);
                batch.iter().for_each(|place| answers[*place] = Some(Err(failure.clone())));
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

/// None yet, or one that says only that it was certainly not done this time.
fn needs_answer<T>(answer: &Option<Result<T, Failure>>) -> bool {
    matches!(answer, None | Some(Err(Failure::Unavailable(_) | Failure::Unreachable(_))))
}

/// Cuts a list of places so that each part fits a request.
fn batches(places: &[usize], size: impl Fn(usize) -> usize) -> Vec<Vec<usize>> {
    let mut parts: Vec<Vec<usize>> = Vec::new();
    let mut bytes = 0;
    for place in places {
        let more = size(*place) + 64;
        match parts.last_mut() {
            Some(part) if part.len() < KEYS_PER_REQUEST && bytes + more <= BYTES_PER_REQUEST => {
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
