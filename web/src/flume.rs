//! Flume's metrics: one object, a member per component, every value a string.
//!
//! ```json
//! {"SOURCE.r1":{"EventReceivedCount":"7","Type":"SOURCE",…},"CHANNEL.c1":{…},"SINK.k1":{…}}
//! ```
//!
//! Components that have no counters in Flume (netcat, logger, …) are there too; a scraper that knows the others ignores
//! them.
//!
//! # Source
//! `org.apache.flume.instrumentation.http.HTTPMetricsServer` and the MBeans of `SourceCounter`, `ChannelCounter`,
//! `FileChannelCounter`, `SinkCounter` (Flume 1.11).

use std::collections::BTreeMap;

use millstream_core::{ComponentStatus, MetricName, ObservedChannel, State, Status};

/// The members of one component.
pub type Attributes = BTreeMap<&'static str, String>;

/// Counters that a component of this kind shows; of other kinds than Flume's, those that are not zero.
pub fn counters(kind: &str) -> Option<&'static [MetricName]> {
    match kind {
        "source" => Some(SOURCE),
        "channel" => Some(CHANNEL),
        "sink" => Some(SINK),
        _ => None,
    }
}

/// Every source, channel and sink: `SOURCE.r1` and its members.
pub fn metrics(status: &Status) -> BTreeMap<String, Attributes> {
    let path = status.path();
    let components = path.components.iter().filter_map(|component| {
        let kind = component.kind.to_uppercase();
        let mut attributes: Attributes = counters(component.kind)?
            .iter()
            .map(|name| (name.flume_name(), component.counters().value(*name).to_string()))
            .collect();
        attributes.insert("StartTime", component.started_ms().to_string());
        attributes.insert("StopTime", component.stopped_ms().to_string());
        if component.kind == "channel" {
            let open = path.channels.iter().find(|channel| std::sync::Arc::ptr_eq(&channel.status, component));
            fill(&mut attributes, component, open);
        }
        let key = format!("{kind}.{}", component.name);
        attributes.insert("Type", kind);
        Some((key, attributes))
    });
    components.collect()
}

/// What a channel holds and what went through it; of one that could not be opened, what Flume shows of such a one.
fn fill(attributes: &mut Attributes, component: &ComponentStatus, open: Option<&ObservedChannel>) {
    let view = open.map(ObservedChannel::view);
    let number = |value: Option<u64>| value.unwrap_or_default().to_string();
    attributes.insert("ChannelSize", number(view.as_ref().map(|view| view.size_events)));
    attributes.insert("ChannelCapacity", number(view.as_ref().map(|view| view.capacity_events)));
    attributes.insert("EventPutSuccessCount", number(view.as_ref().map(|view| view.put_since_start)));
    attributes.insert("EventTakeSuccessCount", number(view.as_ref().map(|view| view.taken_since_start)));
    let (lost, quarantined, dead_lettered) =
        view.as_ref().map_or((0, 0, 0), |view| (view.lost_events, view.quarantined, view.dead_lettered));
    let percentage = view.filter(|view| view.capacity_events > 0).map_or(f64::MAX, |view| view.fill_percentage);
    attributes.insert("ChannelFillPercentage", java_double(percentage));
    if has_a_disk(component) {
        // Flume has none of them: it stops at damage, and at what a sink rejects.
        attributes.insert(MetricName::EventLostCount.flume_name(), lost.to_string());
        attributes.insert(MetricName::QuarantineCount.flume_name(), quarantined.to_string());
        attributes.insert(MetricName::EventDeadLetterCount.flume_name(), dead_lettered.to_string());
    }
    if &*component.type_name != "file" {
        return;
    }
    let works = component.state() == State::Running;
    attributes.insert("Open", works.to_string());
    attributes.insert("Closed", u8::from(component.state() == State::Stopped).to_string());
    attributes.insert("Unhealthy", u8::from(component.state() == State::Failed).to_string());
    for name in [MetricName::EventPutErrorCount, MetricName::EventTakeErrorCount] {
        attributes.insert(name.flume_name(), component.counters().value(name).to_string());
    }
    // There are no checkpoints that could fail.
    attributes.insert("CheckpointWriteErrorCount", "0".to_owned());
    attributes.insert("CheckpointBackupWriteErrorCount", "0".to_owned());
}

/// A channel whose events can be damaged.
pub fn has_a_disk(channel: &ComponentStatus) -> bool {
    matches!(&*channel.type_name, "file" | "spillablememory")
}

/// As Java writes a `double` that is not negative.
fn java_double(value: f64) -> String {
    if value == 0.0 || (1e-3..1e7).contains(&value) {
        return format!("{value:?}");
    }
    let text = format!("{value:E}");
    match text.split_once('E') {
        Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0E{exponent}"),
        _ => text,
    }
}

