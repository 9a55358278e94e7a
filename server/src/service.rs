//! The service for clients.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use chordata_protocol::message::Found;
use chordata_protocol::procedure::admit::{Admit, NotAdmitted};
use chordata_protocol::ring::{Change, Event};
use chordata_protocol::{
    BadInput, Consistency, Id, Key, Membership, Moment, Operation, Outcome, Peer, Placement, Policy, Range,
    Record, Request, Response, Space, StoreId, Value, Version,
};
use chordata_rpc::service::{
    Admission, Answer, Chordata, ConnInfo, CopiesOptions, CopiesPage, DigestOptions, DigestPage, Error,
    FingerRefresh, FingerRow, Joiner, KeyCopy, Level, MarkName, Marked, Numbered, Numbering, Options, Page,
    RecordsOptions, RecordsPage, ScanOptions, Status, Trip,
};
use chordata_store::{Engine, Item, KeyRef, StoreError};
use tarpc::context::Context;

use crate::node::Node;
use crate::peers::ANSWER_BYTES_MAX;
use crate::trace;

/// Keys in one page, at most.
const PAGE_MAX: usize = 10_000;
/// Bytes of values that are passed by in one look at the engine: one on disk reads and checks them all.
const PASSED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long a page is looked for whose keys are rare.
const SCAN_WITHIN: Duration = Duration::from_millis(500);
/// How long a node that chains count on no more tries to leave the ring in order, and the pause between.
const LEAVE_RING_WITHIN: Duration = Duration::from_secs(10);
const LEAVE_RING_PAUSE: Duration = Duration::from_millis(100);

impl Chordata for Node {
    async fn put(
        self,
        context: Context,
        key: Key,
        value: Value,
        options: Options,
    ) -> Result<Answer<Outcome>, Error> {
        let number = trace::request_of(&context);
        self.apply_routed("put", key, Operation::Put { value, ttl: options.ttl }, options, number).await
    }

    async fn get(
        self,
        context: Context,
        key: Key,
        options: Options,
    ) -> Result<Answer<Option<Record>>, Error> {
        let number = trace::request_of(&context);
        if options.level == Level::Any && self.has_chains() {
            return Box::pin(self.any_routed(key, options, number)).await;
        }
        self.read_routed(key, options, number).await
    }

    async fn get_node(self, _: Context, number: u32, attribute: String) -> Result<Numbered<String>, Error> {
        self.numbered(|membership| node_attribute(membership, number, &attribute))
    }

    async fn get_conn_info(self, _: Context) -> Result<Numbered<Vec<ConnInfo>>, Error> {
        self.numbered(|membership| Ok(conn_info(membership)))
    }

    async fn connect(self, context: Context, node: Joiner) -> Result<Admission, Error> {
        let Joiner { address, placement, .. } = node.clone();
        let (is_member, middle) = self.inspect(|ring, _| (ring.is_member(), ring.widest_middle()));
        if !is_member {
            return Err(Error::NotMember);
        }
        if address == self.me().address {
            return Err(Error::IdTaken(self.me().id, address));
        }
        if let Placement::Fixed(id) = placement
            && !self.space().contains(id)
        {
            return Err(BadInput::IdOutsideRing(id.to_literal(), self.space().bits()).into());
        }
        if self.has_chains() {
            return self.chain_admit(node).await;
        }
        let store = StoreId(node.store);
        if self.with_eventual(|part, _| part.has_forgotten(store)) == Some(true) {
            return Err(Error::Barred(crate::chain::BARRED.to_owned()));
        }
        let joining = address.clone();
        let walk = Admit::new(self.space(), self.hop_limit(), self.me(), address, placement, middle);
        match self.drive("connect", walk, trace::request_of(&context)).await {
            Ok(place) => {
                tracing::info!(node = %self.me().address, "{joining} is admitted at {:?}", place.id);
                self.place_granted(place.id);
                Ok(Admission {
                    id: place.id,
                    predecessor: place.predecessor,
                    successor: place.successor,
                    view: None,
                    briefing: self.with_eventual(|part, _| part.briefing()),
                    settings: self.cluster().clone(),
                })
            }
            Err(NotAdmitted::Full) => Err(Error::RingFull(self.space().bits())),
            Err(NotAdmitted::Taken(taker)) => Err(Error::IdTaken(taker.id, taker.address)),
            Err(NotAdmitted::NotLocated(reason)) => Err(Error::Unavailable(reason.to_string())),
            Err(NotAdmitted::Unsettled) => Err(Error::Unavailable(
                "no place could be granted: the ring is changing, or every place is taken".to_owned(),
            )),
        }
    }

