//! The letters of a job or of a channel, shown alike.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use millstream_channels::file::offline as channels;
use millstream_core::{Batch, Error, Result};
use millstream_streams::offline as jobs;
use serde_json::{Map, Value, json};

use crate::commands::output::{body_json, printable, time};

/// The dead letters in a directory.
#[derive(Debug)]
pub(super) enum DeadLetters {
    Job(jobs::DeadLetters),
    Channel(channels::DeadLetters),
}

/// One of them, as shown.
#[derive(Debug)]
pub(super) struct Row {
    /// Its place among all.
    pub(super) place: usize,
    /// Of a job's.
    pub(super) batch: Option<u64>,
    /// Of a channel's.
    pub(super) number: Option<u64>,
    /// How often it was replayed.
    pub(super) replayed: u64,
    pub(super) json: Value,
    pub(super) text: String,
}

// === impl DeadLetters ===

impl DeadLetters {
    /// For looking; whoever writes them may run.
    ///
    /// # Errors
    /// `Mismatch` where there is neither a job nor a channel; failed reads.
    pub(super) fn read(dir: &Path) -> Result<Self> {
        match is_job(dir)? {
            true => jobs::DeadLetters::read(dir).map(Self::Job),
            false => channels::DeadLetters::read(dir).map(Self::Channel),
        }
    }

    /// For replaying.
    ///
    /// # Errors
    /// As above, and `InUse` with the holder.
    pub(super) fn open(dir: &Path) -> Result<Self> {
        match is_job(dir)? {
            true => jobs::DeadLetters::open(dir).map(Self::Job),
            false => channels::DeadLetters::open(dir).map(Self::Channel),
        }
    }

    /// A job's letters are asked for by batch, a channel's by number.
    ///
    /// # Errors
    /// `Config` where it is the other way round.
    pub(super) fn check(&self, batch: Option<u64>, number: Option<u64>) -> Result<()> {
        match (self, batch, number) {
            (Self::Job(_), _, Some(number)) => Err(Error::config(
                "--number",
                format!("{number}: the letters of a job have batches; name one by --batch"),
            )),
            (Self::Channel(_), Some(batch), _) => Err(Error::config(
                "--batch",
                format!("{batch}: the letters of a channel have numbers; name one by --number"),
            )),
            _ => Ok(()),
        }
    }

    /// All of them, oldest first.
    pub(super) fn rows(&self) -> Vec<Row> {
        match self {
            Self::Job(letters) => letters.letters().iter().enumerate().map(|(place, it)| of_job(place, it)).collect(),
            Self::Channel(letters) => {
                letters.letters().iter().enumerate().map(|(place, it)| of_channel(place, it)).collect()
            }
        }
    }

    /// The events of those at `places`, to be sent.
    pub(super) fn batches(&self, places: &[usize], again: bool) -> Vec<Batch> {
        match self {
            Self::Job(letters) => vec![letters.batch(&at(letters.letters(), places), again)],
            Self::Channel(letters) => letters.batches(&at(letters.letters(), places), again),
        }
    }

    /// Notes, durably, that those at `places` were replayed.
    ///
    /// # Errors
    /// What could not be written: then they are replayed again.
    pub(super) async fn mark(&self, places: &[usize]) -> Result<()> {
        match self {
            Self::Job(letters) => letters.mark(&at(letters.letters(), places)).await,
            Self::Channel(letters) => letters.mark(&at(letters.letters(), places)).await,
        }
    }
}

/// Whether `dir` is a job's; a channel's if not.
fn is_job(dir: &Path) -> Result<bool> {
    let (jobs, channels) = (jobs::find(dir), channels::find(dir)?);
    if jobs.first().is_some_and(|found| found == dir) {
        return Ok(true);
    }
    // A channel's is found too where its store is named.
    if let [channel] = &channels[..]
        && (channel == dir || dir.parent().is_some_and(|above| above == channel))
    {
        return Ok(false);
    }
    let below: Vec<String> = jobs.iter().chain(&channels).map(|found| found.display().to_string()).collect();
    let hint = match &below[..] {
        [] => "name the directory that a program gives to checkpoint, or one of the dataDirs of a channel".to_owned(),
        [one] => format!("there is one in {one}"),
        several => format!("there is one in {}", several.join(", and one in ")),
    };
    Err(Error::mismatch(dir.display(), format!("holds neither a job nor a file channel; {hint}")))
}

fn at<T: Clone>(letters: &[T], places: &[usize]) -> Vec<T> {
    places.iter().filter_map(|place| letters.get(*place)).cloned().collect()
}

fn of_job(place: usize, letter: &jobs::Letter) -> Row {
    let headers: Vec<(&str, &str)> = letter.headers.iter().map(|(key, value)| (&**key, &**value)).collect();
    let name = letter.name.map(|(incarnation, sequence)| named(incarnation, sequence));
    let head = json!({ "batch": letter.batch, "index": letter.index });
    let mut row = row(head, letter.time_ms, name, &letter.reason, &headers, &letter.body, letter.replayed);
    row.text = format!("batch {} of {}", letter.batch, row.text);
    Row { place, batch: Some(letter.batch), ..row }
}

fn of_channel(place: usize, letter: &channels::Letter) -> Row {
    let event = letter.event.event(0);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers: Vec<(String, String)> = event.headers().map(|(key, value)| (text(key), text(value))).collect();
    let headers: Vec<(&str, &str)> = headers.iter().map(|(key, value)| (&**key, &**value)).collect();
    let name = event.name().map(|name| named(name.incarnation, name.sequence));
    let head = json!({ "number": letter.number, "sink": letter.sink });
    let mut row = row(head, letter.time_ms, name, &letter.reason, &headers, event.body(), letter.replayed);
    row.text = format!("number {} by {}, {}", letter.number, letter.sink, row.text);
    Row { place, number: Some(letter.number), ..row }
}

fn named(incarnation: u128, sequence: u64) -> String {
    format!("{incarnation:032x}:{sequence}")
}

/// What is the same for both; `head` comes first.
fn row(
    mut head: Value,
    time_ms: u64,
    name: Option<String>,
    reason: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    replayed: u64,
) -> Row {
    let when = time(UNIX_EPOCH + Duration::from_millis(time_ms));
    let of_headers: Map<String, Value> =
        headers.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
    let (key, value) = body_json(body);
    head["time"] = when.as_str().into();
    head["name"] = name.as_deref().into();
    head["reason"] = reason.into();
    head["headers"] = of_headers.into();
    head[key] = value.into();
    head["replayed"] = replayed.into();
    let headers: Vec<String> = headers
        .iter()
        .map(|(key, value)| format!("{}={}", printable(key.as_bytes()), printable(value.as_bytes())))
        .collect();
    let times = match replayed {
        0 => String::new(),
        1 => ", replayed".to_owned(),
        times => format!(", replayed {times} times"),
    };
    let text = format!(
        "{when}, {}{times}\n  {}\n  {{{}}} {}\n",
        name.unwrap_or_else(|| "no name".to_owned()),
        printable(reason.as_bytes()),
        headers.join(", "),
        printable(body)
    );
    Row { place: 0, batch: None, number: None, replayed, json: head, text }
}
