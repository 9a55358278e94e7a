//! The successor list: always exactly r entries (Zave 2017, section 4: a short list is where Chord's published
//! maintenance goes wrong). Where a dead node is dropped, a pad takes the last place.

use crate::id::{Id, Space};
use crate::peer::{Peer, Successor};

/// The next r nodes, the nearest first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SuccessorList {
    entries: Vec<Successor>,
}

impl SuccessorList {
    /// A ring of one: its own successor, r times.
    pub fn alone(me: &Peer, length: usize) -> SuccessorList {
        assert!(length > 0, "a successor list has at least one entry");
        SuccessorList { entries: vec![Successor::Node(me.clone()); length] }
    }

    /// A whole list, as a joining node takes it over from its predecessor.
    pub fn adopted(space: Space, list: Vec<Successor>, length: usize) -> SuccessorList {
        let mut taken = SuccessorList { entries: list };
        taken.fit(space, length);
        taken
    }

    /// `[head] + list` without the list's last: the step of stabilize.
    pub fn behind(space: Space, head: &Peer, mut list: Vec<Successor>, length: usize) -> SuccessorList {
        list.insert(0, Successor::Node(head.clone()));
        SuccessorList::adopted(space, list, length)
    }

    /// Cuts or pads to the length: a list from another node is not trusted to have it.
    fn fit(&mut self, space: Space, length: usize) {
        self.entries.truncate(length);
        while self.entries.len() < length {
            let last = self.entries.last().map_or(Id::ZERO, Successor::id);
            self.entries.push(Successor::Pad(space.next(last)));
        }
    }

    /// The nearest.
    pub fn head(&self) -> &Successor {
        self.entries.first().expect("a successor list is never empty")
    }

    /// All entries.
    pub fn entries(&self) -> &[Successor] {
        &self.entries
    }

    /// The nodes among the entries, with their places in the list.
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = (usize, &Peer)> {
        self.entries.iter().enumerate().filter_map(|(place, entry)| Some((place, entry.node()?)))
    }

    /// Drops the nearest, which does not answer; a pad behind the last keeps the length.
    pub fn drop_head(&mut self, space: Space) {
        self.drop_at(0, space);
    }

    /// Drops every entry of this node, which has left.
    pub fn drop_node(&mut self, gone: &Peer, space: Space) {
        while let Some(place) = self.entries.iter().position(|entry| entry.node() == Some(gone)) {
            self.drop_at(place, space);
        }
    }

    fn drop_at(&mut self, place: usize, space: Space) {
        let length = self.entries.len();
        let last = self.entries.last().map_or(Id::ZERO, Successor::id);
        self.entries.remove(place);
        self.entries.push(Successor::Pad(space.next(last)));
        assert_eq!(self.entries.len(), length, "a successor list keeps its length");
    }

    /// Is nobody left but pads?
    pub fn is_dead(&self) -> bool {
        self.nodes().next().is_none()
    }
}
