//! How peers, questions, answers and changes are written down: short, in words.

use chordata_protocol::key::Entry;
use chordata_protocol::message::{Candidate, Description, Found};
use chordata_protocol::procedure::lookup::{self, Hop};
use chordata_protocol::ring::{Change, Timer};
use chordata_protocol::{Id, Key, Peer, Placement, Range, Request, Response, Successor};

/// An identifier as a decimal number: the rings of scripts are small.
pub(crate) fn number(id: Id) -> u128 {
    let mut low = [0; 16];
    low.copy_from_slice(&id.as_bytes()[4..]);
    u128::from_be_bytes(low)
}

/// `n8` for the node with the id 8 at the address `n8`; `a@8` for one at another address.
pub(crate) fn peer(peer: &Peer) -> String {
    let id = number(peer.id);
    if peer.address.as_str() == format!("n{id}") {
        peer.address.to_string()
    } else {
        format!("{}@{id}", peer.address)
    }
}

pub(crate) fn list(entries: &[Successor]) -> String {
    let words: Vec<String> = entries
        .iter()
        .map(|entry| match entry {
            Successor::Node(node) => peer(node),
            Successor::Pad(id) => format!("pad{}", number(*id)),
        })
        .collect();
    words.join(" ")
}

pub(crate) fn range(range: &Range) -> String {
    if range.low == range.high {
        "everything".to_owned()
    } else {
        format!("({}, {}]", number(range.low), number(range.high))
    }
}

pub(crate) fn serving(serving: Option<&Range>) -> String {
    serving.map_or("nothing".to_owned(), range)
}

pub(crate) fn key(key: &Key) -> String {
    match key {
        Key::Literal(id) => number(*id).to_string(),
        Key::Bytes(_) => key.to_string(),
    }
}

pub(crate) fn entries(entries: &[Entry]) -> String {
    if entries.is_empty() {
        return "no keys".to_owned();
    }
    let words: Vec<String> = entries
        .iter()
        .map(|(name, record)| match record {
            Some(record) => format!("{}={} {}", key(name), record.value, record.version),
            None => format!("{} gone", key(name)),
        })
        .collect();
    words.join(", ")
}

/// What a node does when it asks another.
pub(crate) fn asks(to: &Peer, request: &Request) -> String {
    let to = peer(to);
    match request {
        Request::Ping => format!("pings {to}"),
        Request::Neighbours => format!("asks {to} for its neighbours"),
        Request::Notify(_) => format!("notifies {to}"),
        Request::Find { target, .. } => format!("asks {to} who serves {}", number(*target)),
        Request::Describe => format!("asks {to} to describe itself"),
        Request::Grant { id, placement, address } => match placement {
            Placement::Bisect => format!("asks {to} for a place for {address}"),
            Placement::Hash | Placement::Fixed(_) => {
                format!("asks {to} for place {} for {address}", number(*id))
            }
        },
        Request::Adopt(table) => format!("gives {to} a table of {} members", table.nodes().len()),
        Request::StartRefresh => format!("has {to} refresh its fingers"),
        Request::RefreshReport { run } => format!("asks {to} for its report on run {run}"),
        Request::Chunk { range: part, first, entries: sent, .. } => {
            let which = if *first { "the first" } else { "another" };
            format!("sends {to} {which} part of {}: {}", range(part), entries(sent))
        }
        Request::TakeOver { range: granted, boundary, epoch, .. } => {
            format!("grants {to} {}, which begins behind {}, epoch {epoch}", range(granted), peer(boundary))
        }
        Request::Departing { predecessor, .. } => {
            format!("tells {to} that it leaves and was behind {}", peer(predecessor))
        }
    }
}

