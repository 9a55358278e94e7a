//! Properties: what must hold for every ring, checked against something so simple that it is right by inspection.
//!
//! [`ideal`] makes rings that are at rest, of real nodes, without a network; the other modules ask them.

#[path = "properties/any_order.rs"]
mod any_order;
#[path = "properties/fingers.rs"]
mod fingers;
#[path = "properties/ideal.rs"]
mod ideal;
#[path = "properties/intervals.rs"]
mod intervals;
#[path = "properties/lookups.rs"]
mod lookups;
#[path = "properties/messages.rs"]
mod messages;
#[path = "properties/numbers.rs"]
mod numbers;
#[path = "properties/placement.rs"]
mod placement;
#[path = "properties/walks.rs"]
mod walks;
#[path = "properties/wire.rs"]
mod wire;

use proptest::test_runner::Config;

/// No file of failures: the smallest input that fails is printed, and becomes a test of its own.
fn config() -> Config {
    Config { failure_persistence: None, ..Config::default() }
}
