//! What holds the flow up, in a sentence: from the end of the path to its beginning, as events pile up before what does
//! not take them.

use std::time::Duration;

use millstream_core::status::{ChannelView, PathStatus};
use millstream_core::{ComponentStatus, MetricName, ObservedChannel, State};

/// A sentence for everything that does not flow, the most likely cause first; one that says so when all flows.
pub fn sentences(path: &PathStatus) -> Vec<String> {
    let of_kind = |kinds: &'static [&'static str]| {
        path.components.iter().filter(move |component| kinds.contains(&component.kind))
    };
    let mut sentences: Vec<String> = of_kind(&["output", "sink"]).filter_map(|one| trouble(one, OUT)).collect();
    sentences.extend(of_kind(&["channel"]).filter_map(|one| trouble(one, BETWEEN)));
    sentences.extend(path.channels.iter().filter_map(held_up));
    sentences.extend(of_kind(&["receiver", "source"]).filter_map(|one| trouble(one, IN)));
    let dead = path.channels.iter().filter_map(dead_letters).collect::<Vec<_>>();
    if sentences.is_empty() {
        let waiting: u64 = path.channels.iter().map(|channel| channel.view().size_events).sum();
        sentences.push(match waiting {
            0 => "Nothing waits: every component works, and what came in went out.".to_owned(),
            1 => "Everything flows: every component works, and 1 event is under way.".to_owned(),
            events => format!("Everything flows: every component works, and {events} events are under way."),
        });
    }
    // They hold nothing up: behind what does, or behind that all flows.
    sentences.extend(dead);
    sentences
}

/// What a channel keeps of events that its sinks reject.
fn dead_letters(channel: &ObservedChannel) -> Option<String> {
    let ChannelView { name, dead_lettered, .. } = channel.view();
    let events = match dead_lettered {
        0 => return None,
        1 => "1 event that a sink rejected".to_owned(),
        events => format!("{events} events that a sink rejected"),
    };
    Some(format!("Channel {name} keeps {events}: millstream deadletter ls shows them, with one of its dataDirs."))
}

/// What is wrong with one component, and what follows from it.
fn trouble(component: &ComponentStatus, follows: &str) -> Option<String> {
    let what = format!("{} {} ({})", capitalised(component.kind), component.name, component.type_name);
    let because = component.last_error().map_or(String::new(), |error| format!(": {error}"));
    Some(match component.state() {
        State::Running | State::Stopped => return None,
        State::Starting => format!("{what} is still starting{because}."),
        State::Failed => {
            format!("{what} has failed for good and {follows}{because}. Mend it and reload (SIGHUP) or restart.")
        }
        State::Retrying => {
            let failures = component.counters().value(MetricName::EventWriteFail);
            let times = if failures > 0 { format!(" ({failures} failures so far)") } else { String::new() };
            format!("{what} fails, tries again{times} and {follows}{because}.")
        }
    })
}

/// What a channel says that fills up.
fn held_up(channel: &ObservedChannel) -> Option<String> {
    let ChannelView { name, size_events, capacity_events, size_bytes, capacity_bytes, .. } = channel.view();
    let untaken = if size_events > 0 { channel.status.untaken() } else { Duration::ZERO };
    let nothing = untaken >= LONG;
    let filled = |size: u64, capacity: u64| capacity > 0 && size as f64 >= FULL * capacity as f64;
    if channel.status.is_full() || filled(size_events, capacity_events) || filled(size_bytes, capacity_bytes) {
        let bytes =
            if capacity_bytes > 0 { format!(", {size_bytes} of {capacity_bytes} bytes") } else { String::new() };
        let because = match nothing {
            true => format!("nothing was taken from it for {} s, {NO_TAKER}", untaken.as_secs()),
            false => "its sinks take less than comes in".to_owned(),
        };
        let fill = format!("{size_events} of {capacity_events} events{bytes}");
        return Some(format!("Channel {name} is full, {fill}, so its sources wait: {because}."));
    }
    let (events, held) = if size_events == 1 { ("event", "it") } else { ("events", "none of them") };
    nothing.then(|| {
        let seconds = untaken.as_secs();
        format!("Channel {name} holds {size_events} {events}, and {held} was taken for {seconds} s, {NO_TAKER}.")
    })
}

/// The word for a state.
pub fn state_word(state: State) -> &'static str {
    match state {
        State::Starting => "starting",
        State::Running => "running",
        State::Retrying => "retrying",
        State::Failed => "failed",
        State::Stopped => "stopped",
    }
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

const OUT: &str = "delivers nothing";
const BETWEEN: &str = "takes nothing";
const IN: &str = "brings nothing in";
const NO_TAKER: &str = "neither by a sink nor by the peer that a SparkSink waits for";
/// From here on a channel counts as full: the next batch may not fit.
const FULL: f64 = 0.95;
/// A sink that works takes sooner.
const LONG: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_core::Error;

    #[test]
    fn the_end_of_the_path_is_blamed_first_with_its_error() {
        let component = |kind| ComponentStatus::new(kind, "x".into(), "avro".into());
        let (source, sink) = (component("source"), component("sink"));
        let path = PathStatus { components: vec![source.clone(), sink.clone()], ..PathStatus::default() };
        source.ready();
        sink.ready();
        assert_eq!(sentences(&path), ["Nothing waits: every component works, and what came in went out."]);
        sink.failed(&Error::config("f:1: k", "wrong"));
        sink.count(MetricName::EventWriteFail, 3);
        sink.enter(State::Retrying);
        source.enter(State::Failed);
        let wanted = [
            "Sink x (avro) fails, tries again (3 failures so far) and delivers nothing: f:1: k: wrong.",
            "Source x (avro) has failed for good and brings nothing in. Mend it and reload (SIGHUP) or restart.",
        ];
        assert_eq!(sentences(&path), wanted);
    }
}
