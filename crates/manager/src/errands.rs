//! Steps carried out in the world: what a manager says to servers, and to the ring that they make.
//!
//! Each errand can be run again from its beginning, whatever became of it the last time: it looks first how things are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chordata_client::look::View;
use chordata_client::{Client, Config, Failure, Routing, status_of};
use chordata_protocol::{Address, Durability, Id, Key, Lease, Policy, Replication, Space, Successor};
use chordata_rpc::manager::{Asked, Report};
use chordata_rpc::service::{ClusterId, ClusterSettings, Error, ScanOptions};
use chordata_rpc::standby::{JoinWish, LoadOrder, Loading, Standing};
use chordata_rpc::{CallFailure, Credentials, Pool, PoolSettings, Secret, TcpNet, within};
use futures::future::join_all;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use tokio::time::Instant;

use crate::book::{Book, Counts, Effect, Event, Peer, Seen};

/// How long a server may take to say how it is.
const LOOK_WITHIN: Duration = Duration::from_secs(3);
/// A server that does not answer for so long is not there.
const SILENT_AFTER: Duration = Duration::from_secs(6);
/// How long a peer may take to get into the ring, or out of it, or a ring to become whole.
const MOVE_WITHIN: Duration = Duration::from_secs(120);
/// How long one call for that may take.
const CALL_WITHIN: Duration = Duration::from_secs(55);
/// How long a server may take to forget everything.
const RELEASE_WITHIN: Duration = Duration::from_secs(20);
/// A load that does not go on for so long has failed.
const STUCK_AFTER: Duration = Duration::from_secs(60);
/// Between two looks at the same thing.
const PAUSE: Duration = Duration::from_millis(100);
/// Keys in one page.
const PAGE: u32 = 10_000;
/// Entries of successor lists.
const SUCCESSORS: u8 = 4;
/// The column that has the keys.
const KEY: &str = "EVENT_ID";

/// Where errands begin.
pub(crate) struct World {
    pool: Pool,
    secret: Option<Secret>,
    replication: Replication,
}

impl World {
    pub(crate) fn new(secret: Option<Secret>, replication: Replication) -> World {
        let settings = PoolSettings { learn_cluster: false, ..PoolSettings::default() };
        let pool = Pool::new(Arc::new(TcpNet), Credentials::new(None, secret.clone()), settings);
        World { pool, secret, replication }
    }

    /// Carries out a step; the book says where everybody is.
    pub(crate) async fn run(&self, book: &Book, effect: Effect) -> Event {
        match effect {
            Effect::Look(servers) => Event::Seen(self.look(servers).await),
            Effect::Enter { name, cluster, contacts, on_disk } => {
                let entered = match book.peers.get(&name) {
                    Some(peer) => self.enter(&peer.address(), cluster, contacts, on_disk).await,
                    None => Err("it is registered no more".to_owned()),
                };
                Event::Entered(entered.map_err(|reason| format!("{name} is not in the ring: {reason}")))
            }
            Effect::Load { name, cluster, year } => {
                let loaded = match book.peers.get(&name) {
                    Some(peer) => self.load(&peer.address(), cluster, year).await,
                    None => Err("it is registered no more".to_owned()),
                };
                Event::Loaded(loaded.map_err(|reason| format!("{name} did not load {year}: {reason}")))
            }
            Effect::Count(names) => Event::Counted(self.count(book, &names).await),
            Effect::Ask { first, peers, event } => self.ask(book, &first, &peers, event).await,
            Effect::FindHeir { name, others } => {
                let heir = self.heir(book, &name, &others).await;
                Event::Heir(
                    heir.map_err(|reason| format!("who follows {name} on the ring is not known: {reason}")),
                )
            }
            Effect::Leave { name, cluster } => {
                let left = match book.peers.get(&name) {
                    Some(peer) => self.leave(&peer.address(), cluster).await,
                    None => Ok(()),
                };
                Event::Left(left.map_err(|reason| format!("{name} has not left the ring: {reason}")))
            }
            Effect::Release { from, others } => Event::Released(self.release(book, &from, &others).await),
        }
    }

    async fn standing(&self, address: &Address) -> Result<Standing, String> {
        let standing = self.pool.standby(address).standing(within(LOOK_WITHIN)).await;
        standing.map_err(|error| CallFailure::from(error).to_string())
    }

