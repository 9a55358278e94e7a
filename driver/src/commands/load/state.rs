//! How far a load has come, for `--resume`: a small file in the driver's state directory, `loads/NAME.json`, where NAME is
//! made of the cluster, the file's path and how it is read.
//!
//! It says up to which row everything is acknowledged or rejected. The file must be the same one still: length and time
//! of the last change; and so must the file of rejects, if there were any. The state goes away when a load has come to its
//! end.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use chordata_rpc::service::ClusterId;
use serde::{Deserialize, Serialize};

use super::arguments::{Job, Source};
use crate::failure::{Failure, Outcome};
use crate::state::State;

/// See the [module](self).
pub(super) struct LoadState {
    /// None: there is nothing to come back to.
    path: Option<PathBuf>,
    noted: Noted,
}

/// What the file has.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
struct Noted {
    source: String,
    bytes: u64,
    changed_ns: u64,
    /// Rows from the beginning of which it is known what became of them.
    rows: u64,
    /// How many of them were rejected.
    failed: u64,
    /// Bytes in the file of rejects.
    rejects: u64,
    /// Where that is.
    #[serde(default)]
    rejects_file: PathBuf,
}

impl LoadState {
    /// Finds the state of this load; there may be none yet.
    ///
    /// # Errors
    /// When the user has no state directory, or the source is gone.
    pub(super) fn find(job: &Job, cluster: ClusterId) -> Outcome<LoadState> {
        let Source::File { path: Some(path), format } = &job.source else {
            return Ok(LoadState { path: None, noted: Noted::default() });
        };
        let failed = |error| Failure::failed(format!("{}: {error}", path.display()));
        let whole = path.canonicalize().map_err(failed)?;
        let about = whole.metadata().map_err(failed)?;
        let changed = about.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let identity = format!("{cluster}\n{}\n{format:?}\n{:?}", whole.display(), job.choice);
        let name = blake3::hash(identity.as_bytes()).to_hex();
        let directory = State::of_user()?.loads()?;
        Ok(LoadState {
            path: Some(directory.join(format!("{}.json", &name[..24]))),
            noted: Noted {
                source: whole.display().to_string(),
                bytes: about.len(),
                changed_ns: changed.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(0)),
                ..Noted::default()
            },
        })
    }

    fn earlier(&self) -> Outcome<Option<Noted>> {
        let Some(path) = &self.path else { return Ok(None) };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failure::failed(format!("{}: {error}", path.display()))),
        };
        let damaged = |error| Failure::failed(format!("{} is damaged ({error}): remove it", path.display()));
        serde_json::from_str(&text).map(Some).map_err(damaged)
    }

    /// Goes on where an earlier load was broken off.
    ///
    /// # Errors
    /// When the source has changed since, or what was rejected is not where it was written.
    pub(super) fn begin_again(mut self, job: &Job) -> Outcome<LoadState> {
        let Some(earlier) = self.earlier()? else { return Ok(self) };
        if (earlier.bytes, earlier.changed_ns) != (self.noted.bytes, self.noted.changed_ns) {
            return Err(Failure::input(format!(
                "{} has changed since the load that was broken off: load it from its beginning, without --resume",
                job.source.name()
            )));
        }
        self.noted = earlier;
        let Noted { rejects, rejects_file: written, failed, .. } = &self.noted;
        if *rejects == 0 {
            return Ok(self);
        }
        if let Some(wanted) = job.common.rejects.as_deref().filter(|wanted| whole(wanted) != *written) {
            return Err(Failure::input(format!(
                "the {failed} rows that could not be stored so far are in {}, and the others would be in {}: leave --rejects \
                 out, or load {} from its beginning, without --resume",
                written.display(),
                wanted.display(),
                job.source.name()
            )));
        }
        let there = std::fs::metadata(written).map(|about| about.len());
        if there.as_ref().map_or(true, |there| there < rejects) {
            let there = there.map_or_else(|error| error.to_string(), |there| format!("it has {there} bytes"));
            return Err(Failure::input(format!(
                "the {failed} rows that could not be stored so far were written to {}, {rejects} bytes of it, and are not there \
                 any more ({there}): put the file back, or load {} from its beginning, without --resume",
                written.display(),
                job.source.name()
            )));
        }
        Ok(self)
    }

    /// Where rejects go: behind those of the load that goes on, where somebody says, or beside the command.
    pub(super) fn rejects_file(&mut self, job: &Job) -> PathBuf {
        let said = job.common.rejects.clone().unwrap_or_else(|| job.source.rejects());
        let wanted = whole(&said);
        if self.noted.rejects > 0 && wanted != self.noted.rejects_file {
            return self.noted.rejects_file.clone();
        }
        self.noted.rejects_file = wanted;
        said
    }

    /// Forgets an earlier load, if there was one: how many rows it had done.
    pub(super) fn drop_earlier(&self) -> Option<u64> {
        // What cannot be read cannot be resumed either: it is written anew.
        let rows = self.earlier().ok().flatten().map(|earlier| earlier.rows);
        if let Some(path) = self.path.as_ref().filter(|_| rows.is_some()) {
            let _ = std::fs::remove_file(path);
        }
        rows.filter(|rows| *rows > 0)
    }

    /// Rows from the beginning that need not be read again.
    pub(super) fn rows(&self) -> u64 {
        self.noted.rows
    }

    /// Bytes in the file of rejects.
    pub(super) fn rejects(&self) -> u64 {
        self.noted.rejects
    }

    /// Rows that were rejected so far.
    pub(super) fn failed(&self) -> u64 {
        self.noted.failed
    }

    /// Takes note of the rows up to this one. It is on disk with the next [`keep`](Self::keep).
    pub(super) fn note(&mut self, rows: u64, failed: u64, rejects: u64) {
        (self.noted.rows, self.noted.failed, self.noted.rejects) = (rows, failed, rejects);
    }

    /// Writes it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn keep(&self) -> Outcome {
        let Some(path) = self.path.as_ref().filter(|_| self.noted.rows > 0) else { return Ok(()) };
        let text = serde_json::to_string(&self.noted).map_err(Failure::failed)?;
        let directory = path.parent().unwrap_or(Path::new("."));
        let failed = |error: std::io::Error| Failure::failed(format!("{}: {error}", path.display()));
        let mut beside = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
        std::io::Write::write_all(&mut beside, text.as_bytes()).map_err(failed)?;
        beside.persist(path).map_err(|error| failed(error.error))?;
        Ok(())
    }

    /// The load has come to its end.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub(super) fn remove(&self) -> Outcome {
        let Some(path) = &self.path else { return Ok(()) };
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// A path that means the same file from any directory.
fn whole(path: &Path) -> PathBuf {
    let known = |path: &Path| path.canonicalize().ok();
    // The file itself need not be there yet.
    let beside = || {
        Some(known(path.parent().filter(|parent| !parent.as_os_str().is_empty())?)?.join(path.file_name()?))
    };
    known(path).or_else(beside).or_else(|| std::path::absolute(path).ok()).unwrap_or_else(|| path.to_owned())
}
