//! Sources: they bring events in, from files and peers.
//!
//! One file or folder each; a program finds them by name in [`SOURCES`].

pub mod avro;
mod blocking;
mod charset;
mod datagrams;
pub mod exec;
mod files;
mod gather;
pub mod http;
mod line;
pub mod multiport_syslogtcp;
pub mod netcat;
pub mod netcatudp;
pub mod seq;
mod socket;
pub mod spooldir;
pub mod stress;
mod syslog;
pub mod syslogtcp;
pub mod syslogudp;
pub mod taildir;
#[cfg(test)]
mod testing;
pub mod thrift;
mod window;

use millstream_core::SourceSpec;

/// Every source of this crate, in documentation order.
pub static SOURCES: &[&SourceSpec] = &[
    &spooldir::SPEC,
    &taildir::SPEC,
    &avro::SPEC,
    &thrift::SPEC,
    &netcat::SPEC,
    &netcatudp::SPEC,
    &exec::SPEC,
    &http::SPEC,
    &syslogtcp::SPEC,
    &multiport_syslogtcp::SPEC,
    &syslogudp::SPEC,
    &seq::SPEC,
    &stress::SPEC,
];
