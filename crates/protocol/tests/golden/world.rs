//! A small world of real rings: nodes, messages in flight, and what is done with effects.
//!
//! Nothing happens by itself. A question that a node asks is *in flight* until the script delivers or drops it, and
//! so is the answer; timers run out when the script says so. Two things are not sent as messages, since scripts are
//! not about them: the walk that numbers the ring, and lookups of clients, ask every node directly.

use std::collections::{BTreeMap, VecDeque};

use chordata_protocol::ring::{Caller, Change, Effect, Event, Ring, RingSettings, Timer, Token};
use chordata_protocol::{Address, CallError, Id, Peer, Request, Response, Time};

use crate::client::Parked;
use crate::report::Report;
use crate::store::Store;
use crate::words;

/// Where a node is in its life, as far as its effects tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    Outside,
    Joining,
    Member,
    Leaving,
    Left,
}

/// One node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) ring: Ring,
    pub(crate) store: Store,
    pub(crate) phase: Phase,
    /// When they run out.
    pub(crate) timers: BTreeMap<Timer, Time>,
    /// Clients that wait for the end of a hand-over.
    pub(crate) parked: Vec<Parked>,
    /// Has it said that what it serves may have changed? Then they ask again.
    pub(crate) woken: bool,
    /// How often it was started: what was asked in an earlier life is not answered in this one.
    life: u64,
}

impl Node {
    /// As it is called in scripts.
    pub(crate) fn name(&self) -> String {
        words::peer(self.ring.me())
    }
}

/// A question of a node that has not come back.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct CallId {
    pub(crate) from: Address,
    life: u64,
    token: Token,
}

/// Whom it was asked, what for, and when.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) to: Peer,
    pub(crate) name: &'static str,
    pub(crate) asked_at: Time,
}

/// A message in flight.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) from: Address,
    pub(crate) to: Address,
    pub(crate) call: CallId,
    pub(crate) name: &'static str,
    content: Content,
}

#[derive(Clone, Debug)]
enum Content {
    Question(Request),
    Answer(Response),
}

impl std::fmt::Display for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = if let Content::Question(_) = self.content { "" } else { "answer to " };
        write!(f, "{} -> {}: {kind}{}", self.from, self.to, self.name)
    }
}

/// Everything.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) settings: RingSettings,
    pub(crate) nodes: BTreeMap<Address, Node>,
    /// What the dead knew, and still know when they come back.
    memories: BTreeMap<Address, Vec<Peer>>,
    pub(crate) flight: VecDeque<Message>,
    /// Messages that take longer than the others, until they arrive.
    pub(crate) delayed: VecDeque<Message>,
    pub(crate) calls: BTreeMap<CallId, Call>,
    /// Who is on the far side of a partition.
    pub(crate) far_side: Vec<Address>,
    pub(crate) now: Time,
    pub(crate) report: Report,
    /// Nodes that want the ring numbered.
    pub(crate) numbering: VecDeque<Address>,
    /// Places that were granted: who is before them.
    pub(crate) granted: BTreeMap<Address, Peer>,
    /// What was last served by two nodes at once.
    pub(crate) conflicts: Vec<String>,
    lives: u64,
}

impl World {
    pub(crate) fn new(settings: RingSettings) -> World {
        World {
            settings,
            nodes: BTreeMap::new(),
            memories: BTreeMap::new(),
            flight: VecDeque::new(),
            delayed: VecDeque::new(),
            calls: BTreeMap::new(),
            far_side: Vec::new(),
            now: Time::ZERO,
            report: Report::new(),
            numbering: VecDeque::new(),
            granted: BTreeMap::new(),
            conflicts: Vec::new(),
            lives: 0,
        }
    }

    pub(crate) fn node(&self, address: &Address) -> Option<&Node> {
        self.nodes.get(address)
    }

    /// Who that is: a live node, or what the name says.
    pub(crate) fn peer(&self, address: &Address) -> Peer {
        match self.node(address) {
            Some(node) => node.ring.me().clone(),
            None => Peer::new(id_of(address), address.clone()),
        }
    }

