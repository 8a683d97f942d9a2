//! Messages that nobody vouches for: nothing panics, nothing is lost, and how they are cut in transit changes nothing.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::{Arc, LazyLock};

use jiff::tz::TimeZone;
use millstream_core::Options;
use millstream_testkit::{hostile, setting};
use parking_lot::Mutex;
use proptest::prelude::*;
use proptest::sample::Index;

use super::connection::frames;
use super::*;
use crate::charset::{Decoder, Policy};
use crate::testing::{pieces, plain};

/// Messages that come in pieces, as a connection takes them: each, and whether it is cut.
fn heard(pieces: &[&[u8]], limits: Limits) -> Vec<(Vec<u8>, bool)> {
    let (mut held, mut messages) = (Vec::new(), Vec::new());
    for piece in pieces {
        held.extend_from_slice(piece);
        loop {
            let (frames, end) = frames(&held, limits);
            messages.extend(frames.iter().map(|frame| (held[frame.message.clone()].to_vec(), frame.is_incomplete)));
            held.drain(..end);
            if frames.is_empty() {
                break;
            }
        }
        assert!(held.len() < limits.message_bytes, "no more than a message is held");
    }
    messages.extend(Frame::rest(&held).map(|frame| (held[frame.message].to_vec(), true)));
    messages
}

/// Each way to understand messages, with nothing kept but the body and with everything.
struct Understanding {
    by_patterns: Vec<(KeepFields, Classic)>,
    by_parts: [Multiport; 2],
    now: Now,
    decoder: Decoder,
}

static UNDERSTANDING: LazyLock<Mutex<Understanding>> = LazyLock::new(|| Mutex::new(Understanding::new()));

impl Understanding {
    fn new() -> Self {
        let settings = [
            ("format.regex", r"<(.*?)>(.?)(\S+)? ?(\S*)(.*)"),
            ("format.search", "([-:T])"),
            ("format.replace", "$1"),
            ("format.dateFormat", "yyyy-MM-dd'T'HH:mm:ss"),
        ];
        let settings = settings.iter().map(|(key, value)| setting(key, value));
        let options = Options::parse("a1.sources.r1", &custom::OPTIONS, &[], settings).unwrap().0;
        let custom: Arc<Custom> = Custom::from_options(&options).unwrap().unwrap().into();
        let keep = [KeepFields::default(), KeepFields { all: true, ..KeepFields::default() }];
        let each = keep.into_iter().flat_map(|keep| [(keep, None), (keep, Some(Arc::clone(&custom)))]);
        Self {
            by_patterns: each.map(|(keep, custom)| (keep, Classic::new(keep, custom))).collect(),
            by_parts: keep.map(|keep| Multiport { keep }),
            now: Now { at: "2020-06-01T00:00:00Z".parse().unwrap(), zone: TimeZone::UTC },
            decoder: Decoder::new("UTF-8", Policy::Keep).unwrap(),
        }
    }

    /// A message is one event, and its body of the message: all of it where that is asked for.
    fn holds_for(&mut self, message: &[u8]) {
        let one = |keep: KeepFields, events: &mut Gather| {
            let [(_, body)] = &plain(&events.take(), message.len())[..] else { panic!("expected one event") };
            assert!(if keep.all { body == message } else { message.ends_with(body) }, "{}", message.escape_ascii());
        };
        let mut events = Gather::new();
        for (keep, classic) in &mut self.by_patterns {
            classic.add(message, false, &self.now, &mut events);
            one(*keep, &mut events);
        }
        for multiport in self.by_parts {
            multiport.add(message, true, &self.now, &self.decoder, &mut events);
            one(multiport.keep, &mut events);
        }
    }
}

fn understood(message: &[u8]) {
    UNDERSTANDING.lock().holds_for(message);
}

#[test]
fn hostile_bytes_are_messages_like_others_whole_and_in_pieces() {
    let limits = Limits { message_bytes: 2500, batch_events: 100 };
    for input in hostile() {
        let whole = heard(&[&input.bytes], limits);
        let pieces: Vec<&[u8]> = input.bytes.chunks(777).collect();
        assert_eq!(heard(&pieces, limits), whole, "{}", input.name);
        whole.iter().for_each(|(message, _)| understood(message));
    }
}

proptest! {
    #[test]
    fn bytes_cut_anywhere_are_the_same_messages(
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\n'), Just(b'<')], 0..600),
        cuts: Vec<Index>,
        message_bytes in 1..80_usize,
        batch_events in 1..9_usize,
    ) {
        let limits = Limits { message_bytes, batch_events };
        let whole = heard(&[&bytes], limits);
        prop_assert_eq!(&heard(&pieces(&bytes, &cuts), limits), &whole);
        let not_newlines = |bytes: &[u8]| bytes.iter().filter(|byte| **byte != b'\n').count();
        prop_assert_eq!(whole.iter().map(|(message, _)| not_newlines(message)).sum::<usize>(), not_newlines(&bytes));
    }

    #[test]
    fn any_bytes_are_an_event(message in prop::collection::vec(any::<u8>(), 0..200)) {
        understood(&message);
    }

    #[test]
    fn what_is_almost_a_message_is_an_event(
        priority in "[0-9<>+-]{0,4}", version in "[12]? ?", time in "(-|[0-9TZ:.+-]{0,30}|[A-Z][a-z]{2} [ 0-9:]{0,13}|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{0,9})?[Z+-]?[0-9:]{0,5})",
        host in "[a-z.-]{0,8}", body in "\\PC{0,20}",
    ) {
        understood(format!("<{priority}>{version}{time} {host} {body}").as_bytes());
    }
}
