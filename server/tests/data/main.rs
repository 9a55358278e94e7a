//! What servers do with requests: limits, batches, compare-and-swap, pages, traces; and with bytes that are none.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod batches;
mod expiry;
mod limits;
mod scan;
mod strangers;
#[path = "../support/mod.rs"]
mod support;
mod swap;
mod trace;
