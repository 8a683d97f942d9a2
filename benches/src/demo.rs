//! The demo as a process: (b) its whole path on 400 MB, (e) from a file that lands to its words in the database.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags, OptionalExtension};

use crate::corpus::Corpus;
use crate::measure::{failed, mb, percentile};
use crate::report::Report;

const BYTES: usize = 400_000_000;
const FILES: usize = 8;
const LANDINGS: usize = 200;

/// (b) 400 MB of the corpus in the spool; MB/s and words/s from the start of the process to its end.
pub fn path(report: &mut Report) -> millstream::Result<()> {
    let corpus = Corpus::load();
    report.section(
        "(b) the whole path of the demo",
        &format!("{}, repeated to {} MB in {FILES} files", corpus.origin, mb(BYTES)),
    );
    let dir = tempfile::tempdir_in(".").map_err(failed)?;
    let spool = dir.path().join("spool");
    std::fs::create_dir(&spool).map_err(failed)?;
    let text = corpus.repeated(BYTES / FILES);
    for file in 0..FILES {
        std::fs::write(spool.join(format!("file{file}")), &text).map_err(failed)?;
    }
    Command::new("sync").status().map_err(failed)?;
    let started = Instant::now();
    let output = demo(dir.path())?.args(["--until-idle", "--output", "json"]).output().map_err(failed)?;
    let wall = started.elapsed().as_secs_f64();
    let summary = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let problem = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(millstream::Error::config("millstream demo", problem));
    }
    let words: f64 = number(&summary, "\"words\":");
    report.row("rate", &format!("{:.0} MB/s, {:.1} M words/s", mb(text.len() * FILES) / wall, words / wall / 1e6));
    report.row("batches", &format!("{}", number(&summary, "\"batches\":")));
    report.row(
        "total delay of a batch",
        &format!("p50 {} ms, p99 {} ms", number(&summary, "\"p50\":"), number(&summary, "\"p99\":")),
    );
    Ok(())
}

/// (e) One small file after another; time from its rename into the spool until its word stands in the database.
pub fn landing(report: &mut Report) -> millstream::Result<()> {
    report
        .section("(e) a file lands → counted in SQLite", &format!("{LANDINGS} files of one line, one after the other"));
    let dir = tempfile::tempdir_in(".").map_err(failed)?;
    let mut child = Running(
        demo(dir.path())?
            .args(["--output", "json"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?,
    );
    let database = dir.path().join("counts.sqlite");
    let mut delays = Vec::with_capacity(LANDINGS);
    for landing in 0..=LANDINGS {
        let word = format!("landing{landing}");
        let hidden = dir.path().join("hidden");
        std::fs::write(&hidden, format!("{word}\n")).map_err(failed)?;
        // A file that was written a moment ago may still grow: an old one is whole at once.
        let old = std::time::SystemTime::now() - Duration::from_secs(10);
        std::fs::File::open(&hidden).and_then(|file| file.set_modified(old)).map_err(failed)?;
        while !dir.path().join("spool").exists() {
            std::thread::yield_now();
        }
        let started = Instant::now();
        std::fs::hard_link(&hidden, dir.path().join("spool").join(&word)).map_err(failed)?;
        wait_for(&database, &word)?;
        let delay = started.elapsed().as_secs_f64() * 1e3;
        std::fs::remove_file(&hidden).map_err(failed)?;
        // The first one waits for the start of the process.
        if landing > 0 {
            delays.push(delay);
        }
        // So that files do not land in step with the batches.
        std::thread::sleep(Duration::from_millis(17 * (landing as u64 % 7)));
    }
    child.0.kill().map_err(failed)?;
    let (p50, p99) = (percentile(&mut delays, 50), percentile(&mut delays, 99));
    report.row("delay", &format!("p50 {p50:.0} ms, p99 {p99:.0} ms"));
    report.target("p99", p99, 2000.0, "ms");
    Ok(())
}

fn wait_for(database: &Path, word: &str) -> millstream::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    while Instant::now() < deadline {
        // Not there before the first batch.
        if let Ok(connection) = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY) {
            while Instant::now() < deadline {
                let found = connection
                    .query_row("SELECT count FROM word_counts WHERE word = ?1", [word], |row| row.get::<_, i64>(0));
                match found.optional() {
                    Ok(Some(_)) => return Ok(()),
                    Ok(None) => std::thread::sleep(Duration::from_millis(1)),
                    Err(_) => break,
                }
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Err(millstream::Error::config(database.display(), format!("{word:?} was not counted within 30 s")))
}

/// Ended with the bench, however that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program built beside this one.
fn demo(dir: &Path) -> millstream::Result<Command> {
    let exe = std::env::current_exe().map_err(failed)?;
    let program: PathBuf = exe.with_file_name("millstream");
    if !program.exists() {
        return Err(millstream::Error::config(program.display(), "not built; run make bench"));
    }
    let mut command = Command::new(program);
    command.args(["demo", "--no-samples", "--dir"]).arg(dir).stdin(Stdio::null());
    Ok(command)
}

/// The number after `key` in a JSON text.
fn number(json: &str, key: &str) -> f64 {
    let rest = json.split_once(key).map_or("", |(_, rest)| rest);
    let end = rest.find([',', '}']).unwrap_or(rest.len());
    rest[..end].trim().parse().unwrap_or(f64::NAN)
}
