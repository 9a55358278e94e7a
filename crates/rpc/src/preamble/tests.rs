//! Both sides of the preamble against each other, and each against peers that lie, over streams in memory.

use futures::future::join;
use tokio::io::{DuplexStream, duplex};

use super::*;

const ONE: ClusterId = ClusterId([1; 16]);
const TWO: ClusterId = ClusterId([2; 16]);
const ALL: &[Service] = &[Service::Client, Service::Ring, Service::Standby];

fn credentials(cluster: Option<ClusterId>, secret: Option<&str>) -> Credentials {
    Credentials::new(cluster, secret.map(|text| Secret::new(text).unwrap()))
}

/// What both sides make of each other: (connecting, accepting). Each drops its stream when it is through.
async fn meet(
    client: &Credentials,
    service: Service,
    server: &Credentials,
    full: bool,
) -> (Result<ServerIdentity, PreambleError>, Result<Service, PreambleError>) {
    let (mut near, mut far) = duplex(1024);
    join(async move { introduce(&mut near, service, client, PREAMBLE_TIMEOUT).await }, async move {
        receive(&mut far, server, ALL, full, PREAMBLE_TIMEOUT).await
    })
    .await
}

#[tokio::test]
async fn those_who_fit_are_welcome_and_a_newcomer_learns_the_cluster() {
    let secret = Some("0123456789abcdef");
    for (client, server, secret) in [
        (Some(ONE), Some(ONE), None),
        (None, Some(ONE), None),
        (None, Some(ONE), secret),
        (None, None, secret),
    ] {
        for service in [Service::Client, Service::Ring, Service::Probe, Service::Standby] {
            let (introduced, received) =
                meet(&credentials(client, secret), service, &credentials(server, secret), false).await;
            assert_eq!(introduced, Ok(ServerIdentity { cluster: server, has_secret: secret.is_some() }));
            assert_eq!(received, Ok(service));
        }
    }
}

#[tokio::test]
async fn those_who_do_not_fit_both_learn_why() {
    let (one, other) = (Some("0123456789abcdef"), Some("fedcba9876543210"));
    let cases = [
        (None, one, PreambleError::SecretRequired),
        (one, None, PreambleError::SecretNotExpected),
        (one, other, PreambleError::WrongSecret),
    ];
    for (client, server, expected) in cases {
        let (introduced, received) =
            meet(&credentials(None, client), Service::Ring, &credentials(None, server), false).await;
        assert_eq!((introduced, received), (Err(expected.clone()), Err(expected)));
    }
    let (introduced, received) =
        meet(&credentials(Some(ONE), None), Service::Ring, &credentials(Some(TWO), None), false).await;
    assert_eq!(introduced, Err(PreambleError::WrongCluster { ours: ONE, theirs: TWO }));
    assert_eq!(received, Err(PreambleError::WrongCluster { ours: TWO, theirs: ONE }));
}

#[tokio::test]
async fn a_server_without_a_cluster_takes_only_those_who_name_none() {
    let (client, server) = (credentials(Some(ONE), None), credentials(None, None));
    for service in [Service::Client, Service::Ring, Service::Standby] {
        let refused = PreambleError::NoCluster(ONE);
        assert_eq!(meet(&client, service, &server, false).await, (Err(refused.clone()), Err(refused)));
    }
    let (introduced, _) = meet(&client, Service::Probe, &server, false).await;
    assert_eq!(introduced, Ok(ServerIdentity { cluster: None, has_secret: false }));
}

#[tokio::test]
async fn a_service_that_is_not_offered_is_refused() {
    let (mut near, mut far) = duplex(1024);
    let nobody = Credentials::default();
    let (introduced, received) =
        join(introduce(&mut near, Service::Ring, &nobody, PREAMBLE_TIMEOUT), async {
            let received = receive(&mut far, &nobody, &[Service::Standby], false, PREAMBLE_TIMEOUT).await;
            drop(far);
            received
        })
        .await;
    assert_eq!((introduced, received), (Err(PreambleError::NotOffered), Err(PreambleError::NotOffered)));
}

#[tokio::test]
async fn a_full_server_answers_probes_only_whoever_they_are_from() {
    let server = credentials(Some(ONE), Some("0123456789abcdef"));
    let (introduced, _) = meet(&server, Service::Client, &server, true).await;
    assert_eq!(introduced, Err(PreambleError::TooManyConnections));
    let stranger = credentials(Some(TWO), None);
    let (introduced, received) = meet(&stranger, Service::Probe, &server, true).await;
    assert_eq!(introduced, Ok(ServerIdentity { cluster: Some(ONE), has_secret: true }));
    assert_eq!(received, Ok(Service::Probe));
}

/// Lets a server without a secret receive these bytes; gives what it made of them and all that it answered.
async fn send_to_server(bytes: &[u8], server: &Credentials) -> (Result<Service, PreambleError>, Vec<u8>) {
    let (mut near, mut far) = duplex(64 * 1024);
    near.write_all(bytes).await.unwrap();
    near.shutdown().await.unwrap();
    let received = receive(&mut far, server, ALL, false, PREAMBLE_TIMEOUT).await;
    drop(far);
    let mut answer = Vec::new();
    near.read_to_end(&mut answer).await.unwrap();
    (received, answer)
}

