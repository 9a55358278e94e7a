//! The service for other nodes: everything is answered from this node's own state.

use bytes::Bytes;
use chordata_protocol::chain::{Applied, ChainRequest, ChainResponse, Command, WriteId};
use chordata_protocol::message::Found;
use chordata_protocol::{Key, Operation, Outcome, Record, Request, Response};
use chordata_rpc::letter::{Hello, Letter, Reply};
use chordata_rpc::service::{Error, Options, Placed, Ring};
use futures::future::join_all;
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

    async fn apply(
        self,
        context: Context,
        key: Key,
        operation: Operation,
        by: Option<WriteId>,
    ) -> Result<Placed<Outcome>, Error> {
        let options = Options { by, ..Options::default() };
        let result = self.apply_here(&key, &operation, &options).await;
        let id = key.id(self.space());
        self.trace_key(trace::request_of(&context), "write", &key, id, &result);
        result
    }

    async fn read(self, context: Context, key: Key) -> Result<Placed<Option<Record>>, Error> {
        let result = self.read_here(&key, &Options::default()).await;
        let id = key.id(self.space());
        self.trace_key(trace::request_of(&context), "read", &key, id, &result);
        result
    }

    async fn apply_many(
        self,
        _: Context,
        entries: Vec<(Key, Operation, Option<WriteId>)>,
    ) -> Vec<Result<Outcome, Error>> {
        let writes = entries.iter().map(async |(key, operation, by)| {
            let options = Options { by: *by, ..Options::default() };
            self.apply_here(key, operation, &options).await
        });
        let answers = join_all(writes).await;
        answers.into_iter().map(|answer| answer.map(|placed| placed.result)).collect()
    }

    async fn read_many(self, _: Context, keys: Vec<Key>) -> Vec<Result<Option<Record>, Error>> {
        let (mut answers, mut bytes) = (Vec::with_capacity(keys.len()), 0);
        for key in &keys {
            let answer = self.read_here(key, &Options::default()).await.map(|placed| placed.result);
            bytes +=
                answer.as_ref().ok().and_then(Option::as_ref).map_or(0, |record| record.value.len()) + 64;
            answers.push(if bytes > ANSWER_BYTES_MAX { Err(Error::Overloaded) } else { answer });
        }
        answers
    }

    async fn read_any(self, _: Context, keys: Vec<Key>) -> Vec<Result<Option<Record>, Error>> {
        let (mut answers, mut bytes) = (Vec::with_capacity(keys.len()), 0);
        for key in &keys {
            let answer = self.any_here(key).unwrap_or_else(|| Err(Error::NotOwner(Vec::new())));
            bytes +=
                answer.as_ref().ok().and_then(Option::as_ref).map_or(0, |record| record.value.len()) + 64;
            answers.push(if bytes > ANSWER_BYTES_MAX { Err(Error::Overloaded) } else { answer });
        }
        answers
    }

    async fn chain(self, _: Context, request: ChainRequest) -> ChainResponse {
        self.chain_asked(request).await
    }

    async fn group(self, _: Context, message: Bytes) -> Result<Bytes, Error> {
        let group = self.with_chain(|chain, _| chain.group.clone()).ok_or(Error::NotMember)?;
        Ok(Bytes::from(group.receive(message.to_vec()).await))
    }

    async fn propose(self, _: Context, command: Command) -> Result<Applied, Error> {
        self.propose_here(command).await
    }

    async fn accept_loss(self, _: Context) -> Result<(), Error> {
        self.accept_loss_here()
    }

    async fn hello(self, _: Context, from: Hello) -> Option<Hello> {
        self.greeted(from)
    }

    async fn deliver(self, _: Context, letter: Letter) -> Option<Reply> {
        self.letter_came(letter).await
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
