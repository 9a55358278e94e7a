//! The service of a server's process itself: may it be told to enter a ring, is it in one, and out again?
//!
//! A process that was started with `--standby` is up before it is a node of any ring, and after it was one. What its
//! node does is the service [`Chordata`](crate::service::Chordata); this one is answered all the time, also on standby.
//! Whoever calls it needs the secret, but no cluster's id.

use std::time::Duration;

use chordata_protocol::{Address, Id, Peer, Placement};
use serde::{Deserialize, Serialize};

use crate::service::{ClusterId, ClusterSettings, Error};

/// How a server's process is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Standing {
    /// Its name, if it was given one.
    pub name: Option<String>,
    /// Where others reach it.
    pub address: Address,
    /// Version of its program.
    pub version: String,
    /// How long it has been running.
    pub uptime: Duration,
    /// Was it started with `--standby`? Only then it can be told to enter a ring, and outlives its part in it.
    pub standby: bool,
    /// Does it have a directory to keep data in?
    pub keeps_data: bool,
    /// The ring that it is in; none: it is on standby, or on its way into a ring.
    pub seat: Option<Seated>,
    /// Is it on its way into a ring?
    pub entering: bool,
    /// The cluster that it belongs to: the one that it is in, or on its way into, or that of the store on its disk. None:
    /// to none, or nobody knows yet. [`Standby::release`] wants it named.
    pub belongs_to: Option<ClusterId>,
    /// Why its last part in a ring, or its last attempt at one, is over.
    pub last: Option<String>,
}

/// A server's part in a ring.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Seated {
    /// Itself as a node.
    pub me: Peer,
    /// The cluster.
    pub cluster: ClusterId,
}

/// Into which ring a server on standby is to go.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum JoinWish {
    /// As its settings say: the one of those that `--join` names; without any it founds one. A server that was in a ring
    /// before goes back to that, and never founds a second one.
    AsSet,
    /// A new ring, whose first node it is.
    Found {
        /// What all its nodes will have in common.
        settings: ClusterSettings,
        /// Its place; none: as its settings say.
        id: Option<Id>,
    },
    /// The ring that these are in.
    Join {
        /// Whom to ask for admission.
        contacts: Vec<Address>,
        /// Which ring it must be; none: whichever they are in.
        cluster: Option<ClusterId>,
        /// Which place it wants; none: as its settings say.
        placement: Option<Placement>,
    },
}

impl JoinWish {
    /// Which cluster it must be, if that is known.
    pub fn cluster(&self) -> Option<ClusterId> {
        match self {
            JoinWish::AsSet => None,
            JoinWish::Found { settings, .. } => Some(settings.cluster),
            JoinWish::Join { cluster, .. } => *cluster,
        }
    }
}

/// A table to load.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LoadOrder {
    /// Tells this order from others: asked again with the same number, it is the same order.
    pub number: u128,
    /// Into which cluster; a server that is in another one refuses.
    pub cluster: ClusterId,
    /// A CSV file in the server's directory of tables: its name, no path.
    pub file: String,
    /// The column that has the keys; the value is the row as a JSON object, its fields in the order of the file.
    pub key: String,
}

/// How far a table is loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Loading {
    /// Keys that are stored.
    pub records: u64,
    /// Is that all?
    pub done: bool,
}

/// For whoever says where a server belongs: an operator, or a manager.
#[tarpc::service]
pub trait Standby {
    /// How the process is.
    async fn standing() -> Standing;
    /// Enters a ring; answers when it is in it. One that is in the cluster that is named already answers at once; one that
    /// is in another one refuses.
    async fn enter(wish: JoinWish) -> Result<Peer, Error>;
    /// Hands all keys over, leaves the ring, and is on standby again.
    async fn leave() -> Result<(), Error>;
    /// Leaves the ring of this cluster, or gives up entering it, *without* handing anything over: all that it has of it is
    /// erased, and it is on standby again. One that belongs to no cluster answers at once. One that belongs to another
    /// cluster refuses ([`Error::AlreadyMember`]; [`Error::Unavailable`] on its way into it), and nothing is erased. None:
    /// the cluster that it belongs to is not known yet ([`Standing::belongs_to`]).
    async fn release(cluster: Option<ClusterId>) -> Result<(), Error>;
    /// Loads a table of this server's machine into the ring that it is in: begins, or says how far it is.
    async fn load(order: LoadOrder) -> Result<Loading, Error>;
}