    async fn look(&self, servers: Vec<(String, Address)>) -> BTreeMap<String, Result<Seen, String>> {
        let looks = servers.into_iter().map(async |(name, address)| {
            let seen = match self.standing(&address).await {
                Ok(standing) if standing.entering => Err("it is on its way into a ring".to_owned()),
                Ok(standing) => Ok(Seen {
                    standby: standing.standby,
                    cluster: standing.seat.map(|seat| seat.cluster),
                    keeps_data: standing.keeps_data,
                    name: standing.name,
                    port: standing.address.port(),
                }),
                Err(reason) => Err(reason),
            };
            (name, seen)
        });
        join_all(looks).await.into_iter().collect()
    }

    /// Has a server enter a ring.
    async fn enter(
        &self,
        address: &Address,
        cluster: ClusterId,
        contacts: Vec<Address>,
        on_disk: bool,
    ) -> Result<(), String> {
        let stub = self.pool.standby(address);
        let wish = if contacts.is_empty() {
            let durability = if on_disk { Durability::Interval } else { Durability::Memory };
            let replication = Some(Replication { durability, ..self.replication });
            let (bits, lease) = (Space::BITS_MAX, Lease::default());
            let settings = ClusterSettings { cluster, bits, successors: SUCCESSORS, replication, lease };
            JoinWish::Found { settings, id: None }
        } else {
            JoinWish::Join { contacts, cluster: Some(cluster), placement: None }
        };
        let mut watch = Watch::new();
        let mut told = false;
        loop {
            let standing = match self.standing(address).await {
                Ok(standing) => watch.heard(standing),
                Err(reason) => {
                    watch.silent(reason).await?;
                    continue;
                }
            };
            match standing.seat {
                Some(seat) if seat.cluster == cluster => return Ok(()),
                // Somebody else has told it so, and may count on it.
                Some(seat) => return Err(format!("it is in another ring, of cluster {}", seat.cluster)),
                None if standing.entering => {}
                None if told => return Err(standing.last.unwrap_or_else(|| "it gave up".to_owned())),
                None => {
                    match stub.enter(within(CALL_WITHIN), wish.clone()).await.map_err(CallFailure::from) {
                        Ok(Ok(_)) => return Ok(()),
                        Ok(Err(error)) => return Err(error.to_string()),
                        // Nobody knows whether it heard of it: it is looked at again.
                        Err(failure) => told = !failure.is_certain(),
                    }
                }
            }
            watch.pause().await?;
        }
    }

    /// Has a server load a year into its ring.
    async fn load(&self, address: &Address, cluster: ClusterId, year: u16) -> Result<u64, String> {
        let order = LoadOrder {
            number: u128::from_be_bytes(cluster.0),
            cluster,
            file: format!("details-{year}.csv"),
            key: KEY.to_owned(),
        };
        let stub = self.pool.standby(address);
        let (mut watch, mut last) = (Watch::new(), Loading::default());
        let mut stuck = Instant::now() + STUCK_AFTER;
        loop {
            match stub.load(within(LOOK_WITHIN), order.clone()).await {
                Ok(Ok(Loading { records, done: true })) => return Ok(records),
                Ok(Ok(loading)) => {
                    if loading != last {
                        (last, stuck) = (loading, Instant::now() + STUCK_AFTER);
                    }
                    if Instant::now() > stuck {
                        return Err(format!("nothing came after {} records", loading.records));
                    }
                    watch = Watch::new();
                    tokio::time::sleep(PAUSE).await;
                }
                Ok(Err(error)) => return Err(error.to_string()),
                Err(error) => watch.silent(CallFailure::from(error).to_string()).await?,
            }
        }
    }

    /// Has a server leave a ring, with its keys going to others.
    async fn leave(&self, address: &Address, cluster: ClusterId) -> Result<(), String> {
        let stub = self.pool.standby(address);
        let mut watch = Watch::new();
        loop {
            let standing = match self.standing(address).await {
                Ok(standing) => watch.heard(standing),
                Err(reason) => {
                    watch.silent(reason).await?;
                    continue;
                }
            };
            if standing.seat.is_none_or(|seat| seat.cluster != cluster) && !standing.entering {
                return Ok(());
            }
            match stub.leave(within(CALL_WITHIN)).await {
                Ok(Ok(())) | Err(_) => {}
                Ok(Err(Error::Unavailable(reason))) => watch.last = reason,
                Ok(Err(Error::OnStandby | Error::NotMember)) => {}
                Ok(Err(error)) => return Err(error.to_string()),
            }
            watch.pause().await?;
        }
    }

