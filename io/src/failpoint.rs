//! Named points at which tests kill or fail the process. In release builds they are nothing.
//!
//! `MILLSTREAM_FAILPOINT=name=abort` ends the process at the first hit of `name` as `kill -9` would, `name=abort@3` at the
//! third; `name=error` makes every hit an error, `name=error@3` the third one alone, `name=full` one that says that the disk
//! is full. Several are separated by commas. `MILLSTREAM_FAILPOINT_TRACE=path` appends every hit to a file or pipe, one line
//! each: how a test learns in which phase the process is.

/// Passes the point `name`.
///
/// # Errors
/// Only what a test asked for.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn hit(_name: &'static str) -> millstream_core::Result<()> {
    Ok(())
}

#[cfg(debug_assertions)]
pub use armed::hit;

#[cfg(debug_assertions)]
mod armed {
    use std::collections::HashMap;
    use std::fs::{File, OpenOptions};
    use std::io::Write;
    use std::sync::OnceLock;

    use millstream_core::{Error, Result};
    use parking_lot::Mutex;

    /// What the environment asked for, read once: the environment of a process does not change.
    struct Plan {
        asked: Vec<Asked>,
        trace: Option<File>,
        hits: HashMap<&'static str, u64>,
    }

    struct Asked {
        point: String,
        action: String,
        /// At which hit alone.
        at_hit: Option<u64>,
    }

    static PLAN: OnceLock<Option<Mutex<Plan>>> = OnceLock::new();

    /// Passes the point `name`; see the module's page.
    pub fn hit(name: &'static str) -> Result<()> {
        let Some(plan) = PLAN.get_or_init(read_plan) else { return Ok(()) };
        let mut plan = plan.lock();
        let hits = plan.hits.entry(name).or_default();
        *hits += 1;
        let hits = *hits;
        if let Some(trace) = &mut plan.trace {
            // A reader that left is the test's business.
            let _ = trace.write_all(format!("{name}\n").as_bytes());
        }
        let Some(asked) =
            plan.asked.iter().find(|asked| asked.point == name && asked.at_hit.is_none_or(|at| at == hits))
        else {
            return Ok(());
        };
        match asked.action.as_str() {
            "abort" => std::process::abort(),
            "error" => Err(Error::io("pass", "failpoint", std::io::Error::other(name))),
            "full" => Err(Error::DiskFull { path: "failpoint".into(), wanted_bytes: 0, free_bytes: 0 }),
            _ => Ok(()),
        }
    }

    fn read_plan() -> Option<Mutex<Plan>> {
        let asked = std::env::var("MILLSTREAM_FAILPOINT").ok();
        let trace = std::env::var_os("MILLSTREAM_FAILPOINT_TRACE");
        if asked.is_none() && trace.is_none() {
            return None;
        }
        let asked = asked.unwrap_or_default();
        let one = |asked: &str| {
            let (point, action) = asked.split_once('=').unwrap_or((asked, ""));
            let (action, at_hit) = action.split_once('@').unwrap_or((action, ""));
            Asked { point: point.to_owned(), action: action.to_owned(), at_hit: at_hit.parse().ok() }
        };
        let asked = asked.split(',').map(one).collect();
        let trace = trace.and_then(|path| OpenOptions::new().create(true).append(true).open(path).ok());
        Some(Mutex::new(Plan { asked, trace, hits: HashMap::new() }))
    }
}