    /// The members by their ids.
    pub(crate) fn members(&self) -> Vec<&Node> {
        let mut members: Vec<&Node> = self.nodes.values().filter(|node| node.ring.is_member()).collect();
        members.sort_by_key(|node| node.ring.me().id);
        members
    }

    /// Makes a node that is not in the ring yet.
    pub(crate) fn create(&mut self, me: Peer) {
        let known = self.memories.remove(&me.address).unwrap_or_default();
        let seed = u64::try_from(words::number(me.id)).unwrap_or(u64::MAX);
        self.lives += 1;
        let node = Node {
            ring: Ring::new(self.settings.clone(), me.clone(), seed, &known),
            store: Store::default(),
            phase: Phase::Outside,
            timers: BTreeMap::new(),
            parked: Vec::new(),
            woken: false,
            life: self.lives,
        };
        self.nodes.insert(me.address, node);
    }

    /// A node dies: what it asked is not waited for, what it was asked is refused.
    pub(crate) fn crash(&mut self, address: &Address) {
        if let Some(node) = self.nodes.remove(address) {
            self.memories.insert(address.clone(), node.ring.known().peers().collect());
            self.calls.retain(|call, _| call.from != *address);
        }
    }

    pub(crate) fn separates(&self, a: &Address, b: &Address) -> bool {
        self.far_side.contains(a) != self.far_side.contains(b)
    }

    // Messages.

    /// Delivers a message: an event of whom it is for.
    pub(crate) fn deliver(&mut self, message: Message) {
        let Message { from, to, call, name, content } = message;
        if self.separates(&from, &to) {
            self.report.event(&to, format!("cut off from {from} ({name})"));
            return;
        }
        match content {
            Content::Question(_) if !self.nodes.contains_key(&to) => {
                self.come_back(&call, Err(CallError::Unreachable));
            }
            Content::Question(request) => {
                let header = words::asked(&self.name(&from), &request);
                let event = Event::Asked { caller: Caller(0), request };
                if let Some(response) = self.event(&to, event, &header) {
                    let content = Content::Answer(response);
                    self.flight.push_back(Message { from: to, to: from, call, name, content });
                }
            }
            Content::Answer(response) => self.come_back(&call, Ok(response)),
        }
    }

    /// A question came back, or did not.
    pub(crate) fn come_back(&mut self, id: &CallId, result: Result<Response, CallError>) {
        let Some(call) = self.calls.remove(id) else {
            self.report.event(&id.from, "an answer that nobody waits for");
            return;
        };
        let to = words::peer(&call.to);
        let header = match &result {
            Ok(_) => format!("answered by {to} ({})", call.name),
            Err(CallError::Unreachable) => format!("{to} is unreachable ({})", call.name),
            Err(CallError::TimedOut) => format!("{to} does not answer ({})", call.name),
        };
        self.event(&id.from.clone(), Event::Reply { token: id.token, result }, &header);
    }

    /// Questions whose message, or whose answer, was lost or is delayed.
    pub(crate) fn lost_calls(&self) -> Vec<CallId> {
        let in_flight = |id: &CallId| self.flight.iter().any(|message| message.call == *id);
        self.calls.keys().filter(|id| !in_flight(id)).cloned().collect()
    }

    /// Asks a node directly: for walks that are not about messages.
    pub(crate) fn ask(
        &mut self,
        from: &Address,
        to: &Address,
        request: Request,
    ) -> Result<Response, CallError> {
        if self.separates(from, to) {
            return Err(CallError::TimedOut);
        }
        let header = words::asked(from.as_str(), &request);
        self.event(to, Event::Asked { caller: Caller(0), request }, &header).ok_or(CallError::Unreachable)
    }

    // Events and effects.

    fn name(&self, address: &Address) -> String {
        words::peer(&self.peer(address))
    }

