//! Where HTTP is answered, who may ask, and what limits a connection.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::SINGLE;
use crate::support::process::{Process, refused, refused_at};
use crate::support::ring::Server;
use crate::support::{eventually, free_port, within};
use crate::web::Web;

const ALONE: [&str; 4] = ["--port", "0", "--consistency", "single"];

fn start(home: &std::path::Path, more: &[&str], environment: &[(&str, &str)]) -> (Process, Option<String>) {
    let arguments: Vec<String> = ALONE.iter().chain(more).map(|text| (*text).to_owned()).collect();
    let process = Process::start(home, &arguments, environment);
    let (_, _, http) = process.ready_with_http();
    (process, http)
}

#[test]
fn without_a_port_the_first_free_one_from_5000_up_is_taken_and_said() {
    let homes = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let servers = homes.each_ref().map(|home| start(home.path(), &["--http"], &[]));
    let ports = servers.each_ref().map(|(process, http)| {
        let (host, port) = http.as_ref().unwrap().rsplit_once(':').unwrap();
        assert_eq!(host, "127.0.0.1");
        assert!(process.log().contains(&format!("HTTP is answered at http://127.0.0.1:{port}")));
        port.parse::<u16>().unwrap()
    });
    assert!(ports.iter().all(|port| (5000..5100).contains(port)), "{ports:?}");
    assert_ne!(ports[0], ports[1]);
    let home = tempfile::tempdir().unwrap();
    let (_process, none) = start(home.path(), &[], &[]);
    assert_eq!(none, None, "without --http there is none");
}

#[test]
fn it_is_set_by_flag_environment_and_file_and_a_port_that_is_named_is_that_one() {
    let [first, second, third] =
        [free_port(), free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("node.toml"), format!("http = \"{first}\"\n")).unwrap();
    let file = ["--config", "node.toml"];
    let set = |more: &[&str], environment: &[(&str, &str)]| start(home.path(), more, environment).1.unwrap();
    assert_eq!(set(&file, &[]), first);
    assert_eq!(set(&file, &[("CHORDATA_HTTP", &second)]), second);
    assert_eq!(set(&["--config", "node.toml", "--http", &third], &[("CHORDATA_HTTP", &second)]), third);
    let (_process, taken) = start(home.path(), &["--http", &first], &[]);
    let (code, log) = refused(&[&ALONE[..], &["--http", &taken.unwrap()]].concat(), &[]);
    assert_eq!(code, Some(1));
    assert!(log.contains("in use by another process") && log.contains("--http"), "{log}");
}

#[test]
fn other_addresses_need_a_token_and_bad_settings_are_named() {
    let (code, log) = refused(&[&ALONE[..], &["--http", "0.0.0.0:0"]].concat(), &[]);
    assert_eq!(code, Some(2));
    assert!(log.contains("--http-token-file") && log.contains("anybody"), "{log}");
    let (code, log) = refused(&[&ALONE[..], &["--http", "here"]].concat(), &[]);
    assert_eq!(code, Some(2));
    assert!(log.contains("http cannot be \"here\""), "{log}");
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("token"), "short\n").unwrap();
    let (code, log) =
        refused_at(home.path(), &[&ALONE[..], &["--http", "0", "--http-token-file", "token"]].concat(), &[]);
    assert_eq!(code, Some(2));
    assert!(log.contains("at least 16"), "{log}");
}

#[tokio::test]
async fn a_token_is_asked_of_everybody_but_for_health() {
    within(60, async {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("token"), "0123456789abcdef\n").unwrap();
        let (_process, http) =
            start(home.path(), &["--http", "0.0.0.0:0", "--http-token-file", "token"], &[]);
        let address = http.unwrap();
        assert!(address.starts_with("127.0.0.1:"), "others reach it at the node's own host: {address}");
        let mut web = Web::new(&address);
        for path in ["/v1/kv/a", "/metrics", "/openapi.json", "/docs", "/nowhere"] {
            let reply = web.get(path).await;
            assert_eq!((reply.status.as_u16(), reply.code().as_str()), (401, "unauthorized"), "{path}");
            assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
        }
        for wrong in ["Bearer 0123456789abcdeg", "Basic 0123456789abcdef", "0123456789abcdef", "Bearer "] {
            assert_eq!(
                web.send("GET", "/metrics", &[("authorization", wrong)], "").await.status,
                401,
                "{wrong}"
            );
        }
        assert_eq!(web.get("/healthz").await.status, 200);
        assert_eq!(web.get("/readyz").await.status, 200);
        web.headers.push(("authorization", "bearer 0123456789abcdef".to_owned()));
        assert_eq!(web.put("/v1/kv/a", "b").await.status, 204);
        assert_eq!(web.send("GET", "/v1/kv/a", &[("host", "a.name.example")], "").await.body, "b");
    })
    .await;
}

