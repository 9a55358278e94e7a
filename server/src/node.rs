//! A node: the state machine and the engine behind one lock, and the effects carried out.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use chordata_protocol::ring::{Admit, Caller, Change, Effect, Event, Ring, Timer};
use chordata_protocol::{
    Address, CallError, Consistency, Id, Key, Operation, Outcome, Peer, Record, Request, Response, Space,
    Time,
};
use chordata_rpc::service::{ClusterSettings, Error, Options, Placed};
use chordata_rpc::{CallFailure, Pool};
use chordata_store::group::{Committer, Store};
use chordata_store::{Change as Write, Engine, StoreError, Ticket, transfer};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, broadcast, watch};
use tokio::task::AbortHandle;
use tracing::{debug, error, info, warn};

use crate::chain::Chain;
use crate::eventual::Eventual;
use crate::trace;

/// How long a request waits for keys that are on their way.
const HANDOVER_WAIT_MAX: Duration = Duration::from_secs(8);
/// Calls to other nodes at once, for walks.
const WALK_CALLS_MAX: usize = 64;
/// Changes that a slow watcher may be behind.
const CHANGES_KEPT: usize = 1024;

/// A node, shared by all its connections and timers. Clones are the same node.
#[derive(Clone)]
pub struct Node {
    pub(crate) shared: Arc<Shared>,
}

/// Somebody waits for a node to depart.
struct Departs(Node);

impl Drop for Departs {
    fn drop(&mut self) {
        self.0.shared.departs.fetch_sub(1, Ordering::AcqRel);
        // Whoever waits for an end looks again.
        self.0.serving_changed();
    }
}

pub(crate) struct Shared {
    space: Space,
    me: Peer,
    cluster: ClusterSettings,
    call_timeout: Duration,
    hop_limit: u32,
    inner: Mutex<Inner>,
    pool: Pool,
    walk_calls: Semaphore,
    started: Instant,
    /// Of the clock that goes on while the machine sleeps.
    origin: Duration,
    committer: Mutex<Option<Committer>>,
    durable: watch::Sender<Ticket>,
    /// How many wait for it to depart.
    departs: AtomicUsize,
    /// Counts changes of what this node serves.
    serving: watch::Sender<u64>,
    changes: broadcast::Sender<Change>,
    /// Where this process answers HTTP.
    http: OnceLock<String>,
    pub(crate) renumbering: crate::walks::Shared<chordata_rpc::service::Numbering>,
    pub(crate) refreshing: crate::walks::Shared<chordata_rpc::service::FingerRefresh>,
}

/// How a node keeps its data beside others: what it needs for that, before it runs.
pub enum Parts {
    /// In the only copy, which is handed over when nodes join and leave.
    Single,
    /// In chains.
    Chain(Box<crate::chain::Parts>),
    /// In copies that become equal in time.
    Eventual(Box<crate::eventual::Parts>),
}

struct Inner {
    ring: Ring,
    engine: Box<dyn Engine>,
    chain: Option<Chain>,
    eventual: Option<Eventual>,
    timers: BTreeMap<Timer, AbortHandle>,
    stopped: bool,
}

impl Node {
    /// A node around a ring that has not started, and an engine. Must be called within a tokio runtime.
    pub fn new(
        ring: Ring,
        engine: Box<dyn Engine>,
        cluster: ClusterSettings,
        pool: Pool,
        parts: Parts,
    ) -> Node {
        let settings = ring.settings();
        let (chain, eventual) = match parts {
            Parts::Single => (None, None),
            Parts::Chain(parts) => (Some(Chain::new(*parts, ring.me())), None),
            Parts::Eventual(parts) => (None, Some(Eventual::new(*parts))),
        };
        let is_single = chain.is_none() && eventual.is_none();
        let node = Node {
            shared: Arc::new(Shared {
                space: settings.space,
                me: ring.me().clone(),
                cluster,
                call_timeout: settings.call_timeout,
                hop_limit: settings.hop_limit,
                inner: Mutex::new(Inner {
                    ring,
                    engine,
                    chain,
                    eventual,
                    timers: BTreeMap::new(),
                    stopped: false,
                }),
                pool,
                walk_calls: Semaphore::new(WALK_CALLS_MAX),
                started: Instant::now(),
                origin: boot_time(),
                committer: Mutex::new(None),
                durable: watch::Sender::new(Ticket::default()),
                departs: AtomicUsize::new(0),
                serving: watch::Sender::new(0),
                changes: broadcast::Sender::new(CHANGES_KEPT),
                http: OnceLock::new(),
                renumbering: crate::walks::Shared::default(),
                refreshing: crate::walks::Shared::default(),
            }),
        };
        if is_single {
            crate::single::end_values(Arc::downgrade(&node.shared));
        }
        node
    }

