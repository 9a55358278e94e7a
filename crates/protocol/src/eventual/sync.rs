//! Anti-entropy: a replica compares what it shares with another, and both get what they lack.
//!
//! One session per other replica, all at once; a session takes one arc after the other. What the comparison finds is
//! got and given page by page before the comparison goes on, so memory is bounded. A session that loses its other
//! side ends; the next round begins a new one.

use std::collections::VecDeque;
use std::time::Duration;

use super::calls::Call;
use super::event::{Data, Timer};
use super::message::{Copied, Request, Response, fitting, is_entry};
use super::{Eventual, StoreId};
use crate::key::Key;
use crate::merkle::{Difference, Finding, Step, Ticket};
use crate::message::Range;

/// A comparison of all that is shared with one other replica.
#[derive(Clone, Debug)]
pub(super) struct Session {
    number: u64,
    /// Arcs that come later.
    arcs: VecDeque<Range>,
    current: Option<(Range, Difference)>,
    pull: VecDeque<Key>,
    push: VecDeque<Key>,
    /// Messages with copies that are out.
    out: usize,
}

impl Eventual {
    /// Begins a round: a session with every replica that shares an arc and has none.
    pub(super) fn start_sessions(&mut self, data: &dyn Data) {
        let after = self.jitter(self.settings.sync_every);
        self.set_timer(Timer::Sync, after);
        let Some(table) = &self.table else { return };
        let mut begun = Vec::new();
        for store in table.members().iter().map(|member| member.store) {
            let arcs: VecDeque<Range> = table.shared(self.me, store).into();
            if arcs.is_empty() || self.sessions.contains_key(&store) || self.stores.forgotten.contains(&store)
            {
                continue;
            }
            begun.push((store, arcs));
        }
        for (store, arcs) in begun {
            let number = self.number();
            let (pull, push) = (VecDeque::new(), VecDeque::new());
            self.sessions.insert(store, Session { number, arcs, current: None, pull, push, out: 0 });
            self.drive(store, data);
        }
    }

    /// Something is gone that this node had: until it has compared all that it keeps again it does not know what it lacks.
    pub(super) fn damaged(&mut self) {
        self.filled.clear();
        self.sessions.clear();
        self.set_timer(Timer::Sync, Duration::ZERO);
    }

    /// Goes on with a session until it must wait; it is gone when it has ended.
    fn drive(&mut self, with: StoreId, data: &dyn Data) {
        let Some(mut session) = self.sessions.remove(&with) else { return };
        loop {
            self.exchange(with, &mut session, data);
            if session.out > 0 {
                break;
            }
            let Some((arc, difference)) = &mut session.current else {
                let Some(arc) = session.arcs.pop_front() else {
                    self.counters.syncs += 1;
                    return;
                };
                session.current = Some((arc, Difference::new(self.settings.space, arc)));
                continue;
            };
            match difference.step(data) {
                Step::Ask(questions) => {
                    for (ticket, question) in questions {
                        let why = Call::Compare { with, session: session.number, ticket };
                        self.call(with, Request::Compare(question), why);
                    }
                }
                Step::Found(findings) => self.sort(with, &mut session, findings),
                Step::Wait => break,
                Step::Done(summary) if !summary.complete => return,
                Step::Done(_) => {
                    if !self.filled.contains(arc) {
                        self.filled.push(*arc);
                    }
                    session.current = None;
                }
            }
        }
        self.sessions.insert(with, session);
    }

    /// Which of the two gives: the one with the higher version; both when only the contents differ.
    fn sort(&mut self, with: StoreId, session: &mut Session, findings: Vec<Finding>) {
        let mut dropped = Vec::new();
        for finding in findings {
            match finding {
                Finding::OnlyMine(mine) => session.push.push_back(mine.key),
                Finding::OnlyTheirs(theirs) if self.collector.is_dropped(&theirs.key, theirs.version) => {
                    dropped.push(theirs.key);
                }
                Finding::OnlyTheirs(theirs) => session.pull.push_back(theirs.key),
                Finding::Differs { mine, theirs } => {
                    if mine.version >= theirs.version {
                        session.push.push_back(mine.key);
                    }
                    if mine.version <= theirs.version {
                        session.pull.push_back(theirs.key);
                    }
                }
            }
        }
        self.tell_dropped(with, dropped);
    }

    /// Sends the next message with copies each way, if none is out.
    fn exchange(&mut self, with: StoreId, session: &mut Session, data: &dyn Data) {
        if session.out > 0 {
            return;
        }
        if !session.pull.is_empty() {
            let keys = fitting(session.pull.iter().cloned(), Key::size);
            let why = Call::Pull { from: with, session: session.number, keys: keys.clone() };
            self.call(with, Request::Fetch(keys), why);
            session.out += 1;
        }
        let waiting = session.push.iter().map(|key| (key, self.held(key, data)));
        let batch = fitting(waiting, |(key, held)| key.size() + held.as_ref().map_or(0, |held| held.size()));
        let keys = batch.len();
        let entries: Vec<Copied> =
            batch.into_iter().filter_map(|(key, held)| Some((key.clone(), held?))).collect();
        session.push.drain(..keys);
        if !entries.is_empty() {
            let why = Call::Push { to: with, session: session.number, keys: entries.len() };
            self.call(with, Request::Copy { entries, durable: false }, why);
            session.out += 1;
        }
    }

    /// Is it still the session that asked?
    fn session(&mut self, with: StoreId, number: u64) -> Option<&mut Session> {
        self.sessions.get_mut(&with).filter(|session| session.number == number)
    }

    pub(super) fn compared(
        &mut self,
        with: StoreId,
        number: u64,
        ticket: Ticket,
        response: Option<Response>,
        data: &dyn Data,
    ) {
        let Some(session) = self.session(with, number) else { return };
        if let Some((_, difference)) = &mut session.current {
            match response {
                Some(Response::Compared(answer)) => difference.answered(ticket, answer),
                _ => difference.lost(ticket),
            }
        }
        self.drive(with, data);
    }

    pub(super) fn pulled(
        &mut self,
        from: StoreId,
        number: u64,
        keys: &[Key],
        response: Option<Response>,
        data: &dyn Data,
    ) {
        let space = self.settings.space;
        let Some(session) = self.session(from, number) else { return };
        let Some(Response::Fetched { entries, covered }) = response else {
            self.sessions.remove(&from);
            return;
        };
        let asked = |entry: &Copied| is_entry(space, entry) && keys.contains(&entry.0);
        let covered = (covered as usize).min(session.pull.len());
        if covered == 0 || !entries.iter().all(asked) {
            self.sessions.remove(&from);
            return;
        }
        session.out -= 1;
        session.pull.drain(..covered);
        self.counters.pulled += entries.len() as u64;
        let dropped = self.merge(entries, data);
        self.tell_dropped(from, dropped);
        self.drive(from, data);
    }

    pub(super) fn pushed(&mut self, to: StoreId, number: u64, keys: usize, stored: bool, data: &dyn Data) {
        let Some(session) = self.session(to, number) else { return };
        if !stored {
            self.sessions.remove(&to);
            return;
        }
        session.out -= 1;
        self.counters.pushed += keys as u64;
        self.drive(to, data);
    }
}
