//! How nodes, chains, questions, answers, commands and changes are written down: short, in words.

use std::sync::Arc;

use chordata_protocol::chain::command::{Applied, Command};
use chordata_protocol::chain::event::{Change, Reply};
use chordata_protocol::chain::message::{Action, Copy, Heartbeat, Holding, LogEntry, Mutation, Report};
use chordata_protocol::chain::view::{Link, Pending, Reopened};
use chordata_protocol::chain::{ChainRequest, ChainResponse, Epoch, Incarnation, Refusal, StoreId, View};
use chordata_protocol::key::{Entry, Outcome};
use chordata_protocol::message::Candidate;
use chordata_protocol::{Id, Key, Peer, Range};

/// Stores of one address are numbered in steps of this.
pub(crate) const STORES: u128 = 1000;

/// Words with blanks between them; none: `nothing`.
pub(crate) fn join(words: impl IntoIterator<Item = String>, between: &str) -> String {
    words.into_iter().collect::<Vec<_>>().join(between)
}

fn or_none(text: String, none: &str) -> String {
    if text.is_empty() { none.to_owned() } else { text }
}

/// An identifier as a decimal number: the rings of scripts are small.
pub(crate) fn number(id: Id) -> u128 {
    let mut low = [0; 16];
    low.copy_from_slice(&id.as_bytes()[4..]);
    u128::from_be_bytes(low)
}

/// `n8` for the node at the address `n8` with the id 8; `n8@9` if it has another id.
pub(crate) fn peer(peer: &Peer) -> String {
    let id = number(peer.id);
    if peer.address.as_str() == format!("n{id}") {
        peer.address.to_string()
    } else {
        format!("{}@{id}", peer.address)
    }
}

/// `n8` for the first store that was at that address, `n8'` for the second.
pub(crate) fn store(store: StoreId) -> String {
    let later = usize::try_from(store.0 / STORES).unwrap_or_default();
    format!("n{}{}", store.0 % STORES, "'".repeat(later))
}

/// `n8/2` for its second life.
pub(crate) fn life(name: StoreId, incarnation: Incarnation) -> String {
    if incarnation.0 == 1 { store(name) } else { format!("{}/{}", store(name), incarnation.0) }
}

/// A chain: `n8 n24 +n40`, where n40 is being filled.
pub(crate) fn chain(links: &[Link]) -> String {
    let link = |link: &Link| {
        format!("{}{}", if link.serving { "" } else { "+" }, life(link.store, link.incarnation))
    };
    join(links.iter().map(link), " ")
}

pub(crate) fn range(range: &Range) -> String {
    if range.low == range.high {
        "everything".to_owned()
    } else {
        format!("({}, {}]", number(range.low), number(range.high))
    }
}

pub(crate) fn key(key: &Key) -> String {
    match key {
        Key::Literal(id) => number(*id).to_string(),
        Key::Bytes(_) => key.to_string(),
    }
}

fn keys(entries: &[Entry]) -> String {
    let words = entries.iter().map(|(name, record)| match record {
        Some(record) => format!("{}={} {}", key(name), record.value, record.version),
        None => format!("{} gone", key(name)),
    });
    or_none(join(words, ", "), "no keys")
}

fn epochs(epochs: &[Epoch]) -> String {
    join(epochs.iter().map(|epoch| format!("{epoch:?}")), " ")
}

/// `#3 35=apple, #4 36 gone`.
pub(crate) fn log(entries: &[Arc<LogEntry>]) -> String {
    let words = entries.iter().map(|entry| {
        let what = match &entry.action {
            Action::Write(write) => match &write.mutation {
                Mutation::Put(value, None) => format!("{}={value}", key(&write.key)),
                Mutation::Put(value, Some(expires)) => {
                    format!("{}={value} until {} ms", key(&write.key), expires.as_millis())
                }
                Mutation::Expire(version) => format!("{} {version} has ended", key(&write.key)),
                Mutation::Remove => format!("{} gone", key(&write.key)),
                Mutation::Nothing => format!("{} as it is", key(&write.key)),
            },
            Action::Floor(floor) => format!("forget results from before view {floor}"),
            Action::Mark(name) => format!("mark {name}"),
        };
        format!("{:?} {what}", entry.sequence)
    });
    or_none(join(words, ", "), "nothing new")
}

fn report(report: &Report) -> String {
    let wedged = report.wedged.map_or(String::new(), |change| format!(" wedged for {change:?}"));
    let copy = match report.copy {
        Copy::Serving => "",
        Copy::Syncing => " syncing",
        Copy::Synced => " synced",
        Copy::Damaged => " damaged",
        Copy::Broken => " broken",
    };
    let disk =
        if report.durable < report.last { format!(", on disk {:?}", report.durable) } else { String::new() };
    format!("{:?}{copy}{wedged} {:?}{disk}", report.epoch, report.last)
}

pub(crate) fn holding(holding: &Holding) -> String {
    let serving = if holding.complete { "" } else { "a part of " };
    format!("{serving}{:?} {} {:?}", holding.epoch, range(&holding.range), holding.last)
}

