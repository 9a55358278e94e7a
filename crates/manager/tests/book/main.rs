//! The book against a world of servers that fail, die, come back, and a manager that is killed between any two steps.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod random;
mod stories;
mod world;
