//! The HTTP front end of real server processes, asked by a small client of hyper's.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod bulk;
mod classic;
mod doors;
mod eventual;
mod files;
mod keys;
mod listing;
mod looks;
mod standby;
#[path = "../support/mod.rs"]
mod support;
mod web;

use crate::support::ring::TestRing;

/// Quick rounds, chains in memory, HTTP at any free port.
pub(crate) const CHAINS: [&str; 14] = [
    "--stabilize-ms",
    "100",
    "--finger-ms",
    "300",
    "--call-timeout-ms",
    "2000",
    "--consistency",
    "chain",
    "--replication",
    "3",
    "--durability",
    "memory",
    "--http",
    "127.0.0.1:0",
];

/// The same in single copies.
pub(crate) const SINGLE: [&str; 10] = [
    "--stabilize-ms",
    "100",
    "--finger-ms",
    "300",
    "--call-timeout-ms",
    "2000",
    "--consistency",
    "single",
    "--http",
    "127.0.0.1:0",
];

/// Who asks one of the servers.
pub(crate) fn web(ring: &TestRing, place: usize) -> web::Web {
    web::Web::new(ring.servers[place].http.as_ref().expect("it was started with --http"))
}
