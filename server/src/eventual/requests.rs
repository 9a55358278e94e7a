//! Clients' requests to a node of a cluster in eventual mode: any node answers any of them.

use std::time::Duration;

use chordata_protocol::eventual::{ClientError, Event, Outcome as Became};
use chordata_protocol::ring::Caller;
use chordata_protocol::{Id, Key, Operation, Outcome, Record};
use chordata_rpc::service::{Error, Options, Placed};
use tokio::sync::oneshot;

use crate::node::Node;

/// How long a request may wait for copies, or for replicas.
const ANSWER_WITHIN: Duration = Duration::from_secs(8);

fn refused(error: ClientError) -> Error {
    match error {
        ClientError::BadInput(bad) => Error::BadInput(bad),
        error @ (ClientError::NoCompareAndSwap
        | ClientError::FromTheFuture { .. }
        | ClientError::TooManyAcks { .. }) => Error::NotSupported(error.to_string()),
        error @ ClientError::FewerCopies { .. } => Error::Unknown(error.to_string()),
        error @ ClientError::FewerReplicas { .. } => Error::Unavailable(error.to_string()),
        ClientError::Busy | ClientError::Barred => Error::NotMember,
    }
}

impl Node {
    async fn eventual_request(
        &self,
        request: impl FnOnce(Caller) -> Event,
    ) -> Result<Result<Became, ClientError>, Error> {
        let (reply, answered) = oneshot::channel();
        let taken = self.with_eventual(|part, engine| {
            if part.leaving {
                return false;
            }
            let caller = part.caller();
            part.replies.insert(caller, reply);
            self.carry_eventual(part, engine, request(caller));
            true
        });
        if taken != Some(true) {
            return Err(Error::NotMember);
        }
        match tokio::time::timeout(ANSWER_WITHIN, answered).await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(_)) => Err(Error::Unknown("the node stopped meanwhile".to_owned())),
            Err(_) => Err(Error::Unknown("the other replicas have not answered yet".to_owned())),
        }
    }

    /// Changes a key: done when as many copies as the options say are stored.
    pub(crate) async fn eventual_apply(
        &self,
        key: &Key,
        operation: &Operation,
        options: &Options,
    ) -> Result<Placed<Outcome>, Error> {
        let before = match operation {
            Operation::Delete => self.eventual_version(key, options).await?,
            Operation::Put(_) | Operation::CompareAndSwap { .. } => None,
        };
        let (key, operation) = (key.clone(), operation.clone());
        let deletes = matches!(operation, Operation::Delete);
        let (acks, seen) = (usize::from(options.acks).max(1), options.seen);
        let request = |caller| Event::Write { caller, key, operation, acks, seen };
        match self.eventual_request(request).await?.map_err(refused)? {
            Became::Written(version) => {
                let result = if deletes { Outcome::Deleted(before) } else { Outcome::Written(version) };
                Ok(Placed { result, at: Some(version) })
            }
            Became::Found(_) => Err(Error::Unknown("the node answered something else".to_owned())),
        }
    }

    /// What a delete says was there: a hint, as others may write meanwhile.
    async fn eventual_version(
        &self,
        key: &Key,
        options: &Options,
    ) -> Result<Option<chordata_protocol::Version>, Error> {
        let read = self.eventual_read(key, &Options { acks: 1, ..*options }).await;
        match read {
            Ok(placed) => Ok(placed.result.map(|record| record.version)),
            // Whether something was there is no reason not to delete it.
            Err(Error::Unavailable(_) | Error::Unknown(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads a key, from this node's copy where it has one.
    pub(crate) async fn eventual_read(
        &self,
        key: &Key,
        options: &Options,
    ) -> Result<Placed<Option<Record>>, Error> {
        let (acks, seen, key) = (usize::from(options.acks).max(1), options.seen, key.clone());
        let request = |caller| Event::Read { caller, key, acks, seen };
        match self.eventual_request(request).await {
            Ok(Ok(Became::Found(held))) => {
                let at = held.as_ref().map(|held| held.version);
                let record = held.and_then(|held| Some(Record { version: held.version, value: held.value? }));
                Ok(Placed { result: record, at })
            }
            Ok(Ok(Became::Written(_))) => {
                Err(Error::Unavailable("the node answered something else".to_owned()))
            }
            Ok(Err(error)) => Err(refused(error)),
            // A read changes nothing: nobody has to wonder what became of it.
            Err(Error::Unknown(reason)) => Err(Error::Unavailable(reason)),
            Err(error) => Err(error),
        }
    }

    /// The store at that place never comes back: nothing waits for it any more.
    pub(crate) fn eventual_forget(&self, id: Id) -> Result<(), Error> {
        let forgotten = self.with_eventual(|part, engine| {
            let members = part.machine.table().map(|table| table.members().to_vec()).unwrap_or_default();
            if let Some(member) = members.iter().find(|member| member.id == id) {
                let store = member.store;
                return Err(Error::Unavailable(format!(
                    "the node at {id:?} (store {store}) is in the ring: use depart, or stop it first"
                )));
            }
            let stores = part.directory.stores_at(id);
            let gone: Vec<_> =
                stores.into_iter().filter(|store| !part.machine.stores().forgotten.contains(store)).collect();
            if gone.is_empty() {
                return Err(Error::Unavailable(format!(
                    "no store that is away had its place at {id:?}, or it was forgotten already"
                )));
            }
            for store in gone {
                self.carry_eventual(part, engine, Event::Forget(store));
            }
            Ok(())
        });
        forgotten.ok_or(Error::NotMember)?
    }
}
