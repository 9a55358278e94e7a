//! What happens to a replica besides writes: records that cannot be read, filling, and the end of its epoch.

use std::sync::Arc;

use super::Replica;
use crate::chain::context::{Context, Task};
use crate::chain::event::{Change, Effect, Reply};
use crate::chain::fill::Adopted;
use crate::chain::message::{
    Action, ChainRequest, ChainResponse, Holding, LevelOrder, LogEntry, Mutation, Write,
};
use crate::chain::view::{Epoch, Sequence};
use crate::id::Id;
use crate::key::{Key, Outcome, Version};
use crate::message::CallError;
use crate::ring::Token;

impl Replica {
    /// Stored records cannot be read. It goes on serving the others, until the leader has this copy filled anew.
    pub(in crate::chain) fn damaged(&mut self, context: &mut Context, keys: &[(Id, Key)]) {
        if !self.is_serving() {
            return;
        }
        let before = self.damaged.len();
        self.damaged.extend(keys.iter().filter(|(id, _)| self.range.contains(*id)).cloned());
        if before == 0 && !self.damaged.is_empty() {
            context.urgent = true;
            context.changed(Change::Damaged(self.epoch));
        }
    }

    /// Stored records that this node knows it cannot read.
    pub fn unreadable(&self) -> usize {
        self.damaged.len()
    }

    /// It is accepted that what this node cannot read is lost, as long as the epoch lasts.
    pub(in crate::chain) fn give_up_damaged(&mut self) {
        self.gives_up = true;
    }

    /// Removes what it cannot read, by the log, so that those who are being filled hear of it. Not if others serve as
    /// well: they may have it.
    pub(in crate::chain) fn drop_damaged(&mut self, context: &mut Context, leased: bool) {
        let alone = self.chain.iter().filter(|(link, _)| link.serving).count() == 1;
        if !self.gives_up || self.damaged.is_empty() || !alone || !self.is_head() || !leased {
            return;
        }
        if self.wedged.is_some() {
            return;
        }
        for (id, key) in std::mem::take(&mut self.damaged) {
            let sequence = self.last.next();
            let outcome = Outcome::Deleted(None);
            let write = Write { id, key, mutation: Mutation::Remove, outcome, by: None };
            self.append(context, vec![Arc::new(LogEntry { sequence, action: Action::Write(write) })]);
        }
        context.urgent = true;
        self.advance(context, leased);
    }

    // Filling.

    /// Does the next thing for filling it, if it is to be filled.
    pub(in crate::chain) fn advance_fill(&mut self, context: &mut Context) {
        let Some(source) = self.tail().cloned() else { return };
        let holding = Holding { complete: true, ..self.holding() };
        let Some(fill) = self.fill.as_mut().filter(|_| self.wedged.is_none() && !self.broken) else { return };
        if fill.advance(context, holding, &source) {
            self.filled(context);
        }
    }

    /// What was stored so far is on disk.
    pub(in crate::chain) fn fill_persisted(&mut self, context: &mut Context, token: Token) {
        if self.fill.as_mut().is_some_and(|fill| fill.persisted(token)) {
            self.filled(context);
        }
    }

    fn filled(&self, context: &mut Context) {
        context.urgent = true;
        context.changed(Change::Synced(self.epoch));
    }

    /// Results that the source keeps.
    pub(in crate::chain) fn adopt_results(&mut self, context: &mut Context, adopted: Adopted) {
        let Adopted { results, done, floor } = adopted;
        self.results.adopt(&results, &done, floor);
        context.effects.push(Effect::Keep(results));
    }

    // The end of the epoch.

    /// Takes no writes and serves no reads from now on, for this change.
    pub(in crate::chain) fn wedge(&mut self, context: &mut Context, change: Epoch) {
        if self.wedged.is_some_and(|earlier| earlier >= change) {
            return;
        }
        if self.wedged.is_none() {
            context.changed(Change::Wedged(self.epoch));
        }
        self.wedged = Some(change);
        // An answer for an earlier change is not for this one.
        self.leveling = false;
        context.urgent = true;
        for (_, caller) in self.readers.drain(..) {
            context.effects.push(Effect::Reply { caller, reply: Reply::ReadAgain });
        }
    }

    /// Fetches what it lacks.
    pub(in crate::chain) fn level(&mut self, context: &mut Context, order: &LevelOrder) {
        let LevelOrder { change, base, from, .. } = order;
        if self.wedged != Some(*change) || self.leveling || self.broken || self.last >= *base {
            return;
        }
        self.leveling = true;
        let request = ChainRequest::Level { epoch: self.epoch, after: self.last };
        context.call(from, request, Task::Level { epoch: self.epoch, change: *change, base: *base });
    }

    /// The log behind a sequence, as much as fits.
    pub(in crate::chain) fn log_after(&self, after: Sequence, bytes_max: usize) -> ChainResponse {
        let skip = after.0.saturating_sub(self.oldest.0);
        let (mut bytes, mut entries) = (0, Vec::new());
        if after >= self.oldest {
            for entry in self.log.iter().skip(usize::try_from(skip).unwrap_or(usize::MAX)) {
                bytes += entry.size();
                if bytes > bytes_max && !entries.is_empty() {
                    break;
                }
                entries.push(Arc::clone(entry));
            }
        }
        ChainResponse::Log { entries, oldest: self.oldest }
    }

    /// The part of the log that was fetched.
    pub(in crate::chain) fn levelled(
        &mut self,
        context: &mut Context,
        (change, base): (Epoch, Sequence),
        result: Result<ChainResponse, CallError>,
    ) {
        if self.wedged != Some(change) || self.broken {
            return;
        }
        self.leveling = false;
        let Ok(ChainResponse::Log { entries, oldest }) = result else { return };
        if oldest > self.last {
            self.broken = true;
            context.changed(Change::Broken(self.epoch));
        }
        // Not beyond the base: what is behind it may be in nobody's next epoch.
        let fresh = self.next_entries(entries, base);
        if !fresh.is_empty() && !self.broken {
            self.append(context, fresh);
        }
        context.urgent = true;
    }

    /// The epoch has ended; `base` is how far it got, if that is known. Who waited is told what is certain.
    pub(in crate::chain) fn end(&mut self, context: &mut Context, base: Option<Sequence>) {
        for (sequence, caller, outcome) in self.writers.drain(..) {
            let reply = if base.is_some_and(|base| sequence <= base) {
                Reply::Done { outcome, at: Version { epoch: self.epoch.0, sequence: sequence.0 } }
            } else {
                Reply::Unknown("the chain changed while the write was on its way")
            };
            context.effects.push(Effect::Reply { caller, reply });
        }
        for (_, caller) in self.readers.drain(..) {
            context.effects.push(Effect::Reply { caller, reply: Reply::ReadAgain });
        }
        context.changed(Change::Ended(self.epoch));
    }
}
