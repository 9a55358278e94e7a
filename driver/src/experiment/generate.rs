//! Having a job done: on threads of this process, or on the cluster's hosts, by the agent there.

use std::time::Duration;

use chordata_workload::job::Job;
use chordata_workload::{JobError, Measured};
use futures::future::try_join_all;

use crate::failure::{Failure, Outcome};
use crate::hosts::station::Station;

/// How much longer than its time a job on a host may take: connecting, and the last answers.
const GRACE: Duration = Duration::from_secs(60);
/// How long a job without a limit in time may take on a host.
const UNLIMITED_MAX: Duration = Duration::from_secs(3600);

impl From<JobError> for Failure {
    fn from(error: JobError) -> Failure {
        match error {
            JobError::Unreachable(_) => Failure::Unreachable(error.to_string()),
            JobError::Version(_) | JobError::Impossible(_) | JobError::System(_) => Failure::failed(error),
        }
    }
}

/// On so many threads at once. Dropping this does not end them: they end with the process.
///
/// # Errors
/// When an entry node cannot be reached.
pub(super) async fn here(job: &Job, threads: usize) -> Outcome<Measured> {
    let parts = job.split(threads).into_iter().map(|part| async move {
        let (sender, done) = tokio::sync::oneshot::channel();
        let thread = std::thread::Builder::new().name("generator".to_owned());
        // Nobody listens any more if the command was interrupted.
        thread.spawn(move || drop(sender.send(chordata_workload::run(&part))))?;
        let measured = done.await.map_err(|_| Failure::failed("a load generator ended without an answer"))?;
        Ok::<_, Failure>(measured?)
    });
    Ok(Measured::merge(try_join_all(parts).await?))
}

/// On these hosts at once.
///
/// # Errors
/// When a host was lost, or the agent there could not do it.
pub(super) async fn on_hosts(job: &Job, stations: &[Station]) -> Outcome<Measured> {
    let limit = job.limit_ms.map_or(UNLIMITED_MAX, |limit| Duration::from_millis(limit) + GRACE);
    let parts = job.split(stations.len()).into_iter().zip(stations).map(|(part, station)| async move {
        let measured = station.generate(&part, limit).await;
        measured.map_err(|failure| Failure::failed(format!("{}: {failure}", station.host.name)))
    });
    Ok(Measured::merge(try_join_all(parts).await?))
}
