//! The other commands of users: their output, and their exit codes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../support/mod.rs"]
mod support;

mod data;
mod help;
mod inventories;
mod look;
mod rpc;
mod target;
