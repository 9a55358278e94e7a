//! Carrying out what the member and the coordinator want done.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use chordata_protocol::chain::message::{Action, LISTED_MAX};
use chordata_protocol::chain::{
    Applied, ChainRequest, ChainResponse, Change as Seen, Deed, Effect, Epoch, Event, Occasion, Timer,
};
use chordata_protocol::key::Entry;
use chordata_protocol::ring::Token;
use chordata_protocol::{CallError, Durability, Ending, Id, Key, Peer, Range, Version};
use chordata_rpc::{CallFailure, within};
use chordata_store::{Change, Engine, StoreError, transfer};
use tracing::{debug, info, warn};

use super::group::Agreement;
use super::{Chain, notes};
use crate::node::Node;

/// How long one look for values that have ended may take.
const LOOK_MAX: Duration = Duration::from_millis(2);
/// How long a call about chains may take.
const CALL_WITHIN: Duration = Duration::from_millis(500);
/// How long one may take that carries values: several megabytes on a slow line. One whose receiver has died ends with its
/// connection, or with its epoch.
const VALUES_WITHIN: Duration = Duration::from_secs(2);
/// How long an answer that waits for a round of the group may take.
const HEARTBEAT_WITHIN: Duration = Duration::from_millis(900);
/// Bytes of the keys in one answer.
const LISTED_BYTES_MAX: usize = 512 * 1024;
/// Bytes of the values that are passed by for one answer. An engine on disk reads and checks them, a few milliseconds long,
/// and the node does nothing else meanwhile.
const PASSED_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Changes of the engine after which a batch is cut.
const BATCH_MAX: usize = 4096;

/// What is to be put into the engine in one batch.
#[derive(Default)]
struct Batch {
    changes: Vec<Change>,
    persisting: Vec<(chordata_protocol::chain::Epoch, chordata_protocol::chain::Sequence)>,
    barriers: Vec<Token>,
}

impl Node {
    /// Begins the effects, in their order; what they bring at once is handled before this returns.
    pub(super) fn carry_chain(&self, chain: &mut Chain, engine: &mut dyn Engine, effects: Vec<Effect>) {
        let now = self.now();
        let mut batch = Batch::default();
        let mut queue = std::collections::VecDeque::from(effects);
        while let Some(effect) = queue.pop_front() {
            if let Some(event) = self.carry_effect(chain, engine, &mut batch, effect) {
                self.store(chain, engine, std::mem::take(&mut batch));
                queue.extend(chain.member.handle(now, event));
            }
        }
        self.store(chain, engine, batch);
    }

