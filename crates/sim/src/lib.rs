//! The ring protocol in discrete events: the real state machine of every node under a simulated clock and network.
//!
//! A [`world::World`] holds nodes, a queue of what will happen, and one seeded generator; nothing else is random, so a
//! seed is a whole run. A [`scenario::Scenario`] says what goes wrong, a [`run`](run::run) when; [`invariants`] are checked while it
//! runs (safety) and after a quiet time (liveness), one per file. A failure names its scenario and seed, and the
//! command that replays it.

pub mod chain;
pub mod client;
pub mod history;
pub mod invariants;
pub mod jobs;
pub mod network;
pub mod run;
pub mod scenario;
pub mod world;
