//! `millstream channel drain`: what waits leaves, as if an agent had a sink for it.
//!
//! # Delivery
//! To an avro source: a batch is acknowledged in the channel once the peer answered OK. A kill between the two sends it again
//! next time, under the names that the events have: an avro source of ours knows them, one of Flume's gets them twice.
//! To a file: everything is acknowledged once the whole file is on the disk under its name.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgGroup, Args};
use millstream_channels::file::offline::StoppedChannel;
use millstream_core::{ChannelRef, Error, Limit, Result};

use super::export::{Told, verdict, write_all};
use super::{block_on, next};
use crate::commands::events_file::{EventsFile, Format};
use crate::commands::output::Output;
use crate::commands::peer::Peer;
use crate::commands::progress::Progress;

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("where").required(true).args(["to", "to_file"]))]
pub(crate) struct Arguments {
    /// The channel's directory in dataDirs.
    #[arg(value_name = "DIR")]
    pub(super) dir: PathBuf,
    /// An avro source, of ours or of Flume's.
    #[arg(long, value_name = "HOST:PORT")]
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
    /// How to say how many they were.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    // Before anything is touched.
    let peer = arguments.to.as_deref().map(|address| Peer::new("drain", address)).transpose()?;
    let file = arguments.to_file.as_deref().map(|path| EventsFile::create(path, arguments.format)).transpose()?;
    let channel = StoppedChannel::exclusive(&arguments.dir)?;
    let noted_lost = channel.noted_lost()?;
    let channel = channel.open()?;
    let drained = block_on(async {
        let drained = match (peer, file) {
            (Some(peer), _) => to_peer(&channel, peer, arguments.batch_size as usize).await,
            (None, Some(file)) => to_file(&channel, file).await,
            (None, None) => Err(Error::config("channel drain", "expected --to or --to-file")),
        };
        let left = channel.totals().waiting_events();
        let closed = channel.close().await;
        let drained = drained.and_then(|events| closed.map(|()| events));
        drained.inspect_err(|_| tracing::error!(left, "not drained: what is left waits as before"))
    });
    let told = if arguments.output == Output::Json { Told::Json } else { Told::Text };
    Ok(verdict(&channel, drained?, noted_lost, told))
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

async fn to_peer(channel: &ChannelRef, mut peer: Peer, batch_size: usize) -> Result<u64> {
    peer.start();
    let mut progress = Progress::start("drain", "events", channel.totals().waiting_events());
    let mut delivered = 0;
    let limit = Limit { events: batch_size, bytes: u64::MAX };
    while let Some(take) = next(channel, limit).await? {
        let events = take.events() as u64;
        let mut batches = take.batches().to_vec();
        if let Some(first) = batches.first_mut() {
            *first = first.clone().with_low_water(take.low_water());
        }
        if let Err(error) = peer.deliver(batches.into()).await {
            progress.finish();
            return Err(error);
        }
        take.commit().await?;
        delivered += events;
        progress.add(events);
    }
    progress.finish();
    peer.close().await.map(|()| delivered)
}
