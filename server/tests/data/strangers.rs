//! Bytes on the RPC port that are no requests: the server answers or closes, and serves on.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use chordata_client::Client;

use crate::support::ring::{Server, TestRing, status};
use crate::support::{CALL, LOOK_EVERY, PATIENT, entry, within};

fn connected(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address.as_str()).unwrap();
    stream.set_read_timeout(Some(CALL)).unwrap();
    stream.set_write_timeout(Some(CALL)).unwrap();
    stream
}

/// What the server says to these bytes until it closes.
fn says_to(server: &Server, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connected(server);
    // It may close in the middle.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return answer,
            Ok(count) => answer.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return answer,
            Err(error) => panic!("the server neither answers nor closes: {error}"),
        }
    }
}

/// Bytes that are the same in each run (xorshift).
fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..count).map(|_| next()).collect()
}

/// A greeting of a client that knows neither cluster nor secret.
fn greeting() -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes[..8].copy_from_slice(b"CHORDATA");
    bytes[8..10].copy_from_slice(&chordata_rpc::PROTOCOL_VERSION.to_be_bytes());
    bytes
}

async fn is_healthy(ring: &TestRing, client: &Client) {
    let (key, value) = entry(1);
    client.put(key.clone(), value.clone()).await.unwrap();
    assert_eq!(client.get(key).await.unwrap().result.map(|record| record.value), Some(value));
    for server in &ring.servers {
        assert!(status(client, server).await.member);
        let log = server.process.log();
        assert!(!log.contains("panicked"), "{log}");
    }
    let fresh = ring.client().await;
    assert!(fresh.get(entry(1).0).await.unwrap().result.is_some(), "new connections are welcome");
}

#[tokio::test]
async fn a_browser_reads_what_this_is() {
    within(60, async {
        let ring = TestRing::start(1, &PATIENT).await;
        let client = ring.client().await;
        let answer = says_to(&ring.servers[0], b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.contains("this is a Chordata server"), "{answer}");
        is_healthy(&ring, &client).await;
    })
    .await;
}

#[tokio::test]
async fn noise_before_and_after_the_preamble_harms_nobody() {
    within(90, async {
        let ring = TestRing::start(2, &PATIENT).await;
        let client = ring.client().await;
        let server = &ring.servers[0];
        for seed in 1..20 {
            says_to(server, &noise(seed, 500));
            says_to(server, &[&b"CHORDATA"[..], &noise(seed, 500)].concat());
            let answer = says_to(server, &[&greeting()[..], &[0, 0, 0, 40], &noise(seed, 40)].concat());
            assert!(
                answer.starts_with(&[&greeting()[..10], &[0]].concat()),
                "the greeting itself was welcome"
            );
        }
        for frame in [
            &[0xff; 4][..],
            &[0xff; 2000],
            &[0, 0, 0, 0],
            &[0, 0x14, 0, 1],
            &[0, 0, 0, 1, 0xff],
            &[0, 0, 0, 3, 0, 0, 0],
        ] {
            let mut bytes = [&greeting()[..], frame].concat();
            // A frame that goes on for ever ends with the connection.
            bytes.extend([0xff; 64]);
            let mut stream = connected(server);
            let _ = stream.write_all(&bytes);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        }
        is_healthy(&ring, &client).await;
    })
    .await;
}

#[tokio::test]
async fn who_stops_in_the_middle_of_the_preamble_is_cut_off_and_holds_nobody_up() {
    within(90, async {
        let ring = TestRing::start(1, &PATIENT).await;
        let client = ring.client().await;
        let mut halves: Vec<TcpStream> = Vec::new();
        for length in (0..64).step_by(3) {
            let mut stream = connected(&ring.servers[0]);
            stream.write_all(&greeting()[..length]).unwrap();
            halves.push(stream);
        }
        is_healthy(&ring, &client).await;
        let began = Instant::now();
        for mut stream in halves {
            let mut rest = Vec::new();
            match stream.read_to_end(&mut rest) {
                Ok(_) => {}
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
            }
        }
        assert!(began.elapsed() < Duration::from_secs(10), "they are cut off after two seconds");
    })
    .await;
}

#[tokio::test]
async fn a_server_with_all_its_connections_taken_says_so_and_recovers() {
    within(90, async {
        let ring = TestRing::start(1, &["--connections-max", "8"]).await;
        let mut taken = Vec::new();
        let mut refused = 0;
        for _ in 0..20 {
            let mut stream = connected(&ring.servers[0]);
            stream.write_all(&greeting()).unwrap();
            let mut reply = [0; 64];
            stream.read_exact(&mut reply).unwrap();
            if reply[10] == 0 { taken.push(stream) } else { refused += 1 }
        }
        assert!(refused >= 12 && !taken.is_empty(), "{refused} of 20 were refused");
        drop(taken);
        let deadline = Instant::now() + CALL;
        let client = loop {
            let nodes = ring.addresses();
            match Client::connect(&nodes, chordata_client::Config::default()).await {
                Ok(client) => break client,
                Err(failure) => assert!(Instant::now() < deadline, "{failure}"),
            }
            tokio::time::sleep(LOOK_EVERY).await;
        };
        is_healthy(&ring, &client).await;
    })
    .await;
}
