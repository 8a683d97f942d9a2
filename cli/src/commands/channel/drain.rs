//! `millstream channel drain`: what waits leaves, as if an agent had a sink for it.
//!
//! # Delivery
//! To an avro source: a batch is acknowledged in the channel once the peer answered OK. A kill between the two sends it again
//! next time, under the names that the events have: an avro source of ours knows them, one of Flume's gets them twice.
//! To a file: everything is acknowledged once the whole file is on the disk under its name.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use millstream_channels::file::offline::StoppedChannel;
use millstream_core::{
    BuiltSink, ChannelRef, ComponentStatus, Error, Limit, Options, Reaction, Result, Setting, Sink, SinkContext,
    stop_token,
};
use millstream_sinks::avro;

use super::export::{EventsFile, Format, verdict, write_all};
use super::{block_on, next};
use crate::commands::progress::Progress;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The channel's directory in dataDirs.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// An avro source, of ours or of Flume's.
    #[arg(long, value_name = "HOST:PORT", required_unless_present = "to_file", conflicts_with = "to_file")]
    to: Option<String>,
    /// File to make; nothing is acknowledged before it is whole and on the disk.
    #[arg(long, value_name = "FILE")]
    to_file: Option<PathBuf>,
    /// What to write into the file.
    #[arg(long, value_enum, default_value_t = Format::Avro)]
    format: Format,
    /// Most events of one call.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    batch_size: u32,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    // Before anything is touched.
    let sink = arguments.to.as_deref().map(avro_sink).transpose()?;
    let file = arguments.to_file.as_deref().map(|path| EventsFile::create(path, arguments.format)).transpose()?;
    let channel = StoppedChannel::exclusive(&arguments.dir)?;
    let noted_lost = channel.noted_lost()?;
    let channel = channel.open()?;
    let drained = block_on(async {
        let drained = match (sink, file) {
            (Some(sink), _) => to_peer(&channel, sink, arguments.batch_size as usize).await,
            (None, Some(file)) => to_file(&channel, file).await,
            (None, None) => Err(Error::config("channel drain", "expected --to or --to-file")),
        };
        let left = channel.totals().waiting_events();
        let closed = channel.close().await;
        let drained = drained.and_then(|events| closed.map(|()| events));
        drained.inspect_err(|_| tracing::error!(left, "not drained: what is left waits as before"))
    });
    Ok(verdict(&channel, drained?, noted_lost))
}

async fn to_file(channel: &ChannelRef, mut file: EventsFile) -> Result<u64> {
    let takes = write_all("drain", channel, &mut file).await?;
    file.finish()?;
    let mut moved = 0;
    for take in takes {
        moved += take.events() as u64;
        take.commit().await?;
    }
    Ok(moved)
}

async fn to_peer(channel: &ChannelRef, mut sink: Box<dyn Sink>, batch_size: usize) -> Result<u64> {
    let (_stopper, stop) = stop_token();
    let status = ComponentStatus::new("sink", "drain".into(), "avro".into());
    sink.start(SinkContext { name: "drain".into(), status, stop, spool: None });
    let mut progress = Progress::start("drain", "events", channel.totals().waiting_events());
    let (mut delivered, mut failures) = (0, 0);
    let limit = Limit { events: batch_size, bytes: u64::MAX };
    while let Some(take) = next(channel, limit).await? {
        let events = take.events() as u64;
        let mut batches = take.batches().to_vec();
        if let Some(first) = batches.first_mut() {
            *first = first.clone().with_low_water(take.low_water());
        }
        match sink.deliver(batches.into()).await {
            Ok(()) => {
                take.commit().await?;
                failures = 0;
                delivered += events;
                progress.add(events);
            }
            Err(error) => {
                drop(take);
                failures += 1;
                if failures == MOST_FAILURES || matches!(error.reaction(), Reaction::Stop) {
                    progress.finish();
                    return Err(error);
                }
                tokio::time::sleep(PAUSE * failures).await;
            }
        }
    }
    progress.finish();
    sink.close().await.map(|()| delivered)
}

fn avro_sink(address: &str) -> Result<Box<dyn Sink>> {
    let place = "--to";
    let split = address.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    let (host, port) = split.ok_or_else(|| Error::config(place, format!("expected HOST:PORT, got {address:?}")))?;
    let setting = |key: &str, value: &str| Setting { key: key.into(), value: value.into(), place: place.into() };
    let settings = [setting("hostname", host.trim_matches(['[', ']'])), setting("port", port)];
    let (options, _) = Options::parse(place, avro::SPEC.options, &[], settings)?;
    match (avro::SPEC.build)(&options)? {
        BuiltSink::Push { sink, .. } => Ok(sink),
        BuiltSink::Pull(_) => Err(Error::config(place, "expected a sink that delivers")),
    }
}

/// In a row, after which the peer is taken for gone.
const MOST_FAILURES: u32 = 5;
/// Longer after each failure.
const PAUSE: Duration = Duration::from_millis(500);