    /// Releases peers, each from that cluster; answers of which of them nothing is left there.
    async fn release(
        &self,
        book: &Book,
        from: &BTreeMap<String, ClusterId>,
        others: &[String],
    ) -> BTreeSet<String> {
        let peers = from.iter().filter_map(|(name, cluster)| Some((name, *cluster, book.peers.get(name)?)));
        let releases = peers.map(async |(name, cluster, peer)| {
            let stub = self.pool.standby(&peer.address());
            // One that is just being started gets a second chance.
            for _ in 0..2 {
                match stub.release(within(RELEASE_WITHIN), Some(cluster)).await {
                    Ok(Ok(())) => return Some(name.clone()),
                    // It was put into another ring meanwhile: it has nothing of this one any more.
                    Ok(Err(Error::AlreadyMember(_, other))) if other != cluster => return Some(name.clone()),
                    Ok(Err(error)) => tracing::warn!("{name} is not released: {error}"),
                    Err(error) => tracing::warn!("{name} is not released: {}", CallFailure::from(error)),
                }
                tokio::time::sleep(PAUSE).await;
            }
            None
        });
        let released: BTreeSet<String> = join_all(releases).await.into_iter().flatten().collect();
        let others: Vec<&Peer> = others.iter().filter_map(|name| book.peers.get(name)).collect();
        for peer in released.iter().filter_map(|name| book.peers.get(name)) {
            self.forget(&peer.ring_address(), &others).await;
        }
        released
    }

    /// The ring does not wait for a node that was released while it was getting in.
    async fn forget(&self, gone: &Address, others: &[&Peer]) {
        for other in others {
            let Ok(status) = status_of(&self.pool, &other.ring_address(), LOOK_WITHIN).await else {
                continue;
            };
            let view = status.chain.and_then(|chain| chain.view);
            let ghost = view.and_then(|view| {
                let mut members = view.members.into_values();
                members.find(|member| member.peer.address == *gone).map(|member| member.peer.id)
            });
            let Some(ghost) = ghost else { return };
            let forgotten = self.pool.client(&other.ring_address()).forget(within(LOOK_WITHIN), ghost).await;
            if matches!(forgotten, Ok(Ok(()))) {
                return;
            }
        }
    }

    /// A client of the ring that these are in.
    async fn client(&self, book: &Book, names: &[String]) -> Result<Client, Failure> {
        let peers = names.iter().filter_map(|name| book.peers.get(name));
        let nodes: Vec<Address> = peers.map(Peer::ring_address).collect();
        let credentials = Credentials::new(None, self.secret.clone());
        Client::connect(&nodes, Config { credentials, ..Config::default() }).await
    }

    /// Waits until these are one whole ring, with nobody else in it.
    async fn whole(&self, client: &Client, count: usize) -> Result<View, String> {
        let mut watch = Watch::new();
        loop {
            let view = client.view().await;
            if view.is_whole() && view.members().len() == count {
                return Ok(view);
            }
            watch.last = view.problems().join("; ");
            watch.pause().await.map_err(|reason| format!("the ring did not become whole: {reason}"))?;
        }
    }

