//! The path in one line, for the log.

use std::sync::Arc;

use millstream_core::{Options, Spec};

use crate::pipeline::Component;

/// A source or a sink as the line shows it.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    /// Its type, its name, where it listens or connects to; behind a source its interceptors.
    pub(crate) text: String,
    /// The channels that it fills or empties.
    pub(crate) channels: Vec<Arc<str>>,
}

/// `spooldir r1 → timestamp → file c1 → spark k1 127.0.0.1:41414`; several channels are separated by `; `, several
/// sources or sinks of one by ` + `. Channels come with their type.
pub(crate) fn on_one_line(sources: &[Shown], channels: &[(&str, &str)], sinks: &[Shown]) -> String {
    let paths = channels.iter().map(|(type_name, name)| {
        let ends = [joined(sources, name), format!("{type_name} {name}"), joined(sinks, name)];
        ends.into_iter().filter(|end| !end.is_empty()).collect::<Vec<_>>().join(ARROW)
    });
    paths.collect::<Vec<_>>().join("; ")
}

/// Those of `parts` that use the channel.
fn joined(parts: &[Shown], channel: &str) -> String {
    let using = parts.iter().filter(|part| part.channels.iter().any(|name| **name == *channel));
    using.map(|part| part.text.as_str()).collect::<Vec<_>>().join(" + ")
}

// === impl Shown ===

impl Shown {
    pub(crate) fn new<B>(component: &Component<Spec<B>>, stages: &[&str], channels: Vec<Arc<str>>) -> Self {
        let (type_name, name) = (component.spec.name, &component.name);
        let mut text = match address(&component.options) {
            Some(address) => format!("{type_name} {name} {address}"),
            None => format!("{type_name} {name}"),
        };
        for stage in stages {
            text.push_str(ARROW);
            text.push_str(stage);
        }
        Self { text, channels }
    }
}

/// Where it listens or connects to, as configured.
fn address(options: &Options) -> Option<String> {
    let host = ["hostname", "bind", "host"].iter().find_map(|key| options.find(key));
    options.find("port").map(|port| format!("{}:{port}", host.unwrap_or("0.0.0.0")))
}

const ARROW: &str = " → ";
