//! Commands: which are refused at once, and the first step of the others.

use std::collections::BTreeMap;

use chordata_rpc::manager::{Command, PeerState, Report};
use chordata_rpc::service::ClusterId;

use super::{Book, Effect, PEERS_MIN, Peer, SetUp, Step, Work, refused};

/// A name has at most so many characters.
const NAME_CHARS_MAX: usize = 64;

impl Book {
    /// Takes a command. `lot` gives what is left to chance.
    pub fn begin(&mut self, command: Command, lot: &mut fastrand::Rng) -> Step {
        if let Command::List = command {
            return Step::Done(Ok(self.list()));
        }
        if let Some(work) = &self.work {
            return refused(format!("the manager is at work ({}): try again in a moment", work.says()));
        }
        match command {
            Command::List => Step::Done(Ok(self.list())),
            Command::Register { name, host, manager_port, peer_port, by_itself } => {
                let peer = Peer { host, manager_port, peer_port, state: PeerState::Free };
                self.register(name, peer, by_itself)
            }
            Command::Deregister { name } => self.deregister(&name),
            Command::SetupDht { name, size, year } => self.set_up(name, size, year, lot),
            Command::QueryDht { name, event } => self.query(&name, event, lot),
            Command::LeaveDht { name } => self.leave(name),
            Command::JoinDht { name } => self.join(name),
            Command::TeardownDht { name } => self.tear_down(&name),
        }
    }

    /// Tries those again who did not answer: to release them, or to see whether they have left. None: there are none, or
    /// something is being done.
    pub fn settle(&mut self) -> Option<Step> {
        if self.work.is_some() {
            return None;
        }
        if self.owed.is_empty() {
            return self.look_at_doubtful();
        }
        self.work = Some(Work::Settle);
        Some(Step::Do(Effect::Release { from: self.owed.clone(), others: self.members() }))
    }

    fn register(&mut self, name: String, peer: Peer, by_itself: bool) -> Step {
        let wrong = name.is_empty()
            || name.chars().count() > NAME_CHARS_MAX
            || name.chars().any(|one| one.is_whitespace() || one.is_control());
        if wrong {
            return refused(format!(
                "{name:?} is no name: 1 to {NAME_CHARS_MAX} characters, none of them white space"
            ));
        }
        if peer.host.is_empty() || peer.host.contains(char::is_whitespace) {
            return refused(format!("{:?} is no address of a machine", peer.host));
        }
        if peer.manager_port == 0 || peer.peer_port == 0 {
            return refused("ports are from 1 to 65535");
        }
        if let Some(known) = self.peers.get(&name) {
            let same = (&known.host, known.manager_port, known.peer_port)
                == (&peer.host, peer.manager_port, peer.peer_port);
            if same && by_itself {
                return Step::Done(Ok(Report::Registered(self.line(&name, known))));
            }
            return refused(format!("{name} is registered already, at {}", known.address()));
        }
        let ports = [peer.manager_port, peer.peer_port];
        let taken = self.peers.iter().find(|(_, other)| {
            other.host == peer.host
                && (ports.contains(&other.manager_port) || ports.contains(&other.peer_port))
        });
        if let Some((other, has)) = taken {
            return refused(format!(
                "{other} has a port of these at {} ({} and {}): each peer has its own",
                has.host, has.manager_port, has.peer_port
            ));
        }
        let address = peer.address();
        self.work = Some(Work::Register { name: name.clone(), peer });
        Step::Do(Effect::Look(vec![(name, address)]))
    }

    fn deregister(&mut self, name: &str) -> Step {
        if let Err(no) = self.free(name) {
            return no;
        }
        self.peers.remove(name);
        self.owed.remove(name);
        Step::Done(Ok(Report::Deregistered { name: name.to_owned() }))
    }

    fn set_up(&mut self, leader: String, size: u32, year: u16, lot: &mut fastrand::Rng) -> Step {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if size < PEERS_MIN {
            return refused(format!("a DHT has at least {PEERS_MIN} peers, not {size}"));
        }
        if !(1000..=9999).contains(&year) {
            return refused(format!("{year} is no year of four digits"));
        }
        if let Some(dht) = &self.dht {
            return refused(format!(
                "a DHT is set up already, with the year {}: tear it down first",
                dht.year
            ));
        }
        if let Err(no) = self.free(&leader) {
            return no;
        }
        if self.owed.contains_key(&leader) {
            return refused(still_owed(&leader));
        }
        let free: Vec<(String, _)> = self
            .peers
            .iter()
            .filter(|(name, _)| !self.owed.contains_key(*name))
            .map(|(name, peer)| (name.clone(), peer.address()))
            .collect();
        if free.len() < size {
            return refused(format!("only {} peers are free, of {size} that are wanted", free.len()));
        }
        let cluster = ClusterId(lot.u128(..).to_be_bytes());
        self.work = Some(Work::SetUp(SetUp {
            cluster,
            leader,
            size,
            year,
            chosen: Vec::new(),
            entered: 0,
            on_disk: false,
            records: None,
        }));
        Step::Do(Effect::Look(free))
    }

