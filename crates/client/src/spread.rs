//! Eventual mode: which of a key's replicas this client talks to, and the versions that it has seen.
//!
//! Any node answers any request, but one that keeps the key answers from its own store. A client stays with one replica
//! of each range, so that it reads what it wrote; different clients stay with different ones, so that reads are spread.
//! A node that does not answer is avoided for a while, and the next replica takes its part.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chordata_protocol::{Address, Id, Peer, Version};
use chordata_rpc::service::ConnInfo;
use parking_lot::Mutex;

/// The members are asked for again after this time.
const MEMBERS_LAST: Duration = Duration::from_secs(5);
/// A node that did not answer is avoided for so long.
const AVOIDED_FOR: Duration = Duration::from_secs(2);

/// What a client of a cluster in eventual mode remembers.
#[derive(Debug)]
pub(crate) struct Spread {
    copies: usize,
    /// Which of the replicas.
    turn: usize,
    /// Asked first where it is a replica.
    home: Option<Address>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By place.
    members: Vec<Peer>,
    asked: Option<Instant>,
    avoided: BTreeMap<Address, Instant>,
    seen: Option<Version>,
}

impl Spread {
    pub(crate) fn new(copies: usize, lot: u128, home: Option<Address>) -> Spread {
        let turn = usize::try_from(lot % copies.max(1) as u128).unwrap_or(0);
        Spread { copies: copies.max(1), turn, home, state: Mutex::default() }
    }

    /// Copies that a key has, where there are members enough.
    pub(crate) fn copies(&self) -> usize {
        self.copies
    }

    /// Is it time to ask who is in the ring? Said to one of those who ask at the same time: the others use what is known.
    pub(crate) fn is_due(&self) -> bool {
        let mut state = self.state.lock();
        let is_due = state.asked.is_none_or(|at| at.elapsed() > MEMBERS_LAST);
        if is_due {
            state.asked = Some(Instant::now());
        }
        is_due
    }

    /// Who is in the ring.
    pub(crate) fn learn(&self, nodes: &[ConnInfo]) {
        let mut members: Vec<Peer> =
            nodes.iter().map(|node| Peer::new(node.id, node.address.clone())).collect();
        members.sort();
        self.state.lock().members = members;
    }

    /// The replicas of an identifier, in the order in which this client asks them; then those that did not answer
    /// lately. Empty: nobody is known.
    pub(crate) fn replicas(&self, id: Id) -> Vec<Address> {
        let mut state = self.state.lock();
        state.avoided.retain(|_, since| since.elapsed() < AVOIDED_FOR);
        let members = &state.members;
        let count = self.copies.min(members.len());
        let owner = members.partition_point(|peer| peer.id < id);
        let replica =
            |step: usize| members[(owner + (self.turn + step) % count) % members.len()].address.clone();
        let mut replicas: Vec<Address> = (0..count).map(replica).collect();
        replicas.sort_by_key(|address| {
            (state.avoided.contains_key(address), self.home.as_ref() != Some(address))
        });
        replicas
    }

    /// Did all of these fail to answer lately?
    pub(crate) fn are_avoided(&self, nodes: &[Address]) -> bool {
        let state = self.state.lock();
        nodes.iter().all(|address| state.avoided.contains_key(address))
    }

    /// A node did not answer, or is not in the ring: the ring may have changed.
    pub(crate) fn avoid(&self, node: &Address) {
        let mut state = self.state.lock();
        state.avoided.insert(node.clone(), Instant::now());
        state.asked = None;
    }

    /// The highest version that this client has seen.
    pub(crate) fn seen(&self) -> Option<Version> {
        self.state.lock().seen
    }

    /// This version was answered.
    pub(crate) fn saw(&self, version: Option<Version>) {
        let mut state = self.state.lock();
        state.seen = state.seen.max(version);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(places: &[u128]) -> Vec<ConnInfo> {
        let node = |place: &u128| ConnInfo {
            address: Address::new(&format!("n{place}:1")),
            port: 1,
            id: Id::from_u128(*place),
            number: 0,
            successor: Id::ZERO,
        };
        places.iter().map(node).collect()
    }

    fn names(addresses: &[Address]) -> Vec<&str> {
        addresses.iter().map(Address::as_str).collect()
    }

    #[test]
    fn a_client_stays_with_its_replica_until_that_does_not_answer() {
        let spread = Spread::new(3, 7, None);
        assert!(spread.is_due());
        assert!(!spread.is_due(), "somebody asks");
        assert!(spread.replicas(Id::from_u128(5)).is_empty());
        spread.learn(&nodes(&[40, 10, 30, 20]));
        let at = |id| spread.replicas(Id::from_u128(id));
        assert_eq!(names(&at(15)), ["n30:1", "n40:1", "n20:1"]);
        assert_eq!(names(&at(35)), ["n10:1", "n20:1", "n40:1"], "around the top");
        assert_eq!(names(&at(41)), ["n20:1", "n30:1", "n10:1"]);
        spread.avoid(&Address::new("n30:1"));
        assert_eq!(names(&at(15)), ["n40:1", "n20:1", "n30:1"]);
        assert!(spread.is_due(), "the ring may have changed");
        assert!(!spread.are_avoided(&at(15)));
    }

    #[test]
    fn clients_are_spread_over_the_replicas() {
        let firsts = (0..3).map(|lot| {
            let spread = Spread::new(3, lot, None);
            spread.learn(&nodes(&[10, 20, 30, 40]));
            spread.replicas(Id::from_u128(15))[0].to_string()
        });
        assert_eq!(firsts.collect::<Vec<String>>(), ["n20:1", "n30:1", "n40:1"]);
    }

    #[test]
    fn a_node_at_hand_is_asked_first_where_it_is_a_replica() {
        let spread = Spread::new(3, 0, Some(Address::new("n30:1")));
        spread.learn(&nodes(&[10, 20, 30, 40, 50]));
        let first = |id| spread.replicas(Id::from_u128(id))[0].to_string();
        assert_eq!([first(15), first(25), first(35)], ["n30:1", "n30:1", "n40:1"]);
        spread.avoid(&Address::new("n30:1"));
        assert_eq!(first(15), "n20:1");
    }

    #[test]
    fn the_highest_version_is_kept() {
        let spread = Spread::new(3, 0, None);
        let version = |epoch| Some(Version { epoch, sequence: 1 });
        spread.saw(version(5));
        spread.saw(version(3));
        spread.saw(None);
        assert_eq!(spread.seen(), version(5));
    }
}
