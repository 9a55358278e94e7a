//! Clusters that keep their data in chains: what people see of them, and what they can do about them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../support/mod.rs"]
mod support;

mod audit;
mod levels;
mod operators;
mod replicas;
mod status;
