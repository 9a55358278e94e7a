//! However the demo ends, its servers end with it; unless they were to be kept.

use std::path::Path;
use std::process::{Child, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Strays, children, chordata, eventually, is_running, run};
use crate::{alone, pids};

/// A running demo. Killed when it is dropped.
struct Demo {
    child: Child,
    home: tempfile::TempDir,
}

impl Demo {
    /// Starts a demo with so much to do that it does not end by itself meanwhile.
    fn start() -> Demo {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("long.txt"), "put a 1\n".repeat(200_000)).unwrap();
        let mut command = chordata(home.path(), &["demo", "--nodes", "3", "--input", "long.txt"]);
        let file = |name| std::fs::File::create(home.path().join(name)).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file("err"));
        Demo { child: command.spawn().unwrap(), home }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.home.path().join("err")).unwrap()
    }

    /// Its servers, once there are that many.
    fn servers(&self, count: usize) -> Vec<u32> {
        let mut servers = Vec::new();
        eventually("the demo has started its servers", || {
            servers = children(self.child.id());
            servers.len() >= count
        });
        servers
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    fn exit_code(&mut self) -> Option<i32> {
        let mut status = None;
        eventually("the demo has ended", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.and_then(|status| status.code())
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn all_end(servers: &[u32]) {
    eventually("all servers have ended", || !servers.iter().any(|pid| is_running(*pid)));
}

#[test]
fn servers_end_when_the_demo_is_killed_with_sigkill() {
    let _alone = alone();
    // Once in the middle of starting, once in the middle of the replay.
    for count in [1, 3] {
        let mut demo = Demo::start();
        let servers = demo.servers(count);
        let _guard = Strays(servers.clone());
        demo.signal(Signal::SIGKILL);
        assert_eq!(demo.exit_code(), None);
        all_end(&servers);
    }
}

#[test]
fn ctrl_c_stops_all_servers_and_says_so() {
    let _alone = alone();
    let mut demo = Demo::start();
    let servers = demo.servers(3);
    let _guard = Strays(servers.clone());
    eventually("the ring is whole", || demo.said().contains("is whole"));
    demo.signal(Signal::SIGINT);
    assert_eq!(demo.exit_code(), Some(1));
    assert!(demo.said().contains("interrupted"), "{}", demo.said());
    assert!(!servers.into_iter().any(is_running), "they had ended before the demo did");
}

#[test]
fn ctrl_c_while_servers_start_leaves_none_behind() {
    let _alone = alone();
    let mut demo = Demo::start();
    let servers = demo.servers(1);
    let _guard = Strays(servers.clone());
    demo.signal(Signal::SIGINT);
    assert_eq!(demo.exit_code(), Some(1));
    all_end(&servers);
}

#[test]
fn sigterm_leaves_no_server_behind() {
    let _alone = alone();
    let mut demo = Demo::start();
    let servers = demo.servers(3);
    let _guard = Strays(servers.clone());
    demo.signal(Signal::SIGTERM);
    demo.exit_code();
    all_end(&servers);
}

/// The words of the line that begins so.
fn words_after<'t>(text: &'t str, beginning: &str) -> Vec<&'t str> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix(beginning));
    line.unwrap_or_else(|| panic!("{beginning:?} is missing in\n{text}")).split_whitespace().collect()
}

fn stop(home: &Path, how: &[&str]) {
    assert_eq!(how[0], "kill", "{how:?}");
    let stopped = std::process::Command::new("kill").args(&how[1..]).current_dir(home).status().unwrap();
    assert!(stopped.success());
}

#[test]
fn kept_servers_stay_until_they_are_stopped_as_the_demo_says() {
    let _alone = alone();
    let home = tempfile::tempdir().unwrap();
    let ran = run(home.path(), &["demo", "--nodes", "2", "--keep"]).exits(0).says("30 of 30 gets right");
    let servers = pids(&ran.err);
    let _guard = Strays(servers.clone());
    assert_eq!(servers.len(), 2);
    assert!(servers.iter().all(|pid| is_running(*pid)), "they are kept");

    let talk = words_after(&ran.err, "talk to them:");
    let ["chordata", "--node", address, ..] = talk[..] else { panic!("{talk:?}") };
    run(home.path(), &["--node", address, "get", "12"]).exits(0).says("2");
    run(home.path(), &["get", "123456"])
        .exits(0)
        .says("6")
        .remarks(address)
        .remarks("the last `demo --keep`");

    stop(home.path(), &words_after(&ran.err, "stop them:"));
    all_end(&servers);
    run(home.path(), &["get", "12"]).exits(4);
}
