//! A manager and its peers as processes: every command, several clients at once, and kills in the middle.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod crashes;
mod crowd;
mod losses;
mod processes;
mod secret;
mod story;
#[path = "../support/mod.rs"]
mod support;
mod tables;