    /// Goes through all keys of a ring.
    async fn keys(client: &Client, view: &View, mut visit: impl FnMut(Key)) -> Result<(), Failure> {
        for status in view.members() {
            let mut after = None;
            loop {
                let options = ScanOptions { after: after.clone(), limit: PAGE, ..ScanOptions::default() };
                let page = client.scan(&status.me.address, options).await?;
                after = page.entries.last().map(|(key, _, _)| key.clone());
                page.entries.into_iter().for_each(|(key, _, _)| visit(key));
                if !page.more || after.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }

    async fn count(&self, book: &Book, names: &[String]) -> Result<Vec<(String, Counts)>, String> {
        let client = self.client(book, names).await.map_err(|failure| failure.to_string())?;
        let view = self.whole(&client, names.len()).await?;
        let members = view.members();
        let places: Vec<Id> = members.iter().map(|status| status.me.id).collect();
        let mut owned = vec![0; places.len()];
        let space = client.space();
        World::keys(&client, &view, |key| {
            // The first node at or behind the key's place owns it; behind the last it is the first.
            let place = places.partition_point(|place| *place < key.id(space)) % places.len();
            owned[place] += 1;
        })
        .await
        .map_err(|failure| format!("the records were not counted: {failure}"))?;
        let counts = members.iter().zip(owned);
        Ok(counts.map(|(status, own)| (name_of(book, &status.me.address), (own, status.keys))).collect())
    }

    async fn ask(&self, book: &Book, first: &str, peers: &[String], event: Option<String>) -> Event {
        let said = event.clone().unwrap_or_else(|| "?".to_owned());
        match Box::pin(self.find(book, first, peers, event)).await {
            Ok((event, found)) => Event::Answered(Ok(found), event),
            Err(reason) => Event::Answered(Err(reason), said),
        }
    }

    async fn find(
        &self,
        book: &Book,
        first: &str,
        peers: &[String],
        event: Option<String>,
    ) -> Result<(String, Option<Report>), String> {
        let text = |failure: Failure| failure.to_string();
        let client = self.client(book, peers).await.map_err(text)?;
        let event = match event {
            Some(event) => event,
            None => World::by_lot(&client).await.map_err(text)?.ok_or("the DHT has no records")?,
        };
        let first = book.peers.get(first).map_or_else(|| client.entry(), Peer::ring_address);
        let asking = client.through(first, Routing::Entry(Policy::Random), true);
        let answer = asking.get(Key::new(event.as_str())).await.map_err(text)?;
        let Some(record) = answer.result else { return Ok((event, None)) };
        let fields: Fields = serde_json::from_slice(&record.value)
            .map_err(|error| format!("what is stored under {event} is no storm event: {error}"))?;
        let path = answer
            .trip
            .path
            .iter()
            .map(|hop| Asked { name: name_of(book, &hop.peer.address), id: hop.peer.id.to_literal() });
        let path = path.collect();
        Ok((event.clone(), Some(Report::Found { event, fields: fields.0, path })))
    }

    /// One of all keys, each with the same chance.
    async fn by_lot(client: &Client) -> Result<Option<String>, Failure> {
        let view = client.view().await;
        let (mut seen, mut kept) = (0_usize, None);
        World::keys(client, &view, |key| {
            seen += 1;
            if let Key::Bytes(bytes) = key
                && fastrand::usize(..seen) == 0
            {
                kept = Some(String::from_utf8_lossy(&bytes).into_owned());
            }
        })
        .await?;
        Ok(kept)
    }

    async fn heir(&self, book: &Book, name: &str, others: &[String]) -> Result<String, String> {
        let peer = book.peers.get(name).ok_or("it is registered no more")?;
        let status = status_of(&self.pool, &peer.ring_address(), LOOK_WITHIN).await;
        let status = status.map_err(|failure| failure.to_string())?;
        let mut next = status.successors.iter().filter_map(|successor| match successor {
            Successor::Node(peer) => Some(&peer.address),
            Successor::Pad(_) => None,
        });
        let heir = next.find_map(|address| others.iter().find(|other| name_of(book, address) == **other));
        heir.cloned().ok_or_else(|| "none of the others follows it".to_owned())
    }
}

/// The name of whoever peers reach there; the address itself, if nobody is known there.
fn name_of(book: &Book, address: &Address) -> String {
    let named = book.peers.iter().find(|(_, peer)| peer.ring_address() == *address);
    named.map_or_else(|| address.to_string(), |(name, _)| name.clone())
}

/// Patience with one server: until when, and what it said last.
struct Watch {
    until: Instant,
    silent_since: Option<Instant>,
    last: String,
}

impl Watch {
    fn new() -> Watch {
        Watch { until: Instant::now() + MOVE_WITHIN, silent_since: None, last: String::new() }
    }

    fn heard<T>(&mut self, said: T) -> T {
        self.silent_since = None;
        said
    }

    /// It did not answer: waits a little, unless it has been silent for too long.
    async fn silent(&mut self, reason: String) -> Result<(), String> {
        let since = *self.silent_since.get_or_insert_with(Instant::now);
        self.last = reason;
        if since.elapsed() > SILENT_AFTER {
            return Err(format!("it does not answer ({})", self.last));
        }
        self.pause().await
    }

    async fn pause(&self) -> Result<(), String> {
        if Instant::now() > self.until {
            return Err(format!("not within {} s ({})", MOVE_WITHIN.as_secs(), self.last));
        }
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }
}

/// The fields of a JSON object, in their order.
struct Fields(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fields, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Fields;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, serde_json::Value>()? {
                    let text = match value {
                        serde_json::Value::String(text) => text,
                        other => other.to_string(),
                    };
                    fields.push((name, text));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}