    fn carry_effect(
        &self,
        chain: &mut Chain,
        engine: &mut dyn Engine,
        batch: &mut Batch,
        effect: Effect,
    ) -> Option<Event> {
        match effect {
            Effect::Call { token, to, request } => self.chain_call(token, to, request),
            Effect::Answer { caller, response } => {
                chain.answers.answer(caller, response);
            }
            Effect::Reply { caller, reply } => chain.replies.answer(caller, reply),
            Effect::Keep(_) | Effect::Hold { .. } if chain.durability == Durability::Memory => {}
            Effect::Store { entries, forgotten, holding } => {
                let epoch = holding.epoch;
                let in_memory = chain.durability == Durability::Memory;
                for entry in &entries {
                    match &entry.action {
                        Action::Mark(name) => self.take_mark(chain, engine, batch, (epoch, *name)),
                        // Nobody reads notes that are gone with the process.
                        _ if in_memory => batch.changes.extend(notes::entry_key(epoch, entry)),
                        _ => batch.changes.extend(notes::entry(epoch, entry)),
                    }
                }
                if in_memory {
                    return None;
                }
                batch.changes.extend(forgotten.into_iter().map(notes::forget));
                batch.changes.push(notes::hold(&holding));
                batch.persisting.push((epoch, holding.last));
            }
            Effect::Fill(entries) => {
                let space = self.space();
                batch.changes.extend(entries.into_iter().map(|(key, record)| {
                    let id = key.id(space);
                    match record {
                        Some(record) => Change::Put(id, key, record),
                        None => Change::Remove(id, key),
                    }
                }));
            }
            Effect::Keep(results) => {
                batch.changes.extend(results.iter().map(|(id, result)| notes::keep(*id, result)));
            }
            Effect::Hold { holding, released } => {
                batch.changes.extend(holding.as_ref().map(notes::hold));
                batch.changes.extend(released.into_iter().map(notes::release));
            }
            Effect::Persist(token) => batch.barriers.push(token),
            Effect::Erase(range) => {
                self.store(chain, engine, std::mem::take(batch));
                self.must(transfer::erase(engine, range));
                batch.changes.extend(self.must(notes::drop_results(engine, range)).unwrap_or_default());
            }
            Effect::EraseSome { token, range, after } => {
                self.store(chain, engine, std::mem::take(batch));
                let after = after.map(|key| (key.id(self.space()), key));
                let erased = self.must(transfer::erase_some(engine, range, after.as_ref(), LISTED_MAX));
                self.wake_committer(engine.overlay_bytes());
                let upto = erased.flatten().map(|(_, key)| key);
                return Some(Event::Erased { token, upto });
            }
            Effect::DropResults { token, range, before, after } => {
                self.store(chain, engine, std::mem::take(batch));
                let old = notes::drop_results_before(engine, (range, before), after, LISTED_MAX);
                let (old, upto) = self.must(old).unwrap_or_default();
                batch.changes.extend(old);
                return Some(Event::ResultsDropped { token, upto });
            }
            Effect::AnswerListed { caller, range, after, last } => {
                self.store(chain, engine, std::mem::take(batch));
                let listing = Listing { range, after, upto: None, count_max: LISTED_MAX };
                let Listed { keys, end, damaged, .. } = self.list(engine, listing);
                // A list without what cannot be read would make the asker remove it.
                let whole = damaged.is_empty();
                let response =
                    if whole { ChainResponse::Listed { keys, end, last } } else { ChainResponse::NotMine };
                let answered = self.carry_effect(chain, engine, batch, Effect::Answer { caller, response });
                // If others have what cannot be read, this copy is filled anew from them.
                return if whole { answered } else { Some(Event::Damaged(damaged)) };
            }
            Effect::AnswerFetched { caller, keys, bytes_max } => {
                self.store(chain, engine, std::mem::take(batch));
                let found: Option<Vec<Entry>> =
                    self.must(transfer::read_keys(engine, self.space(), keys, bytes_max));
                let response = found.map_or(ChainResponse::NotMine, ChainResponse::Fetched);
                return self.carry_effect(chain, engine, batch, Effect::Answer { caller, response });
            }
            Effect::List { token, range, after, upto } => {
                self.store(chain, engine, std::mem::take(batch));
                let listing = Listing { range, after, upto, count_max: LISTED_MAX };
                let Listed { mut keys, damaged, upto, .. } = self.list(engine, listing);
                // What cannot be read is no version at all: it is fetched again.
                keys.extend(damaged.into_iter().map(|(_, key)| (key, Version::default())));
                return Some(Event::Listed { token, keys, upto });
            }
            Effect::FindDue { token, range, after } => {
                self.store(chain, engine, std::mem::take(batch));
                return Some(self.find_due(engine, token, range, after.as_ref()));
            }
            Effect::SetTimer { timer: Timer::Beat, after } => {
                let node = self.clone();
                let task = tokio::spawn(async move {
                    tokio::time::sleep(after).await;
                    node.chain_event(Event::Timer(Timer::Beat));
                });
                if let Some(earlier) = chain.beat.replace(task.abort_handle()) {
                    earlier.abort();
                }
            }
            Effect::Changed(change) => {
                if let Seen::View(view) = &change {
                    batch.changes.push(notes::view(view));
                    self.compare_generations(chain);
                }
                self.chain_changed(&change);
            }
        }
        None
    }

    /// What has ended in a range by this machine's clock.
    fn find_due(&self, engine: &dyn Engine, token: Token, range: Range, after: Option<&Ending>) -> Event {
        let wall = crate::wall::now();
        let (endings, mut upto) = self.must(crate::wall::due(engine, wall, after)).unwrap_or_default();
        let (mut due, mut damaged) = (Vec::new(), Vec::new());
        let (began, mut looked) = (Instant::now(), None);
        for ending in endings.into_iter().filter(|ending| range.contains(ending.id)) {
            if began.elapsed() > LOOK_MAX {
                // Heartbeats wait for this lock: it goes on from here at the next one.
                upto = looked;
                break;
            }
            looked = Some(ending.clone());
            match engine.mark(ending.id, &ending.key) {
                Ok(Some(mark)) if mark.expires == Some(ending.at) => due.push((ending, mark.version)),
                Ok(_) => {}
                Err(StoreError::Damaged { id, key }) => damaged.push((id, key)),
                Err(error) => crate::node::fatal(&error),
            }
        }
        Event::Due { token, wall, due, damaged, upto }
    }

