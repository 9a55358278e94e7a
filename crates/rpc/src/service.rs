//! The two tarpc services of a node: [`Chordata`] for clients, [`Ring`] for other nodes.
//!
//! The seven methods that name the system are the first seven of [`Chordata`]. None of the methods is recursive: a
//! handler either answers from its own state, or drives a walk in which it asks others for such answers. Which
//! handler may await which is listed, and held without cycles, in [`chordata_protocol::waits`].

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use chordata_protocol::chain::view::{Epoch, Incarnation, Sequence, StoreId, View};
use chordata_protocol::chain::{Applied, ChainRequest, ChainResponse, Command, WriteId};
use chordata_protocol::eventual::Counters;
use chordata_protocol::merkle::Digest;
use chordata_protocol::message::{Candidate, Found};
use chordata_protocol::peer::Successor;
use chordata_protocol::procedure::lookup::Hop;
use chordata_protocol::{
    Address, BadInput, Consistency, Id, Key, Lease, Moment, Operation, Outcome, Peer, Placement, Policy,
    Range, Record, Replication, Request, Response, Stamp, Ttl, Value, Version,
};
use serde::{Deserialize, Serialize};

use crate::letter::{Hello, Letter, Reply};

/// Who carries a request to the key's owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Route {
    /// The client: a node that does not serve the key refuses with [`Error::NotOwner`].
    Direct,
    /// The node that was asked: it looks the owner up and passes the request on.
    Entry(Policy),
}

/// How a request is to be carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Options {
    /// Who routes.
    pub route: Route,
    /// Answer the path as well?
    pub trace: bool,
    /// A write's name, if it may be sent again. Of many writes the first has this sequence, the others those behind it.
    pub by: Option<WriteId>,
    /// How fresh what `get` and `get_many` answer must be. Nothing else heeds it.
    pub level: Level,
    /// Eventual mode: a write is done when so many copies are stored, a read when so many replicas have answered; 0 is 1.
    /// Elsewhere nothing heeds it.
    pub acks: u8,
    /// Eventual mode: the highest version that the client has seen. What it writes gets a higher one.
    pub seen: Option<Version>,
    /// For how long what `put`, `put_many` and `compare_and_swap` store lives, from when the write is decided; none: for ever.
    /// Nothing else heeds it.
    pub ttl: Option<Ttl>,
}

impl Options {
    /// The client routes; nothing else is asked for.
    pub const DIRECT: Options = Options {
        route: Route::Direct,
        trace: false,
        by: None,
        level: Level::Linearizable,
        acks: 1,
        seen: None,
        ttl: None,
    };
}

impl Default for Options {
    fn default() -> Options {
        Options { route: Route::Entry(Policy::Finger), ..Options::DIRECT }
    }
}

/// How fresh a read must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// What was written last, by whomever.
    #[default]
    Linearizable,
    /// What any replica of the key holds, also one that is being filled or has no lease: perhaps an older value,
    /// perhaps one that will not last, perhaps nothing yet.
    Any,
}

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Level::Linearizable => "linearizable",
            Level::Any => "any",
        })
    }
}

impl std::str::FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Level, String> {
        match text {
            "linearizable" => Ok(Level::Linearizable),
            "any" => Ok(Level::Any),
            _ => Err(format!("{text:?} is no level: linearizable, any")),
        }
    }
}

/// How a request travelled.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Trip {
    /// Who answered.
    pub owner: Peer,
    /// Nodes asked after the first, the owner included.
    pub hops: u32,
    /// Nodes that did not answer on the way.
    pub timeouts: u32,
    /// Every node asked, in order; empty unless it was asked for.
    pub path: Vec<Hop>,
}

/// A result with how it was come by.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Answer<T> {
    /// The result.
    pub result: T,
    /// Where it stands in the order of the key's writes: a write's own place; for a read that found nothing, up to where
    /// nothing is there. None where no chain keeps the key, or the result says it.
    pub at: Option<Version>,
    /// The way to it.
    pub trip: Trip,
}

/// A result with its place in the order of the key's writes, where there is one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Placed<T> {
    /// The result.
    pub result: T,
    /// See [`Answer::at`].
    pub at: Option<Version>,
}

