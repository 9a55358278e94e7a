//! Filling a newcomer: its copy is made equal to that of the last serving replica, while writes go on.
//!
//! The newcomer takes every write of its epoch from the base on, as all replicas do, and remembers which keys they
//! touched. Beside that it goes through the range, a page of keys and versions at a time, and compares the source's
//! page with its own engine: what differs is fetched, what the source lacks is removed, and a key that was touched is
//! left alone, since the log brings it. A version names one write for ever, so equal versions are equal values. At the
//! end it waits until its log has come as far as the source's was when it answered last: what it fetched may be from
//! the future of its own log, and is right again from there on.
//!
//! The own engine is asked for slices, too, so that however much it has, its lock is never held long.
//!
//! What an earlier life had stored here is compared like anything else, so that a node that returns fetches little.

use std::collections::BTreeSet;

use super::context::{Context, Task};
use super::event::Effect;
use super::message::{ChainRequest, ChainResponse, Done, Holding, KeptResult};
use super::results::ResultId;
use super::view::{Epoch, Sequence};
use crate::id::{Id, Space};
use crate::key::{Entry, Key, Version};
use crate::message::{CallError, Range};
use crate::peer::Peer;
use crate::replication::Durability;
use crate::ring::Token;
use crate::time::Time;

/// Keys in one request for values.
const FETCHED_MAX: usize = 512;
/// Bytes of the keys in one request.
const KEY_BYTES_PER_FETCH: usize = 256 * 1024;
/// How long after a failure it is tried again.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(100);
/// Between two slices of the own engine, so that others get at it.
const SLICE_PAUSE: std::time::Duration = std::time::Duration::from_millis(1);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Step {
    /// Results that were kept for the range before this epoch go: the source's come in their place.
    Clear { before: Epoch, after: Option<ResultId> },
    /// The results of writes, page by page, first: the log brings later ones.
    Results { after: Option<ResultId> },
    /// Keys and versions of the source behind this key.
    List { after: Option<Key> },
    /// The same of the own engine, to be compared with that page.
    Compare { after: Option<Key>, page: Vec<(Key, Version)>, end: bool },
    /// What differs.
    Fetch { wanted: Vec<Key>, next: Next },
    /// Until the log has come so far.
    CatchUp,
    /// Until all of it is on disk.
    Persist,
    /// Everything is there.
    Done,
}

/// What comes after a page.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Next {
    Page(Key),
    /// The rest of the source's page, with what the own engine has behind this key.
    Slice {
        after: Key,
        page: Vec<(Key, Version)>,
        end: bool,
    },
    End,
}

/// What the source keeps of writes that may be sent again.
#[derive(Debug)]
pub(super) struct Adopted {
    pub(super) results: Vec<(ResultId, KeptResult)>,
    pub(super) done: Vec<(u128, Done)>,
    pub(super) floor: u64,
}

/// The state of filling one replica.
#[derive(Clone, Debug)]
pub struct Fill {
    range: Range,
    touched: BTreeSet<Key>,
    step: Step,
    /// How far the source's log was when it answered last, in its epoch.
    target: Sequence,
    waiting: Option<Token>,
    pause_until: Time,
}

impl Fill {
    /// From the beginning, in this epoch.
    pub(super) fn new(range: Range, epoch: Epoch) -> Fill {
        Fill::at(range, Step::Clear { before: epoch, after: None })
    }

    fn at(range: Range, step: Step) -> Fill {
        Fill {
            range,
            touched: BTreeSet::new(),
            step,
            target: Sequence(0),
            waiting: None,
            pause_until: Time::ZERO,
        }
    }

    /// Nothing to be done: the copy is complete.
    pub(super) fn filled(range: Range) -> Fill {
        Fill::at(range, Step::Done)
    }

    /// Goes on in the next epoch, whose base the replica's log has reached: no write was missed.
    pub(super) fn into_next(mut self, range: Range, base: Sequence, sync: bool) -> Fill {
        self.waiting = None;
        self.target = base;
        if self.is_done() {
            // What came last may still be on its way to the disk.
            let step = if sync { Step::Persist } else { Step::Done };
            return Fill::at(range, step);
        }
        if range == self.range {
            // A page that was under way is taken again.
            match &mut self.step {
                Step::Compare { after, .. } => self.step = Step::List { after: after.take() },
                Step::Fetch { next, .. } => {
                    if let Next::Slice { after, .. } = next {
                        *next = Next::Page(after.clone());
                    }
                }
                _ => {}
            }
            return self;
        }
        // Splits and merges: other keys are compared, so all of them are. Touched keys are still up to date.
        let step = match self.step {
            Step::Clear { before, .. } => Step::Clear { before, after: None },
            _ => Step::Results { after: None },
        };
        Fill { touched: self.touched, target: base, ..Fill::at(range, step) }
    }