    /// A replica has come to a mark in its log: everything before it is put into the engine, and nothing else.
    fn take_mark(
        &self,
        chain: &mut Chain,
        engine: &mut dyn Engine,
        batch: &mut Batch,
        (epoch, name): (Epoch, u128),
    ) {
        // The copy of one that is being filled is not whole.
        if !chain.member.replicas().any(|replica| replica.epoch() == epoch && replica.is_serving()) {
            return;
        }
        self.store(chain, engine, std::mem::take(batch));
        let timer = self.forget_mark_in_time(epoch, name);
        chain.marks.take(epoch, name, engine.snapshot(), timer);
    }

    /// Puts a batch into the engine, and remembers what waits for its being on disk.
    fn store(&self, chain: &mut Chain, engine: &mut dyn Engine, batch: Batch) {
        let Batch { mut changes, persisting, barriers } = batch;
        let mut ticket = engine.applied();
        while !changes.is_empty() {
            let rest = changes.split_off(changes.len().min(BATCH_MAX));
            if let Some(applied) = self.must(engine.apply(changes)) {
                ticket = applied;
            }
            changes = rest;
            self.wake_committer(engine.overlay_bytes());
        }
        if chain.durability == Durability::Sync {
            for (epoch, sequence) in persisting {
                chain.persisting.entries.entry(epoch).or_default().push((ticket, sequence));
            }
            let waits = !barriers.is_empty();
            chain.persisting.barriers.extend(barriers.into_iter().map(|token| (ticket, token)));
            if waits {
                self.wake_committer(usize::MAX);
            }
        }
    }

    /// A store that has failed ends the process: what is on its disk is not known any more.
    pub(crate) fn must<T>(&self, result: Result<T, StoreError>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) if error.is_survivable() => {
                warn!(node = %self.me().address, %error, "a stored record cannot be read");
                None
            }
            Err(error) => crate::node::fatal(&error),
        }
    }

    fn chain_call(&self, token: Token, to: Peer, request: ChainRequest) {
        let node = self.clone();
        tokio::spawn(async move {
            let result = node.ask_chain(&to, request).await;
            node.chain_event(Event::Reply { token, result });
        });
    }

    async fn ask_chain(&self, to: &Peer, request: ChainRequest) -> Result<ChainResponse, CallError> {
        if to.address == self.me().address {
            return Ok(self.chain_asked(request).await);
        }
        let limit = match &request {
            ChainRequest::Heartbeat(_) => HEARTBEAT_WITHIN,
            ChainRequest::Frame { .. } | ChainRequest::Level { .. } | ChainRequest::Fetch { .. } => {
                VALUES_WITHIN
            }
            _ => CALL_WITHIN,
        };
        let name = request.name();
        self.pool().ring(&to.address).chain(within(limit), request).await.map_err(|error| {
            let failure = CallFailure::from(error);
            debug!(node = %self.me().address, %failure, "{name} to {to} failed");
            if failure.is_certain() { CallError::Unreachable } else { CallError::TimedOut }
        })
    }

    fn chain_changed(&self, change: &Seen) {
        let me = &self.me().address;
        match change {
            Seen::View(view) => debug!(node = %me, "the view is now number {}", view.index),
            Seen::Began { epoch, range, serving } => {
                let role = if *serving { "serving" } else { "being filled with" };
                info!(node = %me, "{role} ({:?}, {:?}] in epoch {epoch}", range.low, range.high);
            }
            Seen::Wedged(epoch) => info!(node = %me, "epoch {epoch} ends: its chain is being changed"),
            Seen::Synced(epoch) => info!(node = %me, "the copy of epoch {epoch} is complete"),
            Seen::Damaged(epoch) => {
                warn!(node = %me, "the copy of epoch {epoch} has a damaged record: it is to be filled anew");
            }
            Seen::Broken(epoch) => warn!(node = %me, "the copy of epoch {epoch} has a gap: it begins anew"),
            Seen::Ended(epoch) => debug!(node = %me, "epoch {epoch} has ended"),
            Seen::Removed => {
                info!(node = %me, "this node is no member of the cluster any more");
            }
        }
        self.serving_changed();
    }

    // The coordinator.

    pub(super) fn carry_deeds(&self, chain: &mut Chain, deeds: Vec<Deed>) {
        for deed in deeds {
            match deed {
                Deed::Confirm(token) => {
                    let (node, group) = (self.clone(), chain.group.clone());
                    tokio::spawn(async move {
                        let leads = group.confirm().await.is_ok();
                        // What was agreed before counts for the answers.
                        node.chain_agreed(&group);
                        node.chain_occasion(Occasion::Confirmed { token, leads });
                    });
                }
                Deed::Propose { token, command } => {
                    let (node, group) = (self.clone(), chain.group.clone());
                    debug!(node = %self.me().address, ?command, "proposes");
                    tokio::spawn(async move {
                        let applied = match group.propose(Agreement::Command(command)).await {
                            Ok((_, applied)) => Some(applied),
                            Err(error) if super::group::is_certain(&error) => Some(Applied::Stale),
                            Err(error) => {
                                info!(node = %node.me().address, %error, "a proposal has no answer");
                                None
                            }
                        };
                        node.chain_agreed(&group);
                        node.chain_occasion(Occasion::Proposed { token, applied });
                    });
                }
                Deed::Answer { caller, response } => chain.answers.answer(caller, response),
                Deed::Poke(peer) => {
                    let node = self.clone();
                    tokio::spawn(async move {
                        // It hears of it with its next heartbeat at the latest.
                        let _ = node.ask_chain(&peer, ChainRequest::Poke).await;
                    });
                }
                Deed::Voters(voters) => self.change_voters(chain, &voters),
                Deed::TickAfter(after) => {
                    let node = self.clone();
                    let task = tokio::spawn(async move {
                        tokio::time::sleep(after).await;
                        node.chain_occasion(Occasion::Tick);
                    });
                    if let Some(earlier) = chain.tick.replace(task.abort_handle()) {
                        earlier.abort();
                    }
                }
                Deed::Lapsed { store, lapsed } => {
                    let peer = chain.member.view().and_then(|view| view.peer(store).cloned());
                    let name = peer.map_or_else(|| store.to_string(), |peer| peer.to_string());
                    if lapsed {
                        warn!(node = %self.me().address, "{name} is silent: others serve what it served");
                    } else {
                        info!(node = %self.me().address, "{name} is heard again");
                    }
                }
            }
        }
    }
}

