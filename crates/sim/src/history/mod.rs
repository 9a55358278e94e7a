//! Histories of what clients did, and checkers that say whether a correct store can have answered so.
//!
//! One [`History`] and one set of checkers serve the simulation, the real server under simulated networks, and real
//! processes. The recorder notes when an operation was invoked and when and with what it returned; the checkers
//! know nothing of rings, chains or clocks. They are pure: times are microseconds that the recorder gives.
//!
//! # What is guaranteed
//!
//! *Linearizability* (Herlihy and Wing 1990): each operation seems to take effect at one moment between its invocation
//! and its return. So operations can be put into one order that respects real time (what returned before something
//! else was invoked comes first) and in which every answer is right. Keys are independent: the history is
//! linearizable if that of each key is (the paper's locality theorem), so all checkers go key by key.
//!
//! # Three outcomes
//!
//! [`Outcome::Done`] took effect within its interval. [`Outcome::NotDone`] has no effect, ever. [`Outcome::Unknown`] is
//! what a client knows after a timeout: the request may be on its way still. It is never taken for absent: it may
//! have happened at any moment after its invocation, once; and once somebody has seen its value, it has.
//!
//! # Every answer carries a version
//!
//! To search for an order is hard in general, so the store shows the one it took. A write carries the
//! [`Version`](chordata_protocol::Version) that it was given, a delete the position that it took, a read the version
//! that it found; an absence is *as of* a version: every write of the key up to it had happened, and the last of
//! them was a delete, or there was none. Other keys use the same sequence, so the versions of one key have gaps; a
//! delete that found nothing changed nothing and is treated as such an absence.
//!
//! # The checkers
//!
//! | checker | says | needs |
//! |---|---|---|
//! | [`versions`] | the order of versions explains every answer and respects real time | versions |
//! | [`zones`] | some order does, whatever the versions say | unique puts and gets only |
//! | [`once`] | nothing took effect twice, or after a refusal | versions |
//! | [`lost`] | the final state is the last write | versions, the final state |
//!
//! [`versions`] is built in steps, each a file. `witness` finds out which write made which version: value and version
//! are one to one, and no value comes from nowhere or from a refused write. `places` walks through the versions,
//! keeps what the key holds, and compares it with what every answer says was there: a compare-and-swap replaced
//! exactly the version that it expected, an absence has a delete before it. What nobody reported but must have
//! happened (the key was there, then it was not) becomes a *need*. `versions` itself holds the order against real time.
//! `unknown` gives every need an unknown operation of its own that can have done it.
//!
//! [`zones`] believes no version. If the store numbers its writes well and hands out wrong values, or the recorder is
//! wrong about versions, the two disagree.
//!
//! # What a recorder must do
//!
//! - Write each value once per key: the value names its write. Checkers refuse histories that do not.
//! - Invoke before the request leaves, close after the answer is there, by one clock for all clients
//!   ([`History::append`] joins histories of one clock).
//! - Close what timed out as unknown, or never. A client that retries records one operation.
//! - Begin with keys that hold nothing: what was there before the first operation nobody wrote.
//!
//! # Left out on purpose
//!
//! - Order between keys: operations are on one key each.
//! - A complete treatment of unknown compare-and-swaps that expect a version which nobody has seen; `unknown` says
//!   how they are let through.
//! - Versions are compared within a key: that two keys of one range were given the same version goes unnoticed.

pub mod lost;
pub mod once;
pub mod versions;
pub mod zones;

mod failure;
mod operation;
mod places;
mod record;
mod unknown;
mod witness;

pub use failure::Failure;
pub use operation::{Answer, Kind, Operation, Outcome, Seen};
pub use record::History;
