//! `chordata demo`: what the first command that somebody types shows, and that nothing of it stays.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../support/mod.rs"]
mod support;

mod endings;
mod outcome;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The demo takes the first free ports from 18861 on: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static PORTS: Mutex<()> = Mutex::new(());
    PORTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The processes that the demo says it started.
fn pids(said: &str) -> Vec<u32> {
    said.lines().filter_map(|line| line.split_once("pid ")?.1.trim().parse().ok()).collect()
}
