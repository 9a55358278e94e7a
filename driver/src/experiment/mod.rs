//! Experiments: what a cluster does in a second, how long a request takes, which node has how much of it.
//!
//! ```text
//! input      files of keys and of mixed requests, as the classic experiments have them
//! plan       what is measured: the jobs of the load generator (crates/workload), one after another
//! stage      the cluster that it is measured on: one that runs, or one that is started for it, here or on hosts
//! deployed   starting and erasing one on hosts
//! generate   having jobs done: on threads of this process, or on hosts
//! sweep      cell after cell (a model and a number of copies), in each warm-up and repeats
//! result     what came of it, as a file
//! summary    the same as a table: medians and spread
//! clock      when
//! ```
//!
//! A file has every run with its histograms, and no median: those are computed where they are shown, here and in
//! [`crate::plot`].

mod clock;
mod deployed;
mod generate;
mod input;
mod plan;
pub(crate) mod result;
mod stage;
pub(crate) mod summary;
mod sweep;

pub(crate) use input::{load_keys, load_requests};
pub(crate) use plan::{KeySource, Plan, RequestSource};
pub(crate) use stage::Place;
pub(crate) use sweep::{Cells, measure};
