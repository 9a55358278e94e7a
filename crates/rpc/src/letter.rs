//! What nodes of a cluster in eventual mode put around each other's requests.
//!
//! The protocol rests on two things that a connection alone does not give. A request reaches the *store* that it is meant
//! for, not whoever listens at that address by now. And it arrives within a bounded time or never: tombstones are dropped
//! in the belief that nothing older is on its way, and TCP may hold a message back for minutes. So a letter names store
//! and life of the receiver, and until when, on the *receiver's* clock, it may be opened. A sender learns all three with
//! [`Hello`], which also comes with every answer.

use std::time::Duration;

use chordata_protocol::Id;
use chordata_protocol::chain::view::Incarnation;
use chordata_protocol::eventual::{Request, Response};
use chordata_protocol::store_id::StoreId;
use serde::{Deserialize, Serialize};

/// Who a node is, at this moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// Its store.
    pub store: StoreId,
    /// How often that has been started.
    pub incarnation: Incarnation,
    /// What its clock says: the time since it started.
    pub clock: Duration,
    /// Its place on the ring. No two nodes may have the same, but both sides of a split may have granted it.
    pub place: Id,
}

/// A request from one store to another.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Letter {
    /// Who asks.
    pub from: StoreId,
    /// Who is asked.
    pub to: StoreId,
    /// In which life.
    pub incarnation: Incarnation,
    /// On the receiver's clock: it is not opened later.
    pub until: Duration,
    /// What is asked.
    pub request: Request,
}

/// What becomes of a letter.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reply {
    /// The answer; none: the letter was for another store, or for another life of this one, or it came too late. Nothing
    /// was changed then.
    pub response: Option<Response>,
    /// Who the node is.
    pub hello: Hello,
}
