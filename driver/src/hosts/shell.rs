//! Running programs on a host: over SSH, or on this machine for `access = "local"`.
//!
//! A program is a name and its arguments. Over SSH they are escaped one by one ([`openssh::Session::arc_command`]), so
//! that a blank, a quote or a semicolon in a path stays what it is. Dropping a run ends a local program; a remote one
//! sees its standard input and output close.

use std::future::Future;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use openssh::Session;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

use super::connect::{Sessions, words};
use super::failure::HostFailure;
use crate::inventory::Host;

/// Output that is kept of a program, at most: enough for any answer, and no memory for a host that babbles.
const OUTPUT_MAX: u64 = 16 * 1024 * 1024;

/// What a program did.
#[derive(Debug)]
pub(crate) struct Output {
    /// Its exit code; none if a signal ended it.
    pub(crate) code: Option<i32>,
    /// Its standard output.
    pub(crate) stdout: Vec<u8>,
    /// Its standard error.
    pub(crate) stderr: Vec<u8>,
}

impl Output {
    /// Did it succeed?
    pub(crate) fn is_success(&self) -> bool {
        self.code == Some(0)
    }

    /// Its standard output without blanks around it.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }

    /// What it complained of, on one line.
    pub(crate) fn complaint(&self) -> String {
        let text = String::from_utf8_lossy(&self.stderr);
        let text: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        match (text.is_empty(), self.code) {
            (false, _) => text.join("; "),
            (true, Some(code)) => format!("exit code {code}"),
            (true, None) => "ended by a signal".to_owned(),
        }
    }
}

/// Which of its two outputs a line came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum From {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

/// A way to run programs on a host.
#[derive(Clone, Debug)]
pub(crate) enum Shell {
    /// On this machine.
    Local,
    /// Over SSH.
    Ssh(Arc<Session>),
}

type Reader = Pin<Box<dyn AsyncRead + Send>>;
type Writer = Pin<Box<dyn AsyncWrite + Send>>;

/// A program that runs.
struct Running {
    stdin: Writer,
    stdout: Reader,
    stderr: Reader,
    end: BoxFuture<'static, Result<Option<i32>, HostFailure>>,
}

impl Shell {
    /// Reaches a host.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub(crate) async fn open(host: &Host, sessions: &Sessions) -> Result<Shell, HostFailure> {
        if host.is_local() { Ok(Shell::Local) } else { Ok(Shell::Ssh(Arc::new(sessions.open(host).await?))) }
    }

    /// Runs a program to its end, which must come within `limit`. A program that is not there ends with code 127.
    ///
    /// # Errors
    /// When it did not end in time, or the host was lost.
    pub(crate) async fn run(
        &self,
        program: &str,
        arguments: &[&str],
        input: Option<&[u8]>,
        limit: Duration,
    ) -> Result<Output, HostFailure> {
        let work = async {
            let Running { mut stdin, stdout, stderr, end } = match self.spawn(program, arguments).await? {
                Some(running) => running,
                None => return Ok(Output { code: Some(127), stdout: Vec::new(), stderr: Vec::new() }),
            };
            let write = async move {
                // A program that ends early does not read everything: its exit code says more than our broken pipe.
                if let Some(input) = input
                    && stdin.write_all(input).await.is_ok()
                {
                    let _ = stdin.shutdown().await;
                }
                drop(stdin);
            };
            let ((), stdout, stderr) = tokio::join!(write, read_all(stdout), read_all(stderr));
            Ok(Output { code: end.await?, stdout, stderr })
        };
        bounded(program, limit, work).await
    }

    /// Runs a program to its end and hands on each line as it comes. Its standard input is empty, or with `held` open
    /// until then.
    ///
    /// # Errors
    /// When the host was lost.
    pub(crate) async fn stream(
        &self,
        program: &str,
        arguments: &[&str],
        held: bool,
        mut line: impl FnMut(From, &str),
    ) -> Result<Option<i32>, HostFailure> {
        let Some(running) = self.spawn(program, arguments).await? else {
            return Ok(Some(127));
        };
        let Running { stdin, stdout, stderr, end } = running;
        let stdin = held.then_some(stdin);
        let (mut stdout, mut stderr) = (BufReader::new(stdout), BufReader::new(stderr));
        let (mut output, mut error) = (Vec::new(), Vec::new());
        let (mut output_open, mut error_open) = (true, true);
        while output_open || error_open {
            // `read_until` keeps what it has read in its buffer when the other branch wins.
            let (from, read) = tokio::select! {
                read = stdout.read_until(b'\n', &mut output), if output_open => (From::Output, read),
                read = stderr.read_until(b'\n', &mut error), if error_open => (From::Error, read),
            };
            let (buffer, open) = match from {
                From::Output => (&mut output, &mut output_open),
                From::Error => (&mut error, &mut error_open),
            };
            if !matches!(read, Ok(1..)) {
                *open = false;
            }
            if !buffer.is_empty() {
                line(from, String::from_utf8_lossy(buffer).trim_end_matches(['\n', '\r']));
                buffer.clear();
            }
        }
        drop(stdin);
        end.await
    }

    /// Starts a program and waits for its first line; it goes on until the answer's holder is dropped.
    ///
    /// # Errors
    /// When there is no line within `limit`.
    pub(crate) async fn first_line(
        &self,
        program: &str,
        arguments: &[&str],
        limit: Duration,
    ) -> Result<(String, Background), HostFailure> {
        let work = async {
            let running = self.spawn(program, arguments).await?;
            let Running { stdin, stdout, stderr, end } =
                running.ok_or_else(|| HostFailure::Failed(format!("{program} is not there")))?;
            let mut stdout = BufReader::new(stdout);
            let mut line = String::new();
            let read = stdout.read_line(&mut line).await;
            read.map_err(|error| HostFailure::Failed(format!("{program}: {error}")))?;
            Ok((line, Background { _stdin: stdin, _stdout: stdout, _stderr: stderr, _end: end }))
        };
        bounded(program, limit, work).await
    }

    async fn spawn(&self, program: &str, arguments: &[&str]) -> Result<Option<Running>, HostFailure> {
        match self {
            Shell::Local => spawn_here(program, arguments),
            Shell::Ssh(session) => spawn_there(session, program, arguments).await.map(Some),
        }
    }
}

