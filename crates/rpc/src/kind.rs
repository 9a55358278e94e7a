//! The two services as types, so that server and pool are written once for both.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tarpc::RequestName;

use crate::preamble::Service;
use crate::service::{ChordataRequest, ChordataResponse, RingRequest, RingResponse};

/// Which calls a connection carries.
pub trait Kind: Send + Sync + 'static {
    /// What the preamble calls it.
    const SERVICE: Service;
    /// Tarpc's request type.
    type Request: RequestName + Serialize + DeserializeOwned + Debug + Send + Sync + 'static;
    /// Tarpc's answer type.
    type Response: Serialize + DeserializeOwned + Debug + Send + Unpin + 'static;

    /// Is it an answer of the method that was asked? Tarpc's generated stubs panic on any other, and what a peer
    /// answers must not make this process panic.
    fn fits(request: &Self::Request, response: &Self::Response) -> bool;
}

macro_rules! kind {
    ($(#[$doc:meta])* $name:ident, $service:ident, $request:ident, $response:ident, $($method:ident)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub enum $name {}

        impl Kind for $name {
            const SERVICE: Service = Service::$service;
            type Request = $request;
            type Response = $response;

            fn fits(request: &$request, response: &$response) -> bool {
                match request {
                    $($request::$method { .. } => matches!(response, $response::$method(_)),)*
                }
            }
        }
    };
}

kind!(
    /// Calls of [`Chordata`](crate::service::Chordata).
    ForClients, Client, ChordataRequest, ChordataResponse,
    Put Get GetNode GetConnInfo Connect UpdateNumbers UpdateFingerTable Delete CompareAndSwap PutMany GetMany Scan
    Find Lookup Fingers Depart Status Forget ForgetStore Recover RecoverQuorum Copy Copies
    Mark Digest Unmark
);

kind!(
    /// Calls of [`Ring`](crate::service::Ring).
    ForRing, Ring, RingRequest, RingResponse,
    Ask Apply Read ApplyMany ReadMany ReadAny Chain Group Propose AcceptLoss Hello Deliver
);