/// Why a request was not, or perhaps not, carried out: named by what the caller does next.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum Error {
    /// Mend the request. Nothing was changed.
    #[error(transparent)]
    BadInput(#[from] BadInput),
    /// Ask these instead. Nothing was changed.
    #[error("this node does not serve the key")]
    NotOwner(Vec<Candidate>),
    /// Ask another node: this one is joining or has left. Nothing was changed.
    #[error("this node is not in the ring: it is still joining, or has departed")]
    NotMember,
    /// Tell it to enter a ring, or ask another one. Nothing was changed.
    #[error(
        "this server is on standby: it is in no ring until it is told to enter one (`chordata rpc enter`)"
    )]
    OnStandby,
    /// Have it leave first. Nothing was changed.
    #[error("this server belongs to a ring already, as {0} of the cluster {1}: have it leave that first")]
    AlreadyMember(Peer, ClusterId),
    /// Try again later. Nothing was changed.
    #[error("not possible now: {0}")]
    Unavailable(String),
    /// Look before trying again: this sending did nothing, an earlier one may have. If there was none, send it under a
    /// new name, as first sent in this view.
    #[error("this write was sent first so long ago that nobody knows any more whether it was done")]
    TooOld(u64),
    /// Try again later, more slowly. Nothing was changed.
    #[error("the server has too much to do: try again later")]
    Overloaded,
    /// Look before trying again: it may or may not have been done.
    #[error("unknown whether it was done: {0}")]
    Unknown(String),
    /// Ask for a number below the count.
    #[error("there is no node number {number}: the ring has {count}, numbered from 0")]
    NoSuchNumber {
        /// What was asked for.
        number: u32,
        /// How many there are.
        count: u32,
    },
    /// Ask for one of those listed.
    #[error("nodes have no attribute {0:?}: there are {ATTRIBUTES}")]
    NoSuchAttribute(String),
    /// Join another cluster: there is no place left.
    #[error("this ring of {0} bits is full: every place is taken")]
    RingFull(u8),
    /// Nothing, or try again: it is written, and will get to the other replicas, but fewer copies than wanted are known to
    /// be stored.
    #[error(
        "written with version {version}, but only {stored} of {wanted} copies are known to be stored: the others follow"
    )]
    FewerCopies {
        /// Its version.
        version: Version,
        /// Copies that are stored.
        stored: usize,
        /// Copies that were wanted.
        wanted: usize,
    },
    /// Mend the request: this cluster, as it keeps its data, does not do that. Nothing was changed.
    #[error("{0}")]
    NotSupported(String),
    /// Join with another store.
    #[error("{0}")]
    Barred(String),
    /// Join with another id.
    #[error("the id {0:?} is taken by {1}")]
    IdTaken(Id, Address),
}

/// The attributes that `get_node` knows, as text for messages.
pub const ATTRIBUTES: &str = "address, host, port, id, number, successor, predecessor";

/// An answer that was taken from a membership table.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Numbered<T> {
    /// The answer.
    pub value: T,
    /// Which table.
    pub stamp: Stamp,
    /// May the ring have moved on since?
    pub stale: bool,
}

/// A node in a connection list.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConnInfo {
    /// Where it is reached: `HOST:PORT`.
    pub address: Address,
    /// The port of that.
    pub port: u16,
    /// Its place on the ring.
    pub id: Id,
    /// Its number, from the lowest id.
    pub number: u32,
    /// The place of the node behind it.
    pub successor: Id,
}

/// A node that asks to be admitted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Joiner {
    /// Where others will reach it.
    pub address: Address,
    /// Which place it wants.
    pub placement: Placement,
    /// Its store: 128 bits that name it for ever.
    pub store: u128,
    /// How often that store has been started.
    pub incarnation: u64,
}

/// What all nodes of a cluster have in common.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClusterSettings {
    /// Names the cluster for ever.
    pub cluster: ClusterId,
    /// The size of the ring.
    pub bits: u8,
    /// The length of successor lists.
    pub successors: u8,
    /// How data is kept; none: in a single copy, in memory, which is handed over when nodes join and leave.
    pub replication: Option<Replication>,
    /// The lease of chains.
    pub lease: Lease,
}

impl ClusterSettings {
    /// How consistent the data is; none: there is one copy of it.
    pub fn consistency(&self) -> Option<Consistency> {
        self.replication.map(|replication| replication.consistency)
    }
}

/// Names a cluster for ever: 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClusterId(pub [u8; 16]);

