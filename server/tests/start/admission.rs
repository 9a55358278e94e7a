//! Who is let in: other clusters, other secrets, other versions, and who is not Chordata at all.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use chordata_client::{Client, Config, Failure};
use chordata_protocol::Address;
use chordata_rpc::{Credentials, Secret};

use crate::support::process::{refused, refused_at};
use crate::support::ring::Server;
use crate::support::{CALL, within};

const ONE: &str = "0123456789abcdef0123456789abcdef";
const TWO: &str = "00000000000000000000000000000002";
const SECRET: &str = "a secret of the first cluster";
const OTHER_SECRET: &str = "a secret of the second cluster";

fn secret_file(home: &Path, text: &str) {
    std::fs::write(home.join("secret"), format!("{text}\n")).unwrap();
}

/// A server in a home with that secret.
fn server_with_secret(more: &[&str]) -> (Server, tempfile::TempDir) {
    let keep = tempfile::tempdir().unwrap();
    secret_file(keep.path(), SECRET);
    let path = keep.path().join("secret").display().to_string();
    let flags: Vec<&str> = ["--secret-file", &path].into_iter().chain(more.iter().copied()).collect();
    (Server::start(None, &flags), keep)
}

#[test]
fn a_node_of_another_cluster_is_refused_and_both_ids_are_named() {
    let server = Server::start(None, &["--cluster", ONE]);
    let (code, log) = refused(&["--port", "0", "--join", server.address.as_str(), "--cluster", TWO], &[]);
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains(ONE) && log.contains(TWO) && log.contains(server.address.as_str()), "{log}");
    assert!(log.contains("of cluster"), "{log}");
}

#[test]
fn a_data_directory_belongs_to_one_cluster() {
    let mut server = Server::start(None, &["--cluster", ONE]);
    server.terminate();
    let data = server.home.path().join("data").display().to_string();
    let (code, log) = refused(&["--port", "0", "--data", &data, "--cluster", TWO], &[]);
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains(ONE) && log.contains(TWO), "{log}");
}

#[test]
fn a_wrong_secret_a_missing_one_and_one_too_many_are_told_apart() {
    let (server, _keep) = server_with_secret(&[]);
    let join = server.address.as_str();
    let home = tempfile::tempdir().unwrap();
    secret_file(home.path(), OTHER_SECRET);
    let (code, log) =
        refused_at(home.path(), &["--port", "0", "--join", join, "--secret-file", "secret"], &[]);
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("different secrets"), "{log}");
    assert!(!log.contains(OTHER_SECRET) && !log.contains(SECRET), "secrets stay secret: {log}");

    let (code, log) = refused(&["--port", "0", "--join", join], &[]);
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("the cluster has a secret"), "{log}");

    let open = Server::start(None, &[]);
    let (code, log) = refused_at(
        home.path(),
        &["--port", "0", "--join", open.address.as_str(), "--secret-file", "secret"],
        &[],
    );
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("the server none"), "{log}");
}

#[tokio::test]
async fn those_who_know_the_secret_form_a_ring_and_clients_need_it_too() {
    within(60, async {
        let (server, keep) = server_with_secret(&[]);
        let path = keep.path().join("secret").display().to_string();
        let second = Server::start(Some(&server.address), &["--secret-file", &path]);

        let nodes = [server.address.clone(), second.address.clone()];
        let connect = async |secret: Option<&str>| {
            let secret = secret.map(|text| Secret::new(text).unwrap());
            let config = Config { credentials: Credentials::new(None, secret), ..Config::default() };
            Client::connect(&nodes, config).await.map(|_| ())
        };
        assert_eq!(connect(Some(SECRET)).await, Ok(()));
        for (secret, reason) in
            [(Some(OTHER_SECRET), "different secrets"), (None, "the cluster has a secret")]
        {
            let Err(Failure::Unreachable(text)) = connect(secret).await else { panic!("{secret:?}") };
            assert!(text.contains(reason), "{text}");
        }
    })
    .await;
}

/// Somebody who answers each connection with these bytes, and what it was asked first.
fn impostor(answer: &'static [u8]) -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.write_all(answer);
            // Closing with something unread would cut the answer off.
            let _ = stream.set_read_timeout(Some(CALL));
            let mut rest = [0; 256];
            while stream.read(&mut rest).is_ok_and(|count| count > 0) {}
        }
    });
    Address::new(&address)
}

#[test]
fn a_target_of_another_version_and_one_that_is_not_chordata_end_the_attempt_at_once() {
    for (answer, reason) in [
        (&b"CHORDATA\x00\x07\x01 and what only version 7 understands"[..], "version 7"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "it is not Chordata"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "it is not Chordata"),
    ] {
        let target = impostor(answer);
        let (code, log) = refused(&["--port", "0", "--join", target.as_str(), "--join-timeout", "30"], &[]);
        assert_eq!(code, Some(1), "{log}");
        assert!(log.contains(reason) && log.contains(target.as_str()), "{log}");
    }
}

#[test]
fn a_client_of_another_version_is_told_which_one_this_is() {
    let server = Server::start(None, &[]);
    let mut stream = TcpStream::connect(server.address.as_str()).unwrap();
    stream.set_read_timeout(Some(CALL)).unwrap();
    stream.write_all(b"CHORDATA\x00\x09 and what only version 9 understands").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let version = chordata_rpc::PROTOCOL_VERSION.to_be_bytes();
    assert_eq!(answer.get(..8), Some(&b"CHORDATA"[..]));
    assert_eq!(answer.get(8..10), Some(&version[..]));
    assert_ne!(answer[10], 0, "and it was not welcome");
}
