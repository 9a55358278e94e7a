//! `chordata shell`: lines on standard input, two users at once, and a user at a terminal.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../support/mod.rs"]
mod support;

mod lines;
mod terminal;
mod users;