/// Digits for people, 16 bytes on the wire.
impl Serialize for ClusterId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for ClusterId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<ClusterId, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            text.parse().map_err(serde::de::Error::custom)
        } else {
            <[u8; 16]>::deserialize(deserializer).map(ClusterId)
        }
    }
}

impl std::fmt::Display for ClusterId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl std::str::FromStr for ClusterId {
    type Err = String;

    fn from_str(text: &str) -> Result<ClusterId, String> {
        let number = u128::from_str_radix(text, 16).ok().filter(|_| text.len() == 32);
        let number =
            number.ok_or_else(|| format!("{text:?} is no cluster id: it has 32 hexadecimal digits"))?;
        Ok(ClusterId(number.to_be_bytes()))
    }
}

/// A place on the ring, granted for a short while.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Admission {
    /// The place.
    pub id: Id,
    /// Who will be before it.
    pub predecessor: Peer,
    /// Who will be behind it.
    pub successor: Peer,
    /// The first view of chains that has it as a member; none: the cluster has no chains.
    pub view: Option<u64>,
    /// What a new store must know in eventual mode; none: the cluster is in another one.
    pub briefing: Option<Briefing>,
    /// What to obey.
    pub settings: ClusterSettings,
}

/// What a store must know before it takes part in eventual mode.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Briefing {
    /// Stores that never come back.
    pub forgotten: BTreeSet<StoreId>,
    /// The highest version that the admitting node has seen: a new store gives none below it.
    pub seen: Version,
}

/// What renumbering gave.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Numbering {
    /// How many nodes there are.
    pub count: u32,
    /// How many of them took the new numbers.
    pub told: u32,
    /// Which table they have now.
    pub stamp: Stamp,
}

/// What refreshing all fingers of all nodes gave.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FingerRefresh {
    /// Nodes of the ring.
    pub nodes: u32,
    /// Nodes of them that ended their refresh.
    pub refreshed: u32,
    /// Finger entries (of one per bit and node) that now point elsewhere.
    pub changed: u64,
    /// Calls that it took, on all nodes together.
    pub calls: u64,
}

/// Which part of a node's keys to list.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ScanOptions {
    /// Begin behind this one.
    pub after: Option<Key>,
    /// Only keys that begin with these bytes.
    pub prefix: Vec<u8>,
    /// At most this many; the server may send fewer (a page fits a frame).
    pub limit: u32,
    /// Values too, or only keys and versions?
    pub values: bool,
    /// Only keys of these identifiers; the node refuses unless it has everything of them: it serves them, or in eventual
    /// mode it keeps copies and is not being told of them still. None: whatever it serves.
    pub range: Option<Range>,
}

/// Some of the keys that a node serves, in the order of their ids, as they were at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Page {
    /// Keys, versions, and values if they were asked for.
    pub entries: Vec<(Key, Version, Option<Value>)>,
    /// Are there more behind the last?
    pub more: bool,
    /// If there may be more: go on behind this one. It is the last of the entries, or a later key that was passed by: a page
    /// may have no entries at all.
    pub after: Option<Key>,
    /// What the node serves; none: nothing.
    pub range: Option<Range>,
}

/// Entries `from..=to` of a finger table, which point to the same node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FingerRow {
    /// First entry, counted from 0.
    pub from: u8,
    /// Last entry.
    pub to: u8,
    /// Where entry `from` starts.
    pub start: Id,
    /// The first node at or behind the starts.
    pub node: Peer,
}

/// How a node is.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Itself.
    pub me: Peer,
    /// Its cluster.
    pub settings: ClusterSettings,
    /// Version of its program.
    pub version: String,
    /// How long it has been running.
    pub uptime: Duration,
    /// Its number; none while its table does not hold it.
    pub number: Option<u32>,
    /// May the numbers have moved on?
    pub stale: bool,
    /// Is it in the ring?
    pub member: bool,
    /// Before it.
    pub predecessor: Peer,
    /// Behind it.
    pub successors: Vec<Successor>,
    /// What it serves; none: nothing yet.
    pub serving: Option<Range>,
    /// Share of the ring that it serves, from 0 to 1.
    pub share: f64,
    /// Is it giving keys to another node at the moment?
    pub handing_over: bool,
    /// Keys it holds.
    pub keys: u64,
    /// Bytes of keys and values that it holds.
    pub bytes: u64,
    /// Addresses of other nodes that it knows.
    pub known: u32,
    /// Nodes that did not answer when this one last asked them.
    pub silent: Vec<Peer>,
    /// Its part in chains; none where no chains keep the data.
    pub chain: Option<ChainStatus>,
    /// Its part in eventual mode; none where the data is kept in another one.
    pub eventual: Option<Box<EventualStatus>>,
    /// Where it answers HTTP: `HOST:PORT`. None: nowhere.
    pub http: Option<String>,
}

