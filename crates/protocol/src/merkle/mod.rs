//! What differs between the stores of two nodes, found with few questions: one difference serves chain transfer,
//! resync, audit and anti-entropy.
//!
//! # How it works
//!
//! Every record has a hash ([`record_hash`]), and an arc of the ring has a [`Digest`]: how many records it holds and
//! the sum of their hashes. A sum does not depend on an order and takes a change in one addition, so a node keeps
//! the digests of its whole store in a [`Tree`]: a fixed grid of buckets, by the top bits of the identifier.
//!
//! Who compares drives a [`Difference`]. It asks the other node about an arc ([`Question`], with its own digest of
//! it); the other node answers from its own store ([`answer`]): the same; or the digests of at most 64 parts of the
//! arc, of which those that differ are asked about next; or, when the arc holds few records, their keys, versions
//! and hashes. Parts are cut the same way on both sides ([`arc`]), so an answer need not say where.
//!
//! # What it guarantees
//!
//! - Equal arcs cost one question. One differing record of n costs O(log n) questions; each level is a cut by 32 to 64.
//! - While neither side changes, what is found is exactly the difference (but for collisions, see [`hash`]).
//! - Both sides may change meanwhile. It still ends, since every question is about a smaller arc, or a later page,
//!   than the one that led to it. What was written while it ran may be found or not, and what is found may already
//!   be repaired: whoever acts on a finding compares versions again.
//! - Questions and answers have bounded sizes: any answer is below 512 KiB. Memory is bounded on both sides: findings
//!   are handed out in pages as they come.
//!
//! # Left out on purpose
//!
//! Records that share one identifier (only in small teaching rings) have no digests apart: if one of them differs, all
//! of them are listed, in pages.

pub mod arc;
mod difference;
mod exchange;
pub mod hash;
mod tree;

pub use difference::{Difference, Finding, Step, Summary, Ticket};
pub use exchange::{Answer, BadQuestion, Listed, Question, Source, answer};
pub use hash::{Digest, RecordHash, copy_hash, record_hash};
pub use tree::{Parts, Tree};
