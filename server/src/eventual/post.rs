//! Letters to other stores: where they are, and what makes sure that a letter reaches only whom it is for, and in time.
//!
//! See [`chordata_rpc::letter`] on why an address is not enough.

use std::collections::BTreeMap;
use std::time::Duration;

use chordata_protocol::eventual::{Event, Request, Response, Settings};
use chordata_protocol::{Address, CallError, Durability, Id, Peer, StoreId, Time};
use chordata_rpc::letter::{Hello, Letter, Reply};
use chordata_rpc::{CallFailure, within};
use tokio::sync::oneshot;
use tracing::{debug, warn};

use super::Eventual;
use crate::node::Node;

/// How long a letter and its answer may take.
const LETTER_WITHIN: Duration = Duration::from_secs(2);
/// How long an answer that names a node's clock may have been on its way, and how wrong two clocks may get meanwhile:
/// what is kept back of the time in which a letter may arrive.
const RESERVE: Duration = Duration::from_secs(10);
/// A clock that was heard longer ago is asked for again.
const CLOCK_LASTS: Duration = Duration::from_secs(60);
/// Times that a letter is sent: the first may tell that the store has started again meanwhile.
const SENDINGS_MAX: usize = 2;

/// What is known of whoever listens at an address.
#[derive(Clone, Copy, Debug)]
struct Acquaintance {
    hello: Hello,
    /// When it was asked: its clock said so then, or later.
    asked: Time,
}

/// Which store is where.
#[derive(Debug)]
pub(super) struct Directory {
    by_address: BTreeMap<Address, Acquaintance>,
    peers: BTreeMap<StoreId, Peer>,
}

impl Directory {
    /// With the places of an earlier life.
    pub(super) fn new(peers: BTreeMap<StoreId, Peer>) -> Directory {
        Directory { by_address: BTreeMap::new(), peers }
    }

    /// Where a store is, or was.
    pub(super) fn peer(&self, store: StoreId) -> Option<Peer> {
        self.peers.get(&store).cloned()
    }

    /// All stores that were ever seen at a place.
    pub(super) fn stores_at(&self, id: Id) -> Vec<StoreId> {
        let here = self.peers.iter().filter(|(_, peer)| peer.id == id);
        here.map(|(store, _)| *store).collect()
    }

    /// The store at an address, if it was heard of lately.
    pub(super) fn store_at(&self, address: &Address, now: Time) -> Option<StoreId> {
        Some(self.fresh(address, now)?.hello.store)
    }

    /// The store that was at an address when it was last heard of.
    pub(super) fn last_store_at(&self, address: &Address) -> Option<StoreId> {
        Some(self.by_address.get(address)?.hello.store)
    }

    fn fresh(&self, address: &Address, now: Time) -> Option<Acquaintance> {
        let known = self.by_address.get(address)?;
        (now.since(known.asked) <= CLOCK_LASTS).then_some(*known)
    }

    /// Somebody there said who it is; the store that was there before, if it is another one now.
    fn heard(&mut self, peer: &Peer, hello: Hello, asked: Time) -> Option<StoreId> {
        self.peers.insert(hello.store, peer.clone());
        let before = self.by_address.insert(peer.address.clone(), Acquaintance { hello, asked })?.hello.store;
        (before != hello.store).then_some(before)
    }
}

impl Acquaintance {
    /// Until when, on the other's clock, something that is sent now may arrive.
    fn until(&self, now: Time) -> Duration {
        let lifetime = Settings::default().message_lifetime.saturating_sub(RESERVE);
        self.hello.clock + now.since(self.asked) + lifetime
    }
}

impl Node {
    /// The time since this node started, as others know it.
    pub(super) fn clock(&self) -> Duration {
        Duration::from_micros(self.now().as_micros())
    }

    /// A node has said who it is.
    fn heard(&self, peer: &Peer, hello: Hello, asked: Time) {
        self.with_eventual(|part, engine| {
            if hello.store == part.store() && peer.address != self.me().address {
                part.double = Some(peer.clone());
                return self.serving_changed();
            }
            self.compare_places(part, hello);
            let replaced = part.directory.heard(peer, hello, asked);
            // What was in memory is gone with its process.
            if let Some(former) = replaced.filter(|_| part.replication.durability == Durability::Memory) {
                self.carry_eventual(part, engine, Event::Forget(former));
            }
        });
    }

    /// Another node has said who it is: two must not have one place.
    fn compare_places(&self, part: &mut Eventual, other: Hello) {
        if other.place == self.me().id && other.store != part.store() {
            warn!(node = %self.me().address, "another node has the place {:?} as well", other.place);
            part.met_at_own_place(other.store);
            self.serving_changed();
        }
    }

