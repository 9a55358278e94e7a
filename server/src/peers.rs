//! The service for other nodes: everything is answered from this node's own state.

use chordata_protocol::message::Found;
use chordata_protocol::{Key, Operation, Outcome, Record, Request, Response};
use chordata_rpc::service::{Error, Ring};
use tarpc::context::Context;

use crate::node::Node;
use crate::trace;

/// Bytes of values in one answer; what is beyond is to be asked for again.
pub(crate) const ANSWER_BYTES_MAX: usize = 1024 * 1024 + 64 * 1024;

impl Ring for Node {
    async fn ask(self, context: Context, request: Request) -> Response {
        let target = match &request {
            Request::Find { target, .. } if trace::is_on() => Some(*target),
            _ => None,
        };
        let response = self.answer(request);
        if let (Some(target), Response::Found(found)) = (target, &response) {
            self.trace_find(trace::request_of(&context), target, found);
        }
        response
    }

    async fn apply(self, context: Context, key: Key, operation: Operation) -> Result<Outcome, Error> {
        let result = self.apply_here(&key, &operation).await;
        let id = key.id(self.space());
        self.trace_key(trace::request_of(&context), "write", &key, id, &result);
        result
    }

    async fn read(self, context: Context, key: Key) -> Result<Option<Record>, Error> {
        let result = self.read_here(&key).await;
        let id = key.id(self.space());
        self.trace_key(trace::request_of(&context), "read", &key, id, &result);
        result
    }

    async fn apply_many(self, _: Context, entries: Vec<(Key, Operation)>) -> Vec<Result<Outcome, Error>> {
        let mut answers = Vec::with_capacity(entries.len());
        for (key, operation) in &entries {
            answers.push(self.apply_here(key, operation).await);
        }
        answers
    }

    async fn read_many(self, _: Context, keys: Vec<Key>) -> Vec<Result<Option<Record>, Error>> {
        let (mut answers, mut bytes) = (Vec::with_capacity(keys.len()), 0);
        for key in &keys {
            let answer = self.read_here(key).await;
            bytes +=
                answer.as_ref().ok().and_then(Option::as_ref).map_or(0, |record| record.value.len()) + 64;
            answers.push(if bytes > ANSWER_BYTES_MAX { Err(Error::Overloaded) } else { answer });
        }
        answers
    }
}

impl Node {
    pub(crate) fn trace_find(&self, number: u128, target: chordata_protocol::Id, found: &Found) {
        match found {
            Found::Owner => trace::hop(self.me(), number, format_args!("find {target:?}: it is mine")),
            Found::Next(candidates) => {
                if let Some(next) = candidates.first() {
                    trace::hop(
                        self.me(),
                        number,
                        format_args!("find {target:?}: ask {} ({})", next.peer.address, next.why),
                    );
                }
            }
        }
    }
}
