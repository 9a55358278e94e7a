//! `generate`: sends requests to nodes, for experiments whose load comes from the hosts.

use std::io::Read;

use chordata_workload::job::Job;
use chordata_workload::{JobError, Measured};

use super::error::AgentError;

/// The longest job: millions of keys.
const JOB_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Does the job that is read there.
pub(super) fn run(input: impl Read) -> Result<Measured, AgentError> {
    let mut text = Vec::new();
    input
        .take(JOB_BYTES_MAX + 1)
        .read_to_end(&mut text)
        .map_err(|source| AgentError::System { doing: "read standard input".into(), source })?;
    if text.len() as u64 > JOB_BYTES_MAX {
        return Err(AgentError::BadInput(format!("the job is longer than {JOB_BYTES_MAX} bytes")));
    }
    // The place and not serde_json's words, which may quote the content: the secret is in there.
    let job: Job = serde_json::from_slice(&text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        AgentError::BadInput(format!(
            "standard input is no job of this version: line {line}, column {column}"
        ))
    })?;
    chordata_workload::run(&job).map_err(|error| match error {
        JobError::Version(_) | JobError::Impossible(_) => AgentError::BadInput(error.to_string()),
        JobError::Unreachable(_) | JobError::System(_) => AgentError::Refused(error.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_job_is_refused_without_repeating_it() {
        let error = run(&b"{\"secret\":\"hunter2hunter2hu\"}"[..]).expect_err("no job").to_string();
        assert!(error.contains("line 1") && !error.contains("hunter2"), "{error}");
    }
}