const SOURCE: &[MetricName] = &[
    MetricName::EventReceivedCount,
    MetricName::EventAcceptedCount,
    MetricName::AppendReceivedCount,
    MetricName::AppendAcceptedCount,
    MetricName::AppendBatchReceivedCount,
    MetricName::AppendBatchAcceptedCount,
    MetricName::OpenConnectionCount,
    MetricName::EventReadFail,
    MetricName::ChannelWriteFail,
    MetricName::GenericProcessingFail,
];
/// What succeeded comes from the channel's totals.
const CHANNEL: &[MetricName] = &[MetricName::EventPutAttemptCount, MetricName::EventTakeAttemptCount];
const SINK: &[MetricName] = &[
    MetricName::ConnectionCreatedCount,
    MetricName::ConnectionClosedCount,
    MetricName::ConnectionFailedCount,
    MetricName::BatchEmptyCount,
    MetricName::BatchUnderflowCount,
    MetricName::BatchCompleteCount,
    MetricName::EventDrainAttemptCount,
    MetricName::EventDrainSuccessCount,
    MetricName::EventWriteFail,
    MetricName::ChannelReadFail,
];

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_core::PathStatus;

    fn keys(attributes: &Attributes) -> String {
        attributes.keys().copied().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_kind_has_flumes_attributes_and_every_value_is_a_string() {
        let component = |kind, name: &str, type_name: &str| ComponentStatus::new(kind, name.into(), type_name.into());
        let status = Status::default();
        let components = vec![
            component("source", "x", "avro"),
            component("channel", "c1", "memory"),
            component("channel", "c2", "file"),
            component("sink", "x", "avro"),
            component("receiver", "r", "poll"),
        ];
        components[0].count(MetricName::EventReceivedCount, 7);
        components[3].ready();
        status.replace(PathStatus { components, ..PathStatus::default() });
        let metrics = metrics(&status);
        assert_eq!(metrics.keys().collect::<Vec<_>>(), ["CHANNEL.c1", "CHANNEL.c2", "SINK.x", "SOURCE.x"]);
        let source = "AppendAcceptedCount AppendBatchAcceptedCount AppendBatchReceivedCount AppendReceivedCount \
                      ChannelWriteFail EventAcceptedCount EventReadFail EventReceivedCount GenericProcessingFail \
                      OpenConnectionCount StartTime StopTime Type";
        assert_eq!(keys(&metrics["SOURCE.x"]), source);
        let channel = "ChannelCapacity ChannelFillPercentage ChannelSize EventPutAttemptCount EventPutSuccessCount \
                       EventTakeAttemptCount EventTakeSuccessCount StartTime StopTime Type";
        assert_eq!(keys(&metrics["CHANNEL.c1"]), channel);
        let file = "ChannelCapacity ChannelFillPercentage ChannelSize CheckpointBackupWriteErrorCount \
                    CheckpointWriteErrorCount Closed EventDeadLetterCount EventLostCount EventPutAttemptCount \
                    EventPutErrorCount EventPutSuccessCount EventTakeAttemptCount EventTakeErrorCount \
                    EventTakeSuccessCount Open QuarantineCount StartTime StopTime Type Unhealthy";
        assert_eq!(keys(&metrics["CHANNEL.c2"]), file);
        let sink = "BatchCompleteCount BatchEmptyCount BatchUnderflowCount ChannelReadFail ConnectionClosedCount \
                    ConnectionCreatedCount ConnectionFailedCount EventDrainAttemptCount EventDrainSuccessCount \
                    EventWriteFail StartTime StopTime Type";
        assert_eq!(keys(&metrics["SINK.x"]), sink);
        let value = |key: &str, attribute: &str| metrics[key][attribute].clone();
        assert_eq!((value("SOURCE.x", "EventReceivedCount"), value("SOURCE.x", "Type")), ("7".into(), "SOURCE".into()));
        assert_eq!((value("SOURCE.x", "StartTime"), value("SINK.x", "StartTime").as_str() > "0"), ("0".into(), true));
        assert_eq!(
            (value("CHANNEL.c2", "ChannelFillPercentage"), value("CHANNEL.c2", "Open")),
            ("1.7976931348623157E308".into(), "false".into())
        );
    }

    #[test]
    fn percentages_are_written_as_java_writes_them() {
        for (value, wanted) in [
            (0.0, "0.0"),
            (12.5, "12.5"),
            (100.0, "100.0"),
            (1e-4, "1.0E-4"),
            (2.5e-4, "2.5E-4"),
            (f64::MAX, "1.7976931348623157E308"),
        ] {
            assert_eq!(java_double(value), wanted);
        }
    }
}