    /// Gives a node an event and carries out the effects, in their order; an answer is returned.
    pub(crate) fn event(&mut self, address: &Address, event: Event, header: &str) -> Option<Response> {
        self.report.event(self.name(address), header);
        let mut answer = None;
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let node = self.nodes.get_mut(address)?;
            let successors = node.ring.successors().clone();
            let effects = node.ring.handle(self.now, event);
            self.observe(address, &successors);
            let mut learned = Vec::new();
            for effect in effects {
                match effect {
                    Effect::Changed(Change::Learned(peer)) => learned.push(words::peer(&peer)),
                    effect => self.carry_out(address, effect, &mut answer, &mut events),
                }
            }
            if !learned.is_empty() {
                self.report.effect(format!("learns {}", learned.join(" ")));
            }
        }
        self.report_conflicts();
        self.wake_parked(address);
        self.number_ring();
        answer
    }

    /// What no effect tells: the tail of the successor list.
    fn observe(&mut self, address: &Address, before: &chordata_protocol::ring::SuccessorList) {
        let Some(node) = self.nodes.get(address) else { return };
        if node.ring.successors() != before {
            let line = format!("successors {}", words::list(node.ring.successors().entries()));
            let name = node.name();
            self.report.change(name, line);
        }
    }

    fn carry_out(
        &mut self,
        address: &Address,
        effect: Effect,
        answer: &mut Option<Response>,
        events: &mut VecDeque<Event>,
    ) {
        let space = self.settings.space;
        let Some(node) = self.nodes.get_mut(address) else { return };
        match effect {
            Effect::Call { token, to, request } => {
                self.report.effect(words::asks(&to, &request));
                let (from, name) = (address.clone(), request.name());
                let call = CallId { from: from.clone(), life: node.life, token };
                self.calls.insert(call.clone(), Call { to: to.clone(), name, asked_at: self.now });
                let content = Content::Question(request);
                self.flight.push_back(Message { from, to: to.address, call, name, content });
            }
            Effect::Answer { response, .. } => {
                self.report.effect(format!("answers: {}", words::answer(&response)));
                *answer = Some(response);
            }
            Effect::SetTimer { timer, after } => self.set_timer(address, timer, after),
            Effect::ReadRange { token, range, after, bytes_max } => {
                let (entries, next) = node.store.read_range(space, range, after.as_ref(), bytes_max);
                let more = if next.is_some() { ", and more" } else { "" };
                self.report.effect(format!(
                    "reads {}: {}{more}",
                    words::range(&range),
                    words::entries(&entries)
                ));
                events.push_back(Event::Entries { token, entries, next });
            }
            Effect::ReadKeys { token, keys, bytes_max } => {
                let entries = node.store.read_keys(space, keys, bytes_max);
                self.report.effect(format!("reads again: {}", words::entries(&entries)));
                events.push_back(Event::Entries { token, entries, next: None });
            }
            Effect::Merge(entries) => {
                self.report.effect(format!("keeps: {}", words::entries(&entries)));
                node.store.merge(space, entries);
            }
            Effect::Erase(range) => {
                self.report.effect(format!("erases {}", words::range(&range)));
                node.store.erase(range);
            }
            Effect::Renumber => self.numbering.push_back(address.clone()),
            Effect::Changed(change) => self.changed(address, &change),
        }
    }

    fn changed(&mut self, address: &Address, change: &Change) {
        let Some(node) = self.nodes.get_mut(address) else { return };
        node.phase = match change {
            Change::Joined => Phase::Member,
            Change::DepartFailed(_) if node.ring.is_member() => Phase::Member,
            Change::JoinFailed => Phase::Outside,
            Change::Left => Phase::Left,
            _ => node.phase,
        };
        node.woken |= matches!(change, Change::Serving(_));
        let (name, line) = (node.name(), words::change(change));
        match change {
            Change::Members(_) => self.report.effect(line),
            // Follows from the list, which is shown.
            Change::Successor(_) => {}
            _ => self.report.change(name, line),
        }
    }
}

/// The number in a name: 8 for `n8`.
pub(crate) fn id_of(address: &Address) -> Id {
    let digits = address.as_str().trim_start_matches(|c: char| !c.is_ascii_digit());
    Id::from_u128(digits.parse().unwrap_or_else(|_| panic!("{address} names no id: nodes are called n8")))
}
