//! `check`: is every host fit, before anything is done to it? Named checks, each with its remedy.
//!
//! It leaves nothing behind: where the right program is not installed, it is lent for the time of the check, in a
//! directory of its own that goes again.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chordata_server::agent::report::{PortState, ProbeReport, Supervisor};
use serde::Serialize;

use super::pairs;
use super::site::Site;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::hosts::failure::HostFailure;
use crate::hosts::parallel::each;
use crate::hosts::station::Station;
use crate::hosts::upload::Programs;
use crate::inventory::Host;
use crate::report::{Report, count, table};

/// A clock may be so far from the driver's, beyond what the way there and back can explain.
const SKEW_MAX: Duration = Duration::from_millis(500);
/// Less is worth a warning.
const DISK_BYTES_MIN: u64 = 1 << 30;
const MEMORY_BYTES_MIN: u64 = 256 << 20;
const OPEN_FILES_MIN: u64 = 1024;

/// `check`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CheckArguments {
    /// The server that would be uploaded
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// What came of a check.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// Fit.
    Ok,
    /// Will do, and may hurt.
    Warning,
    /// Will not do.
    Failed,
}

/// One check of one host.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Check {
    /// Its name.
    pub(crate) host: String,
    check: &'static str,
    state: Verdict,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl Check {
    /// Fit.
    pub(crate) fn ok(host: &str, check: &'static str, detail: impl Into<String>) -> Check {
        Check { host: host.to_owned(), check, state: Verdict::Ok, detail: detail.into(), remedy: None }
    }

    /// Will do, or will not.
    pub(crate) fn bad(
        host: &str,
        check: &'static str,
        state: Verdict,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Check {
        Check { host: host.to_owned(), check, state, detail: detail.into(), remedy: Some(remedy.into()) }
    }
}

#[derive(Serialize)]
struct CheckReport {
    command: &'static str,
    hosts: Vec<HostVerdict>,
    checks: Vec<Check>,
}

#[derive(Serialize)]
struct HostVerdict {
    host: String,
    state: Verdict,
}

impl Report for CheckReport {
    fn text(&self) -> String {
        let word = |state| match state {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Failed => "FAILED",
        };
        let rows = self.checks.iter().map(|check| {
            vec![
                check.host.clone(),
                check.check.to_owned(),
                word(check.state).to_owned(),
                check.detail.clone(),
            ]
        });
        let mut text = table(&["host", "check", "state", "detail"], rows);
        for check in &self.checks {
            if let Some(remedy) = &check.remedy {
                text.push_str(&format!("{}, {}: {remedy}\n", check.host, check.check));
            }
        }
        let number = |state| self.hosts.iter().filter(|host| host.state == state).count();
        text.push_str(&format!(
            "{}: {} fit, {} with warnings, {} failed\n",
            count(self.hosts.len(), "host"),
            number(Verdict::Ok),
            number(Verdict::Warning),
            number(Verdict::Failed)
        ));
        text
    }
}

/// A host with what is known of it.
struct Examined {
    name: String,
    checks: Vec<Check>,
    /// With a program that runs.
    station: Option<Station>,
    /// A directory to remove.
    lent: Option<String>,
}

impl CheckArguments {
    /// Checks the chosen hosts, and their pairs.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let site = Site::find(context, "check")?;
        let programs = Programs::new(self.binary.as_deref(), &site.inventory.cluster)?;
        let board = site.board();
        let examined = each(site.selected.clone(), site.parallel(), async |host: Host| {
            let line = board.line(&host.name);
            line.hint("checking");
            let mut examined =
                Examined { name: host.name.clone(), checks: Vec::new(), station: None, lent: None };
            if let Err(failure) = examine(&site, &host, &programs, &mut examined).await {
                let name = if examined.checks.is_empty() { "ssh" } else { "program" };
                examined.checks.push(Check::bad(
                    &host.name,
                    name,
                    Verdict::Failed,
                    "see below",
                    failure.to_string(),
                ));
            }
            examined
        });
        let mut examined = examined.await;
        let stations: Vec<&Station> = examined.iter().filter_map(|host| host.station.as_ref()).collect();
        let pairs = pairs::check(&stations, site.parallel()).await;
        for check in pairs {
            if let Some(host) = examined.iter_mut().find(|host| host.name == check.host) {
                host.checks.push(check);
            }
        }
        let cleaning = examined.iter().filter_map(|host| Some((host.station.as_ref()?, host.lent.as_ref()?)));
        each(cleaning.collect(), site.parallel(), async |(station, lent): (&Station, &String)| {
            // Best effort: the host is as fit with a left-over as without.
            let _ = station.run("rm", &["-r", "-f", "--", lent]).await;
        })
        .await;
        drop(board);
        conclude(&site, examined)
    }
}

