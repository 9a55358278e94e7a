//! Clusters in eventual mode: what people see of them, and what they can do about them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../support/mod.rs"]
mod support;

mod audit;
mod looks;
mod operators;
mod options;
