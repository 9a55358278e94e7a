//! `file put`.

use std::path::PathBuf;
use std::time::Duration;

use chordata_files::{Condition, FileName, Info, PutOptions, Source};
use serde::Serialize;

use super::progress::Shown;
use super::{files_of, parse_name, rate, resumable, short, size};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::report::{self, Report};

/// `file put`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct PutArguments {
    /// The file; - reads standard input
    path: PathBuf,
    /// The name in the cluster [default: the file's own, without directories]
    #[arg(long, value_parser = parse_name)]
    name: Option<FileName>,
    /// What it is, for HTTP
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// Only if there is no file of this name
    #[arg(long)]
    if_absent: bool,
    /// Go on where an interrupted put of the same file ended: that is what happens anyway
    #[arg(long, conflicts_with = "no_resume")]
    resume: bool,
    /// Do not go on where an interrupted put of the same file ended
    #[arg(long)]
    no_resume: bool,
}

/// What was stored.
#[derive(Debug, Serialize)]
struct Stored {
    #[serde(flatten)]
    info: Info,
    /// Bytes that an interrupted put had stored.
    reused: u64,
    /// What was there before.
    replaced: Option<Info>,
    seconds: f64,
    bytes_per_second: f64,
    /// Why chunks of what was replaced are left.
    leftovers: Option<String>,
    #[serde(skip)]
    elapsed: Duration,
}

impl Report for Stored {
    fn text(&self) -> String {
        let Info { name, size: bytes, hash, chunks, .. } = &self.info;
        let chunks = report::count(usize::try_from(*chunks).unwrap_or(usize::MAX), "chunk");
        let (time, rate) =
            (report::duration(self.elapsed), rate(bytes.saturating_sub(self.reused), self.elapsed));
        let mut text =
            format!("stored {name}: {}, {chunks}, blake3 {}, {time}, {rate}\n", size(*bytes), short(hash));
        if self.reused > 0 {
            text += &format!("{} were there from an interrupted put\n", size(self.reused));
        }
        if let Some(replaced) = &self.replaced {
            text += &format!("replaced {} (blake3 {})\n", size(replaced.size), short(&replaced.hash));
        }
        if let Some(reason) = &self.leftovers {
            text +=
                &format!("what was replaced is not all removed: {reason}. `chordata file tidy` does it\n");
        }
        text
    }
}

impl PutArguments {
    /// Stores a file.
    pub(super) async fn run(&self, context: &Context) -> Outcome {
        let is_stream = self.path.as_os_str() == "-";
        let own = self.path.file_name().and_then(|name| name.to_str());
        let name = match (&self.name, own) {
            (Some(name), _) => name.clone(),
            (None, _) if is_stream => {
                return Err(Failure::input("standard input has no name: give one with --name"));
            }
            (None, Some(own)) => parse_name(own).map_err(Failure::input)?,
            (None, None) => {
                let path = self.path.display();
                return Err(Failure::input(format!("{path} has no name of its own: give one with --name")));
            }
        };
        let (source, total) = if is_stream {
            if context.output.in_shell {
                return Err(Failure::input("standard input is the shell's here: name a file"));
            }
            (Source::Stream(Box::new(std::io::stdin())), None)
        } else {
            let metadata = std::fs::metadata(&self.path);
            let metadata =
                metadata.map_err(|error| Failure::input(format!("{}: {error}", self.path.display())))?;
            if !metadata.is_file() {
                return Err(Failure::input(format!("{} is no regular file", self.path.display())));
            }
            (Source::File(self.path.clone()), Some(metadata.len()))
        };
        let connection = context.target.connect(context.output).await?;
        let (shown, progress) = Shown::begin(context.output, name.as_str(), total);
        let options = PutOptions {
            condition: if self.if_absent { Condition::Absent } else { Condition::None },
            content_type: self.content_type.clone(),
            source: None,
            from_scratch: self.no_resume,
            progress: Some(progress),
        };
        let put = Box::pin(files_of(&connection).put_from(source, &name, options)).await;
        let elapsed = shown.end();
        let failed = |failure: chordata_files::Failure| {
            if is_stream { failure.into() } else { resumable(failure, "was stored") }
        };
        let put = put.map_err(failed)?;
        let seconds = elapsed.as_secs_f64();
        #[allow(clippy::cast_precision_loss, reason = "a rate is told to a few digits")]
        let sent = put.info.size.saturating_sub(put.reused) as f64;
        context.output.show(&Stored {
            info: put.info,
            reused: put.reused,
            replaced: put.replaced,
            seconds,
            bytes_per_second: sent / seconds.max(1e-6),
            leftovers: put.leftovers.map(|failure| failure.to_string()),
            elapsed,
        });
        Ok(())
    }
}
