//! What goes down the chain, frames of log entries, and up, the news of what is committed.

use std::sync::Arc;
use std::time::Duration;

use super::{LOG_BYTES_MAX, Replica};
use crate::chain::context::{Context, Task};
use crate::chain::event::Change;
use crate::chain::message::{ChainRequest, ChainResponse, LogEntry};
use crate::chain::view::Sequence;
use crate::message::CallError;

/// How long a link rests after a frame that did not get through.
const LINK_PAUSE: Duration = Duration::from_millis(40);

impl Replica {
    pub(super) fn send_down(&mut self, context: &mut Context) {
        let durable = self.everywhere_durable();
        loop {
            let Some(below) = &mut self.below else { return };
            if below.in_flight >= context.settings.frames_in_flight || below.pause_until > context.now {
                return;
            }
            let Some(peer) = below.peer.clone() else { return };
            below.sent = below.sent.max(below.acked);
            let news = below.serving && below.told_durable < durable;
            // While a frame is out, what is written waits, and travels together in the next one, unless it fills one already
            // (judged by the newest): of small writes one frame costs the least, and large ones must not wait for each
            // other's acknowledgement.
            let waiting = self.last.0.saturating_sub(below.sent.0);
            let fills_frame = |newest: &Arc<LogEntry>| {
                let bytes = usize::try_from(waiting).unwrap_or(usize::MAX).saturating_mul(newest.size());
                bytes >= context.settings.frame_bytes
            };
            let is_due = match below.in_flight {
                0 => waiting > 0 || news,
                _ => waiting > 0 && self.log.back().is_some_and(fills_frame),
            };
            if !is_due {
                return;
            }
            let skip = usize::try_from(below.sent.0.saturating_sub(self.oldest.0)).unwrap_or(usize::MAX);
            let (mut bytes, mut entries) = (0, Vec::new());
            for entry in self.log.iter().skip(skip) {
                bytes += entry.size();
                if bytes > context.settings.frame_bytes && !entries.is_empty() {
                    break;
                }
                entries.push(Arc::clone(entry));
            }
            let upto = entries.last().map_or(below.sent, |entry| entry.sequence);
            below.sent = upto;
            below.told_durable = durable;
            below.in_flight += 1;
            if below.waiting_since.is_none() && below.acked < upto {
                below.waiting_since = Some(context.now);
            }
            let request = ChainRequest::Frame { epoch: self.epoch, oldest: self.oldest, entries, durable };
            let task = Task::Frame { epoch: self.epoch, upto };
            context.call(&peer, request, task);
        }
    }

    pub(super) fn tell_above(&mut self, context: &mut Context) {
        let committed = self.committed;
        if !self.is_serving() {
            return;
        }
        let Some(above) = &mut self.above else { return };
        let Some(peer) = above.peer.clone() else { return };
        if above.in_flight || above.told.max(above.answered) >= committed || above.pause_until > context.now {
            return;
        }
        above.told = committed;
        above.in_flight = true;
        let request = ChainRequest::Committed { epoch: self.epoch, sequence: committed };
        context.call(&peer, request, Task::Committed { epoch: self.epoch });
    }

    /// Forgets entries that nobody below needs: what is committed and acknowledged. For a newcomer only so many are
    /// kept; if it needs older ones it begins anew.
    pub(super) fn trim(&mut self, log_max: usize) {
        let needed = self.below.as_ref().map_or(self.last, |below| below.acked);
        let may_go = if !self.is_serving() {
            if self.log_bytes > LOG_BYTES_MAX { self.last } else { needed }
        } else if self.below.as_ref().is_some_and(|below| !below.serving)
            && (self.log.len() > log_max || self.log_bytes > LOG_BYTES_MAX / 2)
        {
            self.committed
        } else {
            self.committed.min(needed)
        };
        while self.log.front().is_some_and(|entry| entry.sequence <= may_go) {
            self.oldest = self.oldest.next();
            self.log_bytes -= self.log.pop_front().map_or(0, |entry| entry.size());
        }
    }

    fn take(&mut self, context: &mut Context, entries: Vec<Arc<LogEntry>>) {
        let fresh = self.next_entries(entries, Sequence(u64::MAX));
        if !fresh.is_empty() && !self.broken {
            self.append(context, fresh);
        }
    }