    async fn update_numbers(self, _: Context) -> Result<Numbering, Error> {
        self.must_be_member()?;
        let numbering = self.renumber().await;
        if numbering.told == 0 {
            let reason = "the walk did not get around the ring, it is changing: try again in a moment";
            return Err(Error::Unavailable(reason.to_owned()));
        }
        Ok(numbering)
    }

    async fn update_finger_table(self, _: Context) -> Result<FingerRefresh, Error> {
        self.must_be_member()?;
        Ok(self.refresh_all().await)
    }

    async fn delete(self, context: Context, key: Key, options: Options) -> Result<Answer<Outcome>, Error> {
        let number = trace::request_of(&context);
        self.apply_routed("delete", key, Operation::Delete, options, number).await
    }

    async fn compare_and_swap(
        self,
        context: Context,
        key: Key,
        expected: Option<Version>,
        value: Option<Value>,
        options: Options,
    ) -> Result<Answer<Outcome>, Error> {
        let operation = Operation::CompareAndSwap { expected, value, ttl: options.ttl };
        self.apply_routed("compare_and_swap", key, operation, options, trace::request_of(&context)).await
    }

    async fn put_many(
        self,
        context: Context,
        entries: Vec<(Key, Value)>,
        options: Options,
    ) -> Vec<Result<Outcome, Error>> {
        let items = entries
            .into_iter()
            .map(|(key, value)| (key, Operation::Put { value, ttl: options.ttl }))
            .collect();
        self.apply_each(items, options, trace::request_of(&context)).await
    }

    async fn get_many(
        self,
        context: Context,
        keys: Vec<Key>,
        options: Options,
    ) -> Vec<Result<Option<Record>, Error>> {
        let number = trace::request_of(&context);
        let mut answers = if options.level == Level::Any && self.has_chains() {
            self.any_each(keys, options, number).await
        } else {
            self.read_each(keys, options, number).await
        };
        let mut bytes = 0;
        for answer in &mut answers {
            bytes +=
                answer.as_ref().ok().and_then(Option::as_ref).map_or(0, |record| record.value.len()) + 64;
            if bytes > ANSWER_BYTES_MAX {
                *answer = Err(Error::Overloaded);
            }
        }
        answers
    }

    async fn scan(self, _: Context, mut options: ScanOptions) -> Result<Page, Error> {
        self.must_be_member()?;
        let deadline = Instant::now() + SCAN_WITHIN;
        loop {
            let page = self.scan_on(&options)?;
            if !page.entries.is_empty() || !page.more || Instant::now() >= deadline {
                return Ok(page);
            }
            // Nothing of what was passed by was wanted. Others are let in before it goes on.
            options.after.clone_from(&page.after);
            tokio::task::yield_now().await;
        }
    }

    async fn find(self, context: Context, target: Id, policy: Policy) -> Result<Found, Error> {
        let response = self.answer(Request::Find { target, policy });
        let Response::Found(found) = response else { return Err(Error::NotMember) };
        if trace::is_on() {
            self.trace_find(trace::request_of(&context), target, &found);
        }
        Ok(found)
    }

    async fn lookup(self, context: Context, target: Id, policy: Policy) -> Result<Trip, Error> {
        self.must_be_member()?;
        if !self.space().contains(target) {
            return Err(BadInput::IdOutsideRing(target.to_literal(), self.space().bits()).into());
        }
        self.lookup_here(target, policy, trace::request_of(&context)).await
    }

    async fn fingers(self, _: Context) -> Result<Vec<FingerRow>, Error> {
        self.must_be_member()?;
        let (space, me) = (self.space(), self.me().id);
        Ok(self.inspect(|ring, _| {
            let runs = ring.fingers().runs().iter();
            runs.map(|run| FingerRow {
                from: run.from,
                to: run.to,
                start: space.finger_start(me, run.from),
                node: run.peer.clone(),
            })
            .collect()
        }))
    }