/// Which keys to list.
struct Listing {
    range: Range,
    after: Option<Key>,
    upto: Option<Key>,
    count_max: usize,
}

/// What was listed.
struct Listed {
    keys: Vec<(Key, Version)>,
    /// Was that the end?
    end: bool,
    /// If not: these are all up to this key.
    upto: Option<Key>,
    /// What cannot be read.
    damaged: Vec<(Id, Key)>,
}

impl Node {
    /// Keys and versions of a range, in their order.
    fn list(&self, engine: &dyn Engine, listing: Listing) -> Listed {
        let (space, Listing { range, after, upto, count_max }) = (self.space(), listing);
        let place = |id: Id, key: &Key| (space.distance(range.low, id), id == range.low, key.clone());
        let last = upto.map(|key| place(key.id(space), &key));
        let mut after = after.map(|key| (key.id(space), key));
        let mut listed = Listed { keys: Vec::new(), end: true, upto: None, damaged: Vec::new() };
        let (mut bytes, mut passed, mut seen) = (0, 0, None);
        loop {
            let scanned = engine.scan(range, after.as_ref(), &mut |item| {
                let key = item.key.to_key();
                if last.as_ref().is_some_and(|last| beyond(&place(item.id, &key), last)) {
                    return ControlFlow::Break(());
                }
                let is_full = listed.keys.len() + listed.damaged.len() >= count_max;
                if is_full || bytes > LISTED_BYTES_MAX || passed > PASSED_BYTES_MAX {
                    listed.end = false;
                    listed.upto = seen.take();
                    return ControlFlow::Break(());
                }
                bytes += key.size();
                passed += item.value.map_or(0, <[u8]>::len);
                seen = Some(key.clone());
                listed.keys.push((key, item.version));
                ControlFlow::Continue(())
            });
            match scanned {
                Ok(()) => return listed,
                Err(StoreError::Damaged { id, key }) => {
                    if last.as_ref().is_some_and(|last| beyond(&place(id, &key), last)) {
                        return listed;
                    }
                    warn!(node = %self.me().address, "the stored record of {key} is damaged");
                    seen = Some(key.clone());
                    listed.damaged.push((id, key.clone()));
                    after = Some((id, key));
                }
                Err(error) => crate::node::fatal(&error),
            }
        }
    }

    /// A record cannot be read: it is fetched again, if somebody else has it.
    pub(super) fn heal(
        &self,
        chain: &mut Chain,
        engine: &mut dyn Engine,
        place: (Id, &Key),
        error: &StoreError,
    ) {
        warn!(node = %self.me().address, %error, "a stored record cannot be read");
        let (id, key) = place;
        let effects = chain.member.handle(self.now(), Event::Damaged(vec![(id, key.clone())]));
        self.carry_chain(chain, engine, effects);
    }
}

/// Is the first place behind the second, going up from the low end of a range? The low end itself is the last of all
/// (it is in the range only if that is the whole ring).
fn beyond(
    (distance, is_low, key): &(Id, bool, Key),
    (last_distance, last_is_low, last_key): &(Id, bool, Key),
) -> bool {
    (*is_low, *distance, key) > (*last_is_low, *last_distance, last_key)
}
