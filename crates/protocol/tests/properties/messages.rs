//! Messages of every kind, with identifiers, nodes and numbers from wherever one wants them.

use std::sync::Arc;
use std::time::Duration;

use chordata_protocol::key::Entry;
use chordata_protocol::message::{
    Candidate, Description, Found, Grant, HandoverId, Placement, Policy, RefreshSummary, Why,
};
use chordata_protocol::{
    Address, CallError, Id, Key, Membership, Peer, Range, Record, Request, Response, Stamp, Successor, Value,
    Version,
};
use proptest::prelude::*;

/// Where their parts come from.
#[derive(Clone, Debug)]
pub(crate) struct Messages {
    pub(crate) id: BoxedStrategy<Id>,
    pub(crate) peer: BoxedStrategy<Peer>,
    /// Terms, runs, names of hand-overs.
    pub(crate) number: BoxedStrategy<u64>,
}

/// Whatever the types can hold.
pub(crate) fn any_messages() -> Messages {
    let id = any::<[u8; 20]>().prop_map(Id::from_bytes).boxed();
    let address = prop_oneof!["[a-z0-9.]{1,20}:[0-9]{1,5}", ".{0,8}"].prop_map(|text| Address::new(&text));
    let peer = (id.clone(), address).prop_map(|(id, address)| Peer::new(id, address)).boxed();
    Messages { id, peer, number: any::<u64>().boxed() }
}

impl Messages {
    fn id(&self) -> BoxedStrategy<Id> {
        self.id.clone()
    }

    fn peer(&self) -> BoxedStrategy<Peer> {
        self.peer.clone()
    }

    fn number(&self) -> BoxedStrategy<u64> {
        self.number.clone()
    }

    pub(crate) fn successors(&self) -> impl Strategy<Value = Vec<Successor>> + use<> {
        let successor = prop_oneof![
            3 => self.peer().prop_map(Successor::Node),
            1 => self.id().prop_map(Successor::Pad),
        ];
        prop::collection::vec(successor, 0..6)
    }

    fn range(&self) -> impl Strategy<Value = Range> + use<> {
        (self.id(), self.id()).prop_map(|(low, high)| Range { low, high })
    }

    fn stamp(&self) -> impl Strategy<Value = Stamp> + use<> {
        (self.number(), self.id()).prop_map(|(round, by)| Stamp { round, by })
    }

    fn handover(&self) -> impl Strategy<Value = HandoverId> + use<> {
        (self.id(), self.number()).prop_map(|(source, nonce)| HandoverId { source, nonce })
    }

