//! A user at a terminal: prompt, completion, history.

use std::fs::File;
use std::io::{Read, Write};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use nix::pty::{Winsize, openpty};

use crate::support::chordata;
use crate::support::eventually;
use crate::support::ring::Ring;

/// What the shell asks a terminal: where is the cursor? And what this one answers.
const WHERE_IS_THE_CURSOR: &[u8] = b"\x1b[6n";
const IT_IS_AT_THE_TOP: &[u8] = b"\x1b[1;1R";

/// A shell at a terminal, and what has appeared on that.
struct Terminal {
    shell: std::process::Child,
    keys: File,
    screen: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    fn with_shell(ring: &Ring) -> Terminal {
        let size = Winsize { ws_row: 40, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).unwrap();
        let (side, other) = (pty.slave.try_clone().unwrap(), pty.slave.try_clone().unwrap());
        let mut command = chordata(ring.home(), &["--node", &ring.nodes[0].address, "shell"]);
        command.env("TERM", "xterm-256color");
        command.stdin(Stdio::from(side)).stdout(Stdio::from(other)).stderr(Stdio::from(pty.slave));
        let shell = command.spawn().unwrap();
        let keys = File::from(pty.master);
        let screen = Arc::new(Mutex::new(Vec::new()));
        let (mut reads, mut answers, shown) =
            (keys.try_clone().unwrap(), keys.try_clone().unwrap(), screen.clone());
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // An error is the end of the shell: nobody has the other side open any more.
            while let Ok(count @ 1..) = reads.read(&mut bytes) {
                shown.lock().unwrap().extend_from_slice(&bytes[..count]);
                let asked = bytes[..count].windows(4).filter(|part| *part == WHERE_IS_THE_CURSOR).count();
                if asked > 0 && answers.write_all(&IT_IS_AT_THE_TOP.repeat(asked)).is_err() {
                    return;
                }
            }
        });
        Terminal { shell, keys, screen }
    }

    fn types(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// What has appeared, without what moves the cursor or colours it.
    fn text(&self) -> String {
        let screen = String::from_utf8_lossy(&self.screen.lock().unwrap()).into_owned();
        let mut text = String::new();
        let mut signs = screen.chars();
        while let Some(sign) = signs.next() {
            if sign != '\x1b' {
                text.push(sign);
                continue;
            }
            if signs.next() == Some('[') {
                // Up to the letter that ends it.
                let _ = signs.find(|sign| sign.is_ascii_alphabetic() || *sign == '~');
            }
        }
        text
    }

    fn shows(&self, what: &str) {
        eventually(&format!("{what:?} on the screen"), || {
            let text = self.text();
            println!("{text}");
            text.contains(what)
        });
    }

    fn ends(&mut self) -> Option<i32> {
        eventually("the shell ends", || self.shell.try_wait().unwrap().is_some());
        self.shell.wait().unwrap().code()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

#[test]
fn a_user_at_a_terminal_has_a_prompt_completion_and_history() {
    let ring = Ring::start(1);
    let mut terminal = Terminal::with_shell(&ring);
    terminal.shows("chordata>");
    terminal.types("insert Berlin big\r");
    terminal.shows("stored Berlin");
    // Tab completes the word.
    terminal.types("que\t");
    terminal.shows("query ");
    terminal.types("Berlin\r");
    terminal.shows("big\r\n");
    terminal.types("setnode 0\r");
    terminal.shows("requests go through");
    terminal.shows(&format!("chordata {}>", ring.nodes[0].address));
    terminal.types("query nothing\r");
    terminal.shows("there is no key nothing");
    terminal.types("exit\r");
    assert_eq!(terminal.ends(), Some(0));
    // The next shell knows the lines, and nobody else may read them.
    let history = ring.home().join("state/chordata/shell_history");
    let kept = std::fs::read_to_string(&history).unwrap();
    assert!(kept.contains("insert Berlin big\n"), "{kept}");
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(history.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let mut again = Terminal::with_shell(&ring);
    again.shows("chordata>");
    again.types("history\r");
    again.shows("insert Berlin big");
    again.types("\x04");
    assert_eq!(again.ends(), Some(0));
}
