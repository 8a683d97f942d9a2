//! Outputs: where the results of a job leave.
//!
//! One file or folder each. A program makes one and hands it to its stream.

pub mod files;
pub mod sqlite;
pub mod terminal;
mod text;

pub use files::Files;
pub use sqlite::{Sqlite, Top};
pub use terminal::Terminal;