    /// Is everything there, if perhaps not on disk yet?
    pub fn is_complete(&self) -> bool {
        matches!(self.step, Step::Persist | Step::Done)
    }

    /// Is everything there?
    pub fn is_done(&self) -> bool {
        self.step == Step::Done
    }

    /// A write touched the key.
    pub(super) fn written(&mut self, key: &Key) {
        if !self.is_done() {
            self.touched.insert(key.clone());
        }
    }

    /// Does the next thing, if nothing is under way; true: it has just been completed.
    /// `holding`: what the node holds when it is completed.
    pub(super) fn advance(&mut self, context: &mut Context, holding: Holding, source: &Peer) -> bool {
        let epoch = holding.epoch;
        if self.step == Step::CatchUp && holding.last >= self.target {
            self.step = Step::Persist;
            context.effects.push(Effect::Hold { holding: Some(holding), released: Vec::new() });
        }
        let synced = context.settings.replication.durability == Durability::Sync;
        if self.step == Step::Persist && !synced {
            return self.complete();
        }
        if self.waiting.is_some() || self.pause_until > context.now {
            return false;
        }
        let task = Task::Fill { epoch };
        let request = match &self.step {
            Step::Clear { before, after } => {
                let (range, before, after) = (self.range, *before, *after);
                let token = context.token(task);
                context.effects.push(Effect::DropResults { token, range, before, after });
                self.waiting = Some(token);
                return false;
            }
            Step::Results { after } => ChainRequest::Results { epoch, after: *after },
            Step::List { after } => ChainRequest::List { epoch, after: after.clone() },
            Step::Fetch { wanted, .. } => {
                let mut bytes = 0;
                let fits = |key: &&Key| {
                    bytes += key.size();
                    bytes <= KEY_BYTES_PER_FETCH
                };
                let keys = wanted.iter().take(FETCHED_MAX).take_while(fits).cloned().collect();
                ChainRequest::Fetch { epoch, keys }
            }
            Step::Compare { after, page, end } => {
                let upto = if *end { None } else { page.last().map(|(key, _)| key.clone()) };
                let (range, after) = (self.range, after.clone());
                let token = context.token(task);
                context.effects.push(Effect::List { token, range, after, upto });
                self.waiting = Some(token);
                return false;
            }
            Step::Persist => {
                let token = context.token(task);
                context.effects.push(Effect::Persist(token));
                self.waiting = Some(token);
                return false;
            }
            Step::CatchUp | Step::Done => return false,
        };
        self.waiting = Some(context.call(source, request, task));
        false
    }

    fn complete(&mut self) -> bool {
        self.step = Step::Done;
        self.touched = BTreeSet::new();
        true
    }

    /// What was stored so far is on disk; true: that was the last thing.
    pub(super) fn persisted(&mut self, token: Token) -> bool {
        self.is_for(token) && self.step == Step::Persist && self.complete()
    }

    fn is_for(&mut self, token: Token) -> bool {
        let mine = self.waiting == Some(token);
        if mine {
            self.waiting = None;
        }
        mine
    }

    /// Older results are gone up to there; none: all.
    pub(super) fn results_dropped(&mut self, context: &Context, token: Token, upto: Option<ResultId>) {
        if !self.is_for(token) {
            return;
        }
        if let Step::Clear { after, .. } = &mut self.step {
            match upto {
                Some(upto) => {
                    *after = Some(upto);
                    self.pause_until = context.now + SLICE_PAUSE;
                }
                None => self.step = Step::Results { after: None },
            }
        }
    }

