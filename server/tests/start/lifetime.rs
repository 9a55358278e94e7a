//! What ends a server: signals, and the end of who started it.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::dead_address;
use crate::support::process::Process;
use crate::support::ring::Server;

fn start(flags: &[&str]) -> (Process, tempfile::TempDir) {
    let home = tempfile::tempdir().unwrap();
    let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
    (Process::start(home.path(), &flags, &[]), home)
}

#[test]
fn sigterm_and_sigint_end_it_with_exit_code_0_and_it_says_that_it_stays_a_member() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut server = Server::start(None, &[]);
        server.process.signal(signal);
        assert_eq!(server.process.exit_code(), Some(0));
        assert!(server.process.log().contains("stays a member"), "{}", server.process.log());
        assert!(server.home.path().join("data/identity.toml").exists());
    }
}

#[test]
fn a_server_that_still_looks_for_its_ring_obeys_sigterm_at_once() {
    let (mut process, _home) = start(&["--port", "0", "--join", dead_address().as_str()]);
    let began = Instant::now();
    while !process.log().contains("not admitted yet") {
        assert!(began.elapsed() < Duration::from_secs(20), "{}", process.log());
        std::thread::sleep(crate::support::LOOK_EVERY);
    }
    process.signal(Signal::SIGTERM);
    assert_eq!(process.exit_code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(30), "it waited for its join timeout");
}

#[test]
fn until_stdin_closes_means_just_that() {
    let (mut bound, _home) = start(&["--port", "0", "--until-stdin-closes"]);
    bound.ready();
    drop(bound.take_stdin());
    assert_eq!(bound.exit_code(), Some(0));
    assert!(bound.log().contains("who started this server is gone"), "{}", bound.log());

    let (mut free, _home) = start(&["--port", "0"]);
    let (_, address) = free.ready();
    drop(free.take_stdin());
    assert!(std::net::TcpStream::connect(address.as_str()).is_ok(), "without the flag it stays");
    free.signal(Signal::SIGTERM);
    assert_eq!(free.exit_code(), Some(0));
}

#[test]
fn an_open_connection_does_not_hold_a_server_back() {
    let mut server = Server::start(None, &[]);
    let idle = std::net::TcpStream::connect(server.address.as_str()).unwrap();
    let began = Instant::now();
    server.terminate();
    assert!(began.elapsed() < Duration::from_secs(15), "it waited for somebody who says nothing");
    drop(idle);
}