/// What a heartbeat says.
pub(crate) fn beat(beat: &Heartbeat) -> String {
    let mut parts = vec![or_none(join(beat.reports.iter().map(report), ", "), "no replicas")];
    if !beat.holdings.is_empty() {
        parts.push(format!("holds {}", join(beat.holdings.iter().map(holding), ", ")));
    }
    if !beat.silent.is_empty() {
        parts.push(format!("does not get through to {}", join(beat.silent.iter().map(|s| store(*s)), " ")));
    }
    join(parts, "; ")
}

/// What of a heartbeat matters, whatever else its logs grew by.
pub(crate) fn news(beat: &Heartbeat) -> Vec<String> {
    let matters = |report: &&Report| {
        report.wedged.is_some() || matches!(report.copy, Copy::Synced | Copy::Broken | Copy::Damaged)
    };
    let mut parts: Vec<String> = beat.reports.iter().filter(matters).map(report).collect();
    parts.extend(beat.holdings.iter().map(|held| format!("holds {}", holding(held))));
    parts.extend(beat.silent.iter().map(|silent| format!("does not get through to {}", store(*silent))));
    parts
}

/// What a node does when it asks another.
pub(crate) fn asks(to: &Peer, request: &ChainRequest) -> String {
    let to = peer(to);
    match request {
        ChainRequest::Heartbeat(said) => format!("tells {to}: {}", beat(said)),
        ChainRequest::Poke => format!("pokes {to}"),
        ChainRequest::Frame { epoch, entries, durable, .. } => {
            // Without `sync` everything counts as written.
            let all = entries.last().is_some_and(|entry| entry.sequence == *durable);
            let durable = if all { String::new() } else { format!("; on disk above: {durable:?}") };
            format!("sends {to} {epoch:?} {}{durable}", log(entries))
        }
        ChainRequest::Committed { epoch, sequence } => {
            format!("tells {to} that {epoch:?} {sequence:?} is committed")
        }
        ChainRequest::Level { epoch, after } => {
            format!("asks {to} for the log of {epoch:?} behind {after:?}")
        }
        ChainRequest::List { epoch, after } => {
            let after = after.as_ref().map_or(String::new(), |after| format!(" behind {}", key(after)));
            format!("asks {to} for the keys of {epoch:?}{after}")
        }
        ChainRequest::Fetch { keys, .. } => {
            format!("asks {to} what {} hold", join(keys.iter().map(key), " "))
        }
        ChainRequest::Results { epoch, .. } => format!("asks {to} for the results of {epoch:?}"),
    }
}

/// What happens to a node that is asked.
pub(crate) fn asked(from: &str, request: &ChainRequest) -> String {
    match request {
        ChainRequest::Heartbeat(said) => format!("told by {from}: {}", beat(said)),
        ChainRequest::Poke => format!("poked by {from}"),
        ChainRequest::Frame { epoch, entries, .. } => format!("sent {epoch:?} {} by {from}", log(entries)),
        ChainRequest::Committed { epoch, sequence } => {
            format!("told by {from} that {epoch:?} {sequence:?} is committed")
        }
        ChainRequest::Level { epoch, after } => {
            format!("asked by {from} for the log of {epoch:?} behind {after:?}")
        }
        ChainRequest::List { epoch, .. } => format!("asked by {from} for the keys of {epoch:?}"),
        ChainRequest::Fetch { keys, .. } => {
            format!("asked by {from} what {} hold", join(keys.iter().map(key), " "))
        }
        ChainRequest::Results { epoch, .. } => format!("asked by {from} for the results of {epoch:?}"),
    }
}

pub(crate) fn answer(response: &ChainResponse) -> String {
    match response {
        ChainResponse::Beat(beat) => {
            let view = beat.view.as_ref().map_or(String::new(), |view| format!("view {}, ", view.index));
            let level = beat.level.iter().map(|order| {
                format!(", fetch {:?} up to {:?} from {}", order.epoch, order.base, peer(&order.from))
            });
            format!("{view}may serve {}{}", or_none(epochs(&beat.granted), "nothing"), join(level, ""))
        }
        ChainResponse::NotLeader(Some(leader)) => format!("{} leads", peer(leader)),
        ChainResponse::NotLeader(None) => "does not lead".to_owned(),
        ChainResponse::Noted => "noted".to_owned(),
        ChainResponse::Accepted { last, committed } => format!("has {last:?}, committed {committed:?}"),
        ChainResponse::NotMine => "not mine".to_owned(),
        ChainResponse::Log { entries, .. } => format!("the log: {}", log(entries)),
        ChainResponse::Listed { keys, end, last } => {
            let words = keys.iter().map(|(name, version)| format!("{} {version}", key(name)));
            let end = if *end { ", no more" } else { "" };
            format!("{}{end}; the log is at {last:?}", or_none(join(words, ", "), "no keys"))
        }
        ChainResponse::Fetched(entries) => keys(entries),
        ChainResponse::Results { results, last, .. } => {
            format!("{} results; the log is at {last:?}", results.len())
        }
    }
}

