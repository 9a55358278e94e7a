//! Walks over many nodes, each node asked directly: admission, lookups, numbering, refreshing all fingers.

use chordata_protocol::procedure::admit::{Admit, NotAdmitted, Place};
use chordata_protocol::procedure::lookup::Lookup;
use chordata_protocol::procedure::refresh::RefreshAll;
use chordata_protocol::procedure::renumber::Renumber;
use chordata_protocol::procedure::walk::{Walk, Walked};
use chordata_protocol::procedure::{Procedure, Step};
use chordata_protocol::ring::Event;
use chordata_protocol::{Address, Id, Peer, Placement, Policy};

use crate::report::Chatter;
use crate::words;
use crate::world::World;

impl World {
    /// Drives a walk from a node to its end.
    fn drive<P: Procedure>(&mut self, from: &Address, mut procedure: P) -> P::Output {
        loop {
            match procedure.step(self.now) {
                Step::Ask(questions) => {
                    assert!(!questions.is_empty(), "a walk waits for an answer, and none is out");
                    for (ticket, peer, request) in questions {
                        let answer = self
                            .with_chatter(Chatter::Nothing, |world| world.ask(from, &peer.address, request));
                        procedure.answered(self.now, ticket, answer);
                    }
                }
                Step::Sleep(pause) => {
                    self.now = self.now + pause;
                    self.with_chatter(Chatter::Nothing, World::settle);
                }
                Step::Done(output) => return output,
            }
        }
    }

    /// Has the ring numbered for whoever wants it.
    pub(crate) fn number_ring(&mut self) {
        while let Some(address) = self.numbering.pop_front() {
            let start = self.peer(&address);
            let numbered = self.drive(&address, Renumber::new(start.id, &[start]));
            let nodes: Vec<String> = numbered.membership.nodes().iter().map(words::peer).collect();
            self.report.effect(format!("numbers the ring: {}; told {}", nodes.join(" "), numbered.told));
            self.event(&address, Event::RenumberEnded, "the ring is numbered");
        }
    }

    /// Finds a place for a node and has its owner keep it; the node is made, and has not joined yet.
    pub(crate) fn place(&mut self, address: &Address, via: &Address, placement: Placement) {
        let Some(asked) = self.node(via) else { return self.report.say(format!("{via} is not there")) };
        let (start, middle) = (asked.ring.me().clone(), asked.ring.widest_middle());
        let (space, hops) = (self.settings.space, self.settings.hop_limit);
        let admit = Admit::new(space, hops, &start, address.clone(), placement, middle);
        match self.drive(via, admit) {
            Ok(Place { id, predecessor, successor }) => {
                let (before, behind) = (words::peer(&predecessor), words::peer(&successor));
                let place = words::number(id);
                self.report.say(format!("{address} gets {place}, behind {before}, before {behind}"));
                self.create(Peer::new(id, address.clone()));
                self.granted.insert(address.clone(), predecessor);
            }
            Err(NotAdmitted::Taken(by)) => self.report.say(format!("taken by {}", words::peer(&by))),
            Err(NotAdmitted::NotLocated(why)) => self.report.say(format!("not located: {why}")),
            Err(NotAdmitted::Full) => self.report.say("the ring is full"),
            Err(NotAdmitted::Unsettled) => self.report.say("every place that was tried is taken"),
        }
    }

    /// Looks an identifier up; the way there.
    pub(crate) fn look_up(&mut self, from: &Address, target: Id, policy: Policy) {
        let start = [self.peer(from)];
        let lookup = Lookup::new(self.settings.space, target, policy, self.settings.hop_limit, &start);
        match self.drive(from, lookup) {
            Ok(located) => self.report.say(words::path(&located.path)),
            Err(failed) => self.report.say(format!("{}; {}", words::path(&failed.path), failed.reason)),
        }
    }

    /// Has all fingers of all nodes refreshed.
    pub(crate) fn refresh_all(&mut self, from: &Address) {
        let start = [self.peer(from)];
        let all = self.drive(from, RefreshAll::new(&start));
        self.report.say(format!(
            "{} of {} nodes refreshed, {} entries changed, {} calls",
            all.refreshed, all.nodes, all.changed, all.calls
        ));
    }

    /// Walks around the ring.
    pub(crate) fn walk(&mut self, from: &Address) -> Walked {
        let start = [self.peer(from)];
        self.drive(from, Walk::new(&start))
    }
}
