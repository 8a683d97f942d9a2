//! `JSONHandler`: an array of objects with `headers` and `body`.

use std::collections::HashSet;
use std::fmt;

use hyper::StatusCode;
use hyper::http::request::Parts;
use millstream_core::Batch;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Refusal;
use super::text::Charset;
use crate::gather::Gather;

/// One event as it is written. What else an object has is passed over.
#[derive(Debug, Deserialize)]
struct Written {
    #[serde(default)]
    headers: Option<Headers>,
    #[serde(default)]
    body: Option<Text>,
}

/// Headers, in the order in which they are written.
#[derive(Debug, Default)]
struct Headers(Vec<(String, Text)>);

/// A text, or a number or truth value as its text.
#[derive(Debug)]
struct Text(String);

/// The events of a request.
///
/// # Errors
/// Where the body is not what is expected.
pub(super) fn events(head: &Parts, body: &[u8]) -> Result<Batch, Refusal> {
    let charset = Charset::of(head)?;
    let text = charset.decode(body);
    if matches!(text.trim(), "" | "null") {
        let text = "expected an array of events, got nothing";
        return Err(Refusal { status: StatusCode::INTERNAL_SERVER_ERROR, text: text.into() });
    }
    let written: Vec<Option<Written>> = serde_json::from_str(&text).map_err(|error| {
        Refusal::bad(format!("expected an array of objects with headers and body, both optional: {error}"))
    })?;
    let mut events = Gather::new();
    for event in written {
        let Some(Written { headers, body }) = event else {
            let text = "expected an object for every event, got null";
            return Err(Refusal { status: StatusCode::INTERNAL_SERVER_ERROR, text: text.into() });
        };
        let headers = headers.unwrap_or_default();
        headers.0.iter().for_each(|(name, value)| events.header(name, value.0.as_bytes()));
        let body = body.map_or(String::new(), |text| text.0);
        events.event(&[&charset.encode(&body)]);
    }
    Ok(events.take())
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        match raw.as_bytes().first() {
            Some(b'"') => serde_json::from_str(raw).map(Self).map_err(D::Error::custom),
            Some(b'{' | b'[' | b'n') | None => Err(D::Error::custom("expected a text, a number, true or false")),
            Some(_) => Ok(Self(raw.to_owned())),
        }
    }
}

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Headers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of headers")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Headers, A::Error> {
                let (mut headers, mut names) = (Headers::default(), HashSet::new());
                while let Some((name, value)) = map.next_entry::<String, Text>()? {
                    if !names.insert(name.clone()) {
                        return Err(A::Error::custom(format!("the header {name:?} is there twice")));
                    }
                    headers.0.push((name, value));
                }
                Ok(headers)
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use hyper::Request;
    use hyper::header::CONTENT_TYPE;

    fn of(body: impl AsRef<[u8]>, content_type: &str) -> Result<Batch, Refusal> {
        let mut request = Request::new(());
        request.headers_mut().insert(CONTENT_TYPE, content_type.parse().unwrap());
        events(&request.into_parts().0, body.as_ref())
    }

    fn status(body: &str) -> u16 {
        of(body, "application/json").map_or_else(|refusal| refusal.status.as_u16(), |_| 200)
    }

    #[test]
    fn headers_and_body_are_optional_and_numbers_are_their_texts() {
        let text = r#" [{"headers": {"a": "1", "b": 2.50, "c": true}, "body": "grüße 😀", "more": [1, {}]},
            {"body": -1e5}, {"headers": null, "body": null}, {}] "#;
        let batch = of(text, "application/json").unwrap();
        let bodies: Vec<&[u8]> = batch.iter().map(|event| event.body()).collect();
        assert_eq!(bodies, ["grüße 😀".as_bytes(), b"-1e5", b"", b""]);
        let headers: Vec<_> = batch.event(0).headers().collect();
        assert_eq!(headers, [(&b"a"[..], &b"1"[..]), (b"b", b"2.50"), (b"c", b"true")]);
        assert_eq!(batch.event(2).headers().count(), 0);
        assert_eq!(of("[]", "application/json").unwrap().len(), 0);
    }

    #[test]
    fn what_is_no_array_of_events_is_refused_with_flumes_status() {
        for body in ["", " \n", "null", "[null]"] {
            assert_eq!(status(body), 500, "{body:?}");
        }
        let bad = [
            r#"{"body": "lone"}"#,
            r#"[{"body": "x"}] more"#,
            r#"[{"body": {}}]"#,
            r#"[{"body": []}]"#,
            r#"[{"headers": {"a": null}}]"#,
            r#"[{"headers": {"a": {}}}]"#,
            r#"[{"headers": {"a": "1", "a": "2"}}]"#,
            r#"[{"headers": []}]"#,
            r#"[{"body": "unended"#,
            "[1]",
        ];
        for body in bad {
            assert_eq!(status(body), 400, "{body:?}");
        }
        let refusal = of(r#"[{"headers": {"a": {}}}]"#, "application/json").unwrap_err();
        assert!(refusal.text.contains("expected a text, a number, true or false at line 1 column"), "{}", refusal.text);
    }

    #[test]
    fn bodies_stay_in_the_charset_of_the_request() {
        let text = r#"[{"headers": {"k": "ü"}, "body": "ü"}]"#;
        let batch = of(Charset::Utf16.encode(text), "application/json; charset=UTF-16").unwrap();
        assert_eq!(batch.event(0).body(), [0xFE, 0xFF, 0, 0xFC]);
        assert_eq!(batch.event(0).header("k").unwrap(), "ü".as_bytes());
        let batch = of(b"[{\"body\": \"\xFC\"}]", "text/plain").unwrap();
        assert_eq!(batch.event(0).body(), "ü".as_bytes());
        assert_eq!(of("[]", "text/json;charset=koi8-r").unwrap_err().status.as_u16(), 500);
    }

    #[test]
    fn depth_and_digits_without_end_are_refused_and_cost_nothing() {
        assert_eq!(status(&"[".repeat(100_000)), 400);
        assert_eq!(status(&format!(r#"[{{"more": {}"#, "[".repeat(100_000))), 400);
        assert_eq!(status(&format!(r#"[{{"body": 1{}}}]"#, "0".repeat(100_000))), 200);
    }
}
