//! How servers start, and how they refuse to: joining, credentials, settings, and the messages that belong to them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod admission;
mod entries;
mod joining;
mod lifetime;
mod settings;
mod standby;
#[path = "../support/mod.rs"]
mod support;