/// What happens to a node that is asked.
pub(crate) fn asked(from: &str, request: &Request) -> String {
    match request {
        Request::Ping => format!("pinged by {from}"),
        Request::Neighbours => format!("asked by {from} for its neighbours"),
        Request::Notify(_) => format!("notified by {from}"),
        Request::Find { target, .. } => format!("asked by {from} who serves {}", number(*target)),
        Request::Describe => format!("asked by {from} to describe itself"),
        Request::Chunk { .. } => format!("sent a part by {from}"),
        Request::TakeOver { range: granted, .. } => format!("granted {} by {from}", range(granted)),
        Request::Departing { .. } => format!("told by {from} that it leaves"),
        Request::Grant { .. } | Request::Adopt(_) | Request::StartRefresh | Request::RefreshReport { .. } => {
            format!("asked by {from} ({})", request.name())
        }
    }
}

fn candidate(candidate: &Candidate) -> String {
    format!("{} ({})", peer(&candidate.peer), candidate.why)
}

pub(crate) fn answer(response: &Response) -> String {
    match response {
        Response::Pong(_) => "pong".to_owned(),
        Response::Neighbours { predecessor, successors, .. } => {
            format!("predecessor {}, successors {}", peer(predecessor), list(successors))
        }
        Response::Busy => "busy".to_owned(),
        Response::NotMember => "not in the ring".to_owned(),
        Response::Notified(Some(low)) => format!("serves from {} on", number(*low)),
        Response::Notified(None) => "serves nothing".to_owned(),
        Response::Found(Found::Owner) => "itself".to_owned(),
        Response::Found(Found::Next(next)) => {
            let words: Vec<String> = next.iter().map(candidate).collect();
            format!("ask {}", words.join(", "))
        }
        Response::Described(description) => {
            let Description { predecessor, successors, serving: served, .. } = &**description;
            format!(
                "predecessor {}, successors {}, serves {}",
                peer(predecessor),
                list(successors),
                serving(served.as_ref())
            )
        }
        Response::Granted { id, predecessor } => format!("{} behind {}", number(*id), peer(predecessor)),
        Response::Taken(by) => format!("taken by {}", peer(by)),
        Response::Started(run) => format!("run {run}"),
        Response::Running => "running".to_owned(),
        Response::Refreshed(summary) => format!("{} changed, {} calls", summary.changed, summary.calls),
        Response::Accepted => "accepted".to_owned(),
        Response::Refused => "refused".to_owned(),
        Response::Noted => "noted".to_owned(),
    }
}

pub(crate) fn change(change: &Change) -> String {
    match change {
        Change::Joined => "is in the ring".to_owned(),
        Change::JoinFailed => "cannot join there".to_owned(),
        Change::Predecessor(node) => format!("predecessor {}", peer(node)),
        Change::Successor(node) => format!("successor {}", peer(node)),
        Change::Alone => "is alone".to_owned(),
        Change::Serving(served) => format!("serves {}", serving(served.as_ref())),
        Change::HandingOver { to, range: given } => format!("hands {} over to {}", range(given), peer(to)),
        Change::HandOverFailed { to } => format!("keeps what {} was to get", peer(to)),
        Change::Claimed(claimed) => format!("claims {}", range(claimed)),
        Change::Left => "has left".to_owned(),
        Change::DepartFailed(why) => format!("stays: {why}"),
        Change::Suspected(node) => format!("suspects {}", peer(node)),
        Change::Members(count) => format!("has a table of {count} members"),
        Change::Learned(node) => format!("learns {}", peer(node)),
    }
}

pub(crate) fn timer(timer: Timer) -> &'static str {
    match timer {
        Timer::Stabilize => "stabilize",
        Timer::Finger => "finger",
        Timer::Refresh => "refresh",
        Timer::Renumber => "renumber",
        Timer::HandOver => "handover",
        Timer::Join => "join",
        Timer::Depart => "depart",
    }
}

/// The way of a lookup: each node asked, and why that one.
pub(crate) fn path(path: &[Hop]) -> String {
    let words: Vec<String> = path
        .iter()
        .map(|hop| {
            let silent = if hop.answered { "" } else { ", silent" };
            format!("{} ({}{silent})", peer(&hop.peer), hop.why)
        })
        .collect();
    format!("{}: {} hops, {} timeouts", words.join(" -> "), lookup::hops(path), lookup::timeouts(path))
}