/// What a node in eventual mode knows of the others, and what it did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EventualStatus {
    /// Its store.
    pub store: StoreId,
    /// How often that has been started.
    pub incarnation: Incarnation,
    /// The members that it gives copies to, itself included, by place.
    pub members: Vec<Peer>,
    /// What it keeps copies of; none: it is in no ring.
    pub kept: Option<Range>,
    /// Tombstones that it keeps.
    pub tombstones: u64,
    /// Keys that are still to get to members that did not answer, as far as it knows.
    pub hints: u64,
    /// Stores that are away and for which tombstones wait, with their place, where it is known.
    pub awaited: Vec<(StoreId, Option<Peer>)>,
    /// All stores that are away and may come back, with their place, where it is known.
    pub away: Vec<(StoreId, Option<Peer>)>,
    /// Stores that were forgotten.
    pub forgotten: Vec<StoreId>,
    /// What it did since it started.
    pub counters: Counters,
}

/// What a node knows of chains, and its part in them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ChainStatus {
    /// Its store.
    pub store: StoreId,
    /// How often that has been started.
    pub incarnation: Incarnation,
    /// The newest view that it has.
    pub view: Option<View>,
    /// Who leads the coordinator's group, as far as it knows.
    pub leader: Option<Peer>,
    /// Who votes in that group, as far as it knows.
    pub voters: Vec<StoreId>,
    /// How long no leader that reaches a quorum of the group has answered it; never yet: since it started.
    pub unled_for: Duration,
    /// Is its part in the group being replaced, because the quorum was lost?
    pub regrouping: bool,
    /// Its replicas.
    pub replicas: Vec<ReplicaStatus>,
}

/// What a node knows of one of its replicas.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReplicaStatus {
    /// Which epoch.
    pub epoch: Epoch,
    /// Of which range.
    pub range: Range,
    /// What it does in the chain.
    pub role: Role,
    /// The end of its log.
    pub last: Sequence,
    /// Known to be committed up to here.
    pub committed: Sequence,
    /// Does it take and answer nothing, as the chain is being changed?
    pub wedged: bool,
    /// Stored records that it knows it cannot read.
    pub unreadable: u64,
    /// Does it have a lease now?
    pub leased: bool,
}

/// A replica's part in its chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// It orders the writes.
    Head,
    /// It passes them on.
    Middle,
    /// It commits them.
    Tail,
    /// It does both: nobody else serves.
    Only,
    /// It is being filled.
    Syncing,
}

/// The first 16 bytes of a value's BLAKE3 hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ValueHash(pub [u8; 16]);

impl ValueHash {
    /// Of these bytes.
    pub fn of(value: &[u8]) -> ValueHash {
        let mut hash = [0; 16];
        hash.copy_from_slice(&blake3::hash(value).as_bytes()[..16]);
        ValueHash(hash)
    }
}

impl std::fmt::Display for ValueHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for ValueHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

/// Digits for people, 16 bytes on the wire.
impl Serialize for ValueHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for ValueHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<ValueHash, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            let number = u128::from_str_radix(&text, 16).ok().filter(|_| text.len() == 32);
            let number =
                number.ok_or_else(|| serde::de::Error::custom("a hash has 32 hexadecimal digits"))?;
            Ok(ValueHash(number.to_be_bytes()))
        } else {
            <[u8; 16]>::deserialize(deserializer).map(ValueHash)
        }
    }
}

/// What a node's store has under a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Held {
    /// Nothing.
    Nothing,
    /// A value.
    Value {
        /// Which write stored it.
        version: Version,
        /// What it is.
        hash: ValueHash,
        /// How long it is.
        bytes: u64,
        /// When it ends by itself; none: never.
        expires: Option<Moment>,
    },
    /// A record whose checksum is wrong. It is never served.
    Damaged,
}

