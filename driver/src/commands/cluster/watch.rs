//! `logs` and `exec`: what hosts say, line by line, each with its host's name before it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::audit;
use super::site::Site;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::hosts::parallel::{Account, each};
use crate::hosts::shell::From;
use crate::inventory::Host;

/// `logs`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LogsArguments {
    /// Go on with what is added, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// Write each host's log into a file of this directory instead
    #[arg(long, value_name = "DIR", conflicts_with = "follow")]
    save: Option<PathBuf>,
    /// How many of each log's last lines [default: 100, with --save all]
    #[arg(short = 'n', long, value_name = "N")]
    lines: Option<usize>,
}

/// `exec`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ExecArguments {
    /// The program and its arguments; no shell reads them
    #[arg(value_name = "COMMAND", required = true, last = true)]
    words: Vec<String>,
}

/// Hosts' names before their lines, in colours on a terminal.
struct Prefixes {
    prefixes: BTreeMap<String, String>,
}

impl Prefixes {
    fn new(hosts: &[Host]) -> Prefixes {
        const COLOURS: [AnsiColor; 6] = [
            AnsiColor::Cyan,
            AnsiColor::Green,
            AnsiColor::Yellow,
            AnsiColor::Magenta,
            AnsiColor::Blue,
            AnsiColor::BrightRed,
        ];
        let coloured = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let width = hosts.iter().map(|host| host.name.len()).max().unwrap_or(0);
        let prefix = |(place, host): (usize, &Host)| {
            let colour = COLOURS[place % COLOURS.len()];
            let style = if coloured { Style::new().fg_color(Some(colour.into())) } else { Style::new() };
            (host.name.clone(), format!("{style}{:<width$} |{style:#} ", host.name))
        };
        Prefixes { prefixes: hosts.iter().enumerate().map(prefix).collect() }
    }

    fn of(&self, host: &str) -> &str {
        self.prefixes.get(host).map_or("", String::as_str)
    }
}

#[derive(Serialize)]
struct LogLine<'a> {
    host: &'a str,
    line: &'a str,
}

impl LogsArguments {
    /// Shows or saves the logs.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let site = Site::find(context, "logs")?;
        if let Some(directory) = &self.save {
            return save(&site, directory, self.lines.unwrap_or(usize::MAX)).await;
        }
        let prefixes = Prefixes::new(&site.selected);
        let lines = self.lines.unwrap_or(100);
        // All at once when they are followed: nobody is to wait for the end of another's log.
        let at_once = if self.follow { site.selected.len() } else { site.parallel() };
        let accounts = each(site.selected.clone(), at_once, async |host: Host| {
            let mut account = Account::new(&host.name);
            let shown = async {
                let show = |line: &str| {
                    if site.output.json {
                        site.output.json(&LogLine { host: &host.name, line });
                    } else {
                        site.output.raw(format!("{}{line}\n", prefixes.of(&host.name)).as_bytes());
                    }
                };
                site.open(&host).await?.logs(lines, self.follow, show).await
            };
            account.note(shown.await);
            account
        });
        tell_failures(&accounts.await)
    }
}

async fn save(site: &Site, directory: &Path, lines: usize) -> Outcome {
    std::fs::create_dir_all(directory)
        .map_err(|error| Failure::failed(format!("{}: {error}", directory.display())))?;
    let accounts = site.on_each(async |station, progress, account| {
        let path = directory.join(format!("{}.log", station.host.name));
        progress.hint("reading the log");
        let failed = |error: std::io::Error| {
            crate::hosts::failure::HostFailure::Failed(format!("{}: {error}", path.display()))
        };
        let mut file = BufWriter::new(File::create(&path).map_err(failed)?);
        let mut written = Ok(());
        let mut count = 0_usize;
        let keep = |line: &str| {
            count += 1;
            if written.is_ok() {
                written = writeln!(file, "{line}");
            }
        };
        station.logs(lines, false, keep).await?;
        written.and_then(|()| file.flush()).map_err(failed)?;
        account.did(format!("{} into {}", crate::report::count(count, "line"), path.display()));
        Ok(())
    });
    site.recap(false, accounts.await).conclude(site.output)
}

/// Failed hosts on standard error, so that the lines above stay clean.
fn tell_failures(accounts: &[Account]) -> Outcome {
    let mut outcome = Ok(());
    for account in accounts {
        if let Some(error) = &account.error {
            eprintln!("{} failed: {error}", account.host);
            outcome = Err(Failure::Said);
        }
    }
    outcome
}

/// What a program did on a host.
#[derive(Serialize)]
struct Executed {
    host: String,
    state: &'static str,
    exit_code: Option<i32>,
    stdout: String,
    stderr: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
struct ExecReport {
    command: &'static str,
    hosts: Vec<Executed>,
}

impl ExecArguments {
    /// Runs it everywhere.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let site = Site::find(context, "exec")?;
        let prefixes = Prefixes::new(&site.selected);
        let hosts = each(site.selected.clone(), site.parallel(), async |host: Host| {
            self.on_host(&site, &host, &prefixes).await
        });
        let hosts = hosts.await;
        let failed = hosts.iter().filter(|host| host.exit_code != Some(0)).count();
        let counts = format!("{}, {failed} failed", crate::report::count(hosts.len(), "host"));
        audit::note(
            &site.state,
            "exec",
            &site.inventory.name,
            &format!("{}: {counts}", self.words.join(" ")),
        );
        if site.output.json {
            site.output.json(&ExecReport { command: "exec", hosts });
        } else {
            for host in hosts.iter().filter(|host| host.exit_code != Some(0)) {
                let code = host.exit_code.map(|code| format!("exit code {code}"));
                let reason = host.error.clone().or(code).unwrap_or_else(|| "ended by a signal".to_owned());
                eprintln!("{} failed: {reason}", host.host);
            }
            eprintln!("{counts}");
        }
        if failed > 0 { Err(Failure::Said) } else { Ok(()) }
    }

    async fn on_host(&self, site: &Site, host: &Host, prefixes: &Prefixes) -> Executed {
        let texts = RefCell::new((String::new(), String::new()));
        let line = |from: From, line: &str| {
            if !site.output.json {
                let line = format!("{}{line}\n", prefixes.of(&host.name));
                match from {
                    From::Output => site.output.raw(line.as_bytes()),
                    From::Error => eprint!("{line}"),
                }
                return;
            }
            let mut texts = texts.borrow_mut();
            let text = if from == From::Output { &mut texts.0 } else { &mut texts.1 };
            text.push_str(line);
            text.push('\n');
        };
        let (program, arguments) = match self.words.split_first() {
            Some((program, arguments)) => (program.as_str(), arguments),
            None => ("true", [].as_slice()),
        };
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let ended = async { site.open(host).await?.shell.stream(program, &arguments, false, line).await };
        let (exit_code, error) = match ended.await {
            Ok(code) => (code, None),
            Err(failure) => (None, Some(failure.to_string())),
        };
        let (stdout, stderr) = texts.into_inner();
        let state = if exit_code == Some(0) { "done" } else { "failed" };
        Executed { host: host.name.clone(), state, exit_code, stdout, stderr, error }
    }
}
