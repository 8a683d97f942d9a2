//! Sinks: they take events out of a channel, to a peer or nowhere.
//!
//! One file each; a program finds them by name in [`SINKS`].

pub mod avro;
mod file_counts;
pub mod file_roll;
pub mod group;
pub mod hdfs;
pub mod logger;
pub mod null;
mod serializer;
pub mod spark;
pub mod thrift;

use millstream_core::SinkSpec;

pub use serializer::EventFile;

/// Every sink of this crate, in documentation order.
pub static SINKS: &[&SinkSpec] =
    &[&logger::SPEC, &null::SPEC, &file_roll::SPEC, &hdfs::SPEC, &avro::SPEC, &thrift::SPEC, &spark::SPEC];
