//! Files in real clusters: where they are when nodes come, go and die; who wins; what is left of clients that are killed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../support/mod.rs"]
mod support;

mod clients;
mod commands;
mod membership;
mod over_http;
mod tools;
