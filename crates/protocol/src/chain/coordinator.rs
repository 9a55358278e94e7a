//! The coordinator: what the leader of the group does. It hears heartbeats, gives leases, and changes chains.
//!
//! It keeps nothing that must outlive it: what is agreed on is in the view, and a new leader learns the rest from the
//! next heartbeats. So a leader that is deposed forgets everything.
//!
//! *Leases.* A heartbeat is answered after a round of the group that began after it came in; heartbeats that come in
//! while a round runs wait for the next one. The answer names the epochs under which the node may serve: those of the
//! agreed view in which its present life is in the chain, without those that this leader has proposed to end.
//!
//! *Changes.* [`plan`] says what is wanted; this part proposes it, waits for the reports, has those who
//! are behind fetch what they lack, and proposes the activation.

mod knowledge;
mod reopening;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::command::{Applied, Command};
use super::event::{Deed, Occasion};
use super::message::{Beat, ChainResponse, Heartbeat, LevelOrder, Report};
use super::plan::{self, Children, Subject};
use super::settings::ChainSettings;
use super::view::{Active, Epoch, Incarnation, Link, Pending, Sequence, StoreId, View};
use crate::ring::{Caller, Token};
use crate::time::Time;

use knowledge::Eyes;

/// How long a newcomer that is behind is waited for in a change.
const NEWCOMER_WAIT: Duration = Duration::from_millis(200);
/// How long a proposal or a round of the group may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How long a change of the group's voters may take.
const VOTERS_WITHIN: Duration = Duration::from_secs(20);
/// How long an operator's word that losses are accepted stands.
const LOSS_ACCEPTED: Duration = Duration::from_secs(10);

/// What was heard last of a store.
#[derive(Clone, Debug)]
struct Heard {
    at: Time,
    beat: Heartbeat,
}

/// A heartbeat that is not answered yet.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    caller: Caller,
    store: StoreId,
    incarnation: Incarnation,
    view: u64,
}

/// What a proposal is about: there is one at a time.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Topic {
    Change(Vec<Epoch>),
    Member(StoreId),
    Tick,
}

/// A change that is ready to be activated but for those who are behind.
#[derive(Clone, Debug)]
struct Levelling {
    since: Time,
    /// Up to where those who are behind were sent.
    bases: Vec<Sequence>,
}

/// A term of leadership.
#[derive(Clone, Debug)]
struct Term {
    view: Arc<View>,
    since: Time,
    heard: BTreeMap<StoreId, Heard>,
    /// When each life was last given a lease that names an epoch.
    granted: BTreeMap<(StoreId, Incarnation, Epoch), Time>,
    waiting: Vec<Waiting>,
    round: Option<(Token, Vec<Waiting>, Time)>,
    /// Epochs that this leader has proposed to end.
    retired: BTreeSet<Epoch>,
    proposals: BTreeMap<Token, (Topic, Time)>,
    levelling: BTreeMap<Epoch, Levelling>,
    /// The bases of activations that were proposed: such a proposal may be agreed on at any later moment.
    activating: BTreeMap<Epoch, Vec<Sequence>>,
    /// Changes that an earlier leader began: it may have sent somebody after a log that this one does not count.
    inherited: BTreeSet<Epoch>,
    orders: BTreeMap<StoreId, Vec<LevelOrder>>,
    lapsed: BTreeMap<StoreId, Time>,
    /// Since when this leader knows each member.
    seen: BTreeMap<StoreId, Time>,
    /// Who must not be in one chain with whom, until when.
    cuts: BTreeMap<(StoreId, StoreId), Time>,
    voters: BTreeSet<StoreId>,
    /// Since when others were asked for.
    voters_asked: Option<Time>,
    ticked: Time,
    loss_accepted_until: Time,
}

/// See the [module](self).
#[derive(Clone, Debug)]
pub struct Coordinator {
    settings: ChainSettings,
    now: Time,
    term: Option<Term>,
    next_token: u64,
    deeds: Vec<Deed>,
}

impl Coordinator {
    /// One that does not lead yet.
    pub fn new(settings: ChainSettings) -> Coordinator {
        Coordinator { settings, now: Time::ZERO, term: None, next_token: 0, deeds: Vec::new() }
    }

