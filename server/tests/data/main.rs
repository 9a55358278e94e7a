//! What servers do with requests: limits, batches, compare-and-swap, pages, traces; and with bytes that are none.

mod batches;
mod limits;
mod scan;
mod strangers;
#[path = "../support/mod.rs"]
mod support;
mod swap;
mod trace;
