//! The path in one line, for the log.

use millstream_core::{Options, Spec};

use crate::pipeline::{ChannelPart, Component, SinkPart, SourcePart};

/// `spooldir r1 → timestamp → file c1 → spark k1 127.0.0.1:41414`; several channels are separated by `; `, several
/// sources or sinks of one by ` + `.
pub(crate) fn on_one_line(sources: &[SourcePart], channels: &[ChannelPart], sinks: &[SinkPart]) -> String {
    let paths = channels.iter().map(|part| {
        let name = part.channel.name();
        let fills = |source: &&SourcePart| source.processor.channels().iter().any(|channel| channel.name() == name);
        let sources = sources.iter().filter(fills).map(|source| {
            let mut stages = vec![described(&source.component)];
            stages.extend(source.interceptors.iter().map(|&interceptor| interceptor.to_owned()));
            stages.join(ARROW)
        });
        let sinks = sinks.iter().filter(|sink| sink.channel.name() == name).map(|sink| described(&sink.component));
        let ends = [joined(sources), format!("{} {name}", part.type_name), joined(sinks)];
        ends.into_iter().filter(|end| !end.is_empty()).collect::<Vec<_>>().join(ARROW)
    });
    paths.collect::<Vec<_>>().join("; ")
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(" + ")
}

fn described<B>(component: &Component<Spec<B>>) -> String {
    let (type_name, name) = (component.spec.name, &component.name);
    match address(&component.options) {
        Some(address) => format!("{type_name} {name} {address}"),
        None => format!("{type_name} {name}"),
    }
}

/// Where it listens or connects to, as configured.
fn address(options: &Options) -> Option<String> {
    let host = ["hostname", "bind", "host"].iter().find_map(|key| options.find(key));
    options.find("port").map(|port| format!("{}:{port}", host.unwrap_or("0.0.0.0")))
}

const ARROW: &str = " → ";
