//! Commands on the hosts of an inventory.

use crate::context::Context;
use crate::failure::Outcome;

/// Commands on hosts.
#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum ClusterCommand {}

impl ClusterCommand {
    /// Does it.
    pub(crate) async fn run(self, _context: &Context) -> Outcome {
        match self {}
    }
}
