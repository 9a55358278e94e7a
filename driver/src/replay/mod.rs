//! Replaying an input file: carrying out its operations, and knowing what each get must answer.
//!
//! An operation is sent to an entry server, which routes it. Operations on one key keep their order, whatever the
//! concurrency. What a get must answer follows from the puts that this replay made and that were acknowledged
//! ([`expect`]); for a key that it has not written, what was found is reported and not judged.

pub(crate) mod expect;
pub(crate) mod run;
pub(crate) mod summary;

pub(crate) use run::{Entry, Plan, run};
pub(crate) use summary::{Done, Summary, Verdict};
