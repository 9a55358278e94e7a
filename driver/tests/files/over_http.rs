//! The same files through HTTP and through the commands.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::PATIENCE;
use crate::support::ring::Ring;
use crate::tools::{MIB, content, fetched, pieces, source, text};

/// Head and body of an answer.
fn ask(ring: &Ring, place: usize, request: &str, headers: &str, body: &[u8]) -> (String, Vec<u8>) {
    let address = ring.nodes[place].http.as_ref().expect("it was started with --http");
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    let head = format!(
        "{request} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head ends") + 4;
    let body = answer.split_off(end);
    (String::from_utf8(answer).unwrap(), body)
}

#[test]
fn what_one_stores_the_other_gives_back() {
    let ring =
        Ring::start_with(3, &["--replication", "2", "--durability", "memory", "--http", "127.0.0.1:0"]);
    let all = content(11, 4 * MIB + 321);
    let (head, _) = ask(&ring, 0, "PUT /v1/files/by-http", "content-type: x/y\r\n", &all);
    assert!(head.starts_with("HTTP/1.1 201"), "{head}");
    assert_eq!(fetched(&ring, 1, "by-http"), all);
    let stat = ring.run(&["--json", "file", "stat", "by-http", "--check"]).exits(0).json();
    let hash = blake3::hash(&all).to_hex().to_string();
    assert_eq!((stat["hash"].as_str(), stat["content_type"].as_str()), (Some(&*hash), Some("x/y")));
    assert!(head.contains(&format!("etag: \"{hash}\"")), "{head}");

    let other = content(12, 2 * MIB + 1);
    let path = source(&ring, "other", &other);
    ring.run(&["file", "put", text(&path), "--name", "dir/by command"]).exits(0);
    let (head, body) = ask(&ring, 2, "GET /v1/files/dir%2Fby%20command", "", b"");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(body == other, "the same bytes");
    let range = format!("range: bytes={}-{MIB}\r\n", MIB - 1);
    let (head, body) = ask(&ring, 1, "GET /v1/files/dir%2Fby%20command", &range, b"");
    assert!(head.starts_with("HTTP/1.1 206"), "{head}");
    assert_eq!(body, other[MIB - 1..=MIB]);
    let (head, _) = ask(&ring, 1, "DELETE /v1/files/dir%2Fby%20command", "", b"");
    assert!(head.starts_with("HTTP/1.1 204"), "{head}");
    ring.run(&["file", "get", "dir/by command"]).exits(3);
    ring.run(&["file", "rm", "by-http"]).exits(0);
    let (head, _) = ask(&ring, 0, "GET /v1/files/by-http", "", b"");
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");
    assert_eq!(pieces(&ring), Vec::<String>::new());
}