    // Getters.

    /// Itself.
    pub fn me(&self) -> &Peer {
        &self.shared.me
    }

    /// The size of its ring.
    pub fn space(&self) -> Space {
        self.shared.space
    }

    /// What all nodes of its cluster have in common.
    pub fn cluster(&self) -> &ClusterSettings {
        &self.shared.cluster
    }

    /// How long since it started.
    pub fn uptime(&self) -> Duration {
        self.shared.started.elapsed()
    }

    /// This process answers HTTP there: its status says so from now on.
    pub fn answers_http_at(&self, address: String) {
        // Once is enough: it stays there.
        let _ = self.shared.http.set(address);
    }

    pub(crate) fn http_address(&self) -> Option<String> {
        self.shared.http.get().cloned()
    }

    pub(crate) fn hop_limit(&self) -> u32 {
        self.shared.hop_limit
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.shared.pool
    }

    pub(crate) fn renumbering(&self) -> &crate::walks::Shared<chordata_rpc::service::Numbering> {
        &self.shared.renumbering
    }

    pub(crate) fn refreshing(&self) -> &crate::walks::Shared<chordata_rpc::service::FingerRefresh> {
        &self.shared.refreshing
    }

    /// Looks at the ring's state, and how many keys and bytes are stored.
    pub fn inspect<T>(&self, look: impl FnOnce(&Ring, &dyn Engine) -> T) -> T {
        let inner = self.shared.inner.lock();
        look(&inner.ring, &*inner.engine)
    }

    /// Everything that changes from now on.
    pub fn watch(&self) -> broadcast::Receiver<Change> {
        self.shared.changes.subscribe()
    }

