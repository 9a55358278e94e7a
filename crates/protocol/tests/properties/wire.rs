//! The wire: every message survives postcard, and no bytes make it panic.

use chordata_protocol::{CallError, Request, Response};
use proptest::prelude::*;

use crate::config;
use crate::messages::{any_messages, call_error};

proptest! {
    #![proptest_config(config())]

    #[test]
    fn requests_survive_the_wire(request in any_messages().request()) {
        let bytes = postcard::to_allocvec(&request).unwrap();
        prop_assert_eq!(postcard::from_bytes::<Request>(&bytes), Ok(request));
    }

    #[test]
    fn responses_survive_the_wire(
        result in prop_oneof![8 => any_messages().response().prop_map(Ok), 1 => call_error().prop_map(Err)],
    ) {
        let bytes = postcard::to_allocvec(&result).unwrap();
        prop_assert_eq!(postcard::from_bytes::<Result<Response, CallError>>(&bytes), Ok(result));
    }

    /// What is cut off is an error, never another message.
    #[test]
    fn part_of_a_request_is_an_error(request in any_messages().request(), cut: prop::sample::Index) {
        let bytes = postcard::to_allocvec(&request).unwrap();
        let cut = cut.index(bytes.len());
        prop_assert!(postcard::from_bytes::<Request>(&bytes[..cut]).is_err());
    }

    #[test]
    fn any_bytes_are_a_message_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(request) = postcard::from_bytes::<Request>(&bytes) {
            let again = postcard::to_allocvec(&request).unwrap();
            prop_assert_eq!(postcard::from_bytes::<Request>(&again), Ok(request));
        }
        let _ = postcard::from_bytes::<Response>(&bytes);
    }

    /// A message with a byte changed gets deeper into the decoder than noise does.
    #[test]
    fn a_changed_byte_is_a_message_or_an_error(
        request in any_messages().request(),
        response in any_messages().response(),
        at: prop::sample::Index,
        to: u8,
    ) {
        let mut bytes = postcard::to_allocvec(&request).unwrap();
        let place = at.index(bytes.len());
        bytes[place] = to;
        let _ = postcard::from_bytes::<Request>(&bytes);
        let mut bytes = postcard::to_allocvec(&response).unwrap();
        let place = at.index(bytes.len());
        bytes[place] = to;
        let _ = postcard::from_bytes::<Response>(&bytes);
    }
}