pub(crate) fn filled(entries: &[Entry]) -> String {
    keys(entries)
}

/// `e5 (8, 24]: n24 n40 +n8`.
fn child(epoch: Epoch, over: &Range, links: &[Link]) -> String {
    format!("{epoch:?} {}: {}", range(over), chain(links))
}

pub(crate) fn pending(pending: &Pending) -> String {
    let children = pending.children.iter().map(|to| child(to.epoch, &to.range, &to.chain));
    format!("{} -> {}", epochs(&pending.parents), join(children, "; "))
}

/// A command as it is proposed.
pub(crate) fn command(command: &Command) -> String {
    match command {
        Command::Admit { store: who, .. } => format!("admit {}", store(*who)),
        Command::Return { store: who, incarnation, .. } => format!("{} is there", life(*who, *incarnation)),
        Command::Leave(who) => format!("{} wants to leave", store(*who)),
        Command::Remove(who) => format!("{} has left", store(*who)),
        Command::Forget(who) => format!("forget {}", store(*who)),
        Command::Prepare { parents, children } => {
            let children = children.iter().map(|(over, links)| format!("{}: {}", range(over), chain(links)));
            format!("prepare {} -> {}", epochs(parents), join(children, "; "))
        }
        Command::Activate { change, bases, chains } => {
            let bases = join(bases.iter().map(|base| format!("{base:?}")), " ");
            let chains = join(chains.iter().map(|links| chain(links)), "; ");
            format!("activate {change:?} at {bases}: {chains}")
        }
        Command::Reopen { epoch, store: who, incarnation, base, with, loss } => {
            let loss = if *loss { ", writes may be lost" } else { "" };
            let with = match with {
                Reopened::Copy => "from",
                Reopened::Empty => "empty at",
                Reopened::Earlier => "with what came before it from",
            };
            format!("reopen {epoch:?} {with} {} at {base:?}{loss}", life(*who, *incarnation))
        }
        Command::Tick => "time passes".to_owned(),
        Command::GiveUp(epoch) => format!("give up what nobody can read of {epoch:?}"),
    }
}

/// What a command did to the view.
pub(crate) fn applied(view: &View, applied: &Applied) -> String {
    match applied {
        Applied::Admitted { place, .. } => format!(" (at {})", number(*place)),
        Applied::Taken(by) => format!(": taken by {}", peer(by)),
        Applied::Full => ": the ring is full".to_owned(),
        Applied::Barred => ": it is barred".to_owned(),
        Applied::Prepared(first) => {
            let children = view
                .pending
                .get(first)
                .map(|pending| epochs(&pending.children.iter().map(|c| c.epoch).collect::<Vec<_>>()));
            format!(" as {}", children.unwrap_or_default())
        }
        Applied::Done => String::new(),
        Applied::Stale => ": stale, nothing is changed".to_owned(),
    }
}

pub(crate) fn change(change: &Change) -> String {
    match change {
        Change::View(view) => format!("has view {}", view.index),
        Change::Began { epoch, range: over, serving } => {
            let how = if *serving { "serving" } else { "to be filled" };
            format!("begins {epoch:?} {}, {how}", range(over))
        }
        Change::Wedged(epoch) => format!("wedges {epoch:?}"),
        Change::Synced(epoch) => format!("is filled: {epoch:?}"),
        Change::Damaged(epoch) => format!("has a damaged record: {epoch:?}"),
        Change::Broken(epoch) => format!("cannot go on with {epoch:?}"),
        Change::Ended(epoch) => format!("ends {epoch:?}"),
        Change::Removed => "is no member any more".to_owned(),
    }
}

pub(crate) fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Written(version) => format!("written {version}"),
        Outcome::Deleted(Some(version)) => format!("deleted {version}"),
        Outcome::Deleted(None) => "was not there".to_owned(),
        Outcome::Conflict(Some(version)) => format!("conflict, it is {version}"),
        Outcome::Conflict(None) => "conflict, it is not there".to_owned(),
    }
}

pub(crate) fn reply(reply: &Reply) -> String {
    match reply {
        Reply::Done { outcome: what, at } => format!("done, {} (at {at})", outcome(what)),
        Reply::Unknown(why) => format!("unknown: {why}"),
        Reply::ReadAgain => "read again".to_owned(),
    }
}

pub(crate) fn candidates(candidates: &[Candidate]) -> String {
    or_none(join(candidates.iter().map(|candidate| peer(&candidate.peer)), " "), "nobody")
}

pub(crate) fn refusal(refusal: &Refusal) -> String {
    match refusal {
        Refusal::NotHead(others) => format!("not here, ask {}", candidates(others)),
        Refusal::Unavailable(why) => format!("refused: {why}"),
        Refusal::Overloaded => "refused: overloaded".to_owned(),
        Refusal::TooOld(view) => {
            format!("too old: unknown whether it was done; new writes are sent in view {view}")
        }
    }
}
