//! The right program, in place only if it runs there.
//!
//! Which: `--binary`, else the inventory's `[cluster.binaries]` by architecture, else `chordata-server` beside the
//! driver's own program, else the driver itself (it contains the server). How: compared by SHA-256 with what is there,
//! and left alone when equal; else streamed under a name of its own, compared, run once, and renamed over the old one.
//! So an upload that is cut short, or a program for another machine, never stands where a server is started from, and
//! a rebuild here never disturbs a running server, on this machine neither.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use super::failure::HostFailure;
use super::shell::Output;
use super::station::Station;
use crate::failure::{Failure, Outcome};
use crate::inventory::{ClusterOptions, expand_home};

/// How long an upload may take: 100 MB at 350 kB a second.
const UPLOAD_MAX: Duration = Duration::from_secs(300);

/// A server beside the driver that was built so much before it is probably a left-over.
const OLDER_MAX: Duration = Duration::from_secs(180);

/// A program on the driver's machine.
#[derive(Debug)]
pub(crate) struct Program {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Its contents.
    bytes: Vec<u8>,
    /// SHA-256 of them, in hexadecimal.
    hash: String,
}

/// What came of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Uploaded {
    /// It was there already.
    Unchanged,
    /// So many bytes were sent.
    Sent(usize),
}

/// The programs to upload, each read once.
#[derive(Debug)]
pub(crate) struct Programs {
    explicit: Option<PathBuf>,
    by_architecture: BTreeMap<String, PathBuf>,
    standard: PathBuf,
    read: Mutex<BTreeMap<PathBuf, Arc<Program>>>,
    /// One upload at a time into one directory: servers of one machine share theirs.
    places: Mutex<BTreeMap<String, Arc<Mutex<()>>>>,
}

impl Programs {
    /// By `--binary` and the inventory.
    ///
    /// # Errors
    /// When one that is named is not there.
    pub(crate) fn new(explicit: Option<&Path>, options: &ClusterOptions) -> Outcome<Programs> {
        let mut by_architecture = BTreeMap::new();
        for (architecture, path) in &options.binaries {
            by_architecture.insert(architecture.clone(), expand_home(path)?);
        }
        let own = std::env::current_exe()
            .map_err(|error| Failure::failed(format!("the driver does not find its own program: {error}")))?;
        let beside = own.with_file_name("chordata-server");
        let standard = if beside.is_file() { beside } else { own };
        if let Some(path) = explicit.filter(|path| !path.is_file()) {
            return Err(Failure::input(format!("--binary: there is no file {}", path.display())));
        }
        Ok(Programs {
            explicit: explicit.map(Path::to_owned),
            by_architecture,
            standard,
            read: Mutex::default(),
            places: Mutex::default(),
        })
    }

    /// Something about the choice that the user may not expect: cargo builds the driver without the server beside it.
    pub(crate) fn remark(&self) -> Option<String> {
        let age = |path: &Path| path.metadata().ok()?.modified().ok()?.elapsed().ok();
        let own = std::env::current_exe().ok()?;
        let behind = age(&self.standard)?.checked_sub(age(&own)?)?;
        (self.explicit.is_none() && behind > OLDER_MAX).then(|| {
            format!(
                "note: {} is {} minutes older than this chordata: build both, or name another with --binary",
                self.standard.display(),
                behind.as_secs() / 60
            )
        })
    }

    /// The program for a host.
    ///
    /// # Errors
    /// When the host does not say what it is, or the program cannot be read.
    pub(crate) async fn pick(&self, station: &Station) -> Result<Arc<Program>, HostFailure> {
        let path = match &self.explicit {
            Some(path) => path,
            None if self.by_architecture.is_empty() => &self.standard,
            None => {
                let machine = station.run("uname", &["-m"]).await?.text();
                self.by_architecture.get(&machine).unwrap_or(&self.standard)
            }
        };
        let mut read = self.read.lock().await;
        if let Some(program) = read.get(path) {
            return Ok(program.clone());
        }
        let bytes = tokio::fs::read(path).await;
        let bytes = bytes.map_err(|error| HostFailure::Failed(format!("{}: {error}", path.display())))?;
        let hash = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let program = Arc::new(Program { path: path.clone(), bytes, hash });
        read.insert(path.clone(), program.clone());
        Ok(program)
    }

    /// Is the program on the host the one that it should have?
    ///
    /// # Errors
    /// When the host was lost.
    pub(crate) async fn is_current(&self, station: &Station) -> Result<bool, HostFailure> {
        let program = self.pick(station).await?;
        Ok(hash_there(station, &station.program).await?.as_deref() == Some(&*program.hash))
    }

