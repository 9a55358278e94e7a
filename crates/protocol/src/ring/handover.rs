//! Handing keys over: to a node that joined just before, or to the successor when leaving.
//!
//! ```text
//! source                                            target
//!   copy      keys of the range, part by part ────▶   keeps them, serves nothing of it
//!             (still serves them; notes which keys change)
//!   catch up  keys that changed meanwhile ────────▶
//!   withhold  requests for the range wait now
//!             the last keys that changed ─────────▶
//!   grant     "serve it" ─────────────────────────▶   serves it, in a higher epoch
//!   done      ◀──────────────────────────── accepted
//!             forgets the range; waiting requests go on to the target
//! ```
//!
//! Between `withhold` and `done` nobody but the target can serve the range, and the source does not know whether it
//! does yet: requests wait. If the grant is not answered it is repeated (it takes effect once); if the target stays
//! silent it is taken for dead and the source, which still has all the keys, serves on. A refusal is definite: the
//! source serves on at once and tries again later.

use std::collections::BTreeSet;

use super::calls::Task;
use super::event::Token;
use super::{Change, Effect, Phase, Ring, Timer};
use crate::id::{Id, between};
use crate::key::{Entry, Key};
use crate::message::{CallError, Grant, HandoverId, Range, Request, Response};
use crate::peer::Peer;
use crate::time::Time;

/// Changed keys that may be left when requests begin to wait.
const CHANGED_KEYS_FEW: usize = 32;
/// Rounds of catching up after which requests wait however many are left.
const CATCH_UP_ROUNDS_MAX: u8 = 8;
/// Changed keys that are read at once.
const CHANGED_KEYS_PER_READ: usize = 256;
/// Rounds of stabilize after which everybody finds keys without this node's word where they went.
const HINT_ROUNDS: u32 = 6;
/// Silences after which the target of a grant is taken for dead.
const GRANT_SILENCES_MAX: u8 = 5;

/// Keys on their way out.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    id: HandoverId,
    to: Peer,
    range: Range,
    /// The read that is out.
    reading: Option<Token>,
    /// Is nothing sent yet?
    first: bool,
    /// Where to go on copying; none: all is copied once.
    copy_after: Option<Key>,
    /// Written since the copy began, and not yet sent again.
    changed: BTreeSet<Key>,
    rounds: u8,
    withheld: bool,
    /// Has the target been ordered to serve? Then only its answer, or its death, tells who serves.
    granting: bool,
    /// Is that order out?
    asking: bool,
    silences: u8,
}

impl Outgoing {
    /// Must a request for this identifier wait?
    pub(super) fn withholds(&self, id: Id) -> bool {
        self.withheld && self.range.contains(id)
    }

    pub(super) fn is_withheld(&self) -> bool {
        self.withheld
    }

    pub(super) fn nonce(&self) -> u64 {
        self.id.nonce
    }

    pub(super) fn written(&mut self, key: &Key, id: Id) {
        if self.range.contains(id) {
            self.changed.insert(key.clone());
        }
    }
}

/// Keys on their way in.
#[derive(Clone, Debug)]
pub(super) struct Incoming {
    handover: HandoverId,
    range: Range,
    last_part: Time,
}

// The source.
impl Ring {
    pub(super) fn start_handover(&mut self, to: Peer, range: Range) {
        let id = self.next_handover();
        self.changed(Change::HandingOver { to: to.clone(), range });
        self.ownership.outgoing = Some(Outgoing {
            id,
            to,
            range,
            reading: None,
            first: true,
            copy_after: None,
            changed: BTreeSet::new(),
            rounds: 0,
            withheld: false,
            granting: false,
            asking: false,
            silences: 0,
        });
        self.read_on(None);
    }

    fn next_handover(&mut self) -> HandoverId {
        let last = &mut self.ownership.last_nonce;
        if *last == 0 {
            *last = u64::from(self.random.u32(1..)) << 32;
        }
        *last += 1;
        HandoverId { source: self.me.id, nonce: *last }
    }

    fn read_on(&mut self, after: Option<Key>) {
        let token = self.token();
        let bytes_max = self.settings.chunk_bytes;
        let Some(outgoing) = &mut self.ownership.outgoing else { return };
        outgoing.reading = Some(token);
        self.effects.push(Effect::ReadRange { token, range: outgoing.range, after, bytes_max });
    }

