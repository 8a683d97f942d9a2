//! What a person sees of the demo: where things are, a line per batch, the top words, a bar while it catches up.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use millstream_core::{BatchInfo, ChannelTotals, Ledger};
use parking_lot::Mutex;

use super::Mode;
use super::layout::Layout;
use super::summary::{Run, words};

/// Top words are looked for this often at most: it reads the whole table.
const TOP_EVERY: Duration = Duration::from_secs(1);
/// Words shown.
pub(super) const TOP_WORDS: usize = 10;

/// Where lines go. Shared by the job's threads and the demo's own.
pub(super) struct Screen {
    to: To,
    bar: Mutex<Option<ProgressBar>>,
    /// Catching up for so long that a bar is worth it.
    waiting_since: Mutex<Option<Instant>>,
    run: Mutex<Run>,
    /// When the top words were shown, and whether something was counted since.
    top_shown: Mutex<(Option<Instant>, bool)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To {
    /// A person's terminal: with a bar.
    Terminal,
    /// A file or pipe: lines only.
    Stdout,
    /// Standard output belongs to the JSON document.
    Stderr,
}

// === impl Screen ===

impl Screen {
    pub(super) fn new(json: bool) -> Self {
        let to = match (json, std::io::stdout().is_terminal()) {
            (true, _) => To::Stderr,
            (false, true) => To::Terminal,
            (false, false) => To::Stdout,
        };
        Self {
            to,
            bar: Mutex::default(),
            waiting_since: Mutex::default(),
            run: Mutex::default(),
            top_shown: Mutex::default(),
        }
    }

    /// Prints a line, above the bar if there is one. A reader that left wants nothing more.
    pub(super) fn line(&self, line: &str) {
        if let Some(bar) = &*self.bar.lock() {
            bar.suspend(|| drop(writeln!(std::io::stdout(), "{line}")));
            return;
        }
        let _ = match self.to {
            To::Stderr => writeln!(std::io::stderr(), "{line}"),
            To::Terminal | To::Stdout => writeln!(std::io::stdout(), "{line}"),
        };
    }

    pub(super) fn introduce(&self, layout: &Layout, mode: Mode, path: &str, copied: usize) {
        self.line("Millstream: logs enter at one end, counted words leave at the other.");
        self.line(&format!("  agent   {path}"));
        let receiver = match mode {
            Mode::Poll => "poll",
            Mode::Push => "push",
        };
        self.line(&format!("  job     {receiver} → words → running totals, a batch every 100 ms"));
        self.line(&format!("  spool   {}/    (cp any text file here: it is counted)", layout.spool.display()));
        let (database, texts) = (layout.database.display(), layout.texts.display());
        self.line(&format!("  counts  {database}, table word_counts; {texts}/counts-*.txt, one file per batch"));
        if copied > 0 {
            self.line(&format!("  copied {copied} documents and logs of this machine into the spool"));
        }
        self.line("");
    }

    /// A line for a batch that brought something.
    pub(super) fn batch(&self, info: &BatchInfo) {
        if info.num_records == 0 {
            return;
        }
        self.run.lock().add(info);
        self.top_shown.lock().1 = true;
        let number = info.batch.map_or("-".to_owned(), |batch| batch.to_string());
        let ms = |delay: Duration| format!("{:.1} ms", delay.as_secs_f64() * 1000.0);
        let mut line = format!(
            "batch {number:>6}  {:>7} events  {:>8} words   delay: scheduling {}, processing {}, total {}",
            info.num_records,
            words(info),
            ms(info.scheduling_delay),
            ms(info.processing_delay),
            ms(info.total_delay()),
        );
        if info.dead_letters > 0 {
            line.push_str(&format!("   {} dead letters", info.dead_letters));
        }
        self.line(&line);
    }

    /// Shows, moves or takes away the bar.
    pub(super) fn progress(&self, channel: &ChannelTotals, unread_files: usize) {
        if self.to != To::Terminal {
            return;
        }
        let waiting = channel.waiting_events();
        let mut since = self.waiting_since.lock();
        if waiting == 0 && unread_files == 0 {
            *since = None;
            if let Some(bar) = self.bar.lock().take() {
                bar.finish_and_clear();
            }
            return;
        }
        if since.get_or_insert_with(Instant::now).elapsed() < Duration::from_millis(300) {
            return;
        }
        let mut bar = self.bar.lock();
        let bar = bar.get_or_insert_with(|| {
            let style = ProgressStyle::with_template("catching up [{bar:30}] {human_pos} of {human_len} events, {msg}");
            ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        bar.set_length(channel.put_events);
        bar.set_position(channel.put_events - waiting);
        bar.set_message(format!("{unread_files} files to read"));
    }

    /// Whether it is time to look for the top words.
    pub(super) fn wants_top(&self) -> bool {
        let mut shown = self.top_shown.lock();
        let due = shown.1 && shown.0.is_none_or(|at| at.elapsed() >= TOP_EVERY);
        if due {
            *shown = (Some(Instant::now()), false);
        }
        due
    }

    pub(super) fn top(&self, top: &[(String, i64)]) {
        let words: Vec<String> = top.iter().map(|(word, count)| format!("{} {count}", shortened(word))).collect();
        if !words.is_empty() {
            self.line(&format!("top words     {}", words.join("   ")));
        }
    }

    pub(super) fn clear_bar(&self) {
        if let Some(bar) = self.bar.lock().take() {
            bar.finish_and_clear();
        }
    }

    pub(super) fn ledger(&self, ledger: &Ledger) {
        let Ledger { stored, counted, waiting, dead_lettered, dropped, redelivered, lost } = ledger;
        self.line("");
        self.line("ledger, in events since the directory was made:");
        self.line(&format!(
            "  in {stored} = counted {counted} + waiting {waiting} + dead-lettered {dead_lettered} + lost {lost}"
        ));
        let dropped: Vec<String> = dropped.iter().map(|(rule, events)| format!("{rule} {events}")).collect();
        let dropped = if dropped.is_empty() { "none".to_owned() } else { dropped.join(", ") };
        self.line(&format!("  dropped: {dropped}   redelivered and known: {redelivered}"));
    }

    pub(super) fn with_run<R>(&self, look: impl FnOnce(&Run) -> R) -> R {
        look(&self.run.lock())
    }
}

/// A word that fits on a line.
fn shortened(word: &str) -> String {
    const MOST: usize = 24;
    if word.chars().count() <= MOST {
        return word.to_owned();
    }
    word.chars().take(MOST - 1).chain(['…']).collect()
}
