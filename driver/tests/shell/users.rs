//! Two users at once, each at a shell of their own.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use serde_json::Value as Json;

use crate::support::chordata;
use crate::support::ring::Ring;

/// A user at a shell.
struct User {
    shell: Child,
    types: Option<ChildStdin>,
    reads: BufReader<ChildStdout>,
}

impl User {
    fn at(ring: &Ring, node: usize) -> User {
        let mut command = chordata(ring.home(), &["--json", "--node", &ring.nodes[node].address, "shell"]);
        let mut shell = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let types = shell.stdin.take();
        let reads = BufReader::new(shell.stdout.take().unwrap());
        User { shell, types, reads }
    }

    /// Types a line and reads the answer.
    fn says(&mut self, line: &str) -> Json {
        writeln!(self.types.as_mut().unwrap(), "{line}").unwrap();
        let mut answer = String::new();
        self.reads.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{line}: {error}: {answer:?}"))
    }

    /// Ends the input, and gives the exit code.
    fn leaves(mut self) -> Option<i32> {
        drop(self.types.take());
        self.shell.wait().unwrap().code()
    }
}

impl Drop for User {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

#[test]
fn of_two_users_who_saw_the_same_version_one_writes() {
    let ring = Ring::start(3);
    let (mut anna, mut ben) = (User::at(&ring, 0), User::at(&ring, 2));
    anna.says("insert counter 1");
    let seen_by_anna = anna.says("query counter")["version"].as_str().unwrap().to_owned();
    let seen_by_ben = ben.says("query counter")["version"].as_str().unwrap().to_owned();
    assert_eq!(seen_by_anna, seen_by_ben);
    let by_ben = ben.says(&format!("insert counter ben --if-version {seen_by_ben}"));
    assert!(by_ben["outcome"]["Written"].is_string(), "{by_ben}");
    let by_anna = anna.says(&format!("insert counter anna --if-version {seen_by_anna}"));
    let now = by_anna["outcome"]["Conflict"].as_str().unwrap_or_else(|| panic!("{by_anna}")).to_owned();
    // She looks again, and tries again.
    let found = anna.says("query counter");
    assert_eq!(found["version"].as_str(), Some(now.as_str()));
    let again = anna.says(&format!("insert counter both --if-version {now}"));
    assert!(again["outcome"]["Written"].is_string(), "{again}");
    assert_eq!(ben.says("query counter")["version"], again["outcome"]["Written"]);
    assert_eq!(ben.leaves(), Some(0));
    assert_eq!(anna.leaves(), Some(1), "one of her lines was not done");
}