    pub(crate) fn now(&self) -> Time {
        let elapsed = boot_time().saturating_sub(self.shared.origin);
        Time::from_micros(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX))
    }

    // Events.

    /// Gives the ring an event and begins its effects. The answer, if the event was a question.
    pub fn event(&self, event: Event) -> Option<Response> {
        let mut inner = self.shared.inner.lock();
        if inner.stopped {
            return None;
        }
        let now = self.now();
        let mut answer = None;
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            for effect in inner.ring.handle(now, event) {
                events.extend(self.carry_out(&mut inner, effect, &mut answer));
            }
        }
        answer
    }

    /// Answers another node's question.
    pub(crate) fn answer(&self, request: Request) -> Response {
        if let Request::Find { target, policy } = request
            && self.inspect(|ring, _| ring.is_member())
            && let Some(found) = self.chain_find(target, policy)
        {
            return Response::Found(found);
        }
        self.event(Event::Asked { caller: Caller(0), request }).unwrap_or(Response::NotMember)
    }

    /// A joiner that asked this node was granted a place by another one.
    pub(crate) fn place_granted(&self, id: Id) {
        self.shared.inner.lock().ring.place_granted(id);
    }

    /// Stops all timers: the node does nothing by itself any more, and answers that it is in no ring.
    pub fn stop(&self) {
        let mut inner = self.shared.inner.lock();
        inner.stopped = true;
        for (_, timer) in std::mem::take(&mut inner.timers) {
            timer.abort();
        }
        if let Some(chain) = &mut inner.chain {
            chain.stop();
        }
        if let Some(eventual) = &mut inner.eventual {
            eventual.stop();
        }
    }

    // Eventual mode.

    /// Does something with the node's part in eventual mode and its engine, under the lock. None: it has none, or has
    /// stopped.
    pub(crate) fn with_eventual<T>(
        &self,
        act: impl FnOnce(&mut Eventual, &mut dyn Engine) -> T,
    ) -> Option<T> {
        let mut inner = self.shared.inner.lock();
        let Inner { engine, eventual, stopped, .. } = &mut *inner;
        eventual.as_mut().filter(|_| !*stopped).map(|eventual| act(eventual, &mut **engine))
    }

    // Single copies.

    /// Does something with the ring and the engine, under the lock. None: the node has stopped.
    pub(crate) fn with_ring<T>(&self, act: impl FnOnce(&mut Ring, &mut dyn Engine) -> T) -> Option<T> {
        let mut inner = self.shared.inner.lock();
        let Inner { ring, engine, stopped, .. } = &mut *inner;
        (!*stopped).then(|| act(ring, &mut **engine))
    }

    // Chains.

    /// Does the node keep its data in chains?
    pub fn has_chains(&self) -> bool {
        self.shared.cluster.consistency() == Some(Consistency::Chain)
    }

    /// Does something with the node's chains and its engine, under the lock. None: it has none, or has stopped.
    pub(crate) fn with_chain<T>(&self, act: impl FnOnce(&mut Chain, &mut dyn Engine) -> T) -> Option<T> {
        let mut inner = self.shared.inner.lock();
        let Inner { engine, chain, stopped, .. } = &mut *inner;
        chain.as_mut().filter(|_| !*stopped).map(|chain| act(chain, &mut **engine))
    }

    /// The same with the ring.
    pub(crate) fn with_chain_and_ring<T>(&self, act: impl FnOnce(&mut Chain, &mut Ring) -> T) -> Option<T> {
        let mut inner = self.shared.inner.lock();
        let Inner { ring, chain, stopped, .. } = &mut *inner;
        chain.as_mut().filter(|_| !*stopped).map(|chain| act(chain, ring))
    }

    /// Was its store forgotten by the cluster? Then it may not come back.
    pub(crate) fn is_forgotten(&self) -> bool {
        let forgotten = self.with_chain(|chain, _| {
            let store = chain.member.store();
            chain.member.view().is_some_and(|view| view.barred.contains(&store))
        });
        forgotten.or_else(|| self.with_eventual(|part, _| part.is_barred())).unwrap_or(false)
    }

    /// Another node that has the same store, if one was met.
    pub(crate) fn double(&self) -> Option<Peer> {
        self.with_eventual(|part, _| part.double()).flatten()
    }

    /// Does another node have its place?
    pub(crate) fn is_displaced(&self) -> bool {
        self.with_eventual(|part, _| part.is_displaced()).unwrap_or(false)
    }

    /// Does the cluster not count it as a member any more, and nobody has asked this process to depart?
    pub(crate) fn is_removed_unasked(&self) -> bool {
        let removed = self.with_chain(|chain, _| chain.member.is_removed()).unwrap_or(false);
        removed && self.shared.departs.load(Ordering::Acquire) == 0
    }

    /// Somebody waits for it to depart, until what is returned is dropped: it ends when that is done.
    pub(crate) fn departs(&self) -> impl Drop + use<> {
        self.shared.departs.fetch_add(1, Ordering::AcqRel);
        Departs(self.clone())
    }

    /// Has it left the ring, with nothing that anybody counts on?
    pub(crate) fn has_departed(&self) -> bool {
        let left = self.inspect(|ring, _| ring.has_left());
        left && (!self.is_eventual() || self.with_eventual(|part, _| part.is_gone()).unwrap_or(false))
    }

    /// Waits until it has.
    pub(crate) async fn departed(&self) {
        let mut changed = self.subscribe_serving();
        while !self.has_departed() {
            // An error: the node is gone.
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// Do others, as far as this node knows, still count on what it keeps?
    pub(crate) fn is_counted_on(&self) -> bool {
        self.with_chain(|chain, _| !chain.member.is_removed()).unwrap_or(false)
    }

    /// What this node serves has changed.
    pub(crate) fn serving_changed(&self) {
        self.shared.serving.send_modify(|count| *count += 1);
    }

    pub(crate) fn subscribe_serving(&self) -> watch::Receiver<u64> {
        self.shared.serving.subscribe()
    }

    // The disk.

    /// Has what is stored written to the disk from now on.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub(crate) fn commit_with(&self, mode: chordata_store::group::Mode) -> std::io::Result<()> {
        let node = Arc::downgrade(&self.shared);
        let store = Arc::new(Committing { node, runtime: tokio::runtime::Handle::current() });
        let committer = Committer::start(mode, store)?;
        *self.shared.committer.lock() = Some(committer);
        Ok(())
    }

    /// Something waits to be written: so many bytes.
    pub(crate) fn wake_committer(&self, overlay_bytes: usize) {
        if let Some(committer) = self.shared.committer.lock().as_ref() {
            committer.wake(overlay_bytes);
        }
    }

    /// What waits is written now, whatever the mode.
    pub(crate) fn flush_committer(&self) {
        if let Some(committer) = self.shared.committer.lock().as_ref() {
            committer.flush();
        }
    }

    /// Waits until everything that was stored is on disk.
    pub(crate) async fn sync(&self) {
        let ticket = self.shared.inner.lock().engine.applied();
        let mut durable = self.shared.durable.subscribe();
        let has_disk = {
            let committer = self.shared.committer.lock();
            committer.as_ref().map(Committer::flush).is_some()
        };
        if has_disk {
            // An error: the node is gone.
            let _ = durable.wait_for(|durable| *durable >= ticket).await;
        }
    }

    /// Ends the thread that writes; everything that waits is written first.
    pub(crate) async fn stop_committing(&self) {
        let committer = self.shared.committer.lock().take();
        // A thread that panicked has said why.
        let _ = tokio::task::spawn_blocking(move || drop(committer)).await;
    }

    /// Lets the store go: tasks that end a little later must not keep its directory. The node has stopped.
    pub(crate) fn close_store(&self) {
        let store = std::mem::replace(
            &mut self.shared.inner.lock().engine,
            Box::new(chordata_store::MemoryEngine::default()),
        );
        drop(store);
    }

    fn carry_out(&self, inner: &mut Inner, effect: Effect, answer: &mut Option<Response>) -> Option<Event> {
        let space = self.shared.space;
        match effect {
            Effect::Call { token, to, request } => {
                let node = self.clone();
                tokio::spawn(async move {
                    let result = node.call(&to, request, 0).await;
                    node.event(Event::Reply { token, result });
                });
            }
            Effect::Answer { response, .. } => *answer = Some(response),
            Effect::SetTimer { timer, after } => self.set_timer(inner, timer, after),
            // What the ring hands over is who owns a range. The copies follow by themselves.
            Effect::ReadRange { token, .. } | Effect::ReadKeys { token, .. } if inner.eventual.is_some() => {
                return Some(Event::Entries { token, entries: Vec::new(), next: None });
            }
            Effect::Merge(_) | Effect::Erase(_) if inner.eventual.is_some() => {}
            Effect::ReadRange { token, range, after, bytes_max } => {
                let read = transfer::read_range(&*inner.engine, space, range, after, bytes_max);
                let (entries, next) = self.must_have(read);
                return Some(Event::Entries { token, entries, next });
            }
            Effect::ReadKeys { token, keys, bytes_max } => {
                let entries = self.must_have(transfer::read_keys(&*inner.engine, space, keys, bytes_max));
                return Some(Event::Entries { token, entries, next: None });
            }
            Effect::Merge(entries) => {
                self.must_have(transfer::merge(&mut *inner.engine, space, entries));
            }
            Effect::Erase(range) => {
                self.must_have(transfer::erase(&mut *inner.engine, range));
            }
            Effect::Renumber => {
                let node = self.clone();
                tokio::spawn(async move {
                    node.renumber().await;
                    node.event(Event::RenumberEnded);
                });
            }
            Effect::Changed(change) => self.changed(change),
        }
        None
    }

    fn set_timer(&self, inner: &mut Inner, timer: Timer, after: Duration) {
        let node = self.clone();
        let task = tokio::spawn(async move {
            tokio::time::sleep(after).await;
            node.event(Event::Timer(timer));
        });
        if let Some(earlier) = inner.timers.insert(timer, task.abort_handle()) {
            earlier.abort();
        }
    }

    fn changed(&self, change: Change) {
        let me = &self.shared.me.address;
        match &change {
            Change::Joined => info!(node = %me, "in the ring at {:?}", self.shared.me.id),
            Change::JoinFailed => info!(node = %me, "the ring has changed: asking for a place again"),
            Change::Predecessor(peer) => info!(node = %me, "predecessor is {peer}"),
            Change::Successor(peer) => info!(node = %me, "successor is {peer}"),
            Change::Alone => warn!(node = %me, "no successor answers: this node is a ring of one"),
            Change::Serving(Some(range)) => {
                info!(node = %me, "serving ({:?}, {:?}]", range.low, range.high);
                self.shared.serving.send_modify(|count| *count += 1);
            }
            Change::Serving(None) => {
                info!(node = %me, "serving nothing yet");
                self.shared.serving.send_modify(|count| *count += 1);
            }
            Change::HandingOver { to, range } => {
                info!(node = %me, "handing ({:?}, {:?}] over to {to}", range.low, range.high);
            }
            Change::HandOverFailed { to } => info!(node = %me, "hand-over to {to} failed: trying again"),
            Change::Claimed(range) if self.is_eventual() => {
                info!(node = %me, "nobody owns ({:?}, {:?}]: this node does from now on", range.low, range.high);
            }
            Change::Claimed(range) => {
                warn!(node = %me, "nobody serves ({:?}, {:?}]: serving it, without what was stored there", range.low, range.high);
            }
            Change::Suspected(peer) => info!(node = %me, "{peer} does not answer"),
            Change::Members(count) => info!(node = %me, "the ring has {count} nodes"),
            Change::Learned(peer) => debug!(node = %me, "learned of {peer}"),
            Change::Left => info!(node = %me, "has left the ring"),
            Change::DepartFailed(reason) => warn!(node = %me, "departure failed: {reason}"),
        }
        // Nobody may be watching.
        let _ = self.shared.changes.send(change);
    }

    // The engine's errors.

    /// What a request is answered whose record cannot be read. When the store has failed, nobody is answered any more.
    pub(crate) fn store_failed(&self, failure: &StoreError) -> Error {
        if failure.is_survivable() {
            error!(node = %self.shared.me.address, "{failure}");
            return Error::Unavailable(failure.to_string());
        }
        fatal(failure)
    }

    /// For what the state machine cannot go on without.
    fn must_have<T>(&self, result: Result<T, StoreError>) -> T {
        result.unwrap_or_else(|failure| {
            error!(node = %self.shared.me.address, "keys cannot change hands: {failure}; this process stops");
            std::process::abort()
        })
    }

    // Calls to other nodes.

    /// Asks a node. A node that certainly cannot be reached is not asked for its answer's sake again here: that is
    /// the state machine's business.
    pub(crate) async fn call(
        &self,
        to: &Peer,
        request: Request,
        number: u128,
    ) -> Result<Response, CallError> {
        if to.address == self.shared.me.address {
            return Ok(self.answer(request));
        }
        let name = request.name();
        let context = trace::context_for(number, self.shared.call_timeout);
        let result = self.shared.pool.ring(&to.address).ask(context, request).await;
        result.map_err(|error| {
            let failure = CallFailure::from(error);
            debug!(node = %self.shared.me.address, %failure, "{name} failed");
            if let CallFailure::Rejected(..) = failure {
                warn!(node = %self.shared.me.address, %failure, "a node of another cluster, or of another version");
            }
            if failure.is_certain() { CallError::Unreachable } else { CallError::TimedOut }
        })
    }

    /// The same for a walk: at most so many at once, and silence is told to the ring.
    pub(crate) async fn call_for_walk(
        &self,
        to: &Peer,
        request: Request,
        number: u128,
    ) -> Result<Response, CallError> {
        let _permit = self.shared.walk_calls.acquire().await;
        let result = self.call(to, request, number).await;
        if result.is_err() {
            self.event(Event::Silent(to.clone()));
        }
        result
    }

    pub(crate) fn silent(&self, address: &Address, id: Id) {
        self.event(Event::Silent(Peer::new(id, address.clone())));
    }

    // Keys that this node serves.

    pub(crate) fn serves(&self, id: Id) -> bool {
        let inner = self.shared.inner.lock();
        match (&inner.chain, &inner.eventual) {
            (Some(chain), _) => chain.member.is_head_of(id),
            // Any node takes anything.
            (None, Some(_)) => true,
            (None, None) => inner.ring.serves(id),
        }
    }

    /// Does something with a key that this node serves, waiting for a hand-over of it to end.
    async fn at_key<T>(
        &self,
        id: Id,
        mut act: impl FnMut(&mut Ring, &mut dyn Engine) -> T,
    ) -> Result<T, Error> {
        let mut serving: Option<watch::Receiver<u64>> = None;
        let deadline = tokio::time::Instant::now() + HANDOVER_WAIT_MAX;
        loop {
            {
                let mut inner = self.shared.inner.lock();
                let Inner { ring, engine, stopped, .. } = &mut *inner;
                if *stopped {
                    return Err(Error::NotMember);
                }
                if ring.serves(id) {
                    return Ok(act(ring, &mut **engine));
                }
                match ring.admit(id) {
                    Admit::Serve | Admit::Wait => {}
                    Admit::Elsewhere(candidates) => return Err(Error::NotOwner(candidates)),
                    Admit::NotMember => return Err(Error::NotMember),
                }
            }
            match &mut serving {
                // Look once more before waiting: it may have changed before there was a receiver.
                None => serving = Some(self.shared.serving.subscribe()),
                Some(serving) => {
                    let changed = Box::pin(tokio::time::timeout_at(deadline, serving.changed())).await;
                    if changed.is_err() {
                        return Err(Error::Unavailable("the key is on its way to another node".to_owned()));
                    }
                }
            }
        }
    }

    /// Changes a key that this node serves.
    pub(crate) async fn apply_here(
        &self,
        key: &Key,
        operation: &Operation,
        options: &Options,
    ) -> Result<Placed<Outcome>, Error> {
        key.check(self.shared.space)?;
        operation.check()?;
        self.apply_at(key.id(self.shared.space), key, operation, options).await
    }

    /// The same for a key that was checked and whose identifier is known.
    pub(crate) async fn apply_at(
        &self,
        id: Id,
        key: &Key,
        operation: &Operation,
        options: &Options,
    ) -> Result<Placed<Outcome>, Error> {
        if self.has_chains() {
            return self.chain_apply(id, key, operation, options.by).await;
        }
        if self.is_eventual() {
            return self.eventual_apply(key, operation, options).await;
        }
        let outcome = self.at_key(id, |ring, engine| {
            let current = engine.version(id, key)?;
            let outcome = ring.decide(key, operation, current);
            match (outcome, operation.value()) {
                (Outcome::Written(version), Some(value)) => {
                    let expires = operation.ttl().map(|ttl| crate::wall::now() + ttl);
                    let record = Record { version, value: value.clone(), expires };
                    engine.apply(vec![Write::Put(id, key.clone(), record)])?;
                }
                (Outcome::Deleted(Some(_)), _) => {
                    engine.apply(vec![Write::Remove(id, key.clone())])?;
                }
                (Outcome::Written(_) | Outcome::Deleted(None) | Outcome::Conflict(_), _) => {}
            }
            Ok(outcome)
        });
        let outcome = outcome.await?.map_err(|error| self.store_failed(&error))?;
        Ok(Placed { result: outcome, at: None })
    }

    /// Reads a key that this node serves.
    pub(crate) async fn read_here(
        &self,
        key: &Key,
        options: &Options,
    ) -> Result<Placed<Option<Record>>, Error> {
        key.check(self.shared.space)?;
        self.read_at(key.id(self.shared.space), key, options).await
    }

    /// The same for a key that was checked and whose identifier is known.
    pub(crate) async fn read_at(
        &self,
        id: Id,
        key: &Key,
        options: &Options,
    ) -> Result<Placed<Option<Record>>, Error> {
        if self.has_chains() {
            return self.chain_read(id, key).await;
        }
        if self.is_eventual() {
            return self.eventual_read(key, options).await;
        }
        let read = self.at_key(id, |_, engine| engine.get(id, key)).await?;
        let record = read.map_err(|error| self.store_failed(&error))?;
        Ok(Placed { result: record, at: None })
    }
}

