//! Writes events into files whose directories and names follow the events: their headers, their time, this host.
//!
//! Written to a cluster, `hdfs.path = hdfs://host:port/…` or `hdfs://name/…`, or to directories of this machine,
//! `file:///…` or without a scheme.
//!
//! # Cluster
//! `core-site.xml` and `hdfs-site.xml` of `HADOOP_CONF_DIR` say which NameNodes a name stands for, which are there for
//! `hdfs:///…`, and whether Kerberos is asked for; then `libgssapi_krb5.so.2` must be installed (Debian:
//! libgssapi-krb5-2), and the ticket of the process or `hdfs.kerberosKeytab` is used. Each transaction waits for the disks
//! of the DataNodes (hsync), so not below directories with erasure coding, which cannot do that.
//!
//! # Paths
//! `<hdfs.path>/<hdfs.filePrefix>.<number><suffix>`, with `.tmp` behind it while it is written. The number counts from the
//! time at which the first file was begun there; numbers that exist are passed over.
//!
//! | escape in `hdfs.path` and `hdfs.filePrefix` | stands for |
//! |---|---|
//! | `%{name}` | the header of that name; nothing where the event has none |
//! | `%[localhost]`, `%[IP]`, `%[FQDN]` | this host's name, address, full name |
//! | `%t`, `%s` | the event's time in milliseconds; in seconds, rounded |
//! | `%Y %y %m %n %d %e %j` | year, its last two digits, month, without zero, day, without zero, day of the year |
//! | `%H %k %I %l %M %S %p` | hour of 24, without zero, of 12, without zero, minute, second, AM or PM |
//! | `%a %A %b %B` | weekday and month, short and long |
//! | `%c %D %z %%` | `Sat Mar 1 12:35:47 2014`; `03/01/14`, which makes directories; `+0100`; a percent sign |
//!
//! The time is the header `timestamp` in milliseconds, or that of writing, with `hdfs.useLocalTimeStamp` and where the
//! header is missing or no number, which is told at the 1st, 2nd, 4th, … event. Values of headers never lead out of the
//! directory before the first escape: `..` is written as `%2E%2E`, control characters as `%00` and so on, a name of more
//! than 200 bytes is cut and gets a number.
//!
//! # Files
//! | `hdfs.fileType` | content |
//! |---|---|
//! | `SequenceFile` | time and body of each event, as BytesWritable or Text (`hdfs.writeFormat`); compressed by blocks with `hdfs.codeC` |
//! | `DataStream` | what the serializer writes |
//! | `CompressedStream` | the same, compressed with `hdfs.codeC`: gzip, bzip2, deflate, snappy |
//!
//! # Delivery
//! A transaction is delivered once all of its files are on the disk. One that fails is cut off again everywhere, so that
//! each event is in one file once; only a crash between delivery and commit repeats one batch. Files of a cluster cannot be
//! cut: there, the files of a transaction that failed are completed with what they have, and its events come again in
//! others. A file that cannot be closed or renamed keeps its events, and is tried again every `hdfs.retryInterval`. After
//! a crash, files keep the names of files in use; what was delivered is in them.
//!
//! # Source
//! `org.apache.flume.sink.hdfs.HDFSEventSink`, `BucketWriter`, `org.apache.flume.formatter.output.BucketPath` (Flume
//! 1.11).

mod bucket;
mod cluster;
mod codec;
mod files;
mod location;
mod sequence_file;
mod settings;
mod template;
mod time;
mod worker;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;

use millstream_core::{
    Batch, BuiltSink, Error, Fut, Kind, Options, Resolver, Result, Sink, SinkContext, SinkSpec, family, optional,
    required, ticket, unset,
};
use millstream_io::{Clock, Disk, SystemClock, SystemDisk};

use crate::file_counts::FileCounts;
use location::Location;
use settings::Settings;
use template::Filler;
use time::Calendar;
use worker::Worker;