fn conclude(site: &Site, examined: Vec<Examined>) -> Outcome {
    let severity = |state: Verdict| state as u8;
    let hosts: Vec<HostVerdict> = examined
        .iter()
        .map(|host| HostVerdict {
            host: host.name.clone(),
            state: host
                .checks
                .iter()
                .map(|check| check.state)
                .max_by_key(|state| severity(*state))
                .unwrap_or(Verdict::Ok),
        })
        .collect();
    let failed = hosts.iter().any(|host| host.state == Verdict::Failed);
    let checks = examined.into_iter().flat_map(|host| host.checks).collect();
    site.output.show(&CheckReport { command: "check", hosts, checks });
    if failed { Err(Failure::Said) } else { Ok(()) }
}

async fn examine(
    site: &Site,
    host: &Host,
    programs: &Programs,
    examined: &mut Examined,
) -> Result<(), HostFailure> {
    let name = &host.name;
    let station = site.open(host).await?;
    let way =
        if host.is_local() { "this machine".to_owned() } else { format!("as {}", login(&station).await?) };
    examined.checks.push(Check::ok(name, "ssh", way));
    let machine = station.run("uname", &["-m"]).await?.text();
    let is_installed = programs.is_current(&station).await?;
    let station = if is_installed {
        station
    } else {
        let directory = borrow_directory(&station).await?;
        examined.lent = Some(directory.clone());
        let path = format!("{directory}/chordata-server");
        let lent = station.with_program(path.clone());
        // Kept also when the program does not run, so that the directory is removed.
        examined.station = Some(lent.clone());
        let sent = programs.lend(&station, &path).await;
        if let Err(failure) = sent {
            examined.checks.push(Check::bad(name, "program", Verdict::Failed, machine, failure.to_string()));
            return Ok(());
        }
        lent
    };
    let (facts, took) = station.probe().await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let installed = if is_installed { "installed" } else { "would be uploaded" };
    examined.checks.push(Check::ok(name, "program", format!("runs on {machine}, {installed}")));
    let port = port(&station, &facts).await?;
    examined.checks.push(port);
    examined.checks.extend([
        clock(name, &facts, now, took),
        disk(name, &facts),
        memory(name, &facts),
        open_files(name, &facts),
        supervisor(name, &facts),
    ]);
    examined.station = Some(station);
    Ok(())
}

async fn login(station: &Station) -> Result<String, HostFailure> {
    Ok(station.run("id", &["-un"]).await?.text())
}

/// Near the installation, where programs may be run; else in /tmp.
async fn borrow_directory(station: &Station) -> Result<String, HostFailure> {
    let parent = station.install.rsplit_once('/').map_or("", |(parent, _)| parent);
    for template in [format!("{parent}/.chordata-check.XXXXXX"), "/tmp/chordata-check.XXXXXX".to_owned()] {
        let made = station.run("mktemp", &["-d", &template]).await?;
        if made.is_success() {
            return Ok(made.text());
        }
    }
    Err(HostFailure::Failed(format!("no directory can be made in {parent} nor in /tmp")))
}

async fn port(station: &Station, facts: &ProbeReport) -> Result<Check, HostFailure> {
    let (name, listen) = (&station.host.name, station.host.listen_address());
    let Some(fact) = facts.ports.first() else {
        return Ok(Check::ok(name, "port", "not tried"));
    };
    let reason = fact.reason.clone().unwrap_or_default();
    Ok(match fact.state {
        PortState::Free => Check::ok(name, "port", format!("{listen} is free")),
        PortState::InUse if station.status().await?.is_some_and(|status| status.pid.is_some()) => {
            Check::ok(name, "port", format!("{listen} is held by this node's server"))
        }
        PortState::InUse => Check::bad(
            name,
            "port",
            Verdict::Failed,
            format!("{listen} is in use"),
            "another process listens there: stop it, or set another listen_port",
        ),
        PortState::Denied => Check::bad(
            name,
            "port",
            Verdict::Failed,
            format!("{listen}: {reason}"),
            "set a listen_port above 1023",
        ),
        PortState::AddressUnavailable => Check::bad(
            name,
            "port",
            Verdict::Failed,
            format!("{listen}: {reason}"),
            "the host has no such address: set `bind` to one that it has, or leave it away",
        ),
        PortState::Failed => Check::bad(
            name,
            "port",
            Verdict::Failed,
            format!("{listen}: {reason}"),
            "set another listen_port or bind",
        ),
    })
}

