//! The wire: every message survives postcard, and no bytes make it panic.

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

use crate::config;

fn id() -> impl Strategy<Value = Id> {
    any::<[u8; 20]>().prop_map(Id::from_bytes)
}

fn address() -> impl Strategy<Value = Address> {
    prop_oneof!["[a-z0-9.]{1,20}:[0-9]{1,5}", ".{0,8}"].prop_map(|text| Address::new(&text))
}

fn peer() -> impl Strategy<Value = Peer> {
    (id(), address()).prop_map(|(id, address)| Peer::new(id, address))
}

fn successors() -> impl Strategy<Value = Vec<Successor>> {
    let successor = prop_oneof![peer().prop_map(Successor::Node), id().prop_map(Successor::Pad)];
    prop::collection::vec(successor, 0..6)
}

fn range() -> impl Strategy<Value = Range> {
    (id(), id()).prop_map(|(low, high)| Range { low, high })
}

fn stamp() -> impl Strategy<Value = Stamp> {
    (any::<u64>(), id()).prop_map(|(round, by)| Stamp { round, by })
}

fn handover() -> impl Strategy<Value = HandoverId> {
    (id(), any::<u64>()).prop_map(|(source, nonce)| HandoverId { source, nonce })
}

fn policy() -> impl Strategy<Value = Policy> {
    prop::sample::select(Policy::ALL.to_vec())
}

fn placement() -> impl Strategy<Value = Placement> {
    prop_oneof![Just(Placement::Bisect), Just(Placement::Hash), id().prop_map(Placement::Fixed)]
}

fn entry() -> impl Strategy<Value = Entry> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..40);
    let key = prop_oneof![bytes().prop_map(Key::new), id().prop_map(Key::Literal)];
    let version = (any::<u64>(), any::<u64>()).prop_map(|(epoch, sequence)| Version { epoch, sequence });
    let record =
        (version, bytes()).prop_map(|(version, value)| Record { version, value: Value::from(value) });
    (key, prop::option::of(record))
}

fn grant() -> impl Strategy<Value = Grant> {
    (id(), address(), any::<u64>(), 0..1_000_000_000u32).prop_map(|(id, address, seconds, nanos)| Grant {
        id,
        address,
        lasts: Duration::new(seconds, nanos),
    })
}

fn membership() -> impl Strategy<Value = Arc<Membership>> {
    (stamp(), prop::collection::vec(peer(), 0..8))
        .prop_map(|(stamp, nodes)| Arc::new(Membership::new(stamp, nodes)))
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

fn found() -> impl Strategy<Value = Found> {
    let candidate = (peer(), why()).prop_map(|(peer, why)| Candidate { peer, why });
    prop_oneof![Just(Found::Owner), prop::collection::vec(candidate, 0..8).prop_map(Found::Next)]
}

fn description() -> impl Strategy<Value = Description> {
    (peer(), peer(), successors(), prop::option::of(range()), prop::option::of(stamp())).prop_map(
        |(me, predecessor, successors, serving, stamp)| Description {
            me,
            predecessor,
            successors,
            serving,
            stamp,
        },
    )
}

fn request() -> impl Strategy<Value = Request> {
    let chunk = (handover(), range(), any::<bool>(), prop::collection::vec(entry(), 0..5));
    let take_over = (handover(), range(), peer(), any::<u64>(), prop::collection::vec(grant(), 0..3));
    prop_oneof![
        Just(Request::Ping),
        Just(Request::Neighbours),
        peer().prop_map(Request::Notify),
        (id(), policy()).prop_map(|(target, policy)| Request::Find { target, policy }),
        Just(Request::Describe),
        (id(), placement(), address()).prop_map(|(id, placement, address)| Request::Grant {
            id,
            placement,
            address
        }),
        membership().prop_map(Request::Adopt),
        Just(Request::StartRefresh),
        any::<u64>().prop_map(|run| Request::RefreshReport { run }),
        chunk.prop_map(|(handover, range, first, entries)| Request::Chunk {
            handover,
            range,
            first,
            entries
        }),
        take_over.prop_map(|(handover, range, boundary, epoch, grants)| Request::TakeOver {
            handover,
            range,
            boundary,
            epoch,
            grants
        }),
        (peer(), peer(), successors()).prop_map(|(leaver, predecessor, successors)| Request::Departing {
            leaver,
            predecessor,
            successors
        }),
    ]
}

fn response() -> impl Strategy<Value = Response> {
    let neighbours = (id(), peer(), successors());
    let summary = (any::<u32>(), any::<u64>()).prop_map(|(changed, calls)| RefreshSummary { changed, calls });
    prop_oneof![
        id().prop_map(Response::Pong),
        neighbours.prop_map(|(me, predecessor, successors)| Response::Neighbours {
            me,
            predecessor,
            successors
        }),
        Just(Response::Busy),
        Just(Response::NotMember),
        prop::option::of(id()).prop_map(Response::Notified),
        found().prop_map(Response::Found),
        description().prop_map(|description| Response::Described(Box::new(description))),
        (id(), peer()).prop_map(|(id, predecessor)| Response::Granted { id, predecessor }),
        peer().prop_map(Response::Taken),
        any::<u64>().prop_map(Response::Started),
        Just(Response::Running),
        summary.prop_map(Response::Refreshed),
        Just(Response::Accepted),
        Just(Response::Refused),
        Just(Response::Noted),
    ]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn requests_survive_the_wire(request in request()) {
        let bytes = postcard::to_allocvec(&request).unwrap();
        prop_assert_eq!(postcard::from_bytes::<Request>(&bytes), Ok(request));
    }

    #[test]
    fn responses_survive_the_wire(
        result in prop_oneof![
            8 => response().prop_map(Ok),
            1 => Just(Err(CallError::Unreachable)),
            1 => Just(Err(CallError::TimedOut)),
        ],
    ) {
        let bytes = postcard::to_allocvec(&result).unwrap();
        prop_assert_eq!(postcard::from_bytes::<Result<Response, CallError>>(&bytes), Ok(result));
    }

    /// What is cut off is an error, never another message.
    #[test]
    fn half_a_request_is_an_error(request in request(), cut: prop::sample::Index) {
        let bytes = postcard::to_allocvec(&request).unwrap();
        let cut = cut.index(bytes.len());
        prop_assert!(postcard::from_bytes::<Request>(&bytes[..cut]).is_err());
    }

    #[test]
    fn any_bytes_are_a_message_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(request) = postcard::from_bytes::<Request>(&bytes) {
            let again = postcard::to_allocvec(&request).unwrap();
            prop_assert_eq!(postcard::from_bytes::<Request>(&again), Ok(request));
        }
        let _ = postcard::from_bytes::<Response>(&bytes);
    }

    /// Real messages with a byte changed reach deeper into the decoder than noise does.
    #[test]
    fn a_changed_byte_is_a_message_or_an_error(
        request in request(),
        response in response(),
        at: prop::sample::Index,
        to: u8,
    ) {
        let mut bytes = postcard::to_allocvec(&request).unwrap();
        let place = at.index(bytes.len());
        bytes[place] = to;
        let _ = postcard::from_bytes::<Request>(&bytes);
        let mut bytes = postcard::to_allocvec(&response).unwrap();
        let place = at.index(bytes.len());
        bytes[place] = to;
        let _ = postcard::from_bytes::<Response>(&bytes);
    }
}
