//! The pool over networks in memory that hang, break, and count.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::AtomicU32;

use chordata_protocol::{CallError, Id, Request, Response};
use futures::future::{BoxFuture, FutureExt, join_all};
use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;
use crate::net::{BoxStream, Listener};
use crate::preamble::{Service, receive};
use crate::server::{Limits, Session};
use crate::service::{ChordataRequest, ChordataResponse, RingRequest, RingResponse};

const LONG: Duration = Duration::from_secs(50);

/// Gives the far end of every connection to the test.
struct MemoryNet {
    far_ends: mpsc::UnboundedSender<DuplexStream>,
    connects: AtomicU32,
}

impl MemoryNet {
    fn new() -> (Arc<MemoryNet>, mpsc::UnboundedReceiver<DuplexStream>) {
        let (far_ends, accepted) = mpsc::unbounded_channel();
        (Arc::new(MemoryNet { far_ends, connects: AtomicU32::new(0) }), accepted)
    }

    fn connects(&self) -> u32 {
        self.connects.load(Ordering::Relaxed)
    }
}

impl Net for MemoryNet {
    fn connect<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<BoxStream>> {
        self.connects.fetch_add(1, Ordering::Relaxed);
        let (near, far) = duplex(64 * 1024);
        let connected = match self.far_ends.send(far) {
            Ok(()) => Ok(Box::new(near) as BoxStream),
            Err(_) => Err(io::Error::other("nobody is there")),
        };
        std::future::ready(connected).boxed()
    }

    fn listen(&self, _: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        std::future::ready(Err(io::Error::other("not needed"))).boxed()
    }
}

/// Serves pings on one connection until it is dropped.
async fn serve_one(mut far: DuplexStream) {
    let service = receive(
        &mut far,
        &Credentials::default(),
        &[Service::Ring, Service::Client],
        false,
        PREAMBLE_TIMEOUT,
    )
    .await;
    assert_eq!(service, Ok(Service::Ring));
    let session = Session::<ForRing>::new(Box::new(far), Arc::from("a test"), Limits::default());
    session
        .run(tarpc::server::serve(|_, request: RingRequest| async move {
            assert!(matches!(request, RingRequest::Ask { request: Request::Ping }));
            Ok(RingResponse::Ask(Response::Pong(Id::ZERO)))
        }))
        .await;
}

/// Makes a call that has to connect, and serves that connection in a task.
async fn ping_served(
    pool: &Pool,
    accepted: &mut mpsc::UnboundedReceiver<DuplexStream>,
) -> (Result<Response, CallFailure>, JoinHandle<()>) {
    let mut call = pin!(ping(pool, LONG));
    tokio::select! {
        biased;
        answer = &mut call => panic!("it did not connect: {answer:?}"),
        far = accepted.recv() => {
            let served = tokio::spawn(serve_one(far.unwrap()));
            (call.await, served)
        }
    }
}

fn pool(net: &Arc<MemoryNet>, connections_per_peer: usize) -> Pool {
    let settings = PoolSettings { connections_per_peer, ..PoolSettings::default() };
    Pool::new(net.clone(), Credentials::default(), settings)
}

fn somebody() -> Address {
    Address::new("somebody:1")
}

async fn ping(pool: &Pool, limit: Duration) -> Result<Response, CallFailure> {
    Ok(pool.ring(&somebody()).ask(within(limit), Request::Ping).await?)
}

#[tokio::test]
async fn what_this_process_answers_needs_no_connection_and_has_a_deadline() {
    let (net, _accepted) = MemoryNet::new();
    let pool = pool(&net, 1);
    let here: InProcess<ForClients> = Arc::new(|_, request| {
        async move {
            if let ChordataRequest::Depart {} = request {
                std::future::pending::<()>().await;
            }
            Ok(ChordataResponse::Fingers(Ok(Vec::new())))
        }
        .boxed()
    });
    pool.answer_in_process(&somebody(), here);
    assert_eq!(pool.client(&somebody()).fingers(within(LONG)).await.unwrap(), Ok(Vec::new()));
    let failure = pool.client(&somebody()).depart(within(Duration::from_millis(20))).await.unwrap_err();
    assert!(matches!(CallFailure::from(failure), CallFailure::TimedOut(..)));
    assert_eq!(net.connects(), 0);
}

#[tokio::test]
async fn callers_share_one_attempt_to_connect() {
    let (net, mut accepted) = MemoryNet::new();
    let pool = pool(&net, 1);
    let calls = join_all((0..100).map(|_| ping(&pool, LONG)));
    let server = async { drop(tokio::spawn(serve_one(accepted.recv().await.unwrap()))) };
    let (answers, ()) = tokio::join!(calls, server);
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(net.connects(), 1);
}

#[tokio::test]
async fn several_connections_are_opened_and_used_in_turn() {
    let (net, mut accepted) = MemoryNet::new();
    tokio::spawn(async move {
        while let Some(far) = accepted.recv().await {
            tokio::spawn(serve_one(far));
        }
    });
    let pool = pool(&net, 3);
    assert!(join_all((0..10).map(|_| ping(&pool, LONG))).await.iter().all(Result::is_ok));
    assert_eq!(net.connects(), 3);
    assert!(join_all((0..10).map(|_| ping(&pool, LONG))).await.iter().all(Result::is_ok));
    assert_eq!(net.connects(), 3);
}

