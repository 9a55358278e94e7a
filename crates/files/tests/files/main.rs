//! Files in a store that is a map in memory: what is visible when, what is left behind, what happens when things go wrong.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod downloads;
mod failures;
mod fake;
mod puts;
mod resumes;
mod round_trips;
mod tidying;
