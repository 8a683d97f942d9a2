//! `/api/v1/tap?component=NAME`: the events that pass a component, while somebody looks.
//!
//! # Form
//! A JSON object per line, for as long as the client stays:
//! `{"headers":{..},"body":"..","body_bytes":n}` is an event (`body_base64` instead of `body` where it is not UTF-8; a body
//! shorter than `body_bytes` was cut), `{"more":n}` events of the same batch that are not shown, `{"missed_batches":n}` that
//! passed while the client did not read, `{"ended":".."}` the end. An empty line every 5 s says that nothing passed.
//!
//! # Safety
//! Events are what nobody else should read, so only clients on this machine get them, under a name of this machine: a page
//! of another site cannot ask a browser here for them. Eight look at the same time; events wait for none of them.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http_body_util::channel::{Channel, Sender};
use hyper::StatusCode;
use millstream_core::tap::{Listener, SeenEvent, Sight};
use millstream_core::{ComponentStatus, Status};
use serde_json::{Map, Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Clients that look at the same time.
pub(crate) const MOST_TAPS: usize = 8;
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Answers under way to one client.
const AHEAD: usize = 4;

/// Who asks: the address it comes from and the name it used for this machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asking<'a> {
    pub(crate) from: IpAddr,
    pub(crate) host: Option<&'a str>,
    pub(crate) query: Option<&'a str>,
}

/// The body of the answer, which goes on by itself; or why there is none.
///
/// # Errors
/// 403 for who is not on this machine, 404 with the components there are, 503 when too many look.
pub(crate) fn open(
    asking: Asking<'_>,
    status: &Status,
    room: &Arc<Semaphore>,
) -> Result<Channel<Bytes, Infallible>, (StatusCode, String)> {
    if !asking.is_local() {
        let problem =
            "events are shown only to clients on the machine of the agent, by the name localhost or its address\n";
        return Err((StatusCode::FORBIDDEN, problem.to_owned()));
    }
    let component = find(asking.component().as_deref(), status)?;
    let Ok(place) = Arc::clone(room).try_acquire_owned() else {
        return Err((StatusCode::SERVICE_UNAVAILABLE, format!("{MOST_TAPS} clients look already; end one of them\n")));
    };
    let (sender, body) = Channel::new(AHEAD);
    let end = format!("{} {} stopped or was replaced", component.kind, component.name);
    tokio::spawn(show(component.listen(), end, sender, place));
    Ok(body)
}

async fn show(mut listener: Listener, end: String, mut sender: Sender<Bytes>, _place: OwnedSemaphorePermit) {
    loop {
        let lines = match timeout(HEARTBEAT, listener.next()).await {
            Err(_) => "\n".to_owned(),
            Ok(Some(sight)) => lines(&sight),
            Ok(None) => {
                let _ = sender.send_data(format!("{}\n", json!({ "ended": end })).into()).await;
                return;
            }
        };
        if sender.send_data(lines.into()).await.is_err() {
            // The client left.
            return;
        }
    }
}

// === impl Asking ===

impl Asking<'_> {
    fn is_local(&self) -> bool {
        let name = self.host.unwrap_or_default();
        let name = match name.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => name,
        };
        let name = name.trim_start_matches('[').trim_end_matches(']');
        let named = name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok();
        self.from.to_canonical().is_loopback() && named
    }

    fn component(&self) -> Option<String> {
        let pairs = form_urlencoded::parse(self.query?.as_bytes());
        pairs.filter(|(key, _)| key == "component").map(|(_, value)| value.into_owned()).next()
    }
}

/// The one component of this name, `sink.k1` where there are several `k1`.
fn find(wanted: Option<&str>, status: &Status) -> Result<Arc<ComponentStatus>, (StatusCode, String)> {
    let components = status.components();
    let full = |component: &ComponentStatus| format!("{}.{}", component.kind, component.name);
    let fits = |component: &ComponentStatus| {
        wanted.is_some_and(|wanted| &*component.name == wanted || full(component) == wanted)
    };
    let mut found = components.iter().filter(|component| fits(component));
    if let (Some(component), None) = (found.next(), found.next()) {
        return Ok(Arc::clone(component));
    }
    let all: Vec<String> = components.iter().map(|component| full(component)).collect();
    let asked = wanted.map_or_else(|| "no component named".to_owned(), |name| format!("{name:?} is not one component"));
    Err((StatusCode::NOT_FOUND, format!("{asked}; ask with component= one of {}\n", all.join(" "))))
}

fn lines(sight: &Sight) -> String {
    let seen = match sight {
        Sight::Missed(batches) => return format!("{}\n", json!({ "missed_batches": batches })),
        Sight::Seen(seen) => seen,
    };
    let mut lines: String = seen.events.iter().map(|event| format!("{}\n", shown(event))).collect();
    if seen.more > 0 {
        lines += &format!("{}\n", json!({ "more": seen.more }));
    }
    lines
}