    /// Does it lead?
    pub fn leads(&self) -> bool {
        self.term.is_some()
    }

    /// Members that it has not heard for too long; none if it does not lead.
    pub fn lapsed(&self) -> Vec<StoreId> {
        self.term.iter().flat_map(|term| term.lapsed.keys().copied()).collect()
    }

    /// Takes an occasion; returns what is to be done, in this order.
    pub fn handle(&mut self, now: Time, occasion: Occasion) -> Vec<Deed> {
        self.now = self.now.max(now);
        match occasion {
            Occasion::Elected(view) => {
                self.depose();
                self.term = Some(Term::new(view, self.now));
                self.deeds.push(Deed::TickAfter(self.settings.heartbeat_every));
            }
            Occasion::Deposed => self.depose(),
            Occasion::Agreed(view) => self.agreed(&view),
            Occasion::Heartbeat { caller, beat } => self.heartbeat(caller, *beat),
            Occasion::Confirmed { token, leads } => self.confirmed(token, leads),
            Occasion::Proposed { token, applied } => self.proposed(token, applied.as_ref()),
            Occasion::Voters(voters) => {
                if let Some(term) = &mut self.term {
                    term.voters = voters;
                    term.voters_asked = None;
                }
            }
            Occasion::AcceptLoss => {
                if let Some(term) = &mut self.term {
                    term.loss_accepted_until = self.now + LOSS_ACCEPTED;
                }
            }
            Occasion::Tick => {
                if self.term.is_some() {
                    self.deeds.push(Deed::TickAfter(self.settings.heartbeat_every / 2));
                    self.expire();
                    self.plan();
                }
            }
        }
        std::mem::take(&mut self.deeds)
    }

    fn token(&mut self) -> Token {
        self.next_token += 1;
        Token(self.next_token)
    }

    fn depose(&mut self) {
        let Some(term) = self.term.take() else { return };
        let under_way = term.round.into_iter().flat_map(|(_, waiting, _)| waiting);
        for waiting in term.waiting.into_iter().chain(under_way) {
            let response = ChainResponse::NotLeader(None);
            self.deeds.push(Deed::Answer { caller: waiting.caller, response });
        }
    }

    fn agreed(&mut self, view: &Arc<View>) {
        let Some(term) = &mut self.term else { return };
        if view.index <= term.view.index {
            return;
        }
        let before = std::mem::replace(&mut term.view, Arc::clone(view));
        term.retired.retain(|epoch| view.ranges.contains_key(epoch));
        term.levelling.retain(|change, _| view.pending.contains_key(change));
        term.activating.retain(|change, _| view.pending.contains_key(change));
        term.granted.retain(|(_, _, epoch), _| view.ranges.contains_key(epoch));
        term.orders.clear();
        term.heard.retain(|store, _| view.members.contains_key(store));
        // Who has something to do: wedge, or begin.
        let mut concerned: BTreeSet<StoreId> = BTreeSet::new();
        for (first, pending) in &view.pending {
            if !before.pending.contains_key(first) {
                let parents = pending.parents.iter().filter_map(|parent| view.ranges.get(parent));
                concerned.extend(parents.flat_map(|active| &active.chain).map(|link| link.store));
                concerned.extend(pending.children.iter().flat_map(|c| &c.chain).map(|link| link.store));
            }
        }
        for (epoch, active) in &view.ranges {
            if !before.ranges.contains_key(epoch) {
                concerned.extend(active.chain.iter().map(|link| link.store));
            }
        }
        concerned.extend(before.members.keys().filter(|store| !view.members.contains_key(store)));
        for store in concerned {
            if let Some(peer) = view.peer(store).or_else(|| before.peer(store)) {
                self.deeds.push(Deed::Poke(peer.clone()));
            }
        }
        self.plan();
    }

    // Heartbeats and leases.

