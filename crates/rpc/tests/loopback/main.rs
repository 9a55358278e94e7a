//! The whole stack over real TCP on this machine, with a node that has hardly anything in it.
#![allow(clippy::unwrap_used, reason = "clippy.toml allows it in tests, but not in what they share")]

mod admission;
mod calls;
mod node;
mod reconnect;
