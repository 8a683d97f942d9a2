//! The same for Prometheus, as OpenMetrics text, or as the plain text before it.
//!
//! | Name | Labels | |
//! |---|---|---|
//! | `millstream_<counter>_total` | kind, component, type | Flume's counters, `EventReceivedCount` as `event_received` |
//! | `millstream_channel_size_events`, `_size_bytes`, `_capacity_events`, `_fill_ratio` | component | what waits |
//! | `millstream_component_state` | kind, component, type, state | 1 for the state that it is in, 0 for the others |
//! | `millstream_component_start_time_seconds` | kind, component, type | since 1970; 0 before the start |

use std::fmt;
use std::sync::Arc;

use millstream_core::status::{ChannelView, PathStatus};
use millstream_core::{ComponentStatus, MetricName, ObservedChannel, State, Status};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::flume;

/// The text now.
///
/// # Errors
/// When the library cannot write it.
pub fn metrics(status: &Arc<Status>) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("millstream");
    registry.register_collector(Box::new(Path(status.path())));
    let mut written = String::new();
    text::encode(&mut written, &registry)?;
    Ok(written)
}

/// The same as the older text format (version 0.0.4) has it: there a family has the name of its samples, and nothing ends
/// the text.
///
/// # Errors
/// As [`metrics`].
pub fn plain(status: &Arc<Status>) -> Result<String, fmt::Error> {
    let text = metrics(status)?;
    let counters: Vec<String> = text
        .lines()
        .filter_map(|line| Some(format!(" {} ", line.strip_prefix("# TYPE ")?.strip_suffix(" counter")?)))
        .collect();
    let mut plain = String::with_capacity(text.len());
    for line in text.lines().filter(|line| *line != "# EOF") {
        let counter = counters.iter().find(|counter| line.starts_with('#') && line.contains(counter.as_str()));
        match counter {
            Some(counter) => plain.push_str(&line.replacen(counter, &format!(" {}_total ", counter.trim()), 1)),
            None => plain.push_str(line),
        }
        plain.push('\n');
    }
    Ok(plain)
}

/// What is shown.
#[derive(Debug)]
struct Path(PathStatus);

/// One number of a channel.
type Reading = fn(&ChannelView) -> f64;

type Labels<'a> = [(&'static str, &'a str); 3];

impl Collector for Path {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Self(path) = self;
        for name in MetricName::ALL {
            let values: Vec<(&ComponentStatus, u64)> = path
                .components
                .iter()
                .filter_map(|component| Some((&**component, self.counter(component, *name)?)))
                .collect();
            if values.is_empty() {
                continue;
            }
            let (snake, help) = (snake(name.flume_name()), format!("Flume's {}", name.flume_name()));
            let mut family = encoder.encode_descriptor(&snake, &help, None, MetricType::Counter)?;
            for (component, value) in values {
                ConstCounter::new(value).encode(family.encode_family(&labels(component))?)?;
            }
        }
        self.channels(&mut encoder)?;
        self.states(&mut encoder)
    }
}

// === impl Path ===

impl Path {
    /// A counter that the component has.
    fn counter(&self, component: &Arc<ComponentStatus>, name: MetricName) -> Option<u64> {
        let counted = component.counters().value(name);
        let open = || self.0.channels.iter().find(|channel| Arc::ptr_eq(&channel.status, component));
        let on_disk = flume::has_a_disk(component);
        match (component.kind, name) {
            ("channel", MetricName::EventPutSuccessCount) => open().map(|channel| channel.view().put_since_start),
            ("channel", MetricName::EventTakeSuccessCount) => open().map(|channel| channel.view().taken_since_start),
            ("channel", MetricName::EventLostCount) if on_disk => open().map(|channel| channel.view().lost_events),
            ("channel", MetricName::QuarantineCount) if on_disk => open().map(|channel| channel.view().quarantined),
            ("channel", MetricName::EventDeadLetterCount) if on_disk => {
                open().map(|channel| channel.view().dead_lettered)
            }
            ("channel", MetricName::EventPutErrorCount | MetricName::EventTakeErrorCount) => Some(counted),
            (kind, name) => match flume::counters(kind) {
                Some(names) => names.contains(&name).then_some(counted),
                None => (counted > 0).then_some(counted),
            },
        }
    }

