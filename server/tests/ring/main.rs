//! Rings of real processes: the seven methods, crashes, restarts, pauses, departures, and changes under load.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod crashes;
mod departures;
mod load;
mod methods;
mod restarts;
#[path = "../support/mod.rs"]
mod support;
