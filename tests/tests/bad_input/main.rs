//! Bad input, met as a user meets it: an error names place, value and remedy, nothing acknowledged is lost, and the rest
//! goes on.
//!
//! | What | Where it is tested |
//! |---|---|
//! | unreadable spool file | `spool::a_file_that_may_not_be_read_…` |
//! | file rewritten while read | `spool::a_file_that_is_rewritten_…`, `spool::a_file_that_shrinks_…` |
//! | name already completed | `spool::a_name_that_was_completed_before_…` |
//! | invalid UTF-8 | `lines::invalid_utf_8_…` |
//! | a line over the limit | `lines::a_line_over_the_limit_…` |
//! | 100 MB without a newline | `lines::a_hundred_megabytes_without_a_newline_…` |
//! | FIFO, symlink, directory in the spool | `spool::what_is_no_file_…` |
//! | missing directory | `spool::a_spool_directory_that_…`; from the start: `agent_cli.rs` |
//! | port in use | `path::a_port_in_use_…` |
//! | wrong key | `agent_cli.rs`; of a component of one's own: `examples.rs` |
//! | wrong agent name | `agent_cli.rs` |
//! | full channel | `path::a_full_channel_…` |
//! | full disk | `disk::…`; in memory, at every write: `journal/tests/model.rs`, `streams/tests/failures.rs` |
//! | an SQLite file locked by another | `database::…`; for a minute of an injected clock: `streams/tests/failures.rs` |
//! | two demos on one directory | `database::a_second_demo_…` |
//! | a corrupt commit log | `commit_log::…`; bit by bit: `streams/tests/damaged_log.rs`, `journal/tests/damage.rs` |
//! | state of a changed type | `streams/tests/exactly_once.rs` |
//! | a wall clock that jumps an hour | `streams/tests/failures.rs` |
//! | a user closure that panics | `streams/tests/failures.rs` |
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod commit_log;
mod database;
mod disk;
mod lines;
mod path;
mod place;
mod spool;
