//! A small world around real members and coordinators: processes, disks, messages in flight.
//!
//! Nothing happens by itself. A question is *in flight* until it is delivered or lost, and so is its answer; a disk is
//! written, a round of the group ends, a clock moves when the script says so, or in `settle` and `run`, in a fixed
//! order. What the group does is in [`group`](crate::group), what clients do in [`client`](crate::client).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use chordata_protocol::chain::event::Occasion;
use chordata_protocol::chain::{
    ChainRequest, ChainResponse, ChainSettings, Coordinator, Epoch, Event, Incarnation, Member, Sequence,
    StoreId,
};
use chordata_protocol::ring::{Caller, Token};
use chordata_protocol::{Address, CallError, Id, Moment, Peer, Range, Time};

use crate::check::Oracle;
use crate::client::Wish;
use crate::engine::Engine;
use crate::group::Group;
use crate::report::Report;
use crate::words;

/// A process.
#[derive(Debug)]
pub(crate) struct Life {
    /// No two processes of a script have the same.
    pub(crate) number: u64,
    pub(crate) member: Member,
    pub(crate) coordinator: Coordinator,
    pub(crate) engine: Engine,
    pub(crate) paused: bool,
    pub(crate) beat_at: Option<Time>,
    pub(crate) tick_at: Option<Time>,
    /// What it is told when its disk has been written.
    pub(crate) unsynced: Vec<Event>,
    /// Rounds of the group that it waits for.
    pub(crate) rounds: VecDeque<Token>,
    pub(crate) seen: BTreeMap<Epoch, Seen>,
    /// What its last heartbeat said that mattered.
    pub(crate) said: Vec<String>,
}

/// What was last seen of a replica.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Seen {
    pub(crate) committed: Sequence,
    pub(crate) leased: bool,
}

/// A store, with the process that runs on it now.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) me: Peer,
    pub(crate) store: StoreId,
    pub(crate) incarnation: Incarnation,
    pub(crate) disk: Engine,
    /// Is it written only when the script says so?
    pub(crate) slow: bool,
    pub(crate) life: Option<Life>,
}

/// A question of a process that has not come back.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct CallId {
    pub(crate) from: Address,
    pub(crate) life: u64,
    pub(crate) token: Token,
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
    pub(crate) name: &'static str,
    /// None: nobody waits for an answer.
    pub(crate) call: Option<CallId>,
    pub(crate) content: Content,
}

#[derive(Clone, Debug)]
pub(crate) enum Content {
    Question(ChainRequest),
    Answer(ChainResponse),
}

impl std::fmt::Display for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = if let Content::Question(_) = self.content { "" } else { "answer to " };
        write!(f, "{} -> {}: {kind}{}", self.from, self.to, self.name)
    }
}

/// Who gets an answer.
#[derive(Debug)]
enum Asker {
    Node { call: Option<CallId>, at: Address, name: &'static str },
    Client { at: Address, wish: Wish },
}

/// Everything.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) settings: ChainSettings,
    /// Keys in one page of a list.
    pub(crate) page: usize,
    pub(crate) nodes: BTreeMap<Address, Node>,
    pub(crate) group: Group,
    pub(crate) flight: VecDeque<Message>,
    pub(crate) calls: BTreeMap<CallId, Call>,
    /// What is held back: from, to, kind.
    pub(crate) held: Vec<(Address, Address, Option<String>)>,
    pub(crate) cuts: BTreeSet<(Address, Address)>,
    /// By how much wall clocks are ahead.
    pub(crate) ahead: BTreeMap<Address, Duration>,
    pub(crate) now: Time,
    pub(crate) report: Report,
    pub(crate) oracle: Oracle,
    /// Only what is about this identifier is printed.
    pub(crate) watched: Option<Id>,
    /// The ranges of all epochs that ever were.
    pub(crate) ranges: BTreeMap<Epoch, Range>,
    askers: BTreeMap<u64, Asker>,
    callers: u64,
    lives: u64,
}

