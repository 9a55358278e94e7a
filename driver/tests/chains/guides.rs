//! The guides: what they tell people to type works, word for word.
//!
//! Each guide has one inventory and blocks of commands. The ports of the inventory are replaced by free ones, so that tests
//! can run side by side; everything else is as it is written.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{clean, eventually};

/// Where a guide's cluster is; erased at the end, however the test ends.
struct Place {
    home: tempfile::TempDir,
    path: String,
}

impl Place {
    fn new() -> Place {
        let home = tempfile::tempdir().unwrap();
        // Alone in its directory: `up` takes it for the servers too, and no other that was built at another time.
        let directory = home.path().join("bin");
        std::fs::create_dir(&directory).unwrap();
        std::fs::copy(env!("CARGO_BIN_EXE_chordata"), directory.join("chordata")).unwrap();
        let path = format!("{}:{}", directory.display(), std::env::var("PATH").unwrap());
        Place { home, path }
    }

    /// Runs a line as the reader's shell would: exit code and what it printed.
    fn shell(&self, line: &str) -> (i32, String) {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{line} 2>&1")]).stdin(Stdio::null());
        clean(&mut command, self.home.path());
        let output = command.env("PATH", &self.path).output().unwrap();
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shell("chordata stop --kill; chordata destroy --yes");
    }
}

/// The text of all blocks of a language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    text.split(&fence)
        .skip(1)
        .map(|rest| rest.split("```").next().expect("a block ends").to_owned())
        .collect()
}

/// An inventory with other ports.
fn with_free_ports(inventory: &str) -> String {
    // All are held until all are chosen.
    let mut held = Vec::new();
    let lines = inventory.lines().map(|line| match line.strip_prefix("listen_port = ") {
        None => format!("{line}\n"),
        Some(_) => {
            let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
            let port = listener.local_addr().unwrap().port();
            held.push(listener);
            format!("listen_port = {port}\n")
        }
    });
    lines.collect()
}

/// A line may say what it expects: `chordata status   # exit code 1`. A state that takes a moment to come is waited for.
fn follow(name: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guides").join(name);
    let text = std::fs::read_to_string(&file).unwrap();
    let place = Place::new();
    let inventories = blocks(&text, "toml");
    assert_eq!(inventories.len(), 1, "{name} has one inventory");
    let inventory = if name == "eventual.md" { "eventual.toml" } else { "chain.toml" };
    std::fs::write(place.home.path().join(inventory), with_free_ports(&inventories[0])).unwrap();
    let mut commands = 0;
    for line in
        blocks(&text, "sh").iter().flat_map(|block| block.lines()).filter(|line| !line.trim().is_empty())
    {
        let (_, wanted) = line.split_once("# exit code ").unwrap_or((line, "0"));
        let wanted: i32 = wanted.trim().parse().unwrap_or_else(|_| panic!("{line}"));
        let looks =
            ["chordata status", "chordata audit", "chordata get", "chordata lookup", "chordata replay"];
        if looks.iter().any(|look| line.starts_with(look)) {
            eventually(&format!("{name}: {line}"), || {
                let (code, said) = place.shell(line);
                // Shown only when the test fails: what it saw on the way.
                println!("{line}: exit code {code}\n{said}");
                code == wanted
            });
        } else {
            let (code, said) = place.shell(line);
            assert_eq!(code, wanted, "{name}: {line}\n{said}");
        }
        commands += 1;
    }
    assert!(commands > 3, "{name} has commands");
}

#[test]
fn the_guide_to_chains_works() {
    follow("chain.md");
}

#[test]
fn the_guide_to_eventual_mode_works() {
    follow("eventual.md");
}

#[test]
fn the_guide_to_durability_works() {
    follow("durability.md");
}

#[test]
fn the_guide_to_dying_nodes_works() {
    follow("when-nodes-die.md");
}
