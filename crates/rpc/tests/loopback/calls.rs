//! Calls over real connections: what arrives, what is too long, too many, too patient, or faulty.

use std::time::{Duration, Instant};

use crate::node::{HUGE, LONG, STUCK, Server, ping, ping_until_answered, pool};
use chordata_protocol::{Id, Key, Operation, Request, Response, Value};
use chordata_rpc::codec;
use chordata_rpc::preamble::{PREAMBLE_TIMEOUT, Service, introduce};
use chordata_rpc::service::{Error, RingRequest, RingResponse};
use chordata_rpc::{CallFailure, Credentials, Limits, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn calls_of_both_services_are_answered_on_one_port() {
    let server = Server::plain().await;
    let pool = pool(Credentials::default());
    assert_eq!(ping(&pool, &server.name()).await, Ok(Response::Pong(Id::from_u128(42))));

    let record = pool.ring(&server.name()).read(within(LONG), Key::new("a key")).await.unwrap();
    assert_eq!(record.unwrap().result.unwrap().value, Value::from("a key"));

    let answer = pool.client(&server.name()).get_node(within(LONG), 7, String::from("port")).await.unwrap();
    assert_eq!(answer, Err(Error::NoSuchNumber { number: 7, count: 1 }));
}

#[tokio::test]
async fn a_request_too_long_fails_alone_and_an_answer_too_long_too() {
    let server = Server::plain().await;
    let pool = pool(Credentials::default());
    let ring = pool.ring(&server.name());
    let stuck = tokio::spawn({
        let ring = ring.clone();
        async move { ring.read(within(LONG), Key::new(STUCK)).await.map(drop) }
    });
    server.reads_begun(1).await;

    let huge = Operation::put(vec![0; 2_000_000]);
    let failure = CallFailure::from(ring.apply(within(LONG), Key::new("k"), huge, None).await.unwrap_err());
    assert!(matches!(failure, CallFailure::TooLong(_)), "{failure}");
    assert!(failure.is_certain());

    let failure = CallFailure::from(ring.read(within(LONG), Key::new(HUGE)).await.unwrap_err());
    assert!(matches!(failure, CallFailure::NoAnswer(..)), "{failure}");
    assert!(!failure.is_certain());

    assert!(ping(&pool, &server.name()).await.is_ok());
    assert!(!stuck.is_finished(), "the connection is still the same one");
    stuck.abort();
}

#[tokio::test]
async fn a_call_ends_by_its_deadline() {
    let server = Server::plain().await;
    let pool = pool(Credentials::default());
    let before = Instant::now();
    let read = pool.ring(&server.name()).read(within(Duration::from_millis(100)), Key::new(STUCK)).await;
    let failure = CallFailure::from(read.unwrap_err());
    assert!(matches!(failure, CallFailure::TimedOut(..)), "{failure}");
    assert!(before.elapsed() < LONG / 5);
    assert!(ping(&pool, &server.name()).await.is_ok());
}

#[tokio::test]
async fn calls_beyond_the_limit_of_a_connection_are_refused_at_once() {
    let limits = Limits { in_flight_max: 2, ..Limits::default() };
    let server = Server::start(Credentials::default(), limits).await;
    let pool = pool(Credentials::default());
    let ring = pool.ring(&server.name());
    let stuck: Vec<_> = (0..2)
        .map(|_| {
            let ring = ring.clone();
            tokio::spawn(async move { ring.read(within(LONG), Key::new(STUCK)).await.map(drop) })
        })
        .collect();
    server.reads_begun(2).await;

    let failure = ping(&pool, &server.name()).await.unwrap_err();
    assert!(matches!(failure, CallFailure::Overloaded(..)), "{failure}");

    // When a caller goes away its handler is dropped, and there is room again.
    stuck[0].abort();
    ping_until_answered(&pool, &server.name()).await;
    stuck[1].abort();
}

#[tokio::test]
async fn an_answer_to_another_question_is_a_failure_and_not_a_panic() {
    let server = Server::plain().await;
    let answer = pool(Credentials::default()).client(&server.name()).status(within(LONG)).await;
    let failure = CallFailure::from(answer.unwrap_err());
    assert!(matches!(failure, CallFailure::NoAnswer(..)), "{failure}");
}

#[tokio::test]
async fn a_handler_that_panics_takes_its_connection_with_it_but_not_the_server() {
    let server = Server::plain().await;
    let pool = pool(Credentials::default());
    let before = Instant::now();
    let failure =
        CallFailure::from(pool.ring(&server.name()).read_many(within(LONG), vec![]).await.unwrap_err());
    assert!(matches!(failure, CallFailure::Lost(..)), "{failure}");
    assert!(before.elapsed() < LONG / 5);
    assert!(ping(&pool, &server.name()).await.is_ok());
}

/// A connection to the ring service, past its preamble.
async fn raw(server: &Server) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    introduce(&mut stream, Service::Ring, &Credentials::default(), PREAMBLE_TIMEOUT).await.unwrap();
    stream
}

async fn send_frame(stream: &mut TcpStream, frame: &[u8]) {
    stream.write_all(&(frame.len() as u32).to_be_bytes()).await.unwrap();
    stream.write_all(frame).await.unwrap();
}

/// A request with a deadline in so many seconds, as tarpc writes it.
fn request(seconds: u64) -> Vec<u8> {
    let trace = (0u128.to_le_bytes(), 0u64, 1u32);
    let ping = RingRequest::Ask { request: Request::Ping };
    codec::encode(&(0u32, (seconds, 0u32, trace), 5u64, ping)).unwrap().to_vec()
}

#[tokio::test]
async fn a_hostile_deadline_is_served_like_any_other() {
    let server = Server::plain().await;
    let mut stream = raw(&server).await;
    for seconds in [u64::MAX, u64::MAX / 2, 1 << 40, 1] {
        send_frame(&mut stream, &request(seconds)).await;
        let mut length = [0; 4];
        stream.read_exact(&mut length).await.unwrap();
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut frame).await.unwrap();
        let response: tarpc::Response<RingResponse> = codec::decode(&frame).unwrap();
        assert_eq!(response.request_id, 5);
        assert!(matches!(response.message, Ok(RingResponse::Ask(Response::Pong(_)))));
    }
}

#[tokio::test]
async fn a_frame_too_long_or_without_meaning_ends_its_connection_only() {
    let server = Server::plain().await;
    let too_long = (codec::FRAME_BYTES_MAX as u32 + 1).to_be_bytes().to_vec();
    let nonsense = [&9u32.to_be_bytes()[..], b"\x07nonsense"].concat();
    let trailing = [&request(1)[..], b"x"].concat();
    let trailing = [&(trailing.len() as u32).to_be_bytes()[..], &trailing].concat();
    for bytes in [too_long, nonsense, trailing] {
        let mut stream = raw(&server).await;
        stream.write_all(&bytes).await.unwrap();
        let mut answer = Vec::new();
        let closed = tokio::time::timeout(LONG, stream.read_to_end(&mut answer)).await;
        assert!(closed.is_ok() && answer.is_empty(), "closed without an answer");
        assert!(ping(&pool(Credentials::default()), &server.name()).await.is_ok());
    }
}