    /// Puts it in place. `say` is told what is being done.
    ///
    /// # Errors
    /// When it cannot be written, or does not run there.
    pub(crate) async fn install(
        &self,
        station: &Station,
        say: impl Fn(&str),
    ) -> Result<Uploaded, HostFailure> {
        let place = {
            let host = &station.host;
            let machine =
                if host.is_local() { String::new() } else { format!("{}:{:?}", host.ssh, host.port) };
            let key = format!("{machine} {:?} {}", host.user, station.install);
            self.places.lock().await.entry(key).or_default().clone()
        };
        let _alone = place.lock().await;
        if self.is_current(station).await? {
            return Ok(Uploaded::Unchanged);
        }
        let program = self.pick(station).await?;
        say(&format!("uploading {}", megabytes(program.bytes.len())));
        let directory = format!("{}/bin", station.install);
        // `mkdir -p -m` would set the mode of the last directory only; the installation is the one that matters.
        succeed(&station.run("mkdir", &["-p", &directory]).await?, "make the directory", &directory)?;
        succeed(
            &station.run("chmod", &["700", &station.install]).await?,
            "set the permissions of",
            &station.install,
        )?;
        let beside = format!("{directory}/.chordata-server.{}.partial", &program.hash[..8]);
        let placed = self.place(station, &program, &beside).await;
        if placed.is_err() {
            // Best effort: the next upload writes over it, and `destroy` removes it.
            tidy(station).await;
        }
        placed.map(|()| Uploaded::Sent(program.bytes.len()))
    }

    async fn place(&self, station: &Station, program: &Program, beside: &str) -> Result<(), HostFailure> {
        send(station, program, beside).await?;
        succeed(
            &station.run("mv", &["-f", beside, &station.program]).await?,
            "put the program in place at",
            &station.program,
        )
    }

    /// Puts the program somewhere for a while, for `check`.
    ///
    /// # Errors
    /// As `install`.
    pub(crate) async fn lend(&self, station: &Station, path: &str) -> Result<(), HostFailure> {
        let program = self.pick(station).await?;
        send(station, &program, path).await
    }
}

/// Removes uploads that were cut short, and the directories around them if nothing else is in there. Best effort.
pub(crate) async fn tidy(station: &Station) {
    let binaries = format!("{}/bin", station.install);
    let partial = [&binaries, "-maxdepth", "1", "-name", ".chordata-server.*.partial", "-delete"];
    let _ = station.run("find", &partial).await;
    for directory in [&binaries, &station.install] {
        // Only empty ones go.
        let _ = station.run("rmdir", &[directory]).await;
    }
}

/// Streams the program to a path, compares it there, and runs it once.
async fn send(station: &Station, program: &Program, path: &str) -> Result<(), HostFailure> {
    let output = format!("of={path}");
    let arguments = [output.as_str(), "bs=1M", "status=none"];
    let written = station.shell.run("dd", &arguments, Some(&program.bytes), UPLOAD_MAX).await?;
    succeed(&written, "write", path)?;
    if hash_there(station, path).await?.as_deref() != Some(&*program.hash) {
        return Err(HostFailure::Failed(format!("{path} is not what was sent: is the disk full?")));
    }
    succeed(&station.run("chmod", &["755", path]).await?, "make runnable", path)?;
    let answer = station.run(path, &["--version"]).await?;
    if answer.is_success() {
        return Ok(());
    }
    let machine = station.run("uname", &["-m"]).await?.text();
    Err(HostFailure::Failed(does_not_run(&program.path, &machine, &answer)))
}

async fn hash_there(station: &Station, path: &str) -> Result<Option<String>, HostFailure> {
    let output = station.run("sha256sum", &["--", path]).await?;
    if output.code == Some(127) {
        return Err(HostFailure::Failed("the host has no `sha256sum`: install coreutils".to_owned()));
    }
    Ok(output.text().split_whitespace().next().filter(|_| output.is_success()).map(str::to_owned))
}

fn succeed(output: &Output, doing: &str, path: &str) -> Result<(), HostFailure> {
    if output.is_success() {
        return Ok(());
    }
    Err(HostFailure::Failed(format!("cannot {doing} {path}: {}", output.complaint())))
}

/// Why a program does not run on a host, and what to do.
fn does_not_run(program: &Path, machine: &str, answer: &Output) -> String {
    let complaint = answer.complaint();
    let program = program.display();
    let other_architecture = answer.code == Some(126)
        || ["Exec format error", "cannot execute binary file", "os error 8"]
            .iter()
            .any(|words| complaint.contains(words));
    if other_architecture {
        format!(
            "{program} is for another architecture than this host's ({machine}): name a program for it in \
             [cluster.binaries] of the inventory, or with --binary"
        )
    } else if complaint.contains("GLIBC_") || complaint.contains("not found (required by") {
        format!(
            "{program} needs a newer C library than this host has ({complaint}): build one that runs everywhere with \
             `make dist`, and name it with --binary"
        )
    } else if answer.code == Some(127) {
        format!(
            "{program} does not find its loader on this host, which has another C library: build one that runs \
             everywhere with `make dist`, and name it with --binary"
        )
    } else {
        format!("{program} does not run on this host: {complaint}")
    }
}

/// `23 MB`.
pub(crate) fn megabytes(bytes: usize) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: i32, stderr: &str) -> Output {
        Output { code: Some(code), stdout: Vec::new(), stderr: stderr.as_bytes().to_vec() }
    }

    #[test]
    fn a_program_that_does_not_run_is_explained() {
        let say = |code, stderr| does_not_run(Path::new("/x"), "aarch64", &answer(code, stderr));
        assert!(
            say(126, "sh: 1: /p: Exec format error")
                .contains("another architecture than this host's (aarch64)")
        );
        assert!(say(1, "/p: /lib/libc.so.6: version `GLIBC_2.34' not found").contains("make dist"));
        assert!(say(127, "").contains("loader"));
        assert!(say(3, "boom").contains("boom"));
    }
}
