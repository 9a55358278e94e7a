//! Nobody serves without a valid lease by its own clock.
//!
//! The world keeps its own book of leases: when a heartbeat left, and which epochs its answer granted.

use chordata_protocol::Time;
use chordata_protocol::chain::Epoch;

use super::Found;
use crate::chain::node::Process;

/// A node serves under this epoch, when its clock shows this.
///
/// # Errors
/// When its lease has run out or it never had one.
pub fn serves(process: &Process, now: Time, epoch: Epoch) -> Found {
    match process.leases.get(&epoch) {
        Some(until) if now < *until => Ok(()),
        Some(until) => Err(format!(
            "epoch {epoch} is served {} us after the lease ran out",
            now.since(*until).as_micros()
        )),
        None => Err(format!("epoch {epoch} is served without a lease")),
    }
}
