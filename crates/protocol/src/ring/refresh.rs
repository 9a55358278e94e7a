//! Refreshing fingers: one at a time, each by an iterative lookup of where it starts.
//!
//! A lookup of `me + 2^i` that finds node o settles every entry up to the last one that starts at or before o, so a
//! whole table takes about log2 n lookups. A run over all entries has a number; who asks for one while one is under
//! way joins it.

use std::collections::BTreeMap;

use super::calls::Task;
use super::{Phase, Ring, Timer};
use crate::id::in_half_open;
use crate::message::{CallError, Policy, RefreshSummary, Response};
use crate::peer::Peer;
use crate::procedure::lookup::{Located, Lookup, NotLocated, NotLocatedReason};
use crate::procedure::{Procedure, Step};

/// Ended runs whose reports are kept.
const REPORTS_MAX: usize = 16;

/// What a lookup that the ring itself drives is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Purpose {
    /// All entries, from this one on.
    All { run: u64 },
    /// One entry.
    One,
    /// Who serves this node's own arc?
    Server,
}

#[derive(Clone, Debug)]
struct Looking {
    purpose: Purpose,
    entry: u8,
    lookup: Lookup,
    summary: RefreshSummary,
}

/// Refreshes of a node.
#[derive(Clone, Debug, Default)]
pub(super) struct Refresh {
    looking: Option<Looking>,
    /// Tells answers to a lookup that was given up from those to the present one.
    generation: u64,
    runs: u64,
    next_entry: u8,
    reports: BTreeMap<u64, RefreshSummary>,
}

impl Ring {
    /// Looks one entry up, in turn.
    pub(super) fn refresh_one(&mut self) {
        if !self.is_member() {
            return;
        }
        let pause = self.jitter(self.settings.finger_every);
        self.set_timer(Timer::Finger, pause);
        if self.refresh.looking.is_none() {
            let entry = self.refresh.next_entry % self.settings.space.bits();
            self.look(Purpose::One, entry, RefreshSummary::default());
        }
    }

    /// Looks all entries up, unless that is under way; the number of the run.
    pub(super) fn refresh_all(&mut self) -> u64 {
        if !self.is_member() {
            return self.refresh.runs;
        }
        if let Some(Looking { purpose: Purpose::All { run }, .. }) = self.refresh.looking {
            return run;
        }
        self.refresh.runs += 1;
        let run = self.refresh.runs;
        self.look(Purpose::All { run }, 0, RefreshSummary::default());
        run
    }

    pub(super) fn refresh_report(&self, run: u64) -> Response {
        match self.refresh.reports.get(&run) {
            Some(summary) => Response::Refreshed(*summary),
            None if run > self.refresh.runs => Response::Refused,
            None => match &self.refresh.looking {
                Some(Looking { purpose: Purpose::All { run: now }, .. }) if *now == run => Response::Running,
                Some(_) | None => Response::Refused,
            },
        }
    }

    /// Asks around the whole ring who serves this node's arc.
    pub(super) fn search_server(&mut self) {
        if self.refresh.looking.is_none() {
            self.look(Purpose::Server, 0, RefreshSummary::default());
        }
    }

    /// Begins the lookup for an entry; entries that the successor settles need none.
    fn look(&mut self, purpose: Purpose, mut entry: u8, mut summary: RefreshSummary) {
        let (space, me) = (self.settings.space, self.me.id);
        if purpose != Purpose::Server {
            let head = self.successors.head().node().cloned();
            if let Some(head) = head.filter(|head| in_half_open(me, space.finger_start(me, entry), head.id)) {
                entry = self.settle(entry, &head, &mut summary);
            }
            self.refresh.next_entry = entry % space.bits();
            if entry >= space.bits() {
                return self.refreshed(purpose, summary);
            }
        }
        let (target, policy) = match purpose {
            Purpose::Server => (me, Policy::Successor),
            Purpose::All { .. } | Purpose::One => (space.finger_start(me, entry), Policy::Finger),
        };
        let lookup =
            Lookup::new(space, target, policy, self.settings.hop_limit, std::slice::from_ref(&self.me));
        self.refresh.generation += 1;
        self.refresh.looking = Some(Looking { purpose, entry, lookup, summary });
        self.go_on_looking();
    }

    /// Points the entries from this one on that the node settles to it; the first entry that it does not settle.
    fn settle(&mut self, entry: u8, node: &Peer, summary: &mut RefreshSummary) -> u8 {
        let last = match self.settings.space.power_below(self.me.id, node.id) {
            Some(power) => power.max(entry),
            None => self.settings.space.bits() - 1,
        };
        summary.changed += self.fingers.set(entry, last, node);
        last + 1
    }

    fn go_on_looking(&mut self) {
        let now = self.now;
        let Some(looking) = &mut self.refresh.looking else { return };
        match looking.lookup.step(now) {
            Step::Ask(questions) => {
                for (_, peer, request) in questions {
                    if let Some(looking) =
                        self.refresh.looking.as_mut().filter(|_| peer.address != self.me.address)
                    {
                        looking.summary.calls += 1;
                    }
                    self.call(&peer, request, Task::Finger(self.refresh.generation));
                }
            }
            Step::Sleep(_) => {}
            Step::Done(found) => {
                self.looked_up(&found);
            }
        }
    }

    fn looked_up(&mut self, found: &Result<Located, NotLocated>) {
        let Some(Looking { purpose, entry, mut summary, .. }) = self.refresh.looking.take() else { return };
        if purpose == Purpose::Server {
            // Only if everybody was asked and answered it is proof that nobody serves it.
            let nobody = found.as_ref().is_err_and(|failed| {
                failed.reason == NotLocatedReason::Exhausted && failed.path.iter().all(|hop| hop.answered)
            });
            if nobody && self.phase == Phase::Member && self.serving().is_none() {
                self.ask_claim();
            }
            return;
        }
        let next = match found.as_ref().map(|located| &located.owner) {
            Ok(owner) => {
                self.learn(owner);
                self.settle(entry, owner, &mut summary)
            }
            // Nobody was found: the entry stays what it is.
            Err(_) => entry + 1,
        };
        self.refresh.next_entry = next % self.settings.space.bits();
        match purpose {
            Purpose::All { .. } if next < self.settings.space.bits() => self.look(purpose, next, summary),
            Purpose::All { .. } | Purpose::One | Purpose::Server => self.refreshed(purpose, summary),
        }
    }

    fn refreshed(&mut self, purpose: Purpose, summary: RefreshSummary) {
        self.refresh.looking = None;
        if let Purpose::All { run } = purpose {
            self.refresh.reports.insert(run, summary);
            while self.refresh.reports.len() > REPORTS_MAX {
                self.refresh.reports.pop_first();
            }
        }
    }

    pub(super) fn finger_answered(&mut self, generation: u64, result: Result<Response, CallError>) {
        let now = self.now;
        if generation != self.refresh.generation {
            return;
        }
        let Some(looking) = &mut self.refresh.looking else { return };
        looking.lookup.answered(now, 0, result);
        self.go_on_looking();
    }
}