    fn heartbeat(&mut self, caller: Caller, beat: Heartbeat) {
        let now = self.now;
        let Some(term) = &mut self.term else {
            let response = ChainResponse::NotLeader(None);
            self.deeds.push(Deed::Answer { caller, response });
            return;
        };
        let (store, incarnation, view) = (beat.store, beat.incarnation, beat.view);
        term.waiting.push(Waiting { caller, store, incarnation, view });
        if !term.view.members.contains_key(&store) {
            // It is told the view, and sees there that it is no member.
            return self.begin_round();
        }
        let newer =
            |heard: &Heard| (heard.beat.incarnation, heard.beat.number) < (beat.incarnation, beat.number);
        let mut news = false;
        match term.heard.get_mut(&store) {
            Some(heard) if newer(heard) => {
                news = tells_more(&heard.beat, &beat);
                *heard = Heard { at: now, beat };
            }
            Some(_) => {}
            None => {
                news = true;
                term.heard.insert(store, Heard { at: now, beat });
            }
        }
        if news {
            self.plan();
        }
        self.begin_round();
    }

    fn begin_round(&mut self) {
        let Some(term) = self.term.as_mut().filter(|term| term.round.is_none()) else { return };
        if term.waiting.is_empty() {
            return;
        }
        let waiting = std::mem::take(&mut term.waiting);
        self.next_token += 1;
        let token = Token(self.next_token);
        term.round = Some((token, waiting, self.now));
        self.deeds.push(Deed::Confirm(token));
    }

    fn confirmed(&mut self, token: Token, leads: bool) {
        let now = self.now;
        let Some(term) = &mut self.term else { return };
        let Some((_, waiting, _)) = term.round.take_if(|(round, ..)| *round == token) else { return };
        for Waiting { caller, store, incarnation, view } in waiting {
            let response = if leads {
                let granted = term.grants(store, incarnation);
                for epoch in &granted {
                    term.granted.insert((store, incarnation, *epoch), now);
                }
                let newer = (view < term.view.index).then(|| Arc::clone(&term.view));
                let level = term.orders.get(&store).cloned().unwrap_or_default();
                ChainResponse::Beat(Box::new(Beat { view: newer, granted, level }))
            } else {
                ChainResponse::NotLeader(None)
            };
            self.deeds.push(Deed::Answer { caller, response });
        }
        self.begin_round();
    }

    /// What should have come back long ago will not.
    fn expire(&mut self) {
        let now = self.now;
        let Some(term) = &mut self.term else { return };
        term.proposals.retain(|_, (_, since)| now.since(*since) < ANSWER_WITHIN);
        term.voters_asked = term.voters_asked.filter(|since| now.since(*since) < VOTERS_WITHIN);
        if let Some((_, waiting, _)) = term.round.take_if(|(_, _, since)| now.since(*since) > ANSWER_WITHIN) {
            for waiting in waiting {
                let response = ChainResponse::NotLeader(None);
                self.deeds.push(Deed::Answer { caller: waiting.caller, response });
            }
        }
        self.begin_round();
    }

    // Changes.

    fn proposed(&mut self, token: Token, applied: Option<&Applied>) {
        let Some(term) = &mut self.term else { return };
        let Some((topic, _)) = term.proposals.remove(&token) else { return };
        let stale = applied == Some(&Applied::Stale);
        if let (Topic::Change(parents), true) = (&topic, stale) {
            // It was certainly not agreed on; another one may have been.
            for parent in parents {
                if term.view.ranges.get(parent).is_some_and(|active| !active.wedged) {
                    term.retired.remove(parent);
                }
            }
        }
        // What was refused is thought over at the next tick, lest it be proposed again and again.
        if !stale {
            self.plan();
        }
    }

    fn propose(&mut self, topic: Topic, command: Command) {
        let token = self.token();
        let Some(term) = &mut self.term else { return };
        let conflicts = |other: &Topic| match (other, &topic) {
            (Topic::Change(theirs), Topic::Change(mine)) => theirs.iter().any(|epoch| mine.contains(epoch)),
            (theirs, mine) => theirs == mine,
        };
        if term.proposals.values().any(|(other, _)| conflicts(other)) {
            return;
        }
        match &command {
            Command::Prepare { parents, .. } => term.retired.extend(parents),
            Command::Reopen { epoch, .. } => {
                term.retired.insert(*epoch);
            }
            Command::Activate { change, bases, .. } => {
                term.activating.insert(*change, bases.clone());
            }
            _ => {}
        }
        term.proposals.insert(token, (topic, self.now));
        self.deeds.push(Deed::Propose { token, command });
    }

