//! Eventual mode: seeded simulation of whole clusters, stories of a few nodes, and properties of merging.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "eventual/check.rs"]
mod check;
#[path = "eventual/disk.rs"]
mod disk;
#[path = "eventual/joins.rs"]
mod joins;
#[path = "eventual/simulation.rs"]
mod simulation;
#[path = "eventual/stories.rs"]
mod stories;
#[path = "eventual/wire.rs"]
mod wire;
#[path = "eventual/world.rs"]
mod world;