#[tokio::test]
async fn a_stranger_gets_one_line_of_text() {
    let (received, answer) =
        send_to_server(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", &Credentials::default()).await;
    assert_eq!(received, Err(PreambleError::NotChordata(String::from("\"GET / HTTP\""))));
    let answer = String::from_utf8(answer).unwrap();
    assert!(
        answer.starts_with("this is a Chordata server; it speaks its own protocol (version 4) on this port")
    );
    assert_eq!(answer.lines().count(), 1);
}

#[tokio::test]
async fn another_version_is_told_so_in_the_part_that_all_versions_share() {
    let (received, answer) =
        send_to_server(b"CHORDATA\x00\x07and what version 7 says", &Credentials::default()).await;
    assert_eq!(received, Err(PreambleError::WrongVersion { ours: PROTOCOL_VERSION, theirs: 7 }));
    assert_eq!(&answer[..10], b"CHORDATA\x00\x04");
    assert_eq!(answer[10], Verdict::WrongVersion as u8);
}

#[tokio::test]
async fn an_unknown_service_is_refused() {
    let hello =
        Greeting { version: PROTOCOL_VERSION, subject: 9, cluster: None, has_secret: false, nonce: [0; 32] }
            .to_bytes();
    let (received, answer) = send_to_server(&hello, &Credentials::default()).await;
    assert_eq!(received, Err(PreambleError::ServiceUnknown(9)));
    assert_eq!(answer[10], Verdict::ServiceUnknown as u8);
}

/// Lets a client meet a server that answers with these bytes whatever it is told.
async fn meet_liar(client: &Credentials, answer: &[u8]) -> Result<ServerIdentity, PreambleError> {
    let (mut near, mut far) = duplex(64 * 1024);
    far.write_all(answer).await.unwrap();
    far.shutdown().await.unwrap();
    introduce(&mut near, Service::Client, client, PREAMBLE_TIMEOUT).await
}

#[tokio::test]
async fn a_client_does_not_take_a_servers_word_for_it() {
    let welcome = Greeting {
        version: PROTOCOL_VERSION,
        subject: 0,
        cluster: Some(TWO),
        has_secret: false,
        nonce: [0; 32],
    };
    let with_secret = credentials(None, Some("0123456789abcdef"));
    assert_eq!(
        meet_liar(&with_secret, &welcome.to_bytes()).await,
        Err(PreambleError::SecretNotExpected),
        "a welcome without proof"
    );
    assert_eq!(
        meet_liar(&credentials(Some(ONE), None), &welcome.to_bytes()).await,
        Err(PreambleError::WrongCluster { ours: ONE, theirs: TWO }),
        "a welcome of another cluster"
    );
    let claims_secret = Greeting { has_secret: true, ..welcome };
    let answer = [&claims_secret.to_bytes()[..], &[0; RULING_BYTES]].concat();
    assert_eq!(meet_liar(&with_secret, &answer).await, Err(PreambleError::WrongSecret), "a made-up proof");
}

#[tokio::test]
async fn a_client_that_reaches_something_else_says_so() {
    let client = Credentials::default();
    let error = meet_liar(&client, b"SSH-2.0-OpenSSH_9.2p1\r\n").await.unwrap_err();
    assert_eq!(error, PreambleError::NotChordata(String::from("\"SSH-2.0-Op\"")));
    let error = meet_liar(&client, b"").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the connection broke before the other end had said who it is: it closed the connection"
    );
    let other_version = b"CHORDATA\x00\x09\x01 and what version 9 says";
    assert_eq!(
        meet_liar(&client, other_version).await,
        Err(PreambleError::WrongVersion { ours: PROTOCOL_VERSION, theirs: 9 })
    );
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_or_one_byte_only_is_given_up_in_time() {
    for bytes in [&b""[..], b"C", b"CHORDATA\x00\x04"] {
        let (mut near, mut far): (DuplexStream, DuplexStream) = duplex(64);
        near.write_all(bytes).await.unwrap();
        let before = Instant::now();
        let received = receive(&mut far, &Credentials::default(), ALL, false, PREAMBLE_TIMEOUT).await;
        assert_eq!(received, Err(PreambleError::TimedOut(PREAMBLE_TIMEOUT)));
        assert_eq!(before.elapsed().as_secs(), 2);
    }
    let (mut near, _far) = duplex(64);
    let introduced = introduce(&mut near, Service::Ring, &Credentials::default(), PREAMBLE_TIMEOUT).await;
    assert_eq!(introduced, Err(PreambleError::TimedOut(PREAMBLE_TIMEOUT)));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_close_after_a_refusal_is_cut_off_in_time() {
    let (mut near, mut far) = duplex(64 * 1024);
    near.write_all(b"EHLO example.com\r\n").await.unwrap();
    let before = Instant::now();
    let received = receive(&mut far, &Credentials::default(), ALL, false, PREAMBLE_TIMEOUT).await;
    assert!(matches!(received, Err(PreambleError::NotChordata(_))));
    assert_eq!(before.elapsed().as_secs(), 2);
}
