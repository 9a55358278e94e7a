//! A server makes itself known to a manager (`--manager`): when it starts, and until the manager has taken it.

use std::sync::Arc;
use std::time::Duration;

use chordata_protocol::Address;
use chordata_rpc::manager::{Command, Progress, Refused};
use chordata_rpc::{CallFailure, Credentials, ManagerStub, Pool, PoolSettings, Secret, TcpNet, within};
use tracing::{info, warn};

/// How long one call may take.
const WITHIN: Duration = Duration::from_secs(10);
/// First and longest pause before it is tried again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// Registers this server, again and again until that is done.
pub(crate) async fn announce(manager: Address, name: String, me: Address, secret: Option<Secret>) {
    let settings = PoolSettings { learn_cluster: false, ..PoolSettings::default() };
    let pool = Pool::new(Arc::new(TcpNet), Credentials::new(None, secret), settings);
    let stub = pool.manager(&manager);
    let port = me.port().unwrap_or(0);
    let command = Command::Register {
        name: name.clone(),
        host: me.host().to_owned(),
        manager_port: port,
        peer_port: port,
        by_itself: true,
    };
    let (mut pause, mut said) = (PAUSE.0, String::new());
    loop {
        let reason = match register(&stub, &command).await {
            Ok(Ok(())) => {
                info!("registered as {name} with the manager at {manager}");
                return;
            }
            Ok(Err(refused)) => refused.to_string(),
            Err(failure) => failure.to_string(),
        };
        // Once is enough.
        if reason != said {
            warn!("not registered with the manager at {manager}: {reason}; trying again");
            said = reason;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}

async fn register(stub: &ManagerStub, command: &Command) -> Result<Result<(), Refused>, CallFailure> {
    let number = match stub.order(within(WITHIN), command.clone()).await? {
        Ok(number) => number,
        Err(refused) => return Ok(Err(refused)),
    };
    loop {
        match stub.outcome(within(WITHIN), number).await? {
            Progress::Working => {}
            Progress::Done(outcome) => return Ok(outcome.map(|_| ())),
            Progress::Unknown => return Ok(Err(Refused("the manager was started again".to_owned()))),
        }
    }
}