impl World {
    pub(crate) fn new(settings: ChainSettings) -> World {
        World {
            settings,
            page: usize::MAX,
            nodes: BTreeMap::new(),
            group: Group::default(),
            flight: VecDeque::new(),
            calls: BTreeMap::new(),
            held: Vec::new(),
            cuts: BTreeSet::new(),
            ahead: BTreeMap::new(),
            now: Time::ZERO,
            report: Report::new(),
            oracle: Oracle::default(),
            watched: None,
            ranges: BTreeMap::new(),
            askers: BTreeMap::new(),
            callers: 0,
            lives: 0,
        }
    }

    /// What a node's wall clock shows.
    pub(crate) fn wall(&self, address: &Address) -> Moment {
        let ahead = self.ahead.get(address).copied().unwrap_or_default();
        Moment::from_millis((self.now + ahead).as_micros() / 1000)
    }

    // Processes.

    /// Makes a node with an empty disk.
    pub(crate) fn create(&mut self, address: &Address) {
        let place = id_of(address);
        let before = self.nodes.get(address).map_or(0, |node| node.store.0 / words::STORES + 1);
        let node = Node {
            me: Peer::new(place, address.clone()),
            store: StoreId(words::number(place) + before * words::STORES),
            incarnation: Incarnation(0),
            disk: Engine::default(),
            slow: false,
            life: None,
        };
        self.nodes.insert(address.clone(), node);
    }

    /// Starts a process on what is on the disk.
    pub(crate) fn start(&mut self, address: &Address, contacts: Vec<Peer>) {
        let Some(node) = self.nodes.get_mut(address) else { return };
        node.incarnation = Incarnation(node.incarnation.0 + 1);
        self.lives += 1;
        let seed = u64::try_from(node.store.0).unwrap_or(u64::MAX);
        let (me, kept) = (node.me.clone(), node.disk.kept());
        let settings = self.settings.clone();
        let member = Member::new(settings.clone(), node.store, node.incarnation, me, kept, contacts, seed);
        node.life = Some(Life {
            number: self.lives,
            member,
            coordinator: Coordinator::new(settings),
            engine: node.disk.clone(),
            paused: false,
            beat_at: None,
            tick_at: None,
            unsynced: Vec::new(),
            rounds: VecDeque::new(),
            seen: BTreeMap::new(),
            said: Vec::new(),
        });
        let life = words::life(node.store, node.incarnation);
        self.event(address, Event::Start, &format!("starts as {life}"));
    }

    /// A process dies: what it asked is not waited for, who asked it gets no answer.
    pub(crate) fn crash(&mut self, address: &Address) {
        let Some(node) = self.nodes.get_mut(address) else { return };
        if node.life.take().is_none() {
            return;
        }
        self.report.change(address, "dies");
        self.calls.retain(|call, _| call.from != *address);
        let (dead, others): (BTreeMap<u64, Asker>, BTreeMap<u64, Asker>) =
            std::mem::take(&mut self.askers).into_iter().partition(|(_, asker)| asker.is_at(address));
        self.askers = others;
        for asker in dead.into_values() {
            if let Asker::Client { wish, .. } = asker {
                self.report.change(address, format!("no answer to {wish}"));
            }
        }
        self.group_loses(address);
    }

    pub(crate) fn life(&self, address: &Address) -> Option<&Life> {
        self.nodes.get(address).and_then(|node| node.life.as_ref())
    }

    pub(crate) fn life_mut(&mut self, address: &Address) -> Option<&mut Life> {
        self.nodes.get_mut(address).and_then(|node| node.life.as_mut())
    }

    /// Processes that are alive, by their places.
    pub(crate) fn living(&self) -> Vec<(&Node, &Life)> {
        let mut nodes: Vec<(&Node, &Life)> =
            self.nodes.values().filter_map(|node| Some((node, node.life.as_ref()?))).collect();
        nodes.sort_by_key(|(node, _)| node.me.id);
        nodes
    }

