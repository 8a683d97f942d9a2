//! Bodies that nobody vouches for: nothing panics, and what they cost is in proportion to what came.
#![allow(clippy::unwrap_used, reason = "tests")]

use hyper::Request;
use hyper::header::CONTENT_TYPE;
use millstream_core::Batch;
use millstream_testkit::hostile;
use proptest::prelude::*;

use super::{Refusal, json};
use crate::testing::plain;

const TYPES: [&str; 4] =
    ["application/json", "text/json; charset=utf-16", "text/plain; charset=utf-32", "application/json; charset=\"é"];

fn of(body: &[u8], content_type: &str) -> Result<Batch, Refusal> {
    let mut request = Request::new(());
    let value = hyper::header::HeaderValue::from_bytes(content_type.as_bytes()).unwrap();
    request.headers_mut().insert(CONTENT_TYPE, value);
    json::events(&request.into_parts().0, body)
}

fn read(body: &[u8]) {
    for content_type in TYPES {
        match of(body, content_type) {
            // Every character of a body is of the request, in an encoding of at most four bytes for each of its.
            Ok(batch) => drop(plain(&batch, 4 * body.len())),
            Err(refusal) => assert!(refusal.status.is_client_error() || refusal.status.is_server_error()),
        }
    }
}

/// JSON of any shape, mostly that of events.
fn any_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        "null|true|-?[0-9]{1,30}(\\.[0-9]{1,9})?(e[+-]?[0-9]{1,4})?",
        "\"([a-z ü😀]|\\\\u[0-9a-f]{4}){0,8}\""
    ];
    leaf.prop_recursive(6, 60, 6, |inner| {
        let key = "\"(headers|body|timestamp|[a-z]{0,3})\"";
        let pairs = prop::collection::vec((key, inner.clone()), 0..6);
        let object = pairs.prop_map(|pairs| {
            let pairs: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}:{value}")).collect();
            format!("{{{}}}", pairs.join(","))
        });
        let array = prop::collection::vec(inner, 0..6).prop_map(|values| format!("[{}]", values.join(" , ")));
        prop_oneof![object, array]
    })
}

#[test]
fn hostile_bodies_are_refused_or_understood() {
    hostile().iter().for_each(|input| read(&input.bytes));
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_understood(body in prop::collection::vec(any::<u8>(), 0..300)) {
        read(&body);
    }

    #[test]
    fn any_json_is_refused_or_understood(body in any_json(), at: prop::sample::Index, byte: u8) {
        read(body.as_bytes());
        let mut spoilt = body.into_bytes();
        let at = at.index(spoilt.len());
        spoilt[at] = byte;
        read(&spoilt);
        read(&spoilt[..at]);
    }

    #[test]
    fn what_is_written_as_json_is_read_back(
        events in prop::collection::vec((prop::collection::btree_map(".{0,6}", ".{0,20}", 0..4), ".{0,40}"), 0..8),
    ) {
        let json: Vec<_> = events.iter().map(|(headers, body)| serde_json::json!({"headers": headers, "body": body})).collect();
        let batch = of(&serde_json::to_vec(&json).unwrap(), "application/json").unwrap();
        let wanted: Vec<_> = events.into_iter().map(|(headers, body)| {
            let headers = headers.into_iter().map(|(key, value)| (key.into_bytes(), value.into_bytes())).collect::<Vec<_>>();
            (headers, body.into_bytes())
        }).collect();
        prop_assert_eq!(plain(&batch, 1000), wanted);
    }
}