/// The declaration.
pub static SPEC: SinkSpec = SinkSpec {
    name: "hdfs",
    aliases: &["org.apache.flume.sink.hdfs.HDFSEventSink"],
    summary: "Writes events into files whose directories and names follow the events.",
    options: &[
        required("hdfs.path", Kind::Text, "Directory of the files, with escapes."),
        optional("hdfs.filePrefix", Kind::Text, "FlumeData", "What file names begin with, with escapes."),
        optional("hdfs.fileSuffix", Kind::Text, "", "What file names end with; the codec's extension when empty."),
        optional("hdfs.inUsePrefix", Kind::Text, "", "What names of files in use begin with."),
        optional("hdfs.inUseSuffix", Kind::Text, ".tmp", "What names of files in use end with."),
        optional("hdfs.emptyInUseSuffix", Kind::Bool, "false", "Files in use have no suffix."),
        optional("hdfs.rollInterval", Kind::Seconds, "30", "Time after which a file is complete; 0 for never."),
        optional("hdfs.rollSize", Kind::Bytes, "1024", "Bytes of bodies after which a file is complete; 0 for never."),
        optional("hdfs.rollCount", Kind::Int(0, i64::MAX), "10", "Events after which a file is complete; 0 for never."),
        optional(
            "hdfs.idleTimeout",
            Kind::Seconds,
            "0",
            "Time without events after which a file is complete; 0 for never.",
        ),
        optional("hdfs.batchSize", Kind::Int(1, u32::MAX as i64), "100", "Most events of one transaction."),
        optional(
            "hdfs.fileType",
            Kind::Choice(&["SequenceFile", "DataStream", "CompressedStream"]),
            "SequenceFile",
            "What files are.",
        ),
        unset("hdfs.codeC", Kind::Text, "How files are compressed: gzip, bzip2, deflate, snappy."),
        optional("hdfs.writeFormat", Kind::Text, "Writable", "What bodies are in a SequenceFile: Writable, Text."),
        optional(
            "serializer",
            Kind::Text,
            "TEXT",
            "How events are written into streams: text, header_and_text, avro_event, or the class of Flume's AvroEventSerializer.",
        ),
        family("serializer.*", Kind::Text, "Options of the serializer."),
        optional("hdfs.round", Kind::Bool, "false", "Rounds the time of events down."),
        optional("hdfs.roundValue", Kind::Int(1, 60), "1", "To multiples of that many units."),
        optional("hdfs.roundUnit", Kind::Choice(&["second", "minute", "hour"]), "second", "The unit."),
        unset("hdfs.timeZone", Kind::Text, "Zone of times in paths; this machine's unless given."),
        optional("hdfs.useLocalTimeStamp", Kind::Bool, "false", "Takes the time of writing instead of the event's."),
        optional(
            "hdfs.maxOpenFiles",
            Kind::Int(1, u32::MAX as i64),
            "5000",
            "Files open at a time; those used longest ago are completed.",
        ),
        optional(
            "hdfs.closeTries",
            Kind::Int(0, i64::MAX),
            "0",
            "Tries to complete a file; 0 for as many as it takes.",
        ),
        optional(
            "hdfs.retryInterval",
            Kind::Int(-1, u32::MAX as i64),
            "180",
            "Seconds between them; one try when not above 0.",
        ),
        optional(
            "hdfs.fsync",
            Kind::Bool,
            "true",
            "Waits for the disk before events count as delivered; on a cluster always.",
        ),
        optional(
            "hdfs.callTimeout",
            Kind::Millis,
            "30000",
            "Longest time for one call to the cluster, in milliseconds; 0 for none.",
        ),
        optional("hdfs.threadsPoolSize", Kind::Int(1, i64::MAX), "10", "No effect: one thread writes."),
        optional("hdfs.rollTimerPoolSize", Kind::Int(1, i64::MAX), "1", "No effect: rolling by time takes no thread."),
        unset("hdfs.minBlockReplicas", Kind::Int(0, i64::MAX), "No effect: the cluster says how many there must be."),
        unset("hdfs.kerberosPrincipal", Kind::Text, "Whose ticket is shown to the cluster; _HOST is this host."),
        unset("hdfs.kerberosKeytab", Kind::Text, "File with the principal's key."),
        unset("hdfs.proxyUser", Kind::Text, "As whom files of a cluster are written."),
        optional("hdfs.useRawLocalFileSystem", Kind::Bool, "false", "No effect: there are no files of checksums."),
    ],
    build: |options| built(options, Arc::new(SystemDisk), SystemClock::new()),
};

fn built(options: &Options, disk: Arc<dyn Disk>, clock: Arc<dyn Clock>) -> Result<BuiltSink> {
    let worker = worker(options, disk, Arc::clone(&clock))?;
    let sink = Hdfs::spawn(worker, clock)?;
    Ok(BuiltSink::Push { sink: Box::new(sink), batch_size: options.int("hdfs.batchSize")? })
}

fn worker(options: &Options, disk: Arc<dyn Disk>, clock: Arc<dyn Clock>) -> Result<Worker> {
    let files = Location::from_options(options)?.files(options, disk)?;
    let filler = Filler::new(Calendar::from_options(options)?, options.bool("hdfs.useLocalTimeStamp")?);
    Ok(Worker::new(Settings::from_options(options, clock)?, files, filler))
}

/// Hands transactions to the thread that writes.
#[derive(Debug)]
struct Hdfs {
    /// None once it ends.
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    counts: FileCounts,
}

#[derive(Debug)]
struct Job {
    batches: Arc<[Batch]>,
    outcome: Resolver,
}

// === impl Hdfs ===

impl Hdfs {
    fn spawn(worker: Worker, clock: Arc<dyn Clock>) -> Result<Self> {
        let counts = worker.counts();
        let (jobs, inbox) = channel();
        let thread = std::thread::Builder::new().name("hdfs sink".into());
        let thread = thread.spawn(move || work(worker, &inbox, &*clock));
        let thread = thread.map_err(|error| Error::io("start a thread for", "the hdfs sink", error))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), counts })
    }
}

impl Sink for Hdfs {
    fn deliver(&mut self, batches: Arc<[Batch]>) -> Fut<'static, Result<()>> {
        let (outcome, delivered) = ticket();
        if let Some(jobs) = &self.jobs {
            // A thread that is gone drops the outcome, and that is an error.
            let _ = jobs.send(Job { batches, outcome });
        }
        Box::pin(delivered)
    }

    fn start(&mut self, cx: SinkContext) {
        self.counts.start(&cx);
    }
}

impl Drop for Hdfs {
    /// Waits until every file is complete, so that whoever comes next finds it.
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // Its panic was told by whoever waited for a delivery.
            let _ = thread.join();
        }
    }
}

/// Writes what comes and completes what is due, until the sink is gone.
fn work(mut worker: Worker, inbox: &Receiver<Job>, clock: &dyn Clock) {
    loop {
        let next = match worker.next_due() {
            Some(due) => inbox.recv_timeout(due.saturating_sub(clock.monotonic())),
            None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match next {
            Ok(Job { batches, outcome }) => {
                // What is due is complete before it could get more events.
                worker.run_due();
                let delivered = worker.deliver(&batches);
                drop(batches);
                outcome.resolve(delivered);
            }
            Err(RecvTimeoutError::Timeout) => worker.run_due(),
            Err(RecvTimeoutError::Disconnected) => {
                worker.close();
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
