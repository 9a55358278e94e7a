//! What goes in comes out; what nobody put in is an error; nothing panics.

use std::fmt::Debug;

use chordata_protocol::message::{Candidate, Description, Found, HandoverId, Why};
use chordata_protocol::{
    Address, Id, Key, Moment, Operation, Outcome, Peer, Policy, Range, Record, Request as Ask,
    Response as Said, Successor, Ttl, Value, Version,
};
use futures::{FutureExt, SinkExt, StreamExt};
use proptest::prelude::*;
use serde::Serialize;

use super::*;
use crate::service::{
    Answer, ChordataRequest, ChordataResponse, Error, Options, RingRequest, RingResponse, Trip,
};

fn id() -> impl Strategy<Value = Id> {
    any::<[u8; 20]>().prop_map(Id::from_bytes)
}

fn peer() -> impl Strategy<Value = Peer> {
    (id(), "[a-z0-9.]{1,20}:[0-9]{1,5}").prop_map(|(id, address)| Peer::new(id, Address::new(&address)))
}

fn key() -> impl Strategy<Value = Key> {
    prop_oneof![any::<Vec<u8>>().prop_map(Key::new), id().prop_map(Key::Literal)]
}

fn value() -> impl Strategy<Value = Value> {
    any::<Vec<u8>>().prop_map(Value::from)
}

fn version() -> impl Strategy<Value = Version> {
    any::<(u64, u64)>().prop_map(|(epoch, sequence)| Version { epoch, sequence })
}

fn record() -> impl Strategy<Value = Record> {
    let expires = proptest::option::of(any::<u64>().prop_map(Moment::from_millis));
    (version(), value(), expires).prop_map(|(version, value, expires)| Record { version, value, expires })
}

fn ttl() -> impl Strategy<Value = Option<Ttl>> {
    proptest::option::of((1..1_000_000u64).prop_map(|millis| Ttl::from_millis(millis).unwrap()))
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        (value(), ttl()).prop_map(|(value, ttl)| Operation::Put { value, ttl }),
        Just(Operation::Delete),
        (proptest::option::of(version()), proptest::option::of(value()), ttl())
            .prop_map(|(expected, value, ttl)| Operation::CompareAndSwap { expected, value, ttl }),
    ]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        version().prop_map(Outcome::Written),
        proptest::option::of(version()).prop_map(Outcome::Deleted),
        proptest::option::of(version()).prop_map(Outcome::Conflict),
    ]
}

fn candidate() -> impl Strategy<Value = Candidate> {
    let why = prop_oneof![Just(Why::Start), any::<u8>().prop_map(Why::Finger), Just(Why::HandedOver)];
    (peer(), why).prop_map(|(peer, why)| Candidate { peer, why })
}

fn range() -> impl Strategy<Value = Range> {
    (id(), id()).prop_map(|(low, high)| Range { low, high })
}

fn ask() -> impl Strategy<Value = Ask> {
    let entries = proptest::collection::vec((key(), proptest::option::of(record())), 0..5);
    let handover = (id(), any::<u64>()).prop_map(|(source, nonce)| HandoverId { source, nonce });
    prop_oneof![
        Just(Ask::Ping),
        Just(Ask::Neighbours),
        peer().prop_map(Ask::Notify),
        (id(), proptest::sample::select(&Policy::ALL[..]))
            .prop_map(|(target, policy)| Ask::Find { target, policy }),
        (handover, range(), any::<bool>(), entries)
            .prop_map(|(handover, range, first, entries)| Ask::Chunk { handover, range, first, entries }),
    ]
}

fn successor() -> impl Strategy<Value = Successor> {
    prop_oneof![peer().prop_map(Successor::Node), id().prop_map(Successor::Pad)]
}

fn said() -> impl Strategy<Value = Said> {
    let successors = || proptest::collection::vec(successor(), 0..5);
    prop_oneof![
        id().prop_map(Said::Pong),
        Just(Said::Busy),
        (id(), peer(), successors()).prop_map(|(me, predecessor, successors)| Said::Neighbours {
            me,
            predecessor,
            successors
        }),
        proptest::collection::vec(candidate(), 0..5).prop_map(|next| Said::Found(Found::Next(next))),
        (peer(), peer(), successors(), proptest::option::of(range())).prop_map(
            |(me, predecessor, successors, serving)| {
                let stamp = None;
                Said::Described(Box::new(Description { me, predecessor, successors, serving, stamp }))
            }
        ),
    ]
}