    pub(super) fn entries_read(&mut self, token: Token, entries: Vec<Entry>, next: Option<Key>) {
        let Some(outgoing) = &mut self.ownership.outgoing else { return };
        if outgoing.reading.take() != Some(token) {
            return;
        }
        for (key, _) in &entries {
            outgoing.changed.remove(key);
        }
        outgoing.copy_after = next;
        let request = Request::Chunk {
            handover: outgoing.id,
            range: outgoing.range,
            first: std::mem::take(&mut outgoing.first),
            entries,
        };
        let (to, nonce) = (outgoing.to.clone(), outgoing.id.nonce);
        self.call(&to, request, Task::Chunk(nonce));
    }

    pub(super) fn chunk_answered(&mut self, nonce: u64, result: &Result<Response, CallError>) {
        let Some(outgoing) = self.ownership.outgoing_named(nonce) else { return };
        match (result, outgoing.copy_after.take()) {
            (Ok(Response::Accepted), Some(after)) => self.read_on(Some(after)),
            (Ok(Response::Accepted), None) => self.catch_up(),
            _ => self.abandon_handover(),
        }
    }

    fn catch_up(&mut self) {
        let token = self.token();
        let bytes_max = self.settings.chunk_bytes;
        let Some(outgoing) = &mut self.ownership.outgoing else { return };
        outgoing.rounds = outgoing.rounds.saturating_add(1);
        if outgoing.changed.len() <= CHANGED_KEYS_FEW || outgoing.rounds > CATCH_UP_ROUNDS_MAX {
            outgoing.withheld = true;
        }
        if outgoing.changed.is_empty() {
            self.grant_range();
        } else {
            let keys = outgoing.changed.iter().take(CHANGED_KEYS_PER_READ).cloned().collect();
            outgoing.reading = Some(token);
            self.effects.push(Effect::ReadKeys { token, keys, bytes_max });
        }
    }

    fn grant_range(&mut self) {
        let Some(boundary) = self.ownership.boundary.clone() else { return };
        let epoch = self.ownership.epoch;
        let Some(outgoing) = &mut self.ownership.outgoing else { return };
        assert!(outgoing.withheld && outgoing.changed.is_empty(), "all is sent before the range is granted");
        outgoing.granting = true;
        outgoing.asking = true;
        let (handover, range, to) = (outgoing.id, outgoing.range, outgoing.to.clone());
        let grants = self.grants_in(range);
        self.call(
            &to,
            Request::TakeOver { handover, range, boundary, epoch, grants },
            Task::TakeOver(handover.nonce),
        );
    }

    pub(super) fn take_over_answered(&mut self, nonce: u64, result: &Result<Response, CallError>) {
        let Some(outgoing) = self.ownership.outgoing_named(nonce) else { return };
        outgoing.asking = false;
        match result {
            Ok(Response::Accepted) => self.handed(),
            // A node that is not in the ring did not take the range, or has lost it.
            Ok(_) => self.abandon_handover(),
            Err(_) => {
                outgoing.silences += 1;
                if outgoing.silences < GRANT_SILENCES_MAX {
                    let pause = self.jitter(self.settings.stabilize_every);
                    self.set_timer(Timer::HandOver, pause);
                } else {
                    self.abandon_handover();
                }
            }
        }
    }

    fn handed(&mut self) {
        let Some(Outgoing { range, to, .. }) = self.ownership.outgoing.take() else { return };
        self.ownership.boundary = if range.high == self.me.id { None } else { Some(to.clone()) };
        self.forget_grants_in(range);
        let until = self.now + self.settings.stabilize_every * HINT_ROUNDS;
        self.ownership.remember_handed(range, to, until);
        self.effects.push(Effect::Erase(range));
        self.changed(Change::Serving(self.serving()));
        if let Phase::Leaving(_) = self.phase { self.proceed_departure() } else { self.reconcile() }
    }

    fn abandon_handover(&mut self) {
        let Some(Outgoing { to, .. }) = self.ownership.outgoing.take() else { return };
        self.changed(Change::HandOverFailed { to });
        self.changed(Change::Serving(self.serving()));
        let pause = self.jitter(self.settings.stabilize_every);
        self.set_timer(Timer::HandOver, pause);
    }

    /// The departure is off: unless the range may be the successor's already, it stays here.
    pub(super) fn abandon_unless_granting(&mut self) -> bool {
        if self.ownership.outgoing.as_ref().is_some_and(|outgoing| outgoing.granting) {
            return false;
        }
        self.abandon_handover();
        true
    }

