//! A real agent, avro source → file channel → avro sink, while everything around it breaks: what its source acknowledged
//! arrives, nothing else does, and nothing is stored twice.
//!
//! The producers and the peer behind the sink are threads of the test, so what was acknowledged is known outside of the
//! process. `make test` runs each loop shortly; `make torture` in full, and writes a report: see [`report`].
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "what is renamed here need not survive anything")]

mod bytes;
mod calls;
mod descriptors;
mod directories;
mod full;
mod kill;
mod oracle;
mod points;
mod power;
mod report;
mod rig;
mod soak;
mod surgery;
