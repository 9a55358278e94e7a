//! The pure heart of Chordata: the ring as a state machine.
//!
//! Nothing in this crate reads a clock, opens a socket, touches a file, draws from a global generator or awaits.
//! [`ring::Ring`] is one node: events go in, effects come out, and time is an argument. [`procedure`] holds the
//! walks over many nodes (lookup, walk, renumber, refresh, admission) as machines of the same kind: they say whom to
//! ask, and are told the answers. [`chain`] and [`eventual`] are the two ways in which data is kept, [`merkle`] compares
//! two copies of it. A server, a simulator and a test run the same code.

pub mod chain;
pub mod eventual;
pub mod expiry;
pub mod id;
pub mod key;
pub mod membership;
pub mod merkle;
pub mod message;
pub mod peer;
pub mod procedure;
pub mod replication;
pub mod ring;
pub mod store_id;
pub mod time;
pub mod waits;

pub use expiry::{Ending, Moment, Ttl};
pub use id::{Id, Space};
pub use key::{BadInput, Key, Operation, Outcome, Record, Value, Version};
pub use membership::{Membership, Stamp};
pub use message::{CallError, Placement, Policy, Range, Request, Response, Why};
pub use peer::{Address, Peer, Successor};
pub use replication::{Consistency, Durability, Lease, Replication};
pub use store_id::StoreId;
pub use time::Time;
