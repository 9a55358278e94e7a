//! Servers as a manager sees them, without a network: each is dead or alive, and in a ring or in none.

use std::collections::{BTreeMap, BTreeSet};

use chordata_manager::book::{Book, Effect, Event, Seen, Step};
use chordata_rpc::manager::{Command, PeerState, Refused, Report};
use chordata_rpc::service::ClusterId;

/// Records that a year has.
pub(crate) const RECORDS: u64 = 20;

/// A server.
#[derive(Clone, Default, Debug)]
pub(crate) struct Server {
    pub(crate) dead: bool,
    pub(crate) seat: Option<ClusterId>,
}

/// What becomes of an effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// It works.
    Works,
    /// It fails, and has done nothing.
    Fails,
    /// It is done, and seems to have failed.
    SeemsToFail,
    /// The manager is killed before it does it.
    KilledBefore,
    /// It is done, and the manager is killed before it knows.
    KilledAfter,
}

/// Servers, a manager, and what the manager has on disk.
pub(crate) struct World {
    pub(crate) servers: BTreeMap<String, Server>,
    pub(crate) book: Book,
    disk: String,
    pub(crate) lot: fastrand::Rng,
    /// Effects so far.
    pub(crate) effects: usize,
}

impl World {
    /// Servers of these names, all registered.
    pub(crate) fn of(names: &[&str], seed: u64) -> World {
        let book = Book::default();
        let disk = serde_json::to_string(&book).unwrap();
        let mut world =
            World { servers: BTreeMap::new(), book, disk, lot: fastrand::Rng::with_seed(seed), effects: 0 };
        for name in names {
            world.servers.insert((*name).to_owned(), Server::default());
            world.works(world.registration(name)).unwrap();
        }
        world
    }

    /// How a server of that name registers.
    pub(crate) fn registration(&self, name: &str) -> Command {
        let port =
            1000 + u16::try_from(self.servers.keys().position(|other| other == name).unwrap_or(99)).unwrap();
        Command::Register {
            name: name.to_owned(),
            host: "h".to_owned(),
            manager_port: port,
            peer_port: port,
            by_itself: false,
        }
    }

    /// Gives a command in a world in which everything works.
    pub(crate) fn works(&mut self, command: Command) -> Result<Report, Refused> {
        self.command(command, |_| Fate::Works).expect("nobody kills the manager")
    }

    /// Gives a command; `fate` says what becomes of its effects. None: the manager was killed meanwhile, and another one
    /// has taken over.
    pub(crate) fn command(
        &mut self,
        command: Command,
        mut fate: impl FnMut(&Effect) -> Fate,
    ) -> Option<Result<Report, Refused>> {
        let step = self.book.begin(command, &mut self.lot);
        self.steps(step, &mut fate)
    }

    /// Tries again to release those who did not answer.
    pub(crate) fn settle(&mut self) {
        if let Some(step) = self.book.settle() {
            let _ = self.steps(step, &mut |_| Fate::Works);
        }
    }

    fn steps(
        &mut self,
        mut step: Step,
        fate: &mut impl FnMut(&Effect) -> Fate,
    ) -> Option<Result<Report, Refused>> {
        loop {
            self.disk = serde_json::to_string(&self.book).unwrap();
            let effect = match step {
                Step::Done(outcome) => {
                    assert_eq!(self.book.work, None);
                    return Some(outcome);
                }
                Step::Do(effect) => effect,
            };
            self.is_busy();
            self.effects += 1;
            let fate_of_it = fate(&effect);
            if fate_of_it == Fate::KilledBefore {
                self.restart(fate);
                return None;
            }
            let event = self.carry_out(effect, fate_of_it);
            if fate_of_it == Fate::KilledAfter {
                self.restart(fate);
                return None;
            }
            step = self.book.resume(event, &mut self.lot);
        }
    }

    /// While something is being done nothing else is begun, and nothing changes.
    fn is_busy(&self) {
        let mut book = self.book.clone();
        let names: Vec<String> = self.book.peers.keys().cloned().collect();
        for name in names {
            for command in [
                Command::Deregister { name: name.clone() },
                Command::SetupDht { name: name.clone(), size: 3, year: 1950 },
                Command::LeaveDht { name: name.clone() },
                Command::JoinDht { name: name.clone() },
                Command::TeardownDht { name },
            ] {
                let step = book.begin(command, &mut fastrand::Rng::with_seed(1));
                assert!(matches!(step, Step::Done(Err(_))), "{step:?}");
            }
        }
        assert_eq!(book, self.book);
    }

