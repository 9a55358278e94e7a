//! Groups of real nodes in one process, over a network that loses, delays, holds and cuts.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod confirming;
mod crashing;
mod ledger;
mod messages;
mod net;
mod nodes;
mod outcomes;
mod recovering;
mod replicating;
mod restarting;
mod voting;