    async fn depart(self, _: Context) -> Result<(), Error> {
        self.must_be_member()?;
        if self.is_eventual() {
            return self.eventual_leave().await;
        }
        let departs = self.departs();
        if self.has_chains() {
            self.chain_leave().await?;
        }
        let mut left = self.leave_ring().await;
        // One that has just come back may not have found its neighbours on the ring yet. It is no member any more.
        let deadline = tokio::time::Instant::now() + LEAVE_RING_WITHIN;
        while self.has_chains() && left.is_err() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(LEAVE_RING_PAUSE).await;
            left = self.leave_ring().await;
        }
        drop(departs);
        left
    }

    async fn status(self, _: Context) -> Result<Status, Error> {
        Ok(self.status_now())
    }

    async fn forget(self, _: Context, id: Id) -> Result<(), Error> {
        self.must_be_member()?;
        if self.is_eventual() {
            return self.eventual_forget(id).await;
        }
        self.must_have_chains()?;
        self.chain_forget(id).await
    }

    async fn forget_store(self, _: Context, store: StoreId) -> Result<(), Error> {
        self.must_be_member()?;
        if self.is_eventual() {
            return self.eventual_forget_store(store).await;
        }
        Err(Error::NotSupported(
            "stores are forgotten by their place, unless the cluster is in eventual mode".to_owned(),
        ))
    }

    async fn recover(self, _: Context) -> Result<(), Error> {
        self.must_be_member()?;
        self.must_have_chains()?;
        self.chain_accept_loss().await
    }

    async fn recover_quorum(self, _: Context, newest: u64) -> Result<u64, Error> {
        self.must_have_chains()?;
        self.chain_recover_quorum(newest).await
    }

    async fn copy(self, _: Context, key: Key) -> Result<KeyCopy, Error> {
        self.copy_of(&key)
    }

    async fn copies(self, _: Context, options: CopiesOptions) -> Result<CopiesPage, Error> {
        self.copies_page(&options)
    }

    async fn records(self, _: Context, options: RecordsOptions) -> Result<RecordsPage, Error> {
        self.records_page(&options)
    }

    async fn mark(self, _: Context, mark: MarkName) -> Result<Marked, Error> {
        self.must_have_chains()?;
        self.chain_mark(mark).await
    }

    async fn digest(self, _: Context, options: DigestOptions) -> Result<DigestPage, Error> {
        if options.mark.is_some() {
            self.must_have_chains()?;
        }
        self.digest_page(options).await
    }

    async fn unmark(self, _: Context, mark: MarkName) -> Result<(), Error> {
        self.must_have_chains()?;
        self.chain_unmark(mark);
        Ok(())
    }
}

impl Node {
    /// Some of the keys that this node serves, or of a range that it has all of; as many as one look at the engine takes.
    fn scan_on(&self, options: &ScanOptions) -> Result<Page, Error> {
        let space = self.space();
        // In eventual mode what has ended is a tombstone.
        let ended_by = self.is_eventual().then(crate::wall::now);
        let page_of =
            |engine: &dyn Engine, range| page(engine, range, options, options.after.clone(), space, ended_by);
        let page = match options.range {
            Some(wanted) => self.with_all_of(wanted, |engine| page_of(engine, wanted))?,
            None => match self.chain_page(options) {
                Some(page) => return page,
                None => self.inspect(|ring, engine| match ring.serving() {
                    Some(range) => page_of(engine, range),
                    None => Ok(Page { entries: Vec::new(), more: false, after: None, range: None }),
                }),
            },
        };
        page.map_err(|error| self.store_failed(&error))
    }

    /// Leaves the ring: its neighbours take over what it owns.
    pub(crate) async fn leave_ring(&self) -> Result<(), Error> {
        let mut changes = self.watch();
        self.event(Event::Depart);
        loop {
            match changes.recv().await {
                Ok(Change::Left) => return Ok(()),
                Ok(Change::DepartFailed(reason)) => return Err(Error::Unavailable(reason.to_owned())),
                Ok(_) => {}
                // Too many changes to have seen them all: the state tells.
                Err(_) if self.inspect(|ring, _| ring.has_left()) => return Ok(()),
                Err(_) => {}
            }
        }
    }

    fn must_have_chains(&self) -> Result<(), Error> {
        let kept = match self.cluster().consistency() {
            Some(Consistency::Chain) => return Ok(()),
            Some(Consistency::Eventual) => "in eventual mode",
            None => "in single copies",
        };
        Err(Error::NotSupported(format!("this cluster keeps its data {kept}: there are no chains")))
    }

    fn must_be_member(&self) -> Result<(), Error> {
        if self.inspect(|ring, _| ring.is_member()) { Ok(()) } else { Err(Error::NotMember) }
    }