#[tokio::test]
async fn pages_of_other_sites_may_not_ask_through_a_browser() {
    within(60, async {
        let server = Server::start(None, &SINGLE);
        let web = Web::new(server.http.as_ref().unwrap());
        let own = format!("http://{}", web.address);
        for (headers, status) in [
            (vec![("origin", "http://evil.example")], 403),
            (vec![("origin", "null")], 403),
            (vec![("host", "evil.example")], 403),
            (vec![("host", "evil.example"), ("origin", "http://evil.example")], 403),
            (vec![("origin", own.as_str())], 200),
            (vec![("host", "localhost:1")], 200),
        ] {
            let reply = web.send("POST", "/insert/a/b", &headers, "").await;
            assert_eq!(reply.status.as_u16(), status, "{headers:?}");
        }
    })
    .await;
}

/// What a connection answers to these bytes until it is closed.
fn raw(address: &str, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(50))).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_head_that_does_not_come_and_one_that_is_none_end_the_connection() {
    let server = Server::start(None, &SINGLE);
    let address = server.http.clone().unwrap();
    assert!(raw(&address, b"nonsense\r\n\r\n").starts_with("HTTP/1.1 400"), "no HTTP");
    let long = format!("GET /query/{} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n", "k".repeat(70_000));
    assert!(raw(&address, long.as_bytes()).starts_with("HTTP/1.1 414"), "a path over 64 KiB");
    let began = Instant::now();
    let answer = raw(&address, b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nx: ");
    assert!(began.elapsed() < Duration::from_secs(45), "it is closed");
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[test]
fn one_connection_too_many_is_told_so() {
    let limits = ["--connections-max", "2"];
    let server = Server::start(None, &[&SINGLE[..], &limits].concat());
    let address = server.http.clone().unwrap();
    let ask = |stream: &mut TcpStream| {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    };
    let mut places = [(); 2].map(|()| TcpStream::connect(&address).unwrap());
    for place in &mut places {
        assert_eq!(ask(place), "HTTP/1.1 200");
    }
    let mut third = TcpStream::connect(&address).unwrap();
    let mut answer = String::new();
    third.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("HTTP/1.1 503") && head.contains(&format!("content-length: {}", body.len())),
        "{head}"
    );
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["code"], "overloaded");
}

#[tokio::test]
async fn an_answer_that_is_made_while_it_is_sent_counts_until_its_end() {
    within(90, async {
        let server = Server::start(None, &SINGLE);
        let web = Web::new(server.http.as_ref().unwrap());
        let in_flight = async || {
            let text = String::from_utf8(web.get("/metrics").await.body.to_vec()).unwrap();
            let line = text.lines().find_map(|line| line.strip_prefix("chordata_http_in_flight "));
            line.unwrap().parse::<u64>().unwrap()
        };
        assert_eq!(in_flight().await, 1, "the question itself");
        let mut events = web.open("GET", "/v1/events").await;
        http_body_util::BodyExt::frame(events.body_mut()).await.unwrap().unwrap();
        assert_eq!(in_flight().await, 2);
        drop(events);
        eventually("nobody listens any more", Duration::from_secs(40), async || {
            let count = in_flight().await;
            if count == 1 { Ok(()) } else { Err(count.to_string()) }
        })
        .await;
    })
    .await;
}

/// A request that is being carried out is answered when the server stops.
#[tokio::test]
async fn stopping_answers_what_is_under_way_and_ends_what_would_go_on() {
    within(60, async {
        let mut server = Server::start(None, &SINGLE);
        let web = Web::new(server.http.as_ref().unwrap());
        let mut events = web.open("GET", "/v1/events").await;
        let first = http_body_util::BodyExt::frame(events.body_mut()).await.unwrap().unwrap();
        assert!(first.data_ref().is_some_and(|data| data.starts_with(b"id: 1\nevent: hello\n")));
        server.process.signal(nix::sys::signal::Signal::SIGTERM);
        let rest = http_body_util::BodyExt::collect(events.into_body()).await.unwrap().to_bytes();
        assert!(String::from_utf8_lossy(&rest).contains("event: left"), "the stream is ended in order");
        let code = tokio::task::spawn_blocking(move || server.process.exit_code()).await.unwrap();
        assert_eq!(code, Some(0));
    })
    .await;
}
