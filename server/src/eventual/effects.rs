//! Carrying out what the state machine wants done.

use std::collections::VecDeque;
use std::time::Duration;

use chordata_protocol::Durability;
use chordata_protocol::eventual::{Change, Effect, Event, Request, Response};
use chordata_protocol::ring::Caller;
use chordata_store::{Engine, StoreError};
use tracing::{error, warn};

use super::data::View;
use super::{Eventual, Timer};
use crate::node::Node;

/// Times that a batch is tried again because a record that it replaces is damaged.
const HEALED_MAX: usize = 8;

/// Who is answered from what the store has, so that an answer must not be given when that could not be read.
fn reader(event: &Event) -> Option<Caller> {
    match event {
        Event::Read { caller, .. }
        | Event::Asked { caller, request: Request::Read(_) | Request::Fetch(_), .. } => Some(*caller),
        _ => None,
    }
}

impl Node {
    /// Handles an event and begins its effects, in their order; what they bring at once is handled before this returns.
    pub(super) fn carry_eventual(&self, part: &mut Eventual, engine: &mut dyn Engine, event: Event) {
        let applied = engine.applied();
        let waiting = part.barriers.len();
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let (reader, again) =
                (reader(&event), matches!(event, Event::Read { .. }).then(|| event.clone()));
            let view = View::new(engine, &part.index);
            let mut effects = part.machine.handle(self.now(), crate::wall::now().as_millis(), event, &view);
            let damaged = view.into_damaged();
            if !damaged.is_empty() {
                self.remove_damaged(part, engine, damaged);
                events.push_back(Event::Damaged);
                withhold(&mut effects, reader);
                events.extend(again);
            }
            for effect in effects {
                events.extend(self.carry_out_eventual(part, engine, effect));
            }
        }
        if engine.applied() != applied {
            self.wake_committer(engine.overlay_bytes());
        }
        if part.barriers.len() > waiting {
            self.flush_committer();
        }
        let given = (part.machine.is_swept(), part.machine.is_drained());
        if given != part.given {
            part.given = given;
            self.serving_changed();
        }
    }

    fn carry_out_eventual(
        &self,
        part: &mut Eventual,
        engine: &mut dyn Engine,
        effect: Effect,
    ) -> Option<Event> {
        match effect {
            Effect::Store(changes) => return self.store_eventual(part, engine, &changes),
            Effect::Persist { token } => {
                if part.replication.durability == Durability::Memory {
                    return Some(Event::Persisted { token });
                }
                part.barriers.push((engine.applied(), token));
            }
            Effect::Call { token, to, request } => {
                let node = self.clone();
                tokio::spawn(async move {
                    let result = node.send_letter(to, request).await;
                    node.eventual_event(Event::Reply { token, result });
                });
            }
            Effect::Answer { caller, response } => {
                if let Some(answer) = part.answers.remove(&caller) {
                    // Whoever asked may have gone away.
                    let _ = answer.send(response);
                }
            }
            Effect::Done { caller, result } => {
                if let Some(reply) = part.replies.remove(&caller) {
                    let _ = reply.send(result);
                }
            }
            Effect::SetTimer { timer, after } => self.set_eventual_timer(part, timer, after),
            Effect::Barred => {
                error!(node = %self.me().address, "this store was forgotten by its cluster");
                self.serving_changed();
            }
        }
        None
    }

    fn store_eventual(
        &self,
        part: &mut Eventual,
        engine: &mut dyn Engine,
        changes: &[Change],
    ) -> Option<Event> {
        let mut healed = None;
        for _ in 0..HEALED_MAX {
            let directory = &part.directory;
            match part.index.apply(engine, changes, |store| directory.peer(store)) {
                Ok(()) => return healed,
                Err(error @ StoreError::Damaged { .. }) => {
                    self.remove_damaged(part, engine, vec![error]);
                    healed = Some(Event::Damaged);
                }
                Err(error) => crate::node::fatal(&error),
            }
        }
        crate::node::fatal(&StoreError::Fatal("records are damaged again and again".to_owned()))
    }

    /// Removes what is damaged: it is fetched again from other replicas.
    fn remove_damaged(&self, part: &mut Eventual, engine: &mut dyn Engine, damaged: Vec<StoreError>) {
        for error in &damaged {
            warn!(node = %self.me().address, "{error}: fetching it again");
        }
        if let Err(error) = part.index.remove_damaged(engine, damaged) {
            crate::node::fatal(&error);
        }
    }

    fn set_eventual_timer(&self, part: &mut Eventual, timer: Timer, after: Duration) {
        let node = self.clone();
        let task = tokio::spawn(async move {
            tokio::time::sleep(after).await;
            node.eventual_event(Event::Timer(timer));
        });
        if let Some(earlier) = part.timers.insert(timer, task.abort_handle()) {
            earlier.abort();
        }
    }
}

/// What would be answered is wrong: a client's request is handled again, another node is refused.
fn withhold(effects: &mut Vec<Effect>, reader: Option<Caller>) {
    effects.retain_mut(|effect| match effect {
        Effect::Done { caller, .. } => Some(*caller) != reader,
        Effect::Answer { caller, response } if Some(*caller) == reader => {
            *response = Response::Refused;
            true
        }
        _ => true,
    });
}
