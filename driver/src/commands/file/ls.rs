//! `file ls`.

use chordata_files::{Held, Info};
use chordata_protocol::Address;
use serde::Serialize;

use super::{files_of, moment, short, size};
use crate::commands::look::resolve_node;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::report::{Report, table};

/// `file ls`. With `--node N` (a number, a host's name or HOST:PORT) the files stored there.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LsArguments {
    /// Only files whose names begin so
    #[arg(default_value = "")]
    prefix: String,
}

/// All files.
#[derive(Debug, Serialize)]
struct Listed {
    files: Vec<Info>,
    /// Entries that cannot be read.
    unreadable: Vec<String>,
}

impl Report for Listed {
    fn text(&self) -> String {
        let rows = self.files.iter().map(|file| {
            vec![
                file.name.to_string(),
                size(file.size),
                moment(file.modified),
                short(&file.hash),
                file.chunks.to_string(),
            ]
        });
        let mut text = table(&["name", "size", "modified", "blake3", "chunks"], rows);
        for reason in &self.unreadable {
            text += &format!("{reason}\n");
        }
        text
    }
}

/// The files that one node has something of.
#[derive(Debug, Serialize)]
struct StoredThere {
    node: Address,
    files: Vec<Held>,
}

impl Report for StoredThere {
    fn text(&self) -> String {
        let rows = self.files.iter().map(|file| {
            vec![
                file.name.to_string(),
                file.share.chunks.to_string(),
                size(file.share.bytes),
                if file.share.manifest { "yes" } else { "-" }.to_owned(),
                file.other_pieces.to_string(),
            ]
        });
        let files = table(&["name", "chunks", "bytes", "manifest", "unfinished or left over"], rows);
        format!("files stored at {}:\n{files}", self.node)
    }
}

impl LsArguments {
    /// Lists files.
    pub(super) async fn run(&self, context: &Context) -> Outcome {
        let (target, node) = context.target.with_node_as_choice();
        let connection = target.connect(context.output).await?;
        let files = files_of(&connection);
        let Some(node) = node else {
            let (found, bad) = files.list(&self.prefix).await?;
            let unreadable: Vec<String> = bad.iter().map(ToString::to_string).collect();
            let is_whole = unreadable.is_empty();
            context.output.show(&Listed { files: found, unreadable });
            return if is_whole { Ok(()) } else { Err(Failure::Said) };
        };
        let node = resolve_node(&connection, &node).await?;
        let mut held = files.held_at(&node).await?;
        held.retain(|file| file.name.as_str().starts_with(&self.prefix));
        context.output.show(&StoredThere { node, files: held });
        Ok(())
    }
}
