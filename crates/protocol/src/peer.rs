//! Nodes as others know them: an identifier and an address.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::id::Id;

/// Where a node is reached: `HOST:PORT`, compared as text. Clones share one allocation.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Address(Arc<str>);

impl Address {
    /// From `HOST:PORT`.
    pub fn new(text: &str) -> Address {
        Address(Arc::from(text))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands before the last colon, without the brackets of an IPv6 address.
    pub fn host(&self) -> &str {
        let host = self.0.rsplit_once(':').map_or(&*self.0, |(host, _)| host);
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    /// What stands behind the last colon, if it is a port.
    pub fn port(&self) -> Option<u16> {
        self.0.rsplit_once(':')?.1.parse().ok()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A node: its place on the ring and where it is reached.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Peer {
    /// Its place.
    pub id: Id,
    /// Where it is reached.
    pub address: Address,
}

impl Peer {
    /// From its parts.
    pub fn new(id: Id, address: Address) -> Peer {
        Peer { id, address }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.address, self.id.to_literal())
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}@{}", self.id, self.address)
    }
}

/// One place of a successor list: a node, or a pad where a dead one was dropped (its id is the last one's plus 1).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Successor {
    /// A node that somebody heard from.
    Node(Peer),
    /// Nobody: keeps the list at its length.
    Pad(Id),
}

impl Successor {
    /// Its place on the ring.
    pub fn id(&self) -> Id {
        match self {
            Successor::Node(peer) => peer.id,
            Successor::Pad(id) => *id,
        }
    }

    /// The node, unless it is a pad.
    pub fn node(&self) -> Option<&Peer> {
        match self {
            Successor::Node(peer) => Some(peer),
            Successor::Pad(_) => None,
        }
    }
}

impl fmt::Debug for Successor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Successor::Node(peer) => write!(f, "{:?}", peer.id),
            Successor::Pad(id) => write!(f, "pad {id:?}"),
        }
    }
}
