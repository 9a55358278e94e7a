//! Rings of real processes: the seven methods, crashes, restarts, pauses, departures, and changes under load.

mod crashes;
mod departures;
mod load;
mod methods;
mod restarts;
#[path = "../support/mod.rs"]
mod support;
