//! What every command is given: the cluster it means, which hosts of it, and how to show results.

use crate::report::Output;
use crate::target::TargetArguments;

/// From the global flags.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// Which cluster.
    pub(crate) target: TargetArguments,
    /// How to show results.
    pub(crate) output: Output,
    /// Only these hosts (`--host`); all if empty.
    pub(crate) hosts: Vec<String>,
    /// Only hosts with these labels (`--label`).
    pub(crate) labels: Vec<String>,
    /// Do not ask (`--yes`).
    pub(crate) yes: bool,
}
