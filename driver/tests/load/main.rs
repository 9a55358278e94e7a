//! `load` and `dump`, on real servers.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../support/mod.rs"]
mod support;

mod churn;
mod dump;
mod files;
mod resume;