/// What the committing thread sees of the node; it does not keep the node alive.
struct Committing {
    node: Weak<Shared>,
    /// What becomes possible when something is on disk begins with calls, and those run there.
    runtime: tokio::runtime::Handle,
}

impl Store for Committing {
    fn with_engine(&self, act: &mut dyn FnMut(&mut dyn Engine)) {
        if let Some(shared) = self.node.upgrade() {
            act(&mut *shared.inner.lock().engine);
        }
    }

    fn durable(&self, ticket: Ticket) {
        let Some(shared) = self.node.upgrade() else { return };
        let _entered = self.runtime.enter();
        shared.durable.send_replace(ticket);
        let node = Node { shared };
        node.chain_durable(ticket);
        node.eventual_durable(ticket);
    }

    fn failed(&self, error: StoreError) {
        fatal(&error);
    }
}

/// The store has failed: the process stops, so that nothing wrong is answered, and nothing is written on the way out.
pub(crate) fn fatal(failure: &StoreError) -> ! {
    error!("{failure}: this process stops");
    std::process::abort()
}

/// The clock of leases: it goes on while the machine sleeps.
fn boot_time() -> Duration {
    let clock = nix::time::ClockId::CLOCK_BOOTTIME;
    let time = nix::time::clock_gettime(clock).expect("every Linux has this clock");
    Duration::from(time)
}