    /// Looks at everything, and proposes what is to be done next.
    fn plan(&mut self) {
        let Some(term) = &mut self.term else { return };
        for (store, lapsed) in term.notice(self.now, &self.settings) {
            self.deeds.push(Deed::Lapsed { store, lapsed });
        }
        let view = Arc::clone(&term.view);
        self.plan_members(&view);
        for (first, pending) in &view.pending {
            self.plan_pending(&view, *first, pending);
        }
        let mut free: Vec<(Epoch, &Active)> = Vec::new();
        for (epoch, active) in &view.ranges {
            if view.change_of(*epoch).is_none() && !self.plan_range(&view, *epoch, active) {
                free.push((*epoch, active));
            }
        }
        for (epoch, active) in free {
            let Some(term) = &self.term else { return };
            let eyes = Eyes { term, now: self.now, settings: &self.settings };
            if let Some((parents, children)) = plan::merge(&view, &eyes, Subject { epoch, active }) {
                self.prepare(parents, children);
            }
        }
        self.plan_group(&view);
    }

    fn plan_members(&mut self, view: &View) {
        let Some(term) = &self.term else { return };
        let mut commands = Vec::new();
        for (store, heard) in &term.heard {
            let Some(member) = view.members.get(store) else { continue };
            let (beat, address) = (&heard.beat, &heard.beat.me.address);
            let other = member.incarnation < beat.incarnation || member.peer.address != *address;
            if other && member.incarnation <= beat.incarnation {
                let command = Command::Return {
                    store: *store,
                    incarnation: beat.incarnation,
                    address: address.clone(),
                };
                commands.push((*store, command));
            }
        }
        for (store, member) in &view.members {
            let voting = term.voters.is_empty() || term.voters.contains(store);
            if member.leaving && !view.is_in_a_chain(*store) && !voting && view.members.len() > 1 {
                commands.push((*store, Command::Remove(*store)));
            }
        }
        for (store, command) in commands {
            self.propose(Topic::Member(store), command);
        }
    }

    /// An active range without a change under way: does it need one? True: something is proposed or waited for.
    fn plan_range(&mut self, view: &View, epoch: Epoch, active: &Active) -> bool {
        let Some(term) = &self.term else { return true };
        let force = active.wedged || term.retired.contains(&epoch);
        let eyes = Eyes { term, now: self.now, settings: &self.settings };
        if let Some(children) = plan::change(view, &eyes, Subject { epoch, active }, force) {
            self.prepare(vec![epoch], children);
            return true;
        }
        if active.serving().any(|link| eyes.can_serve(view, epoch, link)) {
            if eyes.gives_up(view, epoch, active) {
                self.propose(Topic::Change(vec![epoch]), Command::GiveUp(epoch));
                return true;
            }
            return false;
        }
        if let Some(command) = eyes.reopening(view, epoch, active) {
            self.propose(Topic::Change(vec![epoch]), command);
        }
        true
    }

    fn prepare(&mut self, parents: Vec<Epoch>, children: Children) {
        let topic = Topic::Change(parents.clone());
        self.propose(topic, Command::Prepare { parents, children });
    }

