//! Experiments and their pictures, on real servers and on fake ones that answer wrongly.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../../../crates/workload/tests/generator/fake.rs"]
#[allow(dead_code, reason = "only some of its faults are needed here")]
mod fake;
#[path = "../support/mod.rs"]
mod support;

mod clusters;
mod hosts;
mod input;
mod pictures;
mod stale;
