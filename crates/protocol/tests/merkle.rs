//! The Merkle difference against what is right by inspection: the symmetric difference of two maps.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "merkle/exactness.rs"]
mod exactness;
#[path = "merkle/questions.rs"]
mod questions;
#[path = "merkle/store.rs"]
mod store;

use proptest::test_runner::Config;

/// No file of failures: the smallest input that fails is printed, and becomes a test of its own.
fn config() -> Config {
    Config { failure_persistence: None, ..Config::default() }
}