fn round_trip<T: Serialize + DeserializeOwned + PartialEq + Debug>(message: &T) {
    let bytes = encode(message).unwrap();
    assert_eq!(decode::<T>(&bytes).unwrap(), *message);
    assert!(decode::<T>(&[&bytes[..], &[0]].concat()).is_err(), "a byte behind the message");
    if let Some((_, shorter)) = bytes.split_last() {
        assert!(decode::<T>(shorter).is_err(), "a byte less than the message");
    }
}

/// Whatever decodes must mean the same when it is encoded and decoded again.
fn harmless<T: Serialize + DeserializeOwned + Debug>(bytes: &[u8]) {
    if let Ok(message) = decode::<T>(bytes) {
        let again = decode::<T>(&encode(&message).unwrap()).unwrap();
        assert_eq!(format!("{again:?}"), format!("{message:?}"));
    }
}

/// Decodes as a server does. (Not through [`harmless`]: encoding a deadline again takes the time that has passed.)
fn serve_bytes(bytes: &[u8]) -> io::Result<ClientMessage<RingRequest>> {
    serve_bytes_within(bytes, Duration::from_secs(60))
}

fn serve_bytes_within(bytes: &[u8], deadline_max: Duration) -> io::Result<ClientMessage<RingRequest>> {
    let mut codec = ServerCodec::new(deadline_max);
    Pin::new(&mut codec).deserialize(&BytesMut::from(bytes))
}

proptest! {
    #[test]
    fn ring_messages_come_out_as_they_went_in(ask in ask(), said in said()) {
        round_trip(&ask);
        round_trip(&said);
    }

    #[test]
    fn service_types_come_out_as_they_went_in(
        key in key(), operation in operation(), outcome in outcome(), record in record(), owner in peer(),
        candidates in proptest::collection::vec(candidate(), 0..5), hops: u32, text: String,
    ) {
        round_trip(&(key, operation));
        let trip = Trip { owner, hops, timeouts: 0, path: vec![] };
        round_trip(&Ok::<_, Error>(Answer { result: outcome, at: None, trip: trip.clone() }));
        round_trip(&Ok::<_, Error>(Answer { result: Some(record), at: None, trip }));
        round_trip(&Err::<(), _>(Error::NotOwner(candidates)));
        round_trip(&Err::<(), _>(Error::Unavailable(text)));
        round_trip(&Options::default());
    }

    #[test]
    fn any_bytes_are_an_error_or_a_message_but_never_a_panic(
        method in 0u8..20, variant in 0u8..20, bytes: Vec<u8>,
    ) {
        for bytes in [&bytes[..], &[&[method, variant], &bytes[..]].concat()] {
            harmless::<RingRequest>(bytes);
            harmless::<RingResponse>(bytes);
            harmless::<ChordataRequest>(bytes);
            harmless::<ChordataResponse>(bytes);
            harmless::<Response<RingResponse>>(bytes);
        }
    }

    #[test]
    fn any_bytes_in_place_of_a_request_are_an_error_or_a_request_but_never_a_panic(
        bytes: Vec<u8>, seconds: u64, nanoseconds: u32,
    ) {
        let _ = serve_bytes(&bytes);
        let deadline = encode(&(0u32, seconds, nanoseconds)).unwrap();
        let _ = serve_bytes(&[&deadline[..], &bytes].concat());
    }
}

#[test]
fn what_tarpc_writes_the_server_reads() {
    let mut context = context::current();
    context.deadline = Instant::now() + Duration::from_secs(10);
    let message = RingRequest::Read { key: Key::new("a key") };
    let request = encode(&ClientMessage::Request(Request { context, id: 7, message })).unwrap();
    let Ok(ClientMessage::Request(read)) = serve_bytes(&request) else { panic!("it is a request") };
    assert_eq!(read.id, 7);
    assert!(matches!(read.message, RingRequest::Read { key } if key == Key::new("a key")));
    assert_eq!(read.context.trace_context, context.trace_context);
    let left = read.context.deadline.duration_since(Instant::now());
    assert!(left > Duration::from_secs(9) && left <= Duration::from_secs(10), "{left:?}");

    let trace_context = context.trace_context;
    let cancel = encode(&ClientMessage::<RingRequest>::Cancel { trace_context, request_id: 9 }).unwrap();
    let Ok(ClientMessage::Cancel { request_id, .. }) = serve_bytes(&cancel) else { panic!("it is a cancel") };
    assert_eq!(request_id, 9);
}

