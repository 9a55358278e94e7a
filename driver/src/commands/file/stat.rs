//! `file stat`.

use chordata_files::{Check, FileName, Stat};
use serde::Serialize;

use super::{files_of, moment, parse_name, size};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::report::{Report, table};

/// `file stat`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct StatArguments {
    /// The name in the cluster
    #[arg(value_parser = parse_name)]
    name: FileName,
    /// Ask every replica of every chunk what it has, and compare the hashes. Exit code 1 if any is missing or wrong
    #[arg(long)]
    check: bool,
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Shown(Stat);

impl Report for Shown {
    fn text(&self) -> String {
        let Stat { info, chunk_bytes, key, nodes, uploads } = &self.0;
        let mut text = format!(
            "name      {}\nsize      {} ({} bytes)\nblake3    {}\nmodified  {}\n",
            info.name,
            size(info.size),
            info.size,
            info.hash,
            moment(info.modified)
        );
        if let Some(content_type) = &info.content_type {
            text += &format!("type      {content_type}\n");
        }
        text += &format!("chunks    {} of {}\n", info.chunks, size(u64::from(*chunk_bytes)));
        text += &format!("manifest  {key}\n");
        if *uploads > 0 {
            text += &format!("uploads   {uploads} under way, or given up\n");
        }
        let checked = nodes.iter().any(|node| node.wrong.is_some());
        let rows = nodes.iter().map(|node| {
            let mut row = vec![
                node.node.to_string(),
                node.share.chunks.to_string(),
                size(node.share.bytes),
                if node.share.manifest { "yes" } else { "-" }.to_owned(),
            ];
            row.extend(node.wrong.map(|wrong| wrong.to_string()));
            row
        });
        let mut headings = vec!["node", "chunks", "bytes", "manifest"];
        if checked {
            headings.push("missing or wrong");
        }
        text + "\n" + &table(&headings, rows)
    }
}

impl StatArguments {
    /// Shows a file.
    pub(super) async fn run(&self, context: &Context) -> Outcome {
        let connection = context.target.connect(context.output).await?;
        let check = if self.check { Check::Copies } else { Check::No };
        let stat = files_of(&connection).stat(&self.name, check).await?;
        let is_wrong = stat.nodes.iter().any(|node| node.wrong.is_some_and(|wrong| wrong > 0));
        context.output.show(&Shown(stat));
        if is_wrong { Err(Failure::Said) } else { Ok(()) }
    }
}
