//! The services as types, so that server and pool are written once for all.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tarpc::RequestName;

use crate::manager::{ManagerRequest, ManagerResponse};
use crate::preamble::Service;
use crate::service::{ChordataRequest, ChordataResponse, Error, RingRequest, RingResponse};
use crate::standby::{StandbyRequest, StandbyResponse};

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
    Mark Digest Unmark Records
);

kind!(
    /// Calls of [`Standby`](crate::standby::Standby).
    ForStandby, Standby, StandbyRequest, StandbyResponse,
    Standing Enter Leave Release Load
);

kind!(
    /// Calls of [`Manager`](crate::manager::Manager).
    ForManager, Manager, ManagerRequest, ManagerResponse,
    Order Outcome
);

kind!(
    /// Calls of [`Ring`](crate::service::Ring).
    ForRing, Ring, RingRequest, RingResponse,
    Ask Apply Read ApplyMany ReadMany ReadAny Chain Group Propose AcceptLoss Hello Deliver
);

macro_rules! refusal {
    (each of $($many:ident($items:ident))*; once $($method:ident)*) => {
        /// The answer that refuses a client's request, whatever it is: for those who are no node at the moment.
        pub fn refusal(request: &ChordataRequest, error: Error) -> ChordataResponse {
            match request {
                $(ChordataRequest::$many { $items, .. } => {
                    ChordataResponse::$many(vec![Err(error); $items.len()])
                })*
                $(ChordataRequest::$method { .. } => ChordataResponse::$method(Err(error)),)*
            }
        }
    };
}

refusal!(
    each of PutMany(entries) GetMany(keys);
    once Put Get GetNode GetConnInfo Connect UpdateNumbers UpdateFingerTable Delete CompareAndSwap Scan
    Find Lookup Fingers Depart Status Forget ForgetStore Recover RecoverQuorum Copy Copies Records
    Mark Digest Unmark
);