    /// A new process with what is on disk.
    fn restart(&mut self, fate: &mut impl FnMut(&Effect) -> Fate) {
        self.book = serde_json::from_str(&self.disk).unwrap();
        if let Some(step) = self.book.recover() {
            // It may be killed again.
            let _ = self.steps(step, fate);
        }
    }

    fn carry_out(&mut self, effect: Effect, fate: Fate) -> Event {
        let works = fate == Fate::Works || fate == Fate::KilledAfter;
        let done = works || fate == Fate::SeemsToFail;
        let failed = || "it failed".to_owned();
        match effect {
            Effect::Look(servers) => {
                let look = |(name, _): (String, _)| {
                    let seen = self.servers.get(&name).filter(|server| !server.dead && works);
                    let seen = seen.map(|server| Seen {
                        standby: true,
                        cluster: server.seat,
                        keeps_data: true,
                        name: Some(name.clone()),
                        port: None,
                    });
                    (name, seen.ok_or_else(failed))
                };
                Event::Seen(servers.into_iter().map(look).collect())
            }
            Effect::Enter { name, cluster, .. } => {
                let server = self.servers.get_mut(&name).unwrap();
                let is_free = server.seat.is_none_or(|seat| seat == cluster);
                if done && !server.dead && is_free {
                    server.seat = Some(cluster);
                }
                Event::Entered(if works && !server.dead && is_free { Ok(()) } else { Err(failed()) })
            }
            Effect::Load { .. } => Event::Loaded(if works { Ok(RECORDS) } else { Err(failed()) }),
            Effect::Count(names) => {
                let share = RECORDS / u64::try_from(names.len()).unwrap();
                let mut counts: Vec<(String, (u64, u64))> =
                    names.into_iter().map(|name| (name, (share, RECORDS))).collect();
                counts[0].1.0 += RECORDS - counts.iter().map(|(_, (own, _))| own).sum::<u64>();
                counts.sort();
                Event::Counted(if works { Ok(counts) } else { Err(failed()) })
            }
            Effect::Ask { event, .. } => {
                let event = event.unwrap_or_else(|| "7".to_owned());
                let found = Report::Found { event: event.clone(), fields: Vec::new(), path: Vec::new() };
                let found = (event == "7").then_some(found);
                Event::Answered(if works { Ok(found) } else { Err(failed()) }, event)
            }
            Effect::FindHeir { others, .. } => {
                Event::Heir(if works { Ok(others[0].clone()) } else { Err(failed()) })
            }
            Effect::Leave { name, cluster } => {
                let server = self.servers.get_mut(&name).unwrap();
                if works && !server.dead && server.seat == Some(cluster) {
                    server.seat = None;
                }
                Event::Left(if works && !server.dead { Ok(()) } else { Err(failed()) })
            }
            Effect::Release { from, .. } => {
                let mut released = BTreeSet::new();
                for (name, cluster) in from {
                    let Some(server) = self.servers.get_mut(&name).filter(|server| !server.dead) else {
                        continue;
                    };
                    if done && server.seat == Some(cluster) {
                        server.seat = None;
                    }
                    if works {
                        released.insert(name);
                    }
                }
                Event::Released(released)
            }
        }
    }

    /// Servers are where the book says; those that are dead, are owed a release, or may have left may be elsewhere.
    pub(crate) fn agrees(&self) {
        assert_eq!(self.book.problems(), Vec::<String>::new());
        for (name, peer) in &self.book.peers {
            let server = &self.servers[name];
            if server.dead || self.book.owed.contains_key(name) || self.book.doubtful.contains_key(name) {
                continue;
            }
            let seat = match peer.state {
                PeerState::Free => None,
                PeerState::InDHT | PeerState::Leader => self.book.dht.as_ref().map(|dht| dht.cluster),
            };
            assert_eq!(server.seat, seat, "{name}: {:?}", self.book);
        }
    }
}
