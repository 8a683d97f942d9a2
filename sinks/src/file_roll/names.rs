//! How files are called: Flume's path managers.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use millstream_core::{Options, Result};

/// Gives one name after the other.
#[derive(Debug)]
pub(super) struct FileNames {
    prefix: String,
    /// With its dot; empty without one.
    extension: String,
    series: Series,
}

#[derive(Debug)]
enum Series {
    /// `<start in ms>-<number>`.
    Default { start_ms: u64, number: u64 },
    /// `<yyyyMMddHHmmss>-<number>`, the number counting within the second.
    RollTime { second: String, number: u64, zone: TimeZone },
}

// === impl FileNames ===

impl FileNames {
    pub(super) fn from_options(options: &Options, now_ms: u64) -> Result<Self> {
        let name = options.text("sink.pathManager")?;
        let is = |alias: &str, class: &str| name.eq_ignore_ascii_case(alias) || name == class;
        let series = if is("default", "org.apache.flume.formatter.output.DefaultPathManager$Builder") {
            Series::Default { start_ms: now_ms, number: 0 }
        } else if is("rolltime", "org.apache.flume.formatter.output.RollTimePathManager$Builder") {
            Series::RollTime { second: String::new(), number: 0, zone: TimeZone::system() }
        } else {
            return Err(options.refuse("sink.pathManager", format_args!("expected default or rolltime, got {name:?}")));
        };
        let prefix = options.text("sink.pathManager.prefix")?.to_owned();
        if prefix.contains(['/', '\0']) {
            let problem = format!("expected the beginning of a file name, without a slash, got {prefix:?}");
            return Err(options.refuse("sink.pathManager.prefix", problem));
        }
        let extension = options.text("sink.pathManager.extension")?;
        if extension.contains(['/', '\0']) {
            let problem = format!("expected the end of a file name, without a slash, got {extension:?}");
            return Err(options.refuse("sink.pathManager.extension", problem));
        }
        let extension = if extension.is_empty() { String::new() } else { format!(".{extension}") };
        Ok(Self { prefix, extension, series })
    }

    /// The next name, for a file that begins now.
    pub(super) fn next(&mut self, now_ms: u64) -> String {
        let name = match &mut self.series {
            Series::Default { start_ms, number } => {
                *number += 1;
                format!("{start_ms}-{number}")
            }
            Series::RollTime { second, number, zone } => {
                let now = Timestamp::from_millisecond(now_ms as i64).unwrap_or(Timestamp::UNIX_EPOCH);
                let this = now.to_zoned(zone.clone()).strftime("%Y%m%d%H%M%S").to_string();
                *number = if this == *second { *number + 1 } else { 1 };
                *second = this;
                format!("{second}-{number}")
            }
        };
        format!("{}{name}{}", self.prefix, self.extension)
    }
}