    /// A change under way: activate it, have somebody levelled, or supersede it.
    fn plan_pending(&mut self, view: &View, first: Epoch, pending: &Pending) {
        let now = self.now;
        let Some(term) = &self.term else { return };
        let eyes = Eyes { term, now, settings: &self.settings };
        let actives: Vec<(Epoch, &Active)> =
            pending.parents.iter().filter_map(|parent| Some((*parent, view.ranges.get(parent)?))).collect();
        let Some(parents) = eyes.closed(view, first, pending, &actives) else {
            return self.supersede(view, pending, &actives);
        };
        let bases: Vec<Sequence> = parents.iter().map(|parent| parent.base).collect();
        let sent_beyond = term
            .levelling
            .get(&first)
            .is_some_and(|levelling| levelling.bases.iter().zip(&bases).any(|(sent, base)| sent > base));
        // Somebody with a longer log has come back: whoever fetched that would not fit what was proposed.
        let proposed_other = term.activating.get(&first).is_some_and(|proposed| *proposed != bases);
        if sent_beyond || proposed_other || term.inherited.contains(&first) {
            // Somebody may still fetch what is behind the base, or the activation at another base be agreed on: only a
            // new change makes that void.
            let children = pending.children.iter().map(|child| (child.range, child.chain.clone()));
            return self.prepare(pending.parents.clone(), children.collect());
        }
        let (orders, newcomers_only) = eyes.behind(first, pending, &parents);
        let since = term.levelling.get(&first).map_or(now, |levelling| levelling.since);
        // Who is to serve and lives will report soon; without its report it would begin anew as a newcomer.
        let awaited = eyes.awaits_report(view, first, pending, &actives);
        let limit = if newcomers_only && !awaited { NEWCOMER_WAIT } else { self.settings.level_within };
        if (awaited || !orders.is_empty()) && now.since(since) < limit {
            let command = term.levelling.contains_key(&first);
            return self.order(view, first, orders, bases, command);
        }
        let chains: Vec<Vec<Link>> =
            pending.children.iter().map(|child| eyes.final_chain(view, first, child, &parents)).collect();
        if chains.iter().any(|chain| !chain.first().is_some_and(|link| link.serving)) {
            return self.supersede(view, pending, &actives);
        }
        let topic = Topic::Change(pending.parents.clone());
        self.propose(topic, Command::Activate { change: first, bases, chains });
    }

    fn order(
        &mut self,
        view: &View,
        first: Epoch,
        orders: Vec<(StoreId, LevelOrder)>,
        bases: Vec<Sequence>,
        ordered: bool,
    ) {
        let now = self.now;
        let Some(term) = &mut self.term else { return };
        let levelling = term.levelling.entry(first).or_insert(Levelling { since: now, bases: Vec::new() });
        levelling.bases = bases;
        for (store, order) in orders {
            let mine = term.orders.entry(store).or_default();
            mine.retain(|other| other.epoch != order.epoch);
            mine.push(order);
            if let Some(peer) = view.peer(store).filter(|_| !ordered) {
                self.deeds.push(Deed::Poke(peer.clone()));
            }
        }
    }

    /// The change cannot be activated: if nobody who is to be kept lives, another one is prepared.
    fn supersede(&mut self, view: &View, pending: &Pending, actives: &[(Epoch, &Active)]) {
        let Some(term) = &self.term else { return };
        let eyes = Eyes { term, now: self.now, settings: &self.settings };
        let hopeless = actives.iter().any(|(epoch, active)| {
            let kept = |link: &&Link| {
                let children = pending.children.iter().filter(|c| c.range.overlaps(&active.range));
                children.clone().all(|child| {
                    child.chain.iter().any(|to| to.is(link.store, link.incarnation) && to.serving)
                })
            };
            !active.serving().filter(kept).any(|link| eyes.can_serve(view, *epoch, link))
        });
        if !hopeless {
            return;
        }
        let (mut children, mut commands) = (Vec::new(), Vec::new());
        for (epoch, active) in actives {
            match plan::change(view, &eyes, Subject { epoch: *epoch, active }, true) {
                Some(mine) => children.extend(mine),
                None => {
                    commands.extend(eyes.reopening(view, *epoch, active).map(|command| (*epoch, command)));
                }
            }
        }
        if commands.is_empty() && !children.is_empty() {
            self.prepare(pending.parents.clone(), children);
        }
        for (epoch, command) in commands {
            self.propose(Topic::Change(vec![epoch]), command);
        }
    }