    pub(super) fn continue_handover(&mut self) {
        match &self.ownership.outgoing {
            Some(outgoing) if outgoing.granting && !outgoing.asking => self.grant_range(),
            Some(_) => {}
            None if matches!(self.phase, Phase::Leaving(_)) => self.proceed_departure(),
            None => self.reconcile(),
        }
    }
}

// The target.
impl Ring {
    /// A range that this node would serve together with what it serves. Not while it gives keys away itself: what it
    /// has promised there would be about another boundary.
    fn may_take(&self, range: Range) -> bool {
        let joined = range.high == self.me.id;
        let inherited = self.ownership.boundary.as_ref().is_some_and(|boundary| boundary.id == range.high);
        let takes = self.settings.owns_keys && self.phase == Phase::Member;
        takes && self.ownership.outgoing.is_none() && (joined || inherited)
    }

    pub(super) fn take_chunk(
        &mut self,
        handover: HandoverId,
        range: Range,
        first: bool,
        mut entries: Vec<Entry>,
    ) -> Response {
        let incoming = self.ownership.incoming.as_ref();
        let continues = incoming.is_some_and(|incoming| incoming.handover == handover);
        // A part that was on its way too long: its hand-over has ended, or another one has begun since.
        let over = self.ownership.taken.iter().any(|taken| *taken == handover || handover.is_before(taken));
        let foreign = entries.iter().any(|(key, _)| !range.contains(key.id(self.settings.space)));
        if over || foreign || !self.may_take(range) || !(first || continues) {
            return Response::Refused;
        }
        if let Some(given_up) =
            self.ownership.incoming.take().filter(|incoming| incoming.handover != handover)
        {
            self.forget_parts(given_up.range);
        }
        let serves_some = self.serving().is_some_and(|mine| mine.overlaps(&range));
        if serves_some {
            // Both serve it, since one took the other for dead: the later write of each key stays.
            entries.retain(|(_, record)| record.is_some());
        } else if first {
            self.effects.push(Effect::Erase(range));
        }
        self.ownership.incoming = Some(Incoming { handover, range, last_part: self.now });
        self.effects.push(Effect::Merge(entries));
        Response::Accepted
    }

    pub(super) fn take_over(
        &mut self,
        handover: HandoverId,
        range: Range,
        boundary: Peer,
        epoch: u64,
        grants: Vec<Grant>,
    ) -> Response {
        if self.ownership.taken.contains(&handover) {
            return Response::Accepted;
        }
        let expected = self.ownership.incoming.as_ref().is_some_and(|incoming| incoming.handover == handover);
        if !expected || !self.may_take(range) || boundary.id != range.low {
            return Response::Refused;
        }
        if self.widens(range) {
            self.ownership.boundary = Some(boundary);
        }
        self.ownership.epoch = self.ownership.epoch.max(epoch).saturating_add(1);
        self.ownership.incoming = None;
        self.ownership.remember_taken(handover);
        self.inherit_grants(grants);
        self.changed(Change::Serving(self.serving()));
        // A leaver is still the predecessor until it says farewell: its keys do not go back to it.
        if self.predecessor.id != handover.source {
            self.reconcile();
        }
        Response::Accepted
    }

    /// Is more served with the range than without? When rings merge, a node may serve more than it is granted: it
    /// keeps that, and hands it on to its predecessor, and so on around, until everything is where it belongs.
    fn widens(&self, range: Range) -> bool {
        match &self.ownership.boundary {
            None => true,
            Some(mine) if mine.id == self.me.id => false,
            Some(mine) => mine.id == range.high || between(range.low, mine.id, self.me.id),
        }
    }

    /// Forgets what a source sent that has gone silent.
    pub(super) fn drop_stale_transfer(&mut self) {
        let patience = self.settings.call_timeout * 5;
        let Some(incoming) = &self.ownership.incoming else { return };
        if self.now.since(incoming.last_part) > patience {
            let range = incoming.range;
            self.ownership.incoming = None;
            self.forget_parts(range);
            self.reconcile();
        }
    }

    /// What was sent of a range that will not come, unless it is served here already.
    fn forget_parts(&mut self, range: Range) {
        if !self.serving().is_some_and(|mine| mine.overlaps(&range)) {
            self.effects.push(Effect::Erase(range));
        }
    }
}
