//! The cluster as a [`Store`].
//!
//! Who should have a copy of a key is told by a view of the whole cluster, which is kept for a while: 1000 chunks cost one
//! look, not 1000. Where it does not hold any more, reads fail or find nothing, and the caller asks for a fresh one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chordata_client::listing::{Place, Wanted};
use chordata_client::look::View;
use chordata_client::{Client, Failure as ClientFailure};
use chordata_protocol::{Address, Consistency, Id, Key, Outcome, Range, Value, Version};
use chordata_rpc::service::{CopiesOptions, Held, Level, Options, Status};
use chordata_rpc::within;
use futures::future::{FutureExt, join_all};
use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::Mutex;

use crate::failure::Failure;
use crate::store::{Copied, Doing, Listing, Store, Surety, Swap};

/// A view is used for so long, and not asked for again earlier than so.
const VIEW_LASTS: (Duration, Duration) = (Duration::from_secs(10), Duration::from_millis(200));
/// How long one node may take to give or to look at one value.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);
/// Pause between attempts.
const PAUSE: Duration = Duration::from_millis(250);
/// Keys in one page of a list.
const PAGE: u32 = 1000;

/// A view, and when it was taken.
type Seen = (Instant, Arc<View>);

/// A cluster.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    patience: Duration,
    view: Arc<Mutex<Option<Seen>>>,
}

impl Cluster {
    /// Through this client. Writes are tried for so long.
    pub fn new(client: Client, patience: Duration) -> Cluster {
        Cluster { client, patience, view: Arc::default() }
    }

    /// One is asked for at a time: who waits meanwhile gets the same.
    async fn view(&self, fresh: bool) -> Arc<View> {
        let mut known = self.view.lock().await;
        let lasts = if fresh { VIEW_LASTS.1 } else { VIEW_LASTS.0 };
        if let Some((at, view)) = &*known
            && at.elapsed() < lasts
        {
            return Arc::clone(view);
        }
        let view = Arc::new(self.client.view().await);
        *known = Some((Instant::now(), Arc::clone(&view)));
        view
    }

    async fn homes(&self, key: &Key, fresh: bool) -> Result<Vec<Address>, Failure> {
        key.check(self.client.space()).map_err(ClientFailure::from)?;
        let view = self.view(fresh).await;
        let homes = homes_in(&view, key.id(self.client.space()));
        if homes.is_empty() {
            let reason = "no node says which replicas a key has".to_owned();
            return Err(ClientFailure::Unavailable(reason).into());
        }
        Ok(homes)
    }

    async fn get_at(&self, place: &Address, key: Key) -> Result<Option<(Value, Version)>, ClientFailure> {
        let options = Options { level: Level::Any, ..Options::DIRECT };
        let answer = self.client.pool().client(place).get(within(ANSWER_WITHIN), key, options).await;
        let answer = answer.map_err(|error| ClientFailure::from_call(error).of_reading())??;
        Ok(answer.result.map(|record| (record.value, record.version)))
    }

    /// Eventual mode: the newest that any replica has.
    async fn newest(&self, key: Key, surety: Surety) -> Result<Option<(Value, Version)>, Failure> {
        let homes = self.homes(&key, surety == Surety::Certain).await?;
        let asked = homes.iter().map(|place| self.get_at(place, key.clone()));
        let answers = join_all(asked).await;
        let mut newest: Option<(Value, Version)> = None;
        let (mut answered, mut silent) = (false, None);
        for answer in answers {
            match answer {
                Ok(found) => {
                    answered = true;
                    // Whatever takes its place has to be newer.
                    self.client.saw_all(std::iter::once(found.as_ref().map(|(_, version)| *version)));
                    newest = match (newest, found) {
                        (Some(one), Some(other)) => Some(if one.1 < other.1 { other } else { one }),
                        (one, other) => one.or(other),
                    };
                }
                Err(failure) => silent = Some(failure),
            }
        }
        match silent {
            Some(failure) if !answered || surety == Surety::Certain => Err(failure.into()),
            Some(_) | None => Ok(newest),
        }
    }

    /// Tries again while the cluster changes. What is done twice must be as good as done once.
    async fn patiently<T, F>(&self, attempt: impl Fn(Client) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, ClientFailure>>,
    {
        let deadline = Instant::now() + self.patience;
        let mut unsure: Option<ClientFailure> = None;
        loop {
            match attempt(self.client.clone()).await {
                Ok(done) => return Ok(done),
                Err(
                    failure @ (ClientFailure::Unavailable(_)
                    | ClientFailure::Unreachable(_)
                    | ClientFailure::Unknown(_)
                    | ClientFailure::TooOld(_)),
                ) if Instant::now() < deadline => {
                    tracing::debug!(%failure, "tried again");
                    unsure = unsure.or_else(|| Some(failure).filter(|failure| !failure.is_certain()));
                    tokio::time::sleep(PAUSE).await;
                }
                // What an earlier attempt may have done is as uncertain as before.
                Err(failure) => return Err(unsure.unwrap_or(failure).into()),
            }
        }
    }
}

/// The nodes that should have copies of an identifier, those that have everything first.
fn homes_in(view: &View, id: Id) -> Vec<Address> {
    let Some(chains) = view.chains() else {
        return view.replicas(id).into_iter().map(|peer| peer.address).collect();
    };
    let Some((_, active)) = chains.range_of(id) else { return Vec::new() };
    let peers = active.chain.iter().filter_map(|link| chains.peer(link.store));
    peers.map(|peer| peer.address.clone()).collect()
}

impl Store for Cluster {
    fn swaps(&self) -> bool {
        self.client.consistency() != Some(Consistency::Eventual)
    }

