//! How servers start, and how they refuse to: joining, credentials, settings, and the messages that belong to them.

mod admission;
mod joining;
mod lifetime;
mod settings;
#[path = "../support/mod.rs"]
mod support;