#[test]
fn a_hostile_deadline_is_cut() {
    let trace = trace::Context::default();
    let ping = RingRequest::Ask { request: Ask::Ping };
    let request = encode(&(0u32, (u64::MAX, 999_999_999u32, trace), 1u64, &ping)).unwrap();
    let Ok(ClientMessage::Request(read)) = serve_bytes(&request) else { panic!("it is a request") };
    assert!(read.context.deadline <= Instant::now() + Duration::from_secs(60));
    assert!(serve_bytes_within(&request, Duration::MAX).is_ok(), "also where the settings know no limit");
    // More nanoseconds than a second has, so that the sum overflows.
    let request = encode(&(0u32, (u64::MAX, u32::MAX, trace), 1u64, &ping)).unwrap();
    assert!(serve_bytes(&request).is_err());
}

#[test]
fn the_longest_value_fits_a_frame_and_a_longer_message_is_an_error() {
    let longest = Value::from(vec![7; chordata_protocol::key::VALUE_BYTES_MAX]);
    let key = Key::new(vec![1; chordata_protocol::key::KEY_BYTES_MAX]);
    assert!(encode(&RingRequest::Apply { key, operation: Operation::put(longest), by: None }).is_ok());

    let error = encode(&Value::from(vec![7; FRAME_BYTES_MAX])).unwrap_err();
    assert_eq!(error.to_string(), "the message is longer than a frame may be (1310720 bytes)");
    let many = vec![(Key::new("k"), Operation::put(vec![0; 1000]), None); 2000];
    assert!(encode(&RingRequest::ApplyMany { entries: many }).is_err());
}

#[tokio::test]
async fn an_answer_too_long_becomes_an_answer_that_says_so_and_the_next_is_written() {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let mut client = framed::<_, Response<Value>, ClientMessage<Value>>(near);
    let mut server = framed_server::<_, Value, Value>(far, Duration::from_secs(60));
    let long = Value::from(vec![7; FRAME_BYTES_MAX]);
    server.send(Response { request_id: 1, message: Ok(long) }).await.unwrap();
    server.send(Response { request_id: 2, message: Ok(Value::from("short")) }).await.unwrap();

    let first = client.next().await.unwrap().unwrap();
    assert_eq!(first.request_id, 1);
    let error = first.message.unwrap_err();
    assert_eq!(
        (error.kind, &*error.detail),
        (
            io::ErrorKind::InvalidData,
            "the message is longer than a frame may be (1310720 bytes): ask for less at once"
        )
    );
    let second = client.next().await.unwrap().unwrap();
    assert_eq!(second.message, Ok(Value::from("short")));
}

#[tokio::test]
async fn the_kind_of_a_refusal_arrives() {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let mut client = framed::<_, Response<Value>, ClientMessage<Value>>(near);
    let mut server = framed_server::<_, Value, Value>(far, Duration::from_secs(60));
    let refusal = ServerError::new(io::ErrorKind::WouldBlock, String::from("full"));
    server.send(Response { request_id: 1, message: Err(refusal.clone()) }).await.unwrap();
    assert_eq!(client.next().await.unwrap().unwrap().message, Err(refusal));
}

#[tokio::test]
async fn a_frame_that_claims_to_be_too_long_is_an_error_before_it_is_read() {
    use tokio::io::AsyncWriteExt;
    let (mut near, far) = tokio::io::duplex(64);
    let mut server = framed_server::<_, RingRequest, RingResponse>(far, Duration::from_secs(60));
    near.write_all(&(FRAME_BYTES_MAX as u32 + 1).to_be_bytes()).await.unwrap();
    let read = server.next().now_or_never().expect("known from the length alone");
    assert!(read.unwrap().is_err());
}