fn shown(event: &SeenEvent) -> Value {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = event.headers.iter().map(|(key, value)| (text(key), Value::from(text(value)))).collect::<Map<_, _>>();
    let mut shown = json!({ "headers": headers, "body_bytes": event.body_bytes });
    match readable(event) {
        Some(body) => shown["body"] = body.into(),
        None => shown["body_base64"] = BASE64.encode(&event.body).into(),
    }
    shown
}

/// The body as text. A character cut in two at the end of what is shown is left out.
fn readable(event: &SeenEvent) -> Option<&str> {
    match std::str::from_utf8(&event.body) {
        Ok(text) => Some(text),
        Err(error) if error.error_len().is_none() && event.body.len() < event.body_bytes => {
            std::str::from_utf8(&event.body[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use millstream_core::{Batch, PathStatus};

    const LOCAL: Asking<'_> =
        Asking { from: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), host: Some("localhost:41414"), query: None };

    fn path(names: &[(&'static str, &str)]) -> Status {
        let component = |(kind, name): &(&'static str, &str)| ComponentStatus::new(kind, (*name).into(), "t".into());
        let status = Status::default();
        status.replace(PathStatus { components: names.iter().map(component).collect(), ..PathStatus::default() });
        status
    }

    fn refused(asking: Asking<'_>, status: &Status) -> (u16, String) {
        let (code, text) = open(asking, status, &Arc::new(Semaphore::new(1))).expect_err("refused");
        (code.as_u16(), text)
    }

    async fn next(body: &mut Channel<Bytes, Infallible>) -> String {
        let frame = body.frame().await.expect("a frame").expect("never fails");
        String::from_utf8(frame.into_data().expect("data").to_vec()).expect("text")
    }

    #[tokio::test]
    async fn only_this_machine_sees_events_and_no_other_site_through_its_browser() {
        let status = path(&[("sink", "k1")]);
        let query = Some("component=k1");
        let from = |from: &str| Asking { from: from.parse().expect("an address"), query, ..LOCAL };
        assert_eq!(refused(from("192.0.2.1"), &status).0, 403);
        for host in [None, Some("evil.example:41414"), Some("localhost.evil.example")] {
            assert_eq!(refused(Asking { host, query, ..LOCAL }, &status).0, 403, "{host:?}");
        }
        for host in ["localhost", "LOCALHOST:1", "127.0.0.1:41414", "[::1]:41414", "[::1]"] {
            let asking = Asking { host: Some(host), query, from: "::ffff:127.0.0.1".parse().expect("an address") };
            assert!(open(asking, &status, &Arc::new(Semaphore::new(1))).is_ok(), "{host}");
        }
    }

    #[tokio::test]
    async fn a_name_that_is_not_one_component_is_answered_with_all_of_them() {
        let status = path(&[("source", "x"), ("channel", "c 1"), ("sink", "x")]);
        for (query, text) in [
            (None, "no component named"),
            (Some("component=y"), "\"y\" is not one component"),
            (Some("component=x"), "\"x\" is not one component"),
        ] {
            let (code, answer) = refused(Asking { query, ..LOCAL }, &status);
            assert_eq!(
                (code, answer),
                (404, format!("{text}; ask with component= one of source.x channel.c 1 sink.x\n"))
            );
        }
        for query in ["component=sink.x", "component=c+1", "a=b&component=c%201"] {
            assert!(
                open(Asking { query: Some(query), ..LOCAL }, &status, &Arc::new(Semaphore::new(1))).is_ok(),
                "{query}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn events_are_lines_until_the_component_is_gone_and_silence_is_an_empty_line() {
        let status = path(&[("sink", "k1")]);
        let room = Arc::new(Semaphore::new(1));
        let mut body = open(Asking { query: Some("component=k1"), ..LOCAL }, &status, &room).expect("open");
        assert_eq!(next(&mut body).await, "\n");
        let batch = |bodies: &[&[u8]]| [Batch::from_bodies(bodies)];
        status.components()[0].see(&batch(&["gr\u{fc}n".as_bytes(), b"\xff"]));
        assert_eq!(
            next(&mut body).await,
            "{\"body\":\"gr\u{fc}n\",\"body_bytes\":5,\"headers\":{}}\n\
             {\"body_base64\":\"/w==\",\"body_bytes\":1,\"headers\":{}}\n"
        );
        let one_too_many = open(Asking { query: Some("component=k1"), ..LOCAL }, &status, &room);
        assert_eq!(
            one_too_many.map(drop),
            Err((StatusCode::SERVICE_UNAVAILABLE, "8 clients look already; end one of them\n".into()))
        );
        status.replace(PathStatus::default());
        assert_eq!(next(&mut body).await, "{\"ended\":\"sink k1 stopped or was replaced\"}\n");
        assert!(body.frame().await.is_none());
        assert_eq!(room.available_permits(), 1);
    }

    #[test]
    fn a_cut_body_ends_at_a_whole_character() {
        let cut = SeenEvent { headers: Vec::new(), body: b"ab\xc3".to_vec(), body_bytes: 4 };
        assert_eq!(shown(&cut)["body"], "ab");
        let whole = SeenEvent { body_bytes: 3, ..cut };
        assert_eq!(shown(&whole)["body_base64"], "YWLD");
    }
}
