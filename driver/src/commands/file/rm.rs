//! `file rm`.

use chordata_files::{Condition, FileName, Info};
use serde::Serialize;

use super::{files_of, parse_name, size};
use crate::context::Context;
use crate::failure::Outcome;
use crate::report::Report;

/// `file rm`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RmArguments {
    /// The names in the cluster
    #[arg(required = true, value_parser = parse_name)]
    names: Vec<FileName>,
}

#[derive(Debug, Serialize)]
struct Removed {
    removed: Info,
    /// Why its chunks are left.
    leftovers: Option<String>,
}

impl Report for Removed {
    fn text(&self) -> String {
        let mut text = format!("removed {}: {}\n", self.removed.name, size(self.removed.size));
        if let Some(reason) = &self.leftovers {
            text += &format!("not all of its chunks: {reason}. `chordata file tidy` does it\n");
        }
        text
    }
}

impl RmArguments {
    /// Removes files, one after another; the first that cannot be removed is the last that is tried.
    pub(super) async fn run(&self, context: &Context) -> Outcome {
        let connection = context.target.connect(context.output).await?;
        let files = files_of(&connection);
        for name in &self.names {
            let removed = Box::pin(files.remove(name, Condition::None)).await?;
            let leftovers = removed.leftovers.map(|failure| failure.to_string());
            context.output.show(&Removed { removed: removed.info, leftovers });
        }
        Ok(())
    }
}