    /// The source answered, or not. Results that it keeps are returned, with its floor.
    pub(super) fn answered(
        &mut self,
        context: &mut Context,
        token: Token,
        result: Result<ChainResponse, CallError>,
    ) -> Option<Adopted> {
        if !self.is_for(token) {
            return None;
        }
        match (&mut self.step, result) {
            (Step::Results { .. }, Ok(ChainResponse::Results { results, end, last, floor, done })) => {
                self.target = self.target.max(last);
                let after = results.last().map(|(id, _)| *id);
                self.step =
                    if end || after.is_none() { Step::List { after: None } } else { Step::Results { after } };
                return Some(Adopted { results, done, floor });
            }
            (Step::List { after }, Ok(ChainResponse::Listed { keys, end, last })) => {
                self.target = self.target.max(last);
                let end = end || keys.is_empty();
                self.step = Step::Compare { after: after.clone(), page: keys, end };
            }
            (Step::Fetch { wanted, .. }, Ok(ChainResponse::Fetched(entries))) => {
                let asked: BTreeSet<Key> = wanted.iter().cloned().collect();
                let entries: Vec<Entry> =
                    entries.into_iter().filter(|(key, _)| asked.contains(key)).collect();
                let got: BTreeSet<&Key> = entries.iter().map(|(key, _)| key).collect();
                let before = wanted.len();
                wanted.retain(|key| !got.contains(key));
                let went_on = wanted.len() < before;
                let fresh: Vec<Entry> =
                    entries.into_iter().filter(|(key, _)| !self.touched.contains(key)).collect();
                if !fresh.is_empty() {
                    context.effects.push(Effect::Fill(fresh));
                }
                if !went_on {
                    self.pause_until = context.now + PAUSE;
                }
                self.after_fetch();
            }
            (_, Ok(_) | Err(_)) => self.pause_until = context.now + PAUSE,
        }
        None
    }

    /// The own engine answered, with everything up to a key: what differs from the source's page?
    pub(super) fn listed(
        &mut self,
        context: &mut Context,
        token: Token,
        mine: &[(Key, Version)],
        upto: Option<Key>,
    ) {
        if !self.is_for(token) {
            return;
        }
        let Step::Compare { page, end, .. } = &mut self.step else { return };
        let (mut page, end) = (std::mem::take(page), *end);
        let last = page.last().map(|(key, _)| key.clone());
        let rest = upto.as_ref().map_or_else(Vec::new, |upto| {
            let space = context.settings.space;
            let here = place(space, self.range, upto);
            page.split_off(page.partition_point(|(key, _)| place(space, self.range, key) <= here))
        });
        let next = match (upto, last) {
            // Behind the last key of the source's page nothing may be judged, unless that is its end.
            (Some(after), _) if end || !rest.is_empty() => {
                self.pause_until = context.now + SLICE_PAUSE;
                Next::Slice { after, page: rest, end }
            }
            (_, Some(last)) if !end => Next::Page(last),
            (_, Some(_) | None) => Next::End,
        };
        let theirs: std::collections::BTreeMap<&Key, Version> =
            page.iter().map(|(key, version)| (key, *version)).collect();
        let have: std::collections::BTreeMap<&Key, Version> =
            mine.iter().map(|(key, version)| (key, *version)).collect();
        let removed: Vec<Entry> = mine
            .iter()
            .filter(|(key, _)| !theirs.contains_key(key) && !self.touched.contains(key))
            .map(|(key, _)| (key.clone(), None))
            .collect();
        let wanted: Vec<Key> = page
            .iter()
            .filter(|(key, version)| have.get(key) != Some(version) && !self.touched.contains(key))
            .map(|(key, _)| key.clone())
            .collect();
        if !removed.is_empty() {
            context.effects.push(Effect::Fill(removed));
        }
        self.step = Step::Fetch { wanted, next };
        self.after_fetch();
    }

    /// When a page has been dealt with: the next one.
    fn after_fetch(&mut self) {
        let Step::Fetch { wanted, next } = &mut self.step else { return };
        if wanted.is_empty() {
            self.step = match std::mem::replace(next, Next::End) {
                Next::Page(key) => Step::List { after: Some(key) },
                Next::Slice { after, page, end } => Step::Compare { after: Some(after), page, end },
                Next::End => Step::CatchUp,
            };
        }
    }
}

/// The order in which engines and pages go through a range: up from its low end, which is itself the last of all (it is
/// in the range only if that is the whole ring).
fn place(space: Space, range: Range, key: &Key) -> (bool, Id, Key) {
    let id = key.id(space);
    (id == range.low, space.distance(range.low, id), key.clone())
}
