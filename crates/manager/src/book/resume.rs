//! What comes of a step, and what comes next; and what becomes of work that a killed manager left.

use std::collections::{BTreeMap, BTreeSet};

use chordata_rpc::manager::{PeerRecords, PeerState, Refused, Report};
use chordata_rpc::service::ClusterId;

use super::begin::each_from;
use super::{Book, Counts, Dht, Effect, Event, Peer, Seen, SetUp, Step, Work, refused};

/// What a setup is taken back for that a killed manager left.
const KILLED: &str = "the manager was ended meanwhile";

impl Book {
    /// Takes what came of the last step.
    ///
    /// # Panics
    /// When nothing is being done, or that was not asked for: whoever carries out steps is broken.
    pub fn resume(&mut self, event: Event, lot: &mut fastrand::Rng) -> Step {
        let work = self.work.take().expect("something was being done");
        match (work, event) {
            (Work::Register { name, peer }, Event::Seen(seen)) => self.met(name, peer, seen),
            (Work::SetUp(setup), Event::Seen(seen)) => self.choose(setup, &seen, lot),
            (Work::SetUp(setup), Event::Entered(entered)) => self.entered(setup, entered),
            (Work::SetUp(setup), Event::Loaded(loaded)) => self.loaded(setup, loaded),
            (Work::SetUp(setup), Event::Counted(counted)) => self.counted(setup, counted),
            (Work::Undo { names, cluster, reason }, Event::Released(released)) => {
                self.owe(&names, cluster, &released);
                Step::Done(Err(Refused(reason)))
            }
            (Work::Query { .. }, Event::Answered(answer, event)) => Step::Done(match answer {
                Ok(Some(found)) => Ok(found),
                Ok(None) => Err(Refused(format!("Storm event {event} not found in the DHT"))),
                Err(reason) => Err(Refused(reason)),
            }),
            (Work::FindHeir { name }, Event::Heir(heir)) => self.heir(name, heir),
            (Work::Leave { name, heir }, Event::Left(left)) => self.left(name, heir, left),
            (Work::Join { name }, Event::Entered(entered)) => match entered {
                Ok(()) => {
                    self.set(&name, PeerState::InDHT);
                    Step::Done(Ok(Report::Joined { name }))
                }
                Err(reason) => {
                    let cluster = self.dht.as_ref().expect("a peer joins a ring that there is").cluster;
                    self.undo(vec![name], cluster, reason)
                }
            },
            (Work::TearDown, Event::Released(released)) => self.torn_down(&released),
            (Work::Settle, Event::Released(released)) => {
                self.owed.retain(|name, _| !released.contains(name));
                self.look_at_doubtful().unwrap_or_else(|| Step::Done(Ok(self.list())))
            }
            (Work::Settle, Event::Seen(seen)) => {
                self.saw_doubtful(seen);
                Step::Done(Ok(self.list()))
            }
            (work, event) => panic!("{event:?} is no answer to {work:?}"),
        }
    }

    /// For a book that was read from disk: what to do about the work that was left. None: nothing was.
    pub fn recover(&mut self) -> Option<Step> {
        let effect = match self.work.clone()? {
            // Nothing was changed yet.
            Work::Register { .. } | Work::Query { .. } | Work::FindHeir { .. } | Work::Settle => {
                self.work = None;
                return None;
            }
            Work::SetUp(setup) if setup.chosen.is_empty() => {
                self.work = None;
                return None;
            }
            Work::SetUp(setup) => {
                return Some(self.undo(setup.chosen, setup.cluster, KILLED.to_owned()));
            }
            Work::Undo { names, cluster, .. } => {
                Effect::Release { from: each_from(cluster, names), others: self.members() }
            }
            Work::Leave { name, .. } => {
                let cluster = self.dht.as_ref().expect("a peer leaves a ring that there is").cluster;
                Effect::Leave { name, cluster }
            }
            Work::Join { name } => self.entry(&name).expect("a peer joins a ring that there is"),
            Work::TearDown => {
                let cluster = self.dht.as_ref().expect("a ring that there is is taken down").cluster;
                Effect::Release { from: each_from(cluster, self.members()), others: Vec::new() }
            }
        };
        Some(Step::Do(effect))
    }