    /// Processes that do something.
    pub(crate) fn running(&self) -> Vec<Address> {
        let running = self.living().into_iter().filter(|(_, life)| !life.paused);
        running.map(|(node, _)| node.me.address.clone()).collect()
    }

    pub(crate) fn is_running(&self, address: &Address) -> bool {
        self.life(address).is_some_and(|life| !life.paused)
    }

    pub(crate) fn is_cut(&self, a: &Address, b: &Address) -> bool {
        self.cuts.contains(&(a.clone(), b.clone())) || self.cuts.contains(&(b.clone(), a.clone()))
    }

    // Messages.

    /// Delivers a message: an event of whom it is for.
    pub(crate) fn deliver(&mut self, message: Message) {
        let Message { from, to, name, call, content } = message;
        if self.is_cut(&from, &to) {
            return;
        }
        match content {
            Content::Question(_) if self.life(&to).is_none() => {
                if let Some(call) = call {
                    self.come_back(&call, Err(CallError::Unreachable));
                }
            }
            Content::Question(request) => {
                let header = words::asked(from.as_str(), &request);
                let caller = self.caller(Asker::Node { call, at: to.clone(), name });
                match request {
                    ChainRequest::Heartbeat(beat) if self.leads(&to) => {
                        self.occasion(&to, Occasion::Heartbeat { caller, beat }, &header);
                    }
                    request => self.event(&to, Event::Asked { caller, request }, &header),
                }
            }
            Content::Answer(response) => {
                if let Some(call) = call {
                    self.come_back(&call, Ok(response));
                }
            }
        }
    }

    /// A question came back, or did not.
    pub(crate) fn come_back(&mut self, id: &CallId, result: Result<ChainResponse, CallError>) {
        let Some(call) = self.calls.remove(id) else {
            return self.report.event(&id.from, "an answer that nobody waits for");
        };
        let to = words::peer(&call.to);
        let header = match &result {
            Ok(response) => format!("answered by {to} ({}): {}", call.name, words::answer(response)),
            Err(CallError::Unreachable) => format!("{to} is unreachable ({})", call.name),
            Err(CallError::TimedOut) => format!("{to} does not answer ({})", call.name),
        };
        self.event(&id.from.clone(), Event::Reply { token: id.token, result }, &header);
    }

    fn caller(&mut self, asker: Asker) -> Caller {
        self.callers += 1;
        self.askers.insert(self.callers, asker);
        Caller(self.callers)
    }

    pub(crate) fn client(&mut self, at: &Address, wish: Wish) -> Caller {
        self.caller(Asker::Client { at: at.clone(), wish })
    }

    /// Who waits under this name waits no more.
    pub(crate) fn client_of(&mut self, caller: Caller) -> Option<(Address, Wish)> {
        match self.askers.remove(&caller.0)? {
            Asker::Client { at, wish } => Some((at, wish)),
            Asker::Node { .. } => None,
        }
    }

    /// Sends an answer.
    pub(crate) fn answer(&mut self, caller: Caller, response: ChainResponse) {
        self.report.effect(format!("answers: {}", words::answer(&response)));
        let Some(Asker::Node { call: Some(call), at, name }) = self.askers.remove(&caller.0) else { return };
        let (to, content) = (call.from.clone(), Content::Answer(response));
        self.flight.push_back(Message { from: at, to, name, call: Some(call), content });
    }

    /// Sends a poke: nobody waits for its answer.
    pub(crate) fn poke(&mut self, from: &Address, to: Peer) {
        let (content, name) = (Content::Question(ChainRequest::Poke), ChainRequest::Poke.name());
        self.flight.push_back(Message { from: from.clone(), to: to.address, name, call: None, content });
    }
}

impl Asker {
    fn is_at(&self, address: &Address) -> bool {
        match self {
            Asker::Node { at, .. } | Asker::Client { at, .. } => at == address,
        }
    }
}

/// `n8` is at 8.
pub(crate) fn id_of(address: &Address) -> Id {
    let digits = address.as_str().trim_start_matches('n');
    Id::from_u128(digits.parse().expect("a node's name is n and its id"))
}