    /// Who votes, and that time passes.
    fn plan_group(&mut self, view: &View) {
        let now = self.now;
        let every = self.settings.results_kept / 2;
        let Some(term) = &mut self.term else { return };
        if !term.voters.is_empty() && term.voters_asked.is_none() {
            let known = |store: &StoreId| term.voters.contains(store) || term.heard.contains_key(store);
            let usable = |store: StoreId| known(&store) && !term.lapsed.contains_key(&store);
            let wanted = view.voters(&term.voters, usable);
            if wanted != term.voters && !wanted.is_empty() {
                term.voters_asked = Some(now);
                self.deeds.push(Deed::Voters(wanted));
            }
        }
        if now.since(term.ticked) > every {
            term.ticked = now;
            self.propose(Topic::Tick, Command::Tick);
        }
    }
}

impl Term {
    fn new(view: Arc<View>, now: Time) -> Term {
        let inherited = view.pending.keys().copied().collect();
        Term {
            view,
            since: now,
            heard: BTreeMap::new(),
            granted: BTreeMap::new(),
            waiting: Vec::new(),
            round: None,
            retired: BTreeSet::new(),
            proposals: BTreeMap::new(),
            levelling: BTreeMap::new(),
            activating: BTreeMap::new(),
            inherited,
            orders: BTreeMap::new(),
            lapsed: BTreeMap::new(),
            seen: BTreeMap::new(),
            cuts: BTreeMap::new(),
            voters: BTreeSet::new(),
            voters_asked: None,
            ticked: now,
            loss_accepted_until: Time::ZERO,
        }
    }

    /// Under which epochs this life of a store may serve.
    fn grants(&self, store: StoreId, incarnation: Incarnation) -> Vec<Epoch> {
        if self.view.members.get(&store).is_none_or(|member| member.incarnation != incarnation) {
            return Vec::new();
        }
        let active = self.view.ranges.iter().filter(|(epoch, active)| {
            !active.wedged && !self.retired.contains(epoch) && active.link(store, incarnation).is_some()
        });
        active.map(|(epoch, _)| *epoch).collect()
    }

    /// Who has fallen silent, and who is back.
    fn notice(&mut self, now: Time, settings: &ChainSettings) -> Vec<(StoreId, bool)> {
        let limit = settings.lease.certainly_over();
        let mut changes = Vec::new();
        for store in self.view.members.keys() {
            let seen = *self.seen.entry(*store).or_insert(now);
            let heard = self.heard.get(store).map_or(seen, |heard| heard.at.max(self.since));
            let silent = now.since(heard) > limit;
            if silent && !self.lapsed.contains_key(store) {
                self.lapsed.insert(*store, heard);
                changes.push((*store, true));
            } else if !silent && self.lapsed.remove(store).is_some() {
                changes.push((*store, false));
            }
        }
        let members = &self.view.members;
        self.seen.retain(|store, _| members.contains_key(store));
        self.lapsed.retain(|store, _| members.contains_key(store));
        self.cuts.retain(|_, until| *until > now);
        self.notice_cuts(now, settings);
        changes
    }

    /// Links that are reported: the end with more reports goes, else the one below.
    fn notice_cuts(&mut self, now: Time, settings: &ChainSettings) {
        let alive = |store: &StoreId| !self.lapsed.contains_key(store);
        let reported: Vec<(StoreId, StoreId)> = self
            .heard
            .iter()
            .filter(|(store, _)| alive(store))
            .flat_map(|(store, heard)| heard.beat.silent.iter().map(|below| (*store, *below)))
            .filter(|(_, below)| alive(below))
            .collect();
        let reports = |store: StoreId| {
            reported.iter().filter(|(above, below)| *above == store || *below == store).count()
        };
        for (above, below) in &reported {
            let (goes, stays) =
                if reports(*above) > reports(*below) { (*above, *below) } else { (*below, *above) };
            self.cuts.insert((goes, stays), now + settings.substitute_after);
        }
    }
}

/// Does a heartbeat say something that the leader acts on? How far a log goes matters only when it is wedged.
fn tells_more(before: &Heartbeat, now: &Heartbeat) -> bool {
    let matters = |report: &Report| {
        let far = report.wedged.map(|change| (change, report.last, report.durable));
        (report.epoch, report.copy, far)
    };
    before.incarnation != now.incarnation
        || before.silent != now.silent
        || !before.reports.iter().map(matters).eq(now.reports.iter().map(matters))
}
