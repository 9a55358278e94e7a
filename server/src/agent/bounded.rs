//! Runs a host's own programs (systemctl, getconf, ...) for a bounded time.
//!
//! A systemctl that waits for a manager that never answers must not keep the agent, and with it the driver.

use std::io::Read;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// What a program said.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    /// It ended by itself with exit code 0.
    pub(super) success: bool,
    /// Its standard output.
    pub(super) output: String,
    /// Its standard error, or what kept it from running.
    pub(super) complaint: String,
}

/// Runs a program with nothing on standard input, and kills it at the limit.
pub(super) fn run(command: &mut Command, limit: Duration) -> Answer {
    let failed = |complaint: String| Answer { success: false, output: String::new(), complaint };
    let program = command.get_program().to_string_lossy().into_owned();
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => return failed(format!("{program} cannot be run: {error}")),
    };
    let output = read_all(child.stdout.take());
    let complaint = read_all(child.stderr.take());
    let deadline = Instant::now() + limit;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
            // Our own child, not yet waited for: its number cannot be another's. The readers are left to
            // themselves, since a grandchild may keep the pipes open.
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return failed(format!("{program} gave no answer within {} s", limit.as_secs()));
            }
            Err(error) => return failed(format!("{program} cannot be waited for: {error}")),
        }
    };
    Answer {
        success: status.success(),
        output: output.join().unwrap_or_default(),
        complaint: complaint.join().unwrap_or_default().trim().to_owned(),
    }
}

fn read_all(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn output_complaint_and_success_are_kept_apart() {
        let answer = run(Command::new("sh").args(["-c", "echo out; echo err >&2"]), LONG);
        assert_eq!(
            (answer.success, answer.output.as_str(), answer.complaint.as_str()),
            (true, "out\n", "err")
        );
        assert!(!run(Command::new("sh").args(["-c", "exit 3"]), LONG).success);
    }

    #[test]
    fn a_program_that_does_not_exist_or_does_not_end_is_a_failure() {
        let absent = run(&mut Command::new("/no/such/program"), LONG);
        assert!(!absent.success && absent.complaint.contains("/no/such/program"));
        let endless = run(Command::new("sleep").arg("600"), Duration::from_millis(20));
        assert!(!endless.success && endless.complaint.contains("no answer"));
    }
}
