//! Chain replication in discrete events: the real members and coordinators under simulated clocks, disks and networks.
//!
//! A [`world::World`] holds machines ([`node`]) with clocks ([`clock`]) and disks ([`disk`]), the coordinator's group
//! ([`group`], a model of what Raft guarantees), clients ([`client`]), and one seeded generator; nothing else is random,
//! so a seed is a whole run. [`shape`] says what a seed is like, [`faults`] what goes wrong, [`run`](run::run) when. A
//! [`witness`] sees everything that is stored, agreed on and answered; the [`invariants`] are checked at those moments,
//! the [histories](crate::history) of the clients and the [`audit`] at the end.
//!
//! [`sabotage`] breaks one thing on purpose, for tests which show that a check finds it.
//!
//! There is no ring here: clients know where to ask from the views that they are told.

pub mod audit;
pub mod client;
pub mod clock;
pub mod disk;
pub mod faults;
pub mod group;
pub mod invariants;
pub mod network;
pub mod node;
pub mod perform;
pub mod queue;
pub mod run;
pub mod sabotage;
pub mod shape;
pub mod table;
pub mod witness;
pub mod world;
