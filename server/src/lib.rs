//! One node of a Chordata ring: the real clock, sockets and disk around the pure state machine.
//!
//! ```text
//!            tarpc                         events                    effects
//! clients ──▶ service ──┐              ┌──▶ ring (pure) ──▶ calls to other nodes, timers, keys to move
//! nodes   ──▶ peers ────┼──▶ node ─────┤
//! timers  ──────────────┘  (one lock)  └──▶ engine (keys and values)
//! ```
//!
//! [`node::Node`] holds the state machine and the engine behind one lock. An event is applied, and its effects
//! are begun, while the lock is held and without waiting for anything; so a handler that tarpc drops in the middle
//! (its caller went away, its deadline passed) never leaves half an update. Handlers that drive a walk over other nodes
//! ([`walks`]) hold no lock while they wait, and await only what [`chordata_protocol::waits`] lists.
//!
//! How the data is kept beside other nodes is one of two parts behind the same lock: [`chain`] (linearizable) or
//! [`eventual`]; or neither, and the ring hands the only copy over.

pub mod agent;
mod announce;
mod any;
pub mod chain;
pub mod command;
mod copies;
mod digests;
pub mod eventual;
pub mod http;
pub mod identity;
pub mod logging;
mod many;
pub mod node;
mod peers;
mod reception;
mod routing;
mod service;
pub mod settings;
mod single;
pub mod standby;
pub mod start;
mod tables;
mod trace;
mod walks;
mod wall;

pub use node::Node;
pub use settings::Settings;
pub use standby::Seat;
pub use start::{StartError, Started, start};
