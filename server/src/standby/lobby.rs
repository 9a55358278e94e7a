//! What a server answers on standby: that it is, and what the service [`Standby`] asks.

use chordata_rpc::kind::{ForClients, ForRing, ForStandby, refusal};
use chordata_rpc::preamble::Service;
use chordata_rpc::service::{ChordataRequest, ChordataResponse, Error};
use chordata_rpc::standby::Standby;
use chordata_rpc::{Handlers, Session};
use futures::future::BoxFuture;
use tarpc::ServerError;
use tarpc::context::Context;
use tarpc::server::Serve;
use tokio::sync::watch;

use super::Seat;
use crate::node::Node;

/// Who answers on standby. A client that came then has named no cluster, or looks for none: its connection ends when
/// there is a node, so that it learns of which cluster that is before it asks it for anything.
#[derive(Clone)]
pub(super) struct Lobby(pub(super) Seat);

impl Lobby {
    async fn until_there_is_a_node(
        session: impl Future<Output = ()>,
        mut nodes: watch::Receiver<Option<Node>>,
    ) {
        tokio::select! {
            () = session => {}
            // An error: the process is about to end.
            _ = nodes.wait_for(Option::is_some) => {}
        }
    }
}

impl Serve for Lobby {
    type Req = ChordataRequest;
    type Resp = ChordataResponse;

    async fn serve(self, _: Context, request: ChordataRequest) -> Result<ChordataResponse, ServerError> {
        Ok(refusal(&request, Error::OnStandby))
    }
}

impl Handlers for Lobby {
    fn chordata(&self, session: Session<ForClients>) -> BoxFuture<'static, ()> {
        Box::pin(Lobby::until_there_is_a_node(session.run(self.clone()), self.0.subscribe()))
    }

    /// Not offered: nodes know their cluster, and this server is of none.
    fn ring(&self, session: Session<ForRing>) -> BoxFuture<'static, ()> {
        Box::pin(async move { drop(session) })
    }

    fn standby(&self, session: Session<ForStandby>) -> BoxFuture<'static, ()> {
        Box::pin(session.run(Standby::serve(self.0.clone())))
    }

    fn offered(&self) -> &'static [Service] {
        &[Service::Client, Service::Standby]
    }
}
