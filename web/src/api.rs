//! The state of the whole, for programs.

use millstream_core::status::{ChannelView, ComponentView};
use millstream_core::{State, Status};
use serde::Serialize;

use crate::why;

/// What `/api/v1/status` answers.
#[derive(Debug, Serialize)]
pub struct StatusAnswer {
    /// Name of the agent or the job.
    pub name: String,
    /// The path on one line.
    pub path: String,
    /// Every component, in the order of travel.
    pub components: Vec<ComponentView>,
    /// The open channels.
    pub channels: Vec<ChannelView>,
    /// What holds the flow up, a sentence each, the most likely cause first; see [`crate::why`].
    pub why: Vec<String>,
}

/// The state now.
pub fn status(status: &Status) -> StatusAnswer {
    let path = status.path();
    StatusAnswer {
        components: path.components.iter().map(|component| component.view()).collect(),
        channels: path.channels.iter().map(|channel| channel.view()).collect(),
        why: why::sentences(&path),
        name: path.name,
        path: path.line,
    }
}

/// Why events cannot come in yet, or no more: a source, receiver or channel that does not work, and whatever is still
/// starting. A sink that tries again is no reason: the channel before it takes events.
pub fn unready(status: &Status) -> Vec<String> {
    let components = status.components();
    let unready = components.iter().filter(|component| match component.state() {
        State::Running | State::Stopped => false,
        State::Starting => true,
        State::Retrying | State::Failed => component.kind != "sink" && component.kind != "output",
    });
    let told = unready.map(|component| {
        let (kind, name, state) = (component.kind, &component.name, why::state_word(component.state()));
        match component.last_error() {
            Some(error) => format!("{kind} {name} is {state}: {error}"),
            None => format!("{kind} {name} is {state}"),
        }
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_core::{ComponentStatus, Error, PathStatus};

    #[test]
    fn events_can_come_in_while_a_sink_tries_again_and_not_while_a_source_does() {
        let component = |kind| ComponentStatus::new(kind, "x".into(), "t".into());
        let (source, sink) = (component("source"), component("sink"));
        let status = Status::default();
        status.replace(PathStatus { components: vec![source.clone(), sink.clone()], ..PathStatus::default() });
        assert_eq!(unready(&status), ["source x is starting", "sink x is starting"]);
        source.ready();
        sink.enter(State::Retrying);
        assert_eq!(unready(&status), [""; 0]);
        source.failed(&Error::config("f:1: k", "wrong"));
        source.enter(State::Failed);
        assert_eq!(unready(&status), ["source x is failed: f:1: k: wrong"]);
    }
}
