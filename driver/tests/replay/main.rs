//! `chordata replay`: carrying out a file, and knowing what is right.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../support/mod.rs"]
mod support;

mod files;
mod ways;

/// The file of the repository.
const INPUT: &str = include_str!("../../../input.txt");
