//! Every engine does what a plain map does, whatever happens: random stories, crashes at every operation, damage.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod agrees_with_a_map;
mod crashes;
mod damage;
mod group;
mod truth;