/// A program that goes on until this is dropped: then its standard input closes.
pub(crate) struct Background {
    _stdin: Writer,
    _stdout: BufReader<Reader>,
    _stderr: Reader,
    _end: BoxFuture<'static, Result<Option<i32>, HostFailure>>,
}

fn spawn_here(program: &str, arguments: &[&str]) -> Result<Option<Running>, HostFailure> {
    let mut command = tokio::process::Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    // What the driver was told by its environment is not meant for the servers that it starts.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CHORDATA_") {
            command.env_remove(name);
        }
    }
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(HostFailure::Failed(format!("{program} cannot be run: {error}"))),
    };
    let (Some(stdin), Some(stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(HostFailure::Failed(format!("{program} was started without its pipes")));
    };
    let program = program.to_owned();
    let end = async move {
        match child.wait().await {
            Ok(status) => Ok(status.code()),
            Err(error) => Err(HostFailure::Failed(format!("{program}: {error}"))),
        }
    };
    Ok(Some(Running {
        stdin: Box::pin(stdin),
        stdout: Box::pin(stdout),
        stderr: Box::pin(stderr),
        end: end.boxed(),
    }))
}

async fn spawn_there(
    session: &Arc<Session>,
    program: &str,
    arguments: &[&str],
) -> Result<Running, HostFailure> {
    let lost = |error: &openssh::Error| {
        HostFailure::Unreachable(format!("the connection is lost: {}", words(error)))
    };
    let mut command = session.clone().arc_command(program);
    command
        .args(arguments)
        .stdin(openssh::Stdio::piped())
        .stdout(openssh::Stdio::piped())
        .stderr(openssh::Stdio::piped());
    let mut child = command.spawn().await.map_err(|error| lost(&error))?;
    let pipes = (child.stdin().take(), child.stdout().take(), child.stderr().take());
    let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
        return Err(HostFailure::Failed(format!("{program} was started without its pipes")));
    };
    let session = session.clone();
    let end = async move {
        match child.wait().await {
            Ok(status) => Ok(status.code()),
            // The crate's word for exit code 127.
            Err(openssh::Error::Remote(_)) => Ok(Some(127)),
            // A signal, or the end of the connection: ssh does not tell them apart, the connection does.
            Err(error @ openssh::Error::RemoteProcessTerminated) => match session.check().await {
                Ok(()) => Ok(None),
                Err(_) => Err(lost(&error)),
            },
            Err(error) => Err(lost(&error)),
        }
    };
    Ok(Running {
        stdin: Box::pin(stdin),
        stdout: Box::pin(stdout),
        stderr: Box::pin(stderr),
        end: end.boxed(),
    })
}

async fn bounded<T>(
    what: &str,
    limit: Duration,
    work: impl Future<Output = Result<T, HostFailure>>,
) -> Result<T, HostFailure> {
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => Err(HostFailure::TimedOut { what: what.to_owned(), limit }),
    }
}

async fn read_all(reader: Reader) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What came before an error counts; the exit code says the rest.
    let _ = reader.take(OUTPUT_MAX).read_to_end(&mut bytes).await;
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn arguments_and_input_arrive_as_they_are() {
        let echoed =
            Shell::Local.run("printf", &["%s|", "a b", "$HOME;'\""], None, SOON).await.expect("it runs");
        assert_eq!(echoed.text(), "a b|$HOME;'\"|");
        let large = vec![7; 1_000_000];
        let copied = Shell::Local.run("cat", &[], Some(&large), SOON).await.expect("it runs");
        assert!(copied.stdout == large && copied.is_success());
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_or_does_not_end_is_told_apart() {
        let absent = Shell::Local.run("/no/such/program", &[], None, SOON).await.expect("an answer");
        assert_eq!(absent.code, Some(127));
        let late = Shell::Local.run("sleep", &["600"], None, Duration::from_millis(50)).await;
        assert!(matches!(late, Err(HostFailure::TimedOut { .. })), "{late:?}");
    }

    #[tokio::test]
    async fn lines_come_from_both_outputs() {
        let mut lines = Vec::new();
        let arguments = ["-c", "echo out; echo err >&2; exit 3"];
        let code = Shell::Local
            .stream("sh", &arguments, false, |from, line| lines.push((from, line.to_owned())))
            .await;
        assert_eq!(code.expect("it runs"), Some(3));
        lines.sort_by_key(|(from, _)| *from == From::Error);
        assert_eq!(lines, [(From::Output, "out".to_owned()), (From::Error, "err".to_owned())]);
    }
}