/// What a node itself has of a key, whether or not it may serve it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeyCopy {
    /// What its store has.
    pub held: Held,
    /// Is there a write of the key that this node does not know to be committed?
    pub dirty: bool,
    /// Its replica of the key's range; none: it has none, or the cluster has no chains.
    pub replica: Option<ReplicaStatus>,
}

/// A mark in the log of a range: the place at which its copies are compared.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct MarkName {
    /// In which epoch.
    pub epoch: Epoch,
    /// A random number.
    pub name: u128,
}

/// A mark was put into a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Marked {
    /// Where.
    pub sequence: Sequence,
}

/// Of what a digest is wanted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DigestOptions {
    /// As the copy was at this mark; none: as it is now, in eventual mode, where there is no log to mark.
    pub mark: Option<MarkName>,
    /// Keys of these identifiers.
    pub range: Range,
    /// Begin behind this one.
    pub after: Option<Key>,
    /// Leave out values that end by themselves up to this moment: in eventual mode each node ends them by its own clock.
    /// None: leave none out.
    pub ended_by: Option<Moment>,
}

/// The digest of some of what a node had at a mark, or has, in the order of the identifiers from the range's low end on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DigestPage {
    /// Of keys, versions and values.
    pub digest: Digest,
    /// Records that cannot be read, and are not in the digest.
    pub damaged: u64,
    /// The last key; there may be more behind it. None: that was all.
    pub after: Option<Key>,
}

/// Which part of what a node has to list.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CopiesOptions {
    /// As the copy was at this mark; none: as it is now.
    pub mark: Option<MarkName>,
    /// Keys of these identifiers.
    pub range: Range,
    /// Begin behind this one.
    pub after: Option<Key>,
    /// At most this many; the server may send fewer.
    pub limit: u32,
    /// As in [`DigestOptions::ended_by`].
    pub ended_by: Option<Moment>,
}

/// Some of what a node has, in the order of the identifiers from the range's low end on, as it was at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CopiesPage {
    /// Keys with what is there; never nothing.
    pub copies: Vec<(Key, Held)>,
    /// Are there more behind the last?
    pub more: bool,
    /// The node's replica of the range's high end at that moment; none: it has none.
    pub replica: Option<ReplicaStatus>,
}

/// Which part of what a node has to give whole. It refuses unless it has everything of the range.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RecordsOptions {
    /// As the copy was at this mark; none: as it is now.
    pub mark: Option<MarkName>,
    /// Keys of these identifiers.
    pub range: Range,
    /// Begin behind this one.
    pub after: Option<Key>,
    /// At most this many; the server may send fewer.
    pub limit: u32,
}

/// Some of the records of a range, in the order of the identifiers from the range's low end on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RecordsPage {
    /// Keys with their values.
    pub records: Vec<(Key, Record)>,
    /// Are there more behind the last?
    pub more: bool,
}

/// For clients. Every method is one call and one answer; see the module's words on recursion.
#[tarpc::service]
pub trait Chordata {
    /// Stores a value at the key's owner.
    async fn put(key: Key, value: Value, options: Options) -> Result<Answer<Outcome>, Error>;
    /// The value and its version, or none.
    async fn get(key: Key, options: Options) -> Result<Answer<Option<Record>>, Error>;
    /// An attribute of the node with that ring number.
    async fn get_node(number: u32, attribute: String) -> Result<Numbered<String>, Error>;
    /// Every node of the ring.
    async fn get_conn_info() -> Result<Numbered<Vec<ConnInfo>>, Error>;
    /// Admits a node: grants its place. Its data follows once it has joined.
    async fn connect(node: Joiner) -> Result<Admission, Error>;
    /// Numbers the nodes around the ring, from the lowest id.
    async fn update_numbers() -> Result<Numbering, Error>;
    /// Refreshes every finger of every node.
    async fn update_finger_table() -> Result<FingerRefresh, Error>;