    /// Those of the entries that are the next ones, one behind the other, up to there.
    pub(super) fn next_entries(&self, entries: Vec<Arc<LogEntry>>, upto: Sequence) -> Vec<Arc<LogEntry>> {
        let mut next = self.last;
        let is_next = |entry: &Arc<LogEntry>| {
            let fits = entry.sequence == next.next() && entry.sequence <= upto;
            next = if fits { entry.sequence } else { next };
            fits
        };
        entries.into_iter().filter(is_next).collect()
    }

    /// A frame from above.
    pub(in crate::chain) fn frame(
        &mut self,
        context: &mut Context,
        oldest: Sequence,
        entries: Vec<Arc<LogEntry>>,
        durable: Sequence,
        leased: bool,
    ) -> ChainResponse {
        if self.wedged.is_some() || self.at == 0 {
            return ChainResponse::NotMine;
        }
        if oldest > self.last && !self.broken {
            // Only a newcomer's log is not waited for.
            self.broken = true;
            context.urgent = true;
            context.changed(Change::Broken(self.epoch));
        }
        if entries.first().is_some_and(|first| first.sequence > self.last.next()) {
            if self.early.len() < context.settings.frames_in_flight {
                self.early.insert(entries[0].sequence, entries);
            }
        } else {
            self.take(context, entries);
            while let Some(early) = self.early.first_entry().filter(|early| *early.key() <= self.last.next())
            {
                let entries = early.remove();
                self.take(context, entries);
            }
        }
        self.durable_above = self.durable_above.max(durable);
        self.advance_but_for_news(context, leased);
        // The answer says what is committed by now: no other news of it is needed, if it arrives.
        if let Some(above) = self.above.as_mut().filter(|above| above.peer.is_some()) {
            above.answered = self.committed;
        }
        ChainResponse::Accepted { last: self.last, committed: self.committed }
    }

    /// A frame was answered, or not.
    pub(in crate::chain) fn frame_answered(
        &mut self,
        context: &mut Context,
        upto: Sequence,
        result: &Result<ChainResponse, CallError>,
        leased: bool,
    ) {
        let now = context.now;
        let Some(below) = &mut self.below else { return };
        let acked = below.acked;
        below.in_flight = below.in_flight.saturating_sub(1);
        match result {
            Ok(ChainResponse::Accepted { last, committed }) => {
                if *last > below.acked {
                    below.acked = *last;
                    below.waiting_since = (below.acked < below.sent).then_some(now);
                }
                if below.acked >= below.sent {
                    below.waiting_since = None;
                }
                if below.in_flight == 0 && below.acked < below.sent {
                    // No other frame is out that could bring what it lacks: again from there.
                    below.sent = below.acked;
                    if below.acked == acked {
                        below.pause_until = now + LINK_PAUSE / 8;
                    }
                }
                let committed = (*committed).min(self.last);
                if below.serving && self.wedged.is_none() {
                    self.commit_upto(committed);
                }
            }
            Ok(_) | Err(_) => {
                below.sent = below.acked;
                below.told_durable = Sequence(0);
                below.pause_until = now + LINK_PAUSE;
                // A frame may have carried no entries, but what a commit waits for.
                if (upto > below.acked || below.serving) && below.waiting_since.is_none() {
                    below.waiting_since = Some(now);
                }
            }
        }
        self.advance(context, leased);
    }

    /// News from below.
    pub(in crate::chain) fn committed_below(&mut self, context: &mut Context, upto: Sequence, leased: bool) {
        if self.wedged.is_none() && !self.is_tail() && self.is_serving() {
            self.commit_upto(upto.min(self.last));
        }
        self.advance(context, leased);
    }

    /// The news arrived above, or not.
    pub(in crate::chain) fn told_above(&mut self, context: &mut Context, arrived: bool, leased: bool) {
        if let Some(above) = &mut self.above {
            above.in_flight = false;
            if !arrived {
                above.told = Sequence(0);
                above.pause_until = context.now + LINK_PAUSE;
            }
        }
        self.advance(context, leased);
    }
}
