//! One file per command, or per handful of commands that belong together.

pub(crate) mod audit;
pub(crate) mod chains;
pub(crate) mod cluster;
pub(crate) mod data;
pub(crate) mod demo;
pub(crate) mod eventual;
pub(crate) mod forget;
pub(crate) mod look;
pub(crate) mod quorum;
pub(crate) mod raw;
pub(crate) mod recover;
pub(crate) mod replay;
pub(crate) mod replicas;
pub(crate) mod status;