#[tokio::test]
async fn a_spare_connection_that_cannot_be_opened_harms_no_call_and_is_not_tried_every_time() {
    let (net, mut accepted) = MemoryNet::new();
    let pool = pool(&net, 2);
    let (answer, _) = ping_served(&pool, &mut accepted).await;
    assert!(answer.is_ok());
    drop(accepted);
    for _ in 0..100 {
        assert!(ping(&pool, LONG).await.is_ok());
    }
    assert_eq!(net.connects(), 2);
}

#[tokio::test]
async fn a_broken_connection_fails_what_it_sent_and_what_it_did_not_send_goes_out_on_a_fresh_one() {
    let (net, mut accepted) = MemoryNet::new();
    let pool = pool(&net, 1);
    let sent = tokio::spawn({
        let pool = pool.clone();
        async move { ping(&pool, LONG).await }
    });
    let mut far = fall_silent(accepted.recv().await.unwrap()).await;
    far.read_exact(&mut [0; 4]).await.unwrap();

    // The peer goes away, and the next call is made before this side has had any chance to notice.
    drop(far);
    let (answer, _) = ping_served(&pool, &mut accepted).await;
    assert!(answer.is_ok(), "{answer:?}");
    assert_eq!(net.connects(), 2);
    let failure = sent.await.unwrap();
    assert!(matches!(failure, Err(CallFailure::Lost(..))), "{failure:?}");
}

#[tokio::test]
async fn a_failed_attempt_fails_its_callers_at_once_and_the_next_call_tries_anew() {
    let (net, accepted) = MemoryNet::new();
    drop(accepted);
    let pool = pool(&net, 1);
    let before = Instant::now();
    for attempt in 1..=3 {
        let failure = ping(&pool, LONG).await.unwrap_err();
        assert_eq!(failure, CallFailure::Unreachable(somebody(), String::from("nobody is there")));
        assert_eq!(net.connects(), attempt);
    }
    assert!(before.elapsed() < LONG / 5);
}

#[tokio::test]
async fn a_call_to_a_peer_that_hangs_in_the_preamble_ends_by_its_deadline_and_was_not_sent() {
    let (net, _accepted) = MemoryNet::new();
    let pool = pool(&net, 1);
    let before = Instant::now();
    let failure = ping(&pool, Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(CallError::from(failure), CallError::Unreachable);
    assert!(before.elapsed() < PREAMBLE_TIMEOUT);
}

/// A peer that lets everybody in and then never answers.
async fn fall_silent(mut far: DuplexStream) -> DuplexStream {
    receive(&mut far, &Credentials::default(), &[Service::Ring, Service::Client], false, PREAMBLE_TIMEOUT)
        .await
        .unwrap();
    far
}

#[tokio::test]
async fn a_connection_on_which_nothing_was_heard_gets_no_new_calls() {
    let (net, mut accepted) = MemoryNet::new();
    let pool = pool(&net, 1);
    let (failure, _silent) = tokio::join!(ping(&pool, SILENCE_MIN * 4), async {
        fall_silent(accepted.recv().await.unwrap()).await
    });
    assert!(matches!(failure, Err(CallFailure::TimedOut(..))), "{failure:?}");

    let (answer, _) = ping_served(&pool, &mut accepted).await;
    assert!(answer.is_ok());
    assert_eq!(net.connects(), 2);
}

#[tokio::test]
async fn a_call_that_finds_no_room_to_send_ends_by_its_deadline() {
    let (net, mut accepted) = MemoryNet::new();
    let settings = PoolSettings { in_flight_max: 1, ..PoolSettings::default() };
    let pool = Pool::new(net.clone(), Credentials::default(), settings);
    let calls = join_all((0..5).map(|_| ping(&pool, Duration::from_millis(100))));
    let before = Instant::now();
    let (failures, _silent) =
        tokio::join!(calls, async { fall_silent(accepted.recv().await.unwrap()).await });
    for failure in failures {
        assert!(matches!(failure, Err(CallFailure::TimedOut(..))), "{failure:?}");
    }
    assert!(before.elapsed() < LONG / 5);
}

#[tokio::test]
async fn a_deadline_without_end_is_cut() {
    let (net, mut accepted) = MemoryNet::new();
    let settings = PoolSettings { deadline_max: Duration::from_millis(100), ..PoolSettings::default() };
    let pool = Pool::new(net.clone(), Credentials::default(), settings);
    let (failure, _silent) =
        tokio::join!(ping(&pool, Duration::MAX), async { fall_silent(accepted.recv().await.unwrap()).await });
    assert_eq!(failure, Err(CallFailure::TimedOut(somebody(), Duration::from_millis(100))));

    let settings = PoolSettings { deadline_max: Duration::MAX, in_flight_max: usize::MAX, ..settings };
    let pool = Pool::new(net.clone(), Credentials::default(), settings);
    let (answer, _) = ping_served(&pool, &mut accepted).await;
    assert!(answer.is_ok(), "settings without end do no harm");
}

#[tokio::test]
async fn a_forgotten_peer_is_disconnected_when_its_calls_have_ended() {
    let (net, mut accepted) = MemoryNet::new();
    let pool = pool(&net, 1);
    let (answer, served) = ping_served(&pool, &mut accepted).await;
    assert!(answer.is_ok());
    pool.forget(&somebody());
    served.await.unwrap();
}