fn clock(name: &str, facts: &ProbeReport, now: Duration, took: Duration) -> Check {
    // The host looked at its clock at some moment of the probe: the middle is at most half of it wrong.
    let there = Duration::from_micros(facts.clock_microseconds);
    let here = now.saturating_sub(took / 2);
    let skew = there.abs_diff(here);
    let detail = format!("{} ms from ours, give or take {} ms", skew.as_millis(), (took / 2).as_millis());
    if skew.saturating_sub(took / 2) > SKEW_MAX {
        let remedy = "set the clock (chrony or systemd-timesyncd do it by themselves)";
        return Check::bad(name, "clock", Verdict::Warning, detail, remedy);
    }
    Check::ok(name, "clock", detail)
}

fn disk(name: &str, facts: &ProbeReport) -> Check {
    let directory = &facts.disk_directory;
    if !facts.disk_writable {
        let remedy = "set install_dir to a directory that this user may write to";
        return Check::bad(name, "disk", Verdict::Failed, format!("{directory} is not writable"), remedy);
    }
    match facts.disk_free_bytes {
        Some(free) if free < DISK_BYTES_MIN => {
            let remedy = "free some, or set install_dir to a larger disk";
            Check::bad(
                name,
                "disk",
                Verdict::Warning,
                format!("{} MB free at {directory}", free >> 20),
                remedy,
            )
        }
        Some(free) => Check::ok(name, "disk", format!("{} GB free at {directory}", free >> 30)),
        None => Check::ok(name, "disk", format!("{directory} is writable")),
    }
}

fn memory(name: &str, facts: &ProbeReport) -> Check {
    match facts.memory_available_bytes {
        Some(free) if free < MEMORY_BYTES_MIN => {
            let detail = format!("{} MB available", free >> 20);
            Check::bad(name, "memory", Verdict::Warning, detail, "the values are kept in memory: free some")
        }
        Some(free) => {
            Check::ok(name, "memory", format!("{} MB available, {} cores", free >> 20, facts.cores))
        }
        None => Check::ok(name, "memory", format!("not known, {} cores", facts.cores)),
    }
}

fn open_files(name: &str, facts: &ProbeReport) -> Check {
    match facts.open_files_soft {
        Some(limit) if limit < OPEN_FILES_MIN => Check::bad(
            name,
            "open files",
            Verdict::Warning,
            format!("at most {limit}"),
            "each connection is one: raise `nofile` in /etc/security/limits.conf",
        ),
        Some(limit) => Check::ok(name, "open files", format!("at most {limit}")),
        None => Check::ok(name, "open files", "not known"),
    }
}

fn supervisor(name: &str, facts: &ProbeReport) -> Check {
    let detail = match facts.systemd.would_use {
        Supervisor::SystemdSystem => "by systemd: it starts with the host",
        Supervisor::SystemdUser => "by the user's systemd: it starts with the host",
        Supervisor::Detached => "as a process of its own: after a reboot, `chordata up` starts it",
    };
    Check::ok(name, "runs", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(clock: Duration) -> ProbeReport {
        let json = serde_json::json!({
            "version": "0", "architecture": "x86_64", "machine": null, "kernel": null, "hostname": null, "glibc": null,
            "user": null, "cores": 2, "load": null, "memory_total_bytes": null, "memory_available_bytes": 1024,
            "disk_directory": "/", "disk_free_bytes": 1024, "disk_writable": true, "open_files_soft": 256,
            "open_files_hard": 256, "clock_microseconds": u64::try_from(clock.as_micros()).expect("small"),
            "systemd": {"booted": false, "user_manager": false, "linger": false, "would_use": "detached"}, "ports": []
        });
        serde_json::from_value(json).expect("facts")
    }

    #[test]
    fn skew_counts_only_beyond_what_the_way_can_explain() {
        let now = Duration::from_secs(1_800_000_000);
        let check = |behind, took| {
            let (behind, took) = (Duration::from_millis(behind), Duration::from_millis(took));
            clock("h1", &facts(now - behind), now, took).state
        };
        assert_eq!(check(300, 100), Verdict::Ok);
        assert_eq!(check(900, 100), Verdict::Warning);
        assert_eq!(check(900, 1000), Verdict::Ok);
    }

    #[test]
    fn scarcity_is_a_warning_with_a_remedy() {
        let facts = facts(Duration::ZERO);
        for check in [disk("h1", &facts), memory("h1", &facts), open_files("h1", &facts)] {
            assert_eq!(check.state, Verdict::Warning, "{check:?}");
            assert!(check.remedy.is_some());
        }
    }
}
