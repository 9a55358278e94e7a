//! What must hold of chains, one invariant per file.
//!
//! Each check is given what the [witness](super::witness) knows and what has just happened, and returns a sentence about
//! what is wrong. The checks of histories are in [`crate::history`].

pub mod committed;
pub mod content;
pub mod endings;
pub mod leases;
pub mod lost;
pub mod once;
pub mod one_epoch;
pub mod prefix;

/// What is wrong, if something is.
pub type Found = Result<(), String>;