    /// Removes a value.
    async fn delete(key: Key, options: Options) -> Result<Answer<Outcome>, Error>;
    /// Stores a value (none: removes it) only if the key has the expected version (none: is absent).
    async fn compare_and_swap(
        key: Key,
        expected: Option<Version>,
        value: Option<Value>,
        options: Options,
    ) -> Result<Answer<Outcome>, Error>;
    /// Stores many; an answer per key, in their order.
    async fn put_many(entries: Vec<(Key, Value)>, options: Options) -> Vec<Result<Outcome, Error>>;
    /// Reads many; an answer per key, in their order.
    async fn get_many(keys: Vec<Key>, options: Options) -> Vec<Result<Option<Record>, Error>>;
    /// Some of the keys that this node serves.
    async fn scan(options: ScanOptions) -> Result<Page, Error>;
    /// One step of a lookup that the client drives itself.
    async fn find(target: Id, policy: Policy) -> Result<Found, Error>;
    /// Who owns an identifier, looked up by this node.
    async fn lookup(target: Id, policy: Policy) -> Result<Trip, Error>;
    /// This node's finger table, without repeats.
    async fn fingers() -> Result<Vec<FingerRow>, Error>;
    /// Leaves the ring: hands all keys over first. Answers when it has left.
    async fn depart() -> Result<(), Error>;
    /// How this node is.
    async fn status() -> Result<Status, Error>;
    /// The member with this id will not come back: others take its place, and its store is barred.
    async fn forget(id: Id) -> Result<(), Error>;
    /// Eventual mode: this store will not come back; nothing waits for it any more, and it is barred.
    async fn forget_store(store: StoreId) -> Result<(), Error>;
    /// An operator accepts that acknowledged writes may be lost where no complete copy is left.
    async fn recover() -> Result<(), Error>;
    /// The quorum of the coordinator's group is lost for good: this node rebuilds the group from its own view, which is
    /// the one with this index. An operator vouches that every member that does not answer has stopped and stays so.
    /// Answers the index of the first view of the new group.
    async fn recover_quorum(newest: u64) -> Result<u64, Error>;
    /// What this node itself has of a key, whether or not it may serve it.
    async fn copy(key: Key) -> Result<KeyCopy, Error>;
    /// Some of what this node itself has, whether or not it may serve it.
    async fn copies(options: CopiesOptions) -> Result<CopiesPage, Error>;
    /// Some of the records of a range that this node has all of, now or at a mark: what a dump is made of.
    async fn records(options: RecordsOptions) -> Result<RecordsPage, Error>;
    /// Puts a mark into the log of an epoch whose head this node is: every serving replica keeps its copy as it is there
    /// for a while. Answers when it is committed; if the epoch has ended meanwhile, not every replica may have it.
    async fn mark(mark: MarkName) -> Result<Marked, Error>;
    /// The digest of what this node had at a mark; in eventual mode, of what it has.
    async fn digest(options: DigestOptions) -> Result<DigestPage, Error>;
    /// The copy at a mark is not needed any more.
    async fn unmark(mark: MarkName) -> Result<(), Error>;
}

/// For other nodes. Every method is answered from this node's own state.
#[tarpc::service]
pub trait Ring {
    /// A message of the ring protocol.
    async fn ask(request: Request) -> Response;
    /// Changes a key that this node serves.
    async fn apply(key: Key, operation: Operation, by: Option<WriteId>) -> Result<Placed<Outcome>, Error>;
    /// Reads a key that this node serves.
    async fn read(key: Key) -> Result<Placed<Option<Record>>, Error>;
    /// Changes many keys that this node serves; an answer per key.
    async fn apply_many(entries: Vec<(Key, Operation, Option<WriteId>)>) -> Vec<Result<Outcome, Error>>;
    /// Reads many keys that this node serves; an answer per key.
    async fn read_many(keys: Vec<Key>) -> Vec<Result<Option<Record>, Error>>;
    /// What this node's replicas have of many keys, serving or not; an answer per key.
    async fn read_any(keys: Vec<Key>) -> Vec<Result<Option<Record>, Error>>;
    /// A message of chains.
    async fn chain(request: ChainRequest) -> ChainResponse;
    /// A message of the coordinator's group.
    async fn group(message: Bytes) -> Result<Bytes, Error>;
    /// Has the group agree on a command; only its leader does.
    async fn propose(command: Command) -> Result<Applied, Error>;
    /// An operator accepts that writes may be lost where no complete copy is left; only the group's leader takes it.
    async fn accept_loss() -> Result<(), Error>;
    /// This is who I am; who are you? None: this cluster is not in eventual mode.
    async fn hello(from: Hello) -> Option<Hello>;
    /// A message of eventual mode. None: this cluster is in another one, or the node has stopped.
    async fn deliver(letter: Letter) -> Option<Reply>;
}
