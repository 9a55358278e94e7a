//! `file get`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use chordata_files::{Downloaded, FileName, Info, Output};
use serde::Serialize;

use super::progress::Shown;
use super::{files_of, parse_name, rate, resumable, short, size};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::report::{self, Report};

/// `file get`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct GetArguments {
    /// The name in the cluster
    #[arg(value_parser = parse_name)]
    name: FileName,
    /// Where to: a file or a directory; - writes to standard output [default: here, under the last part of the name]
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
}

/// What was fetched.
#[derive(Debug, Serialize)]
struct Fetched {
    #[serde(flatten)]
    info: Info,
    /// Where it is.
    output: String,
    /// Bytes that an interrupted get had fetched.
    reused: u64,
    seconds: f64,
    bytes_per_second: f64,
    #[serde(skip)]
    elapsed: Duration,
}

impl Report for Fetched {
    fn text(&self) -> String {
        let Info { name, size: bytes, hash, .. } = &self.info;
        let (time, rate) = (report::duration(self.elapsed), rate(bytes - self.reused, self.elapsed));
        let (to, bytes) = (&self.output, size(*bytes));
        let mut text =
            format!("fetched {name} to {to}: {bytes}, blake3 {} verified, {time}, {rate}\n", short(hash));
        if self.reused > 0 {
            text += &format!("{} were there from an interrupted get\n", size(self.reused));
        }
        text
    }
}

impl GetArguments {
    fn path(&self) -> Outcome<PathBuf> {
        let own = || {
            let name = &self.name;
            self.name.last().ok_or_else(|| {
                Failure::input(format!(
                    "{name} does not end with a name for a local file: say where to with -o"
                ))
            })
        };
        match &self.output {
            None => Ok(PathBuf::from(own()?)),
            Some(path) if path.is_dir() => Ok(path.join(own()?)),
            Some(path) => Ok(path.clone()),
        }
    }

    /// Fetches a file.
    pub(super) async fn run(&self, context: &Context) -> Outcome {
        let is_stream = self.output.as_ref().is_some_and(|path| path.as_os_str() == "-");
        let (output, to) = if is_stream {
            if std::io::stdout().is_terminal() && !context.output.in_shell {
                context.output.remark("writing to the terminal; -o FILE writes to a file");
            }
            (Output::Stream(Box::new(std::io::stdout())), "standard output".to_owned())
        } else {
            let path = self.path()?;
            (Output::File(path.clone()), path.display().to_string())
        };
        let connection = context.target.connect(context.output).await?;
        let (shown, progress) = Shown::begin(context.output, self.name.as_str(), None);
        let fetched = Box::pin(files_of(&connection).download(&self.name, output, Some(&progress))).await;
        let elapsed = shown.end();
        let failed =
            |failure| if is_stream { failure_of_stream(failure) } else { resumable(failure, "was fetched") };
        let Downloaded { info, reused } = fetched.map_err(failed)?;
        let seconds = elapsed.as_secs_f64();
        #[allow(clippy::cast_precision_loss, reason = "a rate is told to a few digits")]
        let bytes_per_second = (info.size - reused) as f64 / seconds.max(1e-6);
        let report = Fetched { info, output: to, reused, seconds, bytes_per_second, elapsed };
        if is_stream {
            // Standard output has the content and nothing else.
            context.output.remark(report.text().trim_end());
        } else {
            context.output.show(&report);
        }
        Ok(())
    }
}

/// What came through a pipe before it failed is no file.
fn failure_of_stream(failure: chordata_files::Failure) -> Failure {
    match failure {
        chordata_files::Failure::Changed(_) | chordata_files::Failure::Broken { .. } => {
            Failure::failed(format!("{failure}; what was written is not the whole file"))
        }
        other => other.into(),
    }
}