    /// How this node is.
    pub fn status_now(&self) -> Status {
        let (space, now, me) = (self.space(), self.now(), self.me().id);
        let chain = self.with_chain(|chain, _| (chain.status(now), chain.own_range(me)));
        let (chain, own) = chain.map_or((None, None), |(status, own)| (Some(status), own));
        let eventual = self.with_eventual(|part, _| Box::new(part.status(self.me())));
        self.inspect(|ring, engine| {
            let number = ring.membership().and_then(|membership| membership.number(ring.me().id));
            let serving = ring.serving().or(own);
            Status {
                me: ring.me().clone(),
                settings: self.cluster().clone(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                uptime: self.uptime(),
                number: number.and_then(|number| u32::try_from(number).ok()),
                stale: ring.is_membership_stale(),
                member: ring.is_member(),
                predecessor: ring.predecessor().clone(),
                successors: ring.successors().entries().to_vec(),
                serving,
                share: serving.map_or(0.0, |range| space.share(range.low, range.high)),
                handing_over: ring.is_handing_over(),
                keys: engine.keys(),
                bytes: engine.bytes(),
                known: u32::try_from(ring.known().peers().count()).unwrap_or(u32::MAX),
                silent: ring.known().silent_peers().collect(),
                chain,
                eventual,
                http: self.http_address(),
            }
        })
    }

    fn numbered<T>(&self, take: impl FnOnce(&Membership) -> Result<T, Error>) -> Result<Numbered<T>, Error> {
        self.must_be_member()?;
        self.inspect(|ring, _| {
            let Some(membership) = ring.membership() else {
                let reason = "the ring has not been numbered yet: try again, or call update_numbers";
                return Err(Error::Unavailable(reason.to_owned()));
            };
            let value = take(membership)?;
            Ok(Numbered { value, stamp: membership.stamp(), stale: ring.is_membership_stale() })
        })
    }
}

fn count(membership: &Membership) -> u32 {
    u32::try_from(membership.nodes().len()).unwrap_or(u32::MAX)
}

fn node_attribute(membership: &Membership, number: u32, attribute: &str) -> Result<String, Error> {
    let place = number as usize;
    let node = membership.nodes().get(place);
    let node = node.ok_or(Error::NoSuchNumber { number, count: count(membership) })?;
    let id_of = |peer: Option<&Peer>| peer.map_or(String::new(), |peer| peer.id.to_literal());
    match attribute {
        "address" => Ok(node.address.to_string()),
        "host" => Ok(node.address.host().to_owned()),
        "port" => Ok(node.address.port().unwrap_or(0).to_string()),
        "id" => Ok(node.id.to_literal()),
        "number" => Ok(number.to_string()),
        "successor" => Ok(id_of(membership.successor(place))),
        "predecessor" => Ok(id_of(membership.predecessor(place))),
        _ => Err(Error::NoSuchAttribute(attribute.to_owned())),
    }
}

fn conn_info(membership: &Membership) -> Vec<ConnInfo> {
    let nodes = (0u32..).zip(membership.nodes());
    nodes
        .map(|(number, peer)| ConnInfo {
            address: peer.address.clone(),
            port: peer.address.port().unwrap_or(0),
            id: peer.id,
            number,
            successor: membership.successor(number as usize).map_or(peer.id, |next| next.id),
        })
        .collect()
}

/// Does it end by itself up to that moment?
pub(crate) fn has_ended(item: &Item<'_>, ended_by: Option<Moment>) -> bool {
    matches!((item.expires, ended_by), (Some(expires), Some(by)) if expires <= by)
}

/// Some of the keys of a range: at most a frame of them, without those that end by themselves up to `ended_by`.
pub(crate) fn page(
    engine: &dyn Engine,
    range: Range,
    options: &ScanOptions,
    after: Option<Key>,
    space: Space,
    ended_by: Option<Moment>,
) -> Result<Page, StoreError> {
    let limit = (options.limit as usize).clamp(1, PAGE_MAX);
    let after = after.map(|key| (key.id(space), key));
    let (mut entries, mut bytes, mut passed) = (Vec::new(), 0, 0);
    let (mut last, mut stopped) = (None, None);
    engine.scan(range, after.as_ref(), &mut |item| {
        let Some(value) = item.value.filter(|_| !has_ended(&item, ended_by)) else {
            return ControlFlow::Continue(());
        };
        if passed > PASSED_BYTES_MAX {
            stopped = last.take();
            return ControlFlow::Break(());
        }
        let matches = match item.key {
            KeyRef::Bytes(bytes) => bytes.starts_with(&options.prefix),
            KeyRef::Literal(_) => options.prefix.is_empty(),
        };
        passed += value.len();
        if !matches {
            // Long values are few, so these keys are not copied often.
            last = (passed > PASSED_BYTES_MAX).then(|| item.key.to_key());
            return ControlFlow::Continue(());
        }
        bytes += item.key.size() + 64 + if options.values { value.len() } else { 0 };
        if entries.len() == limit || (bytes > ANSWER_BYTES_MAX && !entries.is_empty()) {
            stopped = entries.last().map(|(key, ..): &(Key, _, _)| key.clone());
            return ControlFlow::Break(());
        }
        let value = options.values.then(|| Value::from(value));
        entries.push((item.key.to_key(), item.version, value));
        last = (passed > PASSED_BYTES_MAX).then(|| item.key.to_key());
        ControlFlow::Continue(())
    })?;
    Ok(Page { entries, more: stopped.is_some(), after: stopped, range: Some(range) })
}
