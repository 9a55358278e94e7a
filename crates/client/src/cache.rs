//! Which node serves which part of the ring, as far as the client has seen. Only a hint: a node that does not serve a
//! key says so, and names others.

use std::collections::BTreeMap;

use chordata_protocol::id::in_half_open;
use chordata_protocol::{Address, Id, Peer, Range, Space};

/// Owners by the high ends of what they serve.
#[derive(Debug)]
pub(crate) struct Owners {
    space: Space,
    by_end: BTreeMap<Id, (Id, Address)>,
}

impl Owners {
    pub(crate) fn new(space: Space) -> Owners {
        Owners { space, by_end: BTreeMap::new() }
    }

    /// Who served the identifier when last seen.
    pub(crate) fn owner(&self, id: Id) -> Option<Peer> {
        let (end, (low, address)) =
            self.by_end.range(id..).next().or_else(|| self.by_end.first_key_value())?;
        in_half_open(*low, id, *end).then(|| Peer::new(*end, address.clone()))
    }

    /// A node serves this range.
    pub(crate) fn serves(&mut self, peer: &Peer, range: Range) {
        self.forget_range(range);
        self.by_end.insert(range.high, (range.low, peer.address.clone()));
    }

    /// A node served this identifier: at least that one point is known.
    pub(crate) fn served(&mut self, peer: &Peer, id: Id) {
        match self.by_end.get_mut(&peer.id) {
            Some((low, address)) if *address == peer.address => {
                // Widen what is known of it, down to just below the identifier.
                if !in_half_open(*low, id, peer.id) {
                    *low = self.space.distance(Id::from_u128(1), id);
                }
            }
            Some(_) | None => {
                let low = self.space.distance(Id::from_u128(1), id);
                self.serves(peer, Range { low, high: peer.id });
            }
        }
    }

    /// A node does not serve what it did, or does not answer.
    pub(crate) fn forget(&mut self, peer: &Peer) {
        self.by_end.retain(|_, (_, address)| *address != peer.address);
    }

    fn forget_range(&mut self, range: Range) {
        self.by_end.retain(|end, (low, _)| !Range { low: *low, high: *end }.overlaps(&range));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(id: u128) -> Peer {
        Peer::new(Id::from_u128(id), Address::new(&format!("n{id}:1")))
    }

    fn id(number: u128) -> Id {
        Id::from_u128(number)
    }

    #[test]
    fn it_knows_what_it_has_seen_and_no_more() {
        let mut owners = Owners::new(Space::new(6).unwrap());
        assert_eq!(owners.owner(id(5)), None);
        owners.serves(&peer(10), Range { low: id(50), high: id(10) });
        assert_eq!(owners.owner(id(60)), Some(peer(10)), "around the top");
        assert_eq!(owners.owner(id(10)), Some(peer(10)));
        assert_eq!(owners.owner(id(11)), None);
        owners.served(&peer(20), id(15));
        assert_eq!(owners.owner(id(15)), Some(peer(20)));
        assert_eq!(owners.owner(id(14)), None);
        owners.served(&peer(20), id(12));
        assert_eq!(owners.owner(id(13)), Some(peer(20)));
        owners.serves(&peer(5), Range { low: id(50), high: id(5) });
        assert_eq!(owners.owner(id(7)), None, "a joiner took part of it: what was known is forgotten");
        owners.forget(&peer(20));
        assert_eq!(owners.owner(id(15)), None);
    }
}