    fn met(&mut self, name: String, peer: Peer, seen: BTreeMap<String, Result<Seen, String>>) -> Step {
        let seen = seen.into_iter().find(|(seen, _)| *seen == name).map(|(_, seen)| seen);
        let seen = match seen {
            Some(Ok(seen)) => seen,
            Some(Err(reason)) => {
                return refused(format!("no server on standby is at {}: {reason}", peer.address()));
            }
            None => return refused(format!("nobody looked at {}", peer.address())),
        };
        if let Some(cluster) = seen.cluster {
            return refused(format!(
                "the server at {} is in a ring already, of cluster {cluster}: have it leave that first",
                peer.address()
            ));
        }
        if !seen.standby {
            return refused(format!("the server at {} was not started with --standby", peer.address()));
        }
        if let Some(other) = seen.name.filter(|other| *other != name) {
            return refused(format!("the server at {} calls itself {other}, not {name}", peer.address()));
        }
        if let Some(port) = seen.port.filter(|port| *port != peer.peer_port) {
            return refused(format!(
                "peers reach the server at {} on port {port}, not {}",
                peer.address(),
                peer.peer_port
            ));
        }
        let line = self.line(&name, &peer);
        self.peers.insert(name, peer);
        Step::Done(Ok(Report::Registered(line)))
    }

    /// The leader, and others by lot among those that answer.
    fn choose(
        &mut self,
        mut setup: SetUp,
        seen: &BTreeMap<String, Result<Seen, String>>,
        lot: &mut fastrand::Rng,
    ) -> Step {
        let unfit = |name: &String| match seen.get(name) {
            Some(Ok(seen)) if seen.cluster.is_some() => Some(format!("{name} is in a ring of its own")),
            Some(Ok(seen)) if !seen.standby => Some(format!("{name} runs without --standby")),
            Some(Ok(_)) => None,
            Some(Err(reason)) => Some(format!("{name}: {reason}")),
            None => Some(format!("{name} was not looked at")),
        };
        if let Some(reason) = unfit(&setup.leader) {
            return refused(reason);
        }
        let mut others: Vec<&String> =
            seen.keys().filter(|name| **name != setup.leader && unfit(name).is_none()).collect();
        if others.len() + 1 < setup.size {
            let reasons: Vec<String> = seen.keys().filter_map(unfit).collect();
            return refused(format!(
                "only {} free peers can be used, of {} that are wanted ({})",
                others.len() + 1,
                setup.size,
                reasons.join("; ")
            ));
        }
        lot.shuffle(&mut others);
        others.truncate(setup.size - 1);
        setup.chosen = std::iter::once(&setup.leader).chain(others).cloned().collect();
        let keeps = |name: &String| {
            seen.get(name).is_some_and(|seen| seen.as_ref().is_ok_and(|seen| seen.keeps_data))
        };
        setup.on_disk = setup.chosen.iter().all(keeps);
        self.next_enters(setup)
    }

    fn next_enters(&mut self, setup: SetUp) -> Step {
        let contacts = setup.chosen.iter().take(setup.entered);
        let contacts = contacts.filter_map(|name| self.peers.get(name).map(Peer::ring_address)).collect();
        let effect = match setup.chosen.get(setup.entered) {
            Some(name) => {
                Effect::Enter { name: name.clone(), cluster: setup.cluster, contacts, on_disk: setup.on_disk }
            }
            None => Effect::Load { name: setup.leader.clone(), cluster: setup.cluster, year: setup.year },
        };
        self.work = Some(Work::SetUp(setup));
        Step::Do(effect)
    }

    fn entered(&mut self, mut setup: SetUp, entered: Result<(), String>) -> Step {
        match entered {
            Ok(()) => {
                setup.entered += 1;
                self.next_enters(setup)
            }
            Err(reason) => self.undo(setup.chosen, setup.cluster, reason),
        }
    }

    fn loaded(&mut self, mut setup: SetUp, loaded: Result<u64, String>) -> Step {
        match loaded {
            Ok(records) => {
                setup.records = Some(records);
                let names = setup.chosen.clone();
                self.work = Some(Work::SetUp(setup));
                Step::Do(Effect::Count(names))
            }
            Err(reason) => self.undo(setup.chosen, setup.cluster, reason),
        }
    }

