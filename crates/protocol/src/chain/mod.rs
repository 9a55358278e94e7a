//! Chain replication: each range of the ring is kept by a chain of nodes, linearizable also under partitions.
//!
//! # The parts
//!
//! - The [`view`]: members, ranges, epochs, chains. The state of a small consensus group; changed by [`command`]s only.
//! - The [`Coordinator`]: on the group's leader. It hears everybody's heartbeats, gives leases, and decides
//!   ([`plan`]) which chains to change.
//! - The [`Member`]: on every node. It sends heartbeats, holds leases, and has a [`Replica`] per range.
//! - [`fill`]: making a newcomer's copy equal while writes go on. [`results`]: writes that are sent twice.
//!
//! # A write and a read
//!
//! The head of the chain gives a write its sequence, stores it and passes it on; each replica takes it only as the next
//! one; the last serving replica commits it, and the news goes back up to the head, which answers. A read is answered
//! by the last serving replica, or by any other whose copy of that key is clean. Newcomers come last in the chain: they
//! take every write and serve nothing.
//!
//! # A change of a chain, from epoch e to the next
//!
//! 1. *Prepare* is agreed on: it names the new chain. From proposing it on, the leader names e in no lease.
//! 2. Every node of both chains that hears of it *wedges*: no writes, no reads. It reports how far its log goes.
//! 3. When each node of e has reported, or its lease has certainly run out, nobody can serve or commit in e any more.
//!    What was committed is at every serving node of e, so also at each one that is kept. The longest log among those
//!    is the base; who is behind fetches the rest ([`message::ChainRequest::Level`]).
//! 4. *Activate* is agreed on: the new epoch begins at the base; serving are only those whose log is at it.
//!
//! A later Prepare supersedes an earlier one, and both start from e. So there is one active epoch of a range at a
//! time, and no acknowledged write is left behind. Splits and merges of ranges are the same, with two children or two
//! parents.
//!
//! # Leases
//!
//! A node serves epoch e until `sent + L(1 - rho)`, where `sent` is when it sent the heartbeat whose answer named e. A
//! leader answers only after a round of the group that began after the heartbeat came in, so a deposed leader renews
//! nothing; a new leader waits `L(1 + rho)` before it takes leases that it did not give for over.
//!
//! # What ends by itself
//!
//! A put with a time to live stores the moment at which it ends: the head adds the time to live to its own wall clock,
//! once, when it decides the put, and the moment goes down the chain in the log. Every replica keeps it with the value,
//! and its engine can say what ends next, so whoever becomes head, or comes back, has nothing to build.
//!
//! Only the head ends a value. At every tick, while it may take writes, it asks its engine for keys whose moment
//! has come by its wall clock ([`Effect::FindDue`]), some at a time, and for each puts an entry into the log which
//! says that the value of *this version* has ended ([`message::Mutation::Expire`]). It is decided under the node's
//! lock on what the engine holds then, behind every earlier write and in front of every later one: a newer value is never
//! ended in place of the one that was due. From there on it is a write like any other: on disk, committed, levelled, filled and
//! read like one. Until it is committed everybody sees the value; afterwards nobody does, whoever becomes head and
//! whatever its clock shows, since absence is a fact in the log and not what a clock says. A head that dies in the
//! middle leaves an entry that is in the next epoch, or a value that the next head finds due again.
//!
//! Nothing is ended while writes are refused: without a lease, while the chain changes, with too few replicas. Clients go
//! first: when half of what may be uncommitted is, no more is ended.
//!
//! A put that is sent again has its result in the log's results and is not decided again, so its moment stays. A put without
//! a time to live stores none: that clears it.
//!
//! # When everybody who served is gone
//!
//! [`Coordinator`] reopens the range from what returning stores hold, as far as the durability promises that this is
//! all: under `sync` any one serving store's copy; under `interval` the longest, when all are back; under `memory`
//! nothing, once all are known to have ended. Otherwise an operator decides.
//!
//! Sources: van Renesse and Schneider, "Chain replication" (OSDI 2004); Terrace and Freedman, "CRAQ" (USENIX ATC 2009);
//! the reconfiguration is in the manner of vertical Paxos (Lamport, Malkhi, Zhou, PODC 2009), leases of Gray and
//! Cheriton (SOSP 1989).

pub mod command;
mod context;
mod coordinator;
pub mod event;
pub mod fill;
mod member;
pub mod message;
pub mod plan;
mod replica;
pub mod results;
pub mod settings;
pub mod view;

pub use command::{Applied, Command};
pub use coordinator::Coordinator;
pub use event::{Change, Deed, Effect, Event, Occasion, Reply, Timer};
pub use member::{Kept, Member, Read, Refusal};
pub use message::{ChainRequest, ChainResponse, WriteId};
pub use replica::{Replica, WriteRequest};
pub use settings::ChainSettings;
pub use view::{Epoch, Incarnation, Sequence, StoreId, View};