    /// Another node says who it is, and wants to know who this one is.
    pub(crate) fn greeted(&self, by: Hello) -> Option<Hello> {
        let hello = self.with_eventual(|part, _| {
            self.compare_places(part, by);
            (!part.closed).then(|| self.hello_of(part))
        });
        hello.flatten()
    }

    /// Takes another store's letter.
    pub(crate) async fn letter_came(&self, letter: Letter) -> Option<Reply> {
        let (answer, answered) = oneshot::channel();
        let (hello, opened) = self.with_eventual(|part, engine| {
            if part.closed {
                return None;
            }
            let hello = self.hello_of(part);
            let is_mine = letter.to == hello.store && letter.incarnation == hello.incarnation;
            if !is_mine || hello.clock > letter.until {
                return Some((hello, false));
            }
            let caller = part.caller();
            part.answers.insert(caller, answer);
            let event = Event::Asked { caller, from: letter.from, request: letter.request };
            self.carry_eventual(part, engine, event);
            Some((hello, true))
        })??;
        if !opened {
            return Some(Reply { response: None, hello });
        }
        // An error: the node has stopped.
        let response = answered.await.ok()?;
        Some(Reply { response: Some(response), hello })
    }

    /// Asks another store; the answer, within the time that a letter may take.
    pub(super) async fn send_letter(&self, to: StoreId, request: Request) -> Result<Response, CallError> {
        let sent = tokio::time::timeout(LETTER_WITHIN, self.try_letter(to, request));
        sent.await.unwrap_or(Err(CallError::TimedOut))
    }

    async fn try_letter(&self, to: StoreId, request: Request) -> Result<Response, CallError> {
        let look = |part: &mut Eventual| Some((part.store(), part.directory.peer(to)?));
        let (from, peer) =
            self.with_eventual(|part, _| look(part)).flatten().ok_or(CallError::Unreachable)?;
        for _ in 0..SENDINGS_MAX {
            let now = self.now();
            let known = self.with_eventual(|part, _| part.directory.fresh(&peer.address, now)).flatten();
            let known = match known {
                Some(known) => known,
                None => {
                    let hello = self.greet(&peer).await?;
                    Acquaintance { hello, asked: now }
                }
            };
            if known.hello.store != to {
                // Another store is there by now.
                return Err(CallError::Unreachable);
            }
            let asked = self.now();
            let letter = Letter {
                from,
                to,
                incarnation: known.hello.incarnation,
                until: known.until(asked),
                request: request.clone(),
            };
            let reply = self.pool().ring(&peer.address).deliver(within(LETTER_WITHIN), letter).await;
            let reply = reply.map_err(|error| self.letter_lost(&peer, &error.into()))?;
            let Reply { response, hello } = reply.ok_or(CallError::Unreachable)?;
            self.heard(&peer, hello, asked);
            if let Some(response) = response {
                return Ok(response);
            }
        }
        Err(CallError::TimedOut)
    }

    /// Asks a node which store it is.
    pub(super) async fn greet(&self, peer: &Peer) -> Result<Hello, CallError> {
        let asked = self.now();
        let mine = self.with_eventual(|part, _| self.hello_of(part)).ok_or(CallError::Unreachable)?;
        let hello = self.pool().ring(&peer.address).hello(within(LETTER_WITHIN), mine).await;
        let hello = hello.map_err(|error| self.letter_lost(peer, &error.into()))?;
        let hello = hello.ok_or(CallError::Unreachable)?;
        self.heard(peer, hello, asked);
        Ok(hello)
    }

    fn letter_lost(&self, peer: &Peer, failure: &CallFailure) -> CallError {
        debug!(node = %self.me().address, %failure, "no answer from {peer}");
        self.silent(&peer.address, peer.id);
        if failure.is_certain() { CallError::Unreachable } else { CallError::TimedOut }
    }
}

#[cfg(test)]
mod tests {
    use chordata_protocol::chain::view::Incarnation;

    use super::*;

    #[test]
    fn a_letter_may_arrive_within_the_time_on_the_others_clock_and_no_later() {
        let clock = Duration::from_secs(1000);
        let hello = Hello { store: StoreId(1), incarnation: Incarnation(1), clock, place: Id::ZERO };
        let asked = Time::from_micros(5_000_000);
        let known = Acquaintance { hello, asked };
        let sent = Time::from_micros(25_000_000);
        let lifetime = Settings::default().message_lifetime;
        // The other's clock was at `clock` at the earliest when it was asked: now it is 20 s later at least.
        assert!(known.until(sent) < clock + Duration::from_secs(20) + lifetime);
        assert!(known.until(sent) > clock + Duration::from_secs(20) + lifetime / 2);
    }
}