    fn query(&mut self, name: &str, event: Option<String>, lot: &mut fastrand::Rng) -> Step {
        if let Err(no) = self.free(name) {
            return no;
        }
        let members = self.members();
        let Some(first) = lot.choice(&members).cloned() else { return refused(NO_DHT) };
        self.work = Some(Work::Query { event: event.clone() });
        Step::Do(Effect::Ask { first, peers: members, event })
    }

    fn leave(&mut self, name: String) -> Step {
        let Some(dht) = &self.dht else { return refused(NO_DHT) };
        let cluster = dht.cluster;
        let state = match self.peers.get(&name) {
            None => return unknown(&name),
            Some(peer) if peer.state == PeerState::Free => {
                return refused(format!("{name} is Free: it is not in the DHT"));
            }
            Some(peer) => peer.state,
        };
        let mut others = self.members();
        // Who may have left does not count.
        others.retain(|other| *other != name && !self.doubtful.contains_key(other));
        if others.len() < PEERS_MIN {
            return refused(format!(
                "the DHT has {} peers, and never fewer than {PEERS_MIN}: have another one join first, or tear it down",
                others.len() + 1
            ));
        }
        if state == PeerState::Leader {
            self.work = Some(Work::FindHeir { name: name.clone() });
            return Step::Do(Effect::FindHeir { name, others });
        }
        self.work = Some(Work::Leave { name: name.clone(), heir: None });
        Step::Do(Effect::Leave { name, cluster })
    }

    fn join(&mut self, name: String) -> Step {
        if let Err(no) = self.free(&name) {
            return no;
        }
        if self.owed.contains_key(&name) {
            return refused(still_owed(&name));
        }
        let Some(effect) = self.entry(&name) else { return refused(NO_DHT) };
        self.work = Some(Work::Join { name });
        Step::Do(effect)
    }

    /// How a peer gets into the ring that there is.
    pub(super) fn entry(&self, name: &str) -> Option<Effect> {
        let dht = self.dht.as_ref()?;
        let members = self.peers.values().filter(|peer| peer.state != PeerState::Free);
        let contacts = members.map(Peer::ring_address).collect();
        Some(Effect::Enter { name: name.to_owned(), cluster: dht.cluster, contacts, on_disk: false })
    }

    fn tear_down(&mut self, name: &str) -> Step {
        let Some(dht) = &self.dht else { return refused(NO_DHT) };
        let cluster = dht.cluster;
        match (self.peers.get(name), self.leader()) {
            (None, _) => return unknown(name),
            (Some(peer), _) if peer.state == PeerState::Leader => {}
            (Some(_), leader) => {
                let leader = leader.map_or("nobody", String::as_str);
                return refused(format!("{name} does not lead the DHT: {leader} does"));
            }
        }
        self.work = Some(Work::TearDown);
        Step::Do(Effect::Release { from: each_from(cluster, self.members()), others: Vec::new() })
    }

    /// A free peer.
    fn free(&self, name: &str) -> Result<&Peer, Step> {
        match self.peers.get(name) {
            None => Err(unknown(name)),
            Some(peer) if peer.state == PeerState::Free => Ok(peer),
            Some(peer) => Err(refused(format!("{name} is {}, not Free", peer.state))),
        }
    }
}

/// All of these, from one cluster.
pub(super) fn each_from(
    cluster: ClusterId,
    names: impl IntoIterator<Item = String>,
) -> BTreeMap<String, ClusterId> {
    names.into_iter().map(|name| (name, cluster)).collect()
}

/// Why nothing can be done with a ring.
const NO_DHT: &str = "there is no DHT: set one up with setup-dht";

fn still_owed(name: &str) -> String {
    format!("{name} does not answer: it is still to be released from its last DHT")
}

fn unknown(name: &str) -> Step {
    refused(format!("no peer is registered as {name}"))
}