    fn entry(&self) -> impl Strategy<Value = Entry> + use<> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..40);
        let key = prop_oneof![bytes().prop_map(Key::new), self.id().prop_map(Key::Literal)];
        let version = (self.number(), any::<u64>()).prop_map(|(epoch, sequence)| Version { epoch, sequence });
        let record = (version, bytes());
        let record =
            record.prop_map(|(version, value)| Record { version, value: Value::from(value), expires: None });
        (key, prop::option::of(record))
    }

    pub(crate) fn entries(&self) -> impl Strategy<Value = Vec<Entry>> + use<> {
        prop::collection::vec(self.entry(), 0..5)
    }

    fn grant(&self) -> impl Strategy<Value = Grant> + use<> {
        (self.id(), self.peer(), any::<u64>(), 0..1_000_000_000u32).prop_map(|(id, peer, seconds, nanos)| {
            Grant { id, address: peer.address, lasts: Duration::new(seconds, nanos) }
        })
    }

    fn membership(&self) -> impl Strategy<Value = Arc<Membership>> + use<> {
        (self.stamp(), prop::collection::vec(self.peer(), 0..8))
            .prop_map(|(stamp, nodes)| Arc::new(Membership::new(stamp, nodes)))
    }

    fn found(&self) -> impl Strategy<Value = Found> + use<> {
        let candidate = (self.peer(), why()).prop_map(|(peer, why)| Candidate { peer, why });
        prop_oneof![Just(Found::Owner), prop::collection::vec(candidate, 0..8).prop_map(Found::Next)]
    }

    fn description(&self) -> impl Strategy<Value = Description> + use<> {
        let around = (self.peer(), self.peer(), self.successors());
        (around, prop::option::of(self.range()), prop::option::of(self.stamp())).prop_map(
            |((me, predecessor, successors), serving, stamp)| Description {
                me,
                predecessor,
                successors,
                serving,
                stamp,
            },
        )
    }

    pub(crate) fn request(&self) -> BoxedStrategy<Request> {
        prop_oneof![
            2 => Just(Request::Ping),
            2 => Just(Request::Neighbours),
            2 => self.peer().prop_map(Request::Notify),
            1 => (self.id(), policy()).prop_map(|(target, policy)| Request::Find { target, policy }),
            1 => Just(Request::Describe),
            1 => (self.id(), placement(self.id()), self.peer())
                .prop_map(|(id, placement, peer)| Request::Grant { id, placement, address: peer.address }),
            1 => self.membership().prop_map(Request::Adopt),
            1 => Just(Request::StartRefresh),
            1 => self.number().prop_map(|run| Request::RefreshReport { run }),
            2 => self.chunk(),
            2 => self.take_over(),
            2 => (self.peer(), self.peer(), self.successors())
                .prop_map(|(leaver, predecessor, successors)| Request::Departing {
                    leaver,
                    predecessor,
                    successors,
                }),
        ]
        .boxed()
    }

    fn chunk(&self) -> impl Strategy<Value = Request> + use<> {
        (self.handover(), self.range(), any::<bool>(), self.entries())
            .prop_map(|(handover, range, first, entries)| Request::Chunk { handover, range, first, entries })
    }

    fn take_over(&self) -> impl Strategy<Value = Request> + use<> {
        let grants = prop::collection::vec(self.grant(), 0..3);
        (self.handover(), self.range(), self.peer(), self.number(), grants).prop_map(
            |(handover, range, boundary, epoch, grants)| Request::TakeOver {
                handover,
                range,
                boundary,
                epoch,
                grants,
            },
        )
    }

    pub(crate) fn response(&self) -> BoxedStrategy<Response> {
        let neighbours = (self.id(), self.peer(), self.successors());
        let summary =
            (any::<u32>(), any::<u64>()).prop_map(|(changed, calls)| RefreshSummary { changed, calls });
        prop_oneof![
            self.id().prop_map(Response::Pong),
            neighbours.prop_map(|(me, predecessor, successors)| Response::Neighbours {
                me,
                predecessor,
                successors
            }),
            Just(Response::Busy),
            Just(Response::NotMember),
            prop::option::of(self.id()).prop_map(Response::Notified),
            self.found().prop_map(Response::Found),
            self.description().prop_map(|description| Response::Described(Box::new(description))),
            (self.id(), self.peer()).prop_map(|(id, predecessor)| Response::Granted { id, predecessor }),
            self.peer().prop_map(Response::Taken),
            self.number().prop_map(Response::Started),
            Just(Response::Running),
            summary.prop_map(Response::Refreshed),
            Just(Response::Accepted),
            Just(Response::Refused),
            Just(Response::Noted),
        ]
        .boxed()
    }
}

fn policy() -> impl Strategy<Value = Policy> {
    prop::sample::select(Policy::ALL.to_vec())
}

fn placement(id: BoxedStrategy<Id>) -> impl Strategy<Value = Placement> {
    prop_oneof![Just(Placement::Bisect), Just(Placement::Hash), id.prop_map(Placement::Fixed)]
}

fn why() -> impl Strategy<Value = Why> {
    prop_oneof![
        Just(Why::Start),
        any::<u8>().prop_map(Why::Finger),
        any::<u8>().prop_map(Why::Successor),
        Just(Why::HandedOver),
        Just(Why::Predecessor),
        Just(Why::Membership),
        Just(Why::Random),
        Just(Why::Cached),
    ]
}

pub(crate) fn call_error() -> impl Strategy<Value = CallError> {
    prop_oneof![Just(CallError::Unreachable), Just(CallError::TimedOut)]
}
