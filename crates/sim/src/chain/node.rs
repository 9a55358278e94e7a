//! One simulated machine: its clock, its disk, and, while the process runs, the real state machines.

use std::collections::{BTreeMap, VecDeque};

use chordata_protocol::chain::{
    ChainSettings, Coordinator, Epoch, Incarnation, Kept, Member, StoreId, WriteId,
};
use chordata_protocol::ring::{Caller, Token};
use chordata_protocol::{Address, Peer, Time};

use super::clock::Clock;
use super::disk::Disk;
use super::queue::Item;

/// Who waits for an answer.
#[derive(Clone, Debug)]
pub enum Waiter {
    /// A call of another node.
    Node {
        /// Which one, in which life.
        slot: usize,
        /// Counts the starts of processes there.
        life: u64,
        /// The call.
        token: Token,
    },
    /// A client's request.
    Client {
        /// Which attempt of which operation.
        attempt: Attempt,
        /// The key's number.
        key: usize,
        /// The write's name, if it has one.
        by: Option<WriteId>,
    },
}

/// Names one sending of one operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attempt {
    /// Which client.
    pub client: usize,
    /// Which of its lanes.
    pub lane: usize,
    /// Which operation of that lane.
    pub operation: u64,
    /// Which sending.
    pub sending: u64,
}

/// The process of a node.
#[derive(Debug)]
pub struct Process {
    /// The real member.
    pub member: Member,
    /// The real coordinator.
    pub coordinator: Coordinator,
    /// The term in which it believes to lead.
    pub leads: Option<u64>,
    /// The newest term of which it knows who leads.
    pub knows_leader_of: u64,
    /// The setting of the member's timer that counts.
    pub beat: u64,
    /// The setting of the coordinator's tick that counts.
    pub tick: u64,
    /// Calls that are out; of heartbeats, when they were sent by the node's clock.
    pub calls: BTreeMap<Token, Option<Time>>,
    /// Who is to be answered.
    pub waiting: BTreeMap<Caller, Waiter>,
    /// What an honest observer of heartbeats and their answers would take its leases for.
    pub leases: BTreeMap<Epoch, Time>,
}

/// What a node is doing, as far as the world is concerned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Nobody lives here.
    Vacant,
    /// It asks to be admitted.
    Joining,
    /// Its process runs.
    Running,
    /// Its process ended; it may be started again.
    Crashed,
}

/// A machine at an address.
#[derive(Debug)]
pub struct Node {
    /// Where it is reached.
    pub address: Address,
    /// Its place, once it was admitted.
    pub peer: Option<Peer>,
    /// Its store.
    pub store: StoreId,
    /// Counts the starts of the store.
    pub incarnation: Incarnation,
    /// Counts the starts of processes at this address.
    pub life: u64,
    /// What it is doing.
    pub state: State,
    /// Its clock.
    pub clock: Clock,
    /// Its disk.
    pub disk: Disk,
    /// The first view that has its store as a member. Always on disk, with who it is.
    pub admitted: Option<u64>,
    /// How many of the agreed commands it has applied; of a store that votes. Always on disk.
    pub applied: usize,
    /// Its process, while it runs.
    pub process: Option<Process>,
    /// Until when nothing happens to it.
    pub paused_until: Option<Time>,
    /// What should have happened to it meanwhile.
    pub held: VecDeque<Item>,
}

impl Node {
    /// A machine on which nothing runs.
    pub fn vacant(address: Address, clock: Clock, disk: Disk) -> Node {
        Node {
            address,
            peer: None,
            store: StoreId(0),
            incarnation: Incarnation(0),
            life: 0,
            state: State::Vacant,
            clock,
            disk,
            admitted: None,
            applied: 0,
            process: None,
            paused_until: None,
            held: VecDeque::new(),
        }
    }

    /// Does its process run, and not rest?
    pub fn is_awake(&self) -> bool {
        self.process.is_some() && self.paused_until.is_none()
    }

    /// Is it this life of this store, running?
    pub fn is_alive_as(&self, store: StoreId, incarnation: Incarnation) -> bool {
        self.process.is_some() && self.store == store && self.incarnation == incarnation
    }

    /// Starts the process with what the disk has. Members and coordinators are told the same, unless that is sabotaged.
    pub fn start(
        &mut self,
        settings: ChainSettings,
        leader_settings: ChainSettings,
        peer: Peer,
        contacts: Vec<Peer>,
        seed: u64,
    ) {
        let kept = Kept {
            view: self.disk.seen.view.clone(),
            holdings: self.disk.seen.holdings.values().cloned().collect(),
            results: self.disk.seen.results.iter().map(|(id, kept)| (*id, *kept)).collect(),
        };
        let (store, incarnation) = (self.store, self.incarnation);
        let member = Member::new(settings, store, incarnation, peer.clone(), kept, contacts, seed);
        self.process = Some(Process {
            member,
            coordinator: Coordinator::new(leader_settings),
            leads: None,
            knows_leader_of: 0,
            beat: 0,
            tick: 0,
            calls: BTreeMap::new(),
            waiting: BTreeMap::new(),
            leases: BTreeMap::new(),
        });
        self.peer = Some(peer);
        self.life += 1;
        self.state = State::Running;
        self.paused_until = None;
        self.held.clear();
    }

    /// Ends the process without notice.
    pub fn stop(&mut self, state: State) {
        self.process = None;
        self.life += 1;
        self.state = state;
        self.paused_until = None;
        self.held.clear();
    }
}