    fn channels(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let views: Vec<ChannelView> = self.0.channels.iter().map(ObservedChannel::view).collect();
        let gauges: [(&str, &str, Reading); 4] = [
            ("channel_size_events", "Events that wait", |view| view.size_events as f64),
            ("channel_size_bytes", "Bytes that wait", |view| view.size_bytes as f64),
            ("channel_capacity_events", "Most events that may wait", |view| view.capacity_events as f64),
            ("channel_fill_ratio", "Events that wait, of those that may", |view| view.fill_percentage / 100.0),
        ];
        for (name, help, value) in gauges {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for view in &views {
                gauge(value(view), family.encode_family(&[("component", view.name.as_str())])?)?;
            }
        }
        Ok(())
    }

    fn states(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "The state that the component is in";
        let mut family = encoder.encode_descriptor("component_state", help, None, MetricType::Gauge)?;
        for component in &self.0.components {
            for (state, text) in STATES {
                let [kind, name, type_name] = labels(component);
                let labels = [kind, name, type_name, ("state", text)];
                gauge(f64::from(u8::from(component.state() == state)), family.encode_family(&labels)?)?;
            }
        }
        let help = "When the component began to work, since 1970";
        let mut family = encoder.encode_descriptor("component_start_time_seconds", help, None, MetricType::Gauge)?;
        for component in &self.0.components {
            gauge(component.started_ms() as f64 / 1e3, family.encode_family(&labels(component))?)?;
        }
        Ok(())
    }
}

fn gauge(value: f64, encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
    ConstGauge::new(value).encode(encoder)
}

fn labels(component: &ComponentStatus) -> Labels<'_> {
    [("kind", component.kind), ("component", &component.name), ("type", &component.type_name)]
}

/// `EventReceivedCount` as `event_received`.
fn snake(flume_name: &str) -> String {
    let name = flume_name.strip_suffix("Count").unwrap_or(flume_name);
    let mut snake = String::with_capacity(name.len() + 4);
    for (at, c) in name.char_indices() {
        if c.is_ascii_uppercase() && at > 0 {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

const STATES: [(State, &str); 5] = [
    (State::Starting, "starting"),
    (State::Running, "running"),
    (State::Retrying, "retrying"),
    (State::Failed, "failed"),
    (State::Stopped, "stopped"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_and_states_are_written_with_their_labels() {
        let status = Arc::new(Status::default());
        let source = ComponentStatus::new("source", "r\"1".into(), "avro".into());
        source.count(MetricName::AppendBatchReceivedCount, 3);
        source.ready();
        let receiver = ComponentStatus::new("receiver", "p".into(), "poll".into());
        receiver.count(MetricName::EventReceivedCount, 9);
        status.replace(PathStatus { components: vec![source, receiver], ..PathStatus::default() });
        let text = metrics(&status).expect("written");
        for line in [
            "# TYPE millstream_append_batch_received counter",
            "millstream_append_batch_received_total{kind=\"source\",component=\"r\\\"1\",type=\"avro\"} 3",
            "millstream_event_received_total{kind=\"source\",component=\"r\\\"1\",type=\"avro\"} 0",
            "millstream_event_received_total{kind=\"receiver\",component=\"p\",type=\"poll\"} 9",
            "millstream_component_state{kind=\"source\",component=\"r\\\"1\",type=\"avro\",state=\"running\"} 1.0",
            "millstream_component_state{kind=\"receiver\",component=\"p\",type=\"poll\",state=\"running\"} 0.0",
            "# EOF",
        ] {
            assert!(text.lines().any(|written| written == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("append_batch_received_total{kind=\"receiver\""), "not counted there: {text}");
        let plain = plain(&status).expect("written");
        for line in [
            "# HELP millstream_append_batch_received_total Flume's AppendBatchReceivedCount",
            "# TYPE millstream_append_batch_received_total counter",
            "millstream_append_batch_received_total{kind=\"source\",component=\"r\\\"1\",type=\"avro\"} 3",
            "# TYPE millstream_component_state gauge",
        ] {
            assert!(plain.lines().any(|written| written == line), "{line} is not in\n{plain}");
        }
        assert_eq!((plain.lines().count(), plain.contains("# EOF")), (text.lines().count() - 1, false));
    }
}
