//! `plot`: pictures of a result.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::context::Context;
use crate::experiment::result::Results;
use crate::failure::{Failure, Outcome};
use crate::plot::against::Against;
use crate::plot::{figures, markdown, report};
use crate::report::Report;

/// `plot`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct PlotArguments {
    /// The result of an experiment
    #[arg(value_name = "RESULT")]
    result: PathBuf,
    /// Directory for the pictures; made if there is none [default: the result's name without .json]
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Also write one page with pictures, tables, settings and facts about the machine
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Fill a page of Markdown: tables and pictures between its lines `<!-- begin: experiment -->` and
    /// `<!-- end: experiment -->`
    #[arg(long, value_name = "FILE")]
    fill: Option<PathBuf>,
    /// Figures of another system to set beside, in the page and the report: experiment,consistency,replication,per_second
    /// on each line
    #[arg(long, value_name = "CSV")]
    against: Option<PathBuf>,
}

/// What was written.
#[derive(Debug, Serialize)]
struct Written {
    files: Vec<String>,
}

impl Report for Written {
    fn text(&self) -> String {
        self.files.iter().map(|file| format!("{file}\n")).collect()
    }
}

impl PlotArguments {
    /// Draws.
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let results = Results::load(&self.result)?;
        let figures = figures(&results)?;
        let against = self.against.as_deref().map(Against::load).transpose()?;
        let directory = self.directory();
        std::fs::create_dir_all(&directory)
            .map_err(|error| Failure::failed(format!("{} cannot be made: {error}", directory.display())))?;
        let mut files = Vec::new();
        for figure in &figures {
            for (extension, bytes) in [("svg", figure.svg.as_bytes()), ("png", &figure.png[..])] {
                write(&directory.join(format!("{}.{extension}", figure.name)), bytes, &mut files)?;
            }
        }
        if let Some(path) = &self.report {
            let page = report::page(&results, &figures, against.as_ref());
            write(path, page.as_bytes(), &mut files)?;
        }
        if let Some(path) = &self.fill {
            let page = markdown::filled(path, &results, &figures, &directory, against.as_ref())?;
            write(path, page.as_bytes(), &mut files)?;
        }
        context.output.show(&Written { files });
        Ok(())
    }

    fn directory(&self) -> PathBuf {
        match &self.out {
            Some(directory) => directory.clone(),
            // A file without an extension cannot be a directory as well.
            None if self.result.extension().is_none() => self.result.with_extension("plots"),
            None => self.result.with_extension(""),
        }
    }
}

fn write(path: &Path, bytes: &[u8], files: &mut Vec<String>) -> Outcome {
    std::fs::write(path, bytes)
        .map_err(|error| Failure::failed(format!("{} cannot be written: {error}", path.display())))?;
    files.push(path.display().to_string());
    Ok(())
}