    fn counted(&mut self, setup: SetUp, counted: Result<Vec<(String, Counts)>, String>) -> Step {
        let mut counts = match counted {
            Ok(counts) => counts,
            Err(reason) => return self.undo(setup.chosen, setup.cluster, reason),
        };
        let (records, counted) =
            (setup.records.unwrap_or(0), counts.iter().map(|(_, (own, _))| own).sum::<u64>());
        if records != counted {
            let reason = format!("{records} records were loaded, and {counted} are there");
            return self.undo(setup.chosen, setup.cluster, reason);
        }
        if let Some(place) = counts.iter().position(|(name, _)| *name == setup.leader) {
            counts.rotate_left(place);
        }
        for name in &setup.chosen {
            let leads = *name == setup.leader;
            self.set(name, if leads { PeerState::Leader } else { PeerState::InDHT });
        }
        self.dht = Some(Dht { cluster: setup.cluster, year: setup.year, records });
        let peers = counts.into_iter().map(|(name, (records, copies))| {
            let state = self.peers.get(&name).map_or(PeerState::Free, |peer| peer.state);
            PeerRecords { name, state, records, copies }
        });
        Step::Done(Ok(Report::SetUp { year: setup.year, records, peers: peers.collect() }))
    }

    /// Releases these from that cluster, and then refuses for that reason.
    fn undo(&mut self, names: Vec<String>, cluster: ClusterId, reason: String) -> Step {
        self.work = Some(Work::Undo { names: names.clone(), cluster, reason });
        Step::Do(Effect::Release { from: each_from(cluster, names), others: self.members() })
    }

    /// Those of these peers that were not released are owed it.
    fn owe(&mut self, names: &[String], cluster: ClusterId, released: &BTreeSet<String>) {
        let silent = names.iter().filter(|name| !released.contains(*name));
        self.owed.extend(silent.map(|name| (name.clone(), cluster)));
    }

    fn heir(&mut self, name: String, heir: Result<String, String>) -> Step {
        match (heir, &self.dht) {
            (Ok(heir), Some(dht)) => {
                let cluster = dht.cluster;
                self.work = Some(Work::Leave { name: name.clone(), heir: Some(heir) });
                Step::Do(Effect::Leave { name, cluster })
            }
            (Ok(_), None) => refused("there is no DHT any more"),
            (Err(reason), _) => refused(reason),
        }
    }

    fn left(&mut self, name: String, heir: Option<String>, left: Result<(), String>) -> Step {
        if let Err(reason) = left {
            self.doubtful.insert(name, heir);
            return refused(reason);
        }
        self.gone(&name, heir);
        let leader = self.leader().cloned().unwrap_or_default();
        Step::Done(Ok(Report::Left { name, leader }))
    }

    /// A peer has left the ring.
    fn gone(&mut self, name: &str, heir: Option<String>) {
        self.doubtful.remove(name);
        let led = self.leader().is_some_and(|leader| leader == name);
        self.set(name, PeerState::Free);
        if led {
            // Its successor may have left as well, since that was asked.
            let mut others = self.members();
            others.retain(|other| !self.doubtful.contains_key(other));
            let heir = heir.filter(|heir| others.contains(heir)).or_else(|| others.first().cloned());
            if let Some(heir) = heir {
                self.set(&heir, PeerState::Leader);
            }
        }
    }

    pub(super) fn look_at_doubtful(&mut self) -> Option<Step> {
        if self.doubtful.is_empty() {
            return None;
        }
        self.work = Some(Work::Settle);
        let named =
            self.doubtful.keys().filter_map(|name| Some((name.clone(), self.peers.get(name)?.address())));
        Some(Step::Do(Effect::Look(named.collect())))
    }

    /// Those that may have left were looked at.
    fn saw_doubtful(&mut self, seen: BTreeMap<String, Result<Seen, String>>) {
        let ring = self.dht.as_ref().map(|dht| dht.cluster);
        for (name, seen) in seen {
            match seen {
                Ok(seen) if seen.cluster.is_some() && seen.cluster == ring => {
                    self.doubtful.remove(&name);
                }
                Ok(_) => {
                    let heir = self.doubtful.get(&name).cloned().flatten();
                    // If it is in another ring by now, that is nobody's business here.
                    self.gone(&name, heir);
                }
                Err(_) => {}
            }
        }
    }

    fn torn_down(&mut self, released: &BTreeSet<String>) -> Step {
        let members = self.members();
        for name in &members {
            self.set(name, PeerState::Free);
        }
        if let Some(dht) = self.dht.take() {
            self.owe(&members, dht.cluster, released);
        }
        self.doubtful.clear();
        let (released, silent) = members.into_iter().partition(|name| released.contains(name));
        Step::Done(Ok(Report::TornDown { released, silent }))
    }
}