    fn read(&self, key: Key, surety: Surety) -> Doing<Option<(Value, Version)>> {
        let mine = self.clone();
        async move {
            if !mine.swaps() {
                return mine.newest(key, surety).await;
            }
            let answer = mine.client.get(key).await?;
            Ok(answer.result.map(|record| (record.value, record.version)))
        }
        .boxed()
    }

    fn write(&self, key: Key, value: Value) -> Doing<()> {
        let mine = self.clone();
        async move {
            mine.patiently(|client| {
                let (key, value) = (key.clone(), value.clone());
                async move { client.put(key, value).await.map(drop) }
            })
            .await
        }
        .boxed()
    }

    fn swap(&self, key: Key, expected: Option<Version>, value: Option<Value>) -> Doing<Swap> {
        let client = self.client.clone();
        async move {
            match client.compare_and_swap(key, expected, value).await {
                Ok(answer) => Ok(match answer.result {
                    Outcome::Conflict(_) => Swap::Conflict,
                    Outcome::Written(_) | Outcome::Deleted(_) => Swap::Done,
                }),
                Err(failure) if !failure.is_certain() => Ok(Swap::Unknown(failure)),
                Err(failure) => Err(failure.into()),
            }
        }
        .boxed()
    }

    fn remove(&self, key: Key) -> Doing<()> {
        let mine = self.clone();
        async move {
            mine.patiently(|client| {
                let key = key.clone();
                async move { client.delete(key).await.map(drop) }
            })
            .await
        }
        .boxed()
    }

    fn places(&self, key: Key, fresh: bool) -> Doing<Vec<Address>> {
        let mine = self.clone();
        async move { mine.homes(&key, fresh).await }.boxed()
    }

    fn read_at(&self, place: Address, key: Key) -> Doing<Option<Value>> {
        let mine = self.clone();
        async move { Ok(mine.get_at(&place, key).await?.map(|(value, _)| value)) }.boxed()
    }

    fn look_at(&self, place: Address, key: Key) -> Doing<Copied> {
        let client = self.client.clone();
        async move { Ok(copied(client.copy(&place, key).await?.held)) }.boxed()
    }

    fn scan(&self, prefix: Vec<u8>, values: bool) -> Listing<(Key, Option<Value>)> {
        let client = self.client.clone();
        // Around the ring, not from node to node: who has what comes next is found anew for each page, so that nothing is
        // left out while a node is new, dead or back again.
        let pages = stream::try_unfold(Some(Place::Start), move |place| {
            let (client, prefix) = (client.clone(), prefix.clone());
            async move {
                let Some(place) = place else { return Ok::<_, Failure>(None) };
                let wanted = Wanted { prefix: &prefix, limit: PAGE, values };
                let listed = Box::pin(client.list_page(&place, wanted)).await?;
                let keys = listed.entries.into_iter().map(|(key, _, value)| Ok((key, value)));
                Ok(Some((stream::iter(keys), listed.next)))
            }
        });
        pages.try_flatten().boxed()
    }

    fn held_at(&self, place: Address) -> Listing<(Key, Copied)> {
        let client = self.client.clone();
        let begin = async move {
            let status: Status = chordata_client::status_of(client.pool(), &place, ANSWER_WITHIN).await?;
            let all = Range { low: status.me.id, high: status.me.id };
            Ok::<_, Failure>((client, place, all))
        };
        let pages = move |(client, place, range): (Client, Address, Range)| {
            let pages = stream::try_unfold(Some(None), move |after: Option<Option<Key>>| {
                let (client, place) = (client.clone(), place.clone());
                async move {
                    let Some(after) = after else { return Ok::<_, Failure>(None) };
                    let options = CopiesOptions { mark: None, range, after, limit: PAGE, ended_by: None };
                    let page = client.copies(&place, options).await?;
                    let last = page.copies.last().map(|(key, _)| key.clone());
                    let next = last.filter(|_| page.more).map(Some);
                    let keys = page.copies.into_iter().map(|(key, held)| Ok((key, copied(held))));
                    Ok(Some((stream::iter(keys), next)))
                }
            });
            pages.try_flatten()
        };
        stream::once(begin).map_ok(pages).try_flatten().boxed()
    }
}

fn copied(held: Held) -> Copied {
    match held {
        Held::Nothing => Copied::Nothing,
        Held::Value { hash, bytes, .. } => Copied::Value { bytes, hash: hash.0 },
        Held::Damaged => Copied::Damaged,
    }
}
