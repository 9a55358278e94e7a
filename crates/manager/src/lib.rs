//! The manager: a process that knows servers by name, and makes one ring of some of them at a time.
//!
//! ```text
//!            register                  setup-dht, join-dht
//!  (unknown) ───────▶ Free ─────────────────────────────────▶ InDHT, one of them Leader
//!            ◀─────── Free ◀─────────────────────────────────
//!            deregister                leave-dht, teardown-dht
//! ```
//!
//! [`book`] is what it knows, and decides: a pure state machine. A command goes in, and a [`book::Step`] comes out: do this
//! one thing and tell me what came of it, or: done, answer that. [`run()`] is the shell around it: it carries out one step
//! after the other, and keeps the book on disk ([`disk`]) before each. So a manager that is killed at any moment finds
//! in its book what it was about to do, and either ends it or takes it back ([`book::Book::recover`]):
//!
//! | killed in the middle of | what the next process does |
//! |---|---|
//! | `setup-dht` | takes it back: all chosen peers are released |
//! | `leave-dht`, `join-dht` | goes on |
//! | `teardown-dht` | goes on |
//!
//! That works since each thing that is done to a peer can be done again: to enter a ring that it is in, to leave one that
//! it has left, to be released when it is on standby. A peer that does not answer when it is to be released is *owed*:
//! it is free, but nothing is done with it until it answers and is released. A member that was told to leave and does not
//! answer is *doubtful*: it may have left. It counts no more, and is looked at again until it answers.
//!
//! Only one command is carried out at a time. Those that come meanwhile wait for their turn.

pub mod book;
pub mod disk;
mod errands;
pub mod run;

pub use book::Book;
pub use run::{Settings, run};
