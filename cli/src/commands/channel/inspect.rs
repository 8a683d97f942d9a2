//! `millstream channel inspect`.

use std::process::ExitCode;

use clap::Args;
use millstream_channels::file::offline::StoppedChannel;
use millstream_core::{ChannelRef, EventRef, Limit, Result};
use serde_json::{Value, json};

use super::{OneArguments, block_on, next, out};
use crate::commands::output::{Output, bytes, event_json, print, print_json, printable, time};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(super) one: OneArguments,
    /// Shows the first so many events that wait.
    #[arg(long, value_name = "N", default_value_t = 0)]
    events: usize,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let channel = StoppedChannel::read_only(&arguments.one.dir)?;
    let (log, acks) = channel.files()?;
    let contents = channel.contents()?;
    let view = channel.view()?;
    let totals = view.totals();
    let as_json = arguments.one.output == Output::Json;
    let mut events = Vec::new();
    block_on(first_events(&view, arguments.events, |event| {
        events.push(if as_json { named_json(event) } else { Value::String(line(event)) });
    }))?;
    let store = totals.store.map(|store| format!("{store:016x}"));
    let openings: Vec<Value> = contents
        .openings
        .iter()
        .map(|(incarnation, first)| json!({ "incarnation": format!("{incarnation:032x}"), "first": first }))
        .collect();
    if as_json {
        let origins: serde_json::Map<String, Value> =
            contents.origins.into_iter().map(|(origin, end)| (origin, end.into())).collect();
        let dropped: serde_json::Map<String, Value> =
            totals.dropped.iter().map(|(rule, events)| (rule.to_string(), (*events).into())).collect();
        print_json(&json!({
            "dir": channel.data_dir(),
            "store": store,
            "in": totals.put_events,
            "out": totals.taken_events - totals.lost_events,
            "waiting": totals.waiting_events(),
            "lost": totals.lost_events,
            "dead_lettered": totals.dead_lettered,
            "redelivered": totals.redelivered_events,
            "dropped": dropped,
            "waiting_bytes": totals.waiting_bytes,
            "waiting_ranges": contents.waiting.iter().map(|range| [range.start, range.end]).collect::<Vec<_>>(),
            "log": { "segments": log.segments, "bytes": log.bytes, "quarantined": log.quarantined },
            "acks": { "segments": acks.segments, "bytes": acks.bytes, "quarantined": acks.quarantined },
            "origins": origins,
            "openings": openings,
            "named_elsewhere": totals.named_elsewhere,
            "names_received": contents.names_received,
            "events": events,
        }));
        return Ok(ExitCode::SUCCESS);
    }
    let mut lines = vec![format!("{}, store {}", channel.data_dir().display(), store.unwrap_or_default())];
    lines.push(format!(
        "  in {} = out {} + waiting {} + lost {}; redelivered and known: {}",
        totals.put_events,
        out(totals.taken_events - totals.lost_events, totals.dead_lettered),
        totals.waiting_events(),
        totals.lost_events,
        totals.redelivered_events
    ));
    lines.extend(totals.dropped.iter().map(|(rule, events)| format!("  dropped by {rule}: {events}")));
    let ranges: Vec<String> =
        contents.waiting.iter().take(SHOWN_RANGES).map(|range| format!("{}..{}", range.start, range.end)).collect();
    let more = contents.waiting.len().saturating_sub(SHOWN_RANGES);
    let more = if more > 0 { format!(" and {more} more ranges") } else { String::new() };
    lines.push(format!(
        "  waiting: {}{more}, {}",
        if ranges.is_empty() { "none".into() } else { ranges.join(" ") },
        bytes(totals.waiting_bytes)
    ));
    for (name, files) in [("log", &log), ("acks", &acks)] {
        let written = files.written.map(|(first, last)| format!(", written {} to {}", time(first), time(last)));
        lines.push(format!(
            "  {name}: {} segments, {}, {} pieces set aside{}",
            files.segments,
            bytes(files.bytes),
            files.quarantined,
            written.unwrap_or_default()
        ));
    }
    lines.extend(contents.origins.iter().map(|(origin, end)| format!("  origin {origin} is stored up to {end}")));
    lines.extend(openings.iter().map(|opening| {
        format!("  names {} from {} on", opening["incarnation"].as_str().unwrap_or_default(), opening["first"])
    }));
    lines.push(format!(
        "  {} events came with names of other channels; {} names received may come again",
        totals.named_elsewhere, contents.names_received
    ));
    lines.extend(events.iter().filter_map(|event| event.as_str().map(str::to_owned)));
    print(&(lines.join("\n") + "\n"));
    Ok(ExitCode::SUCCESS)
}

async fn first_events(channel: &ChannelRef, most: usize, mut tell: impl FnMut(EventRef<'_>)) -> Result<()> {
    let mut left = most;
    let mut open = Vec::new();
    while left > 0 {
        let limit = Limit { events: left.min(SHOWN_AT_ONCE), bytes: 4 << 20 };
        let Some(take) = next(channel, limit).await? else { break };
        take.batches().iter().flat_map(|batch| batch.iter()).for_each(&mut tell);
        left -= take.events();
        // Committed in the view alone: so they do not wait there any more.
        open.push(take.commit());
    }
    Ok(())
}

fn name(event: EventRef<'_>) -> String {
    event.name().map_or_else(String::new, |name| format!("{:032x}:{}", name.incarnation, name.sequence))
}

fn named_json(event: EventRef<'_>) -> Value {
    let mut value = event_json(event);
    value["name"] = name(event).into();
    value
}

fn line(event: EventRef<'_>) -> String {
    let headers: Vec<String> =
        event.headers().map(|(key, value)| format!("{}={}", printable(key), printable(value))).collect();
    format!("  {} {{{}}} {}", name(event), headers.join(", "), printable(event.body()))
}

const SHOWN_AT_ONCE: usize = 1000;
const SHOWN_RANGES: usize = 8;
