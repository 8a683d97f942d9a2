//! Streams out of Flume agents, under Spark's names.

use crate::context::StreamingContext;
use crate::dstream::DStream;
use crate::dstream::event::Event;
use crate::receiver::poll::PollReceiver;
use crate::receiver::push::PushReceiver;

/// Spark's `FlumeUtils`.
#[derive(Debug, Clone, Copy)]
pub struct FlumeUtils;

impl FlumeUtils {
    /// The events of one agent's Spark sink, asked for by the job (`createPollingStream`), with Spark's defaults. Either
    /// side may start first.
    ///
    /// # Delivery
    /// See [`crate::receiver::poll`].
    pub fn create_polling_stream(ssc: &StreamingContext, host: &str, port: u16) -> DStream<Event> {
        Self::create_polling_stream_from(ssc, PollReceiver::new(vec![(host.to_owned(), port)]))
    }

    /// The same with several agents, or other settings.
    pub fn create_polling_stream_from(ssc: &StreamingContext, receiver: PollReceiver) -> DStream<Event> {
        let addresses: Vec<String> = receiver.addresses.iter().map(|(host, port)| format!("{host}:{port}")).collect();
        ssc.receiver_stream(&format!("flume {}", addresses.join(" ")), receiver)
    }
    /// The events that Flume agents send to `host:port` with their avro sinks (`createStream`): the job listens there. Either
    /// side may start first.
    ///
    /// # Delivery
    /// See [`crate::receiver::push`].
    pub fn create_stream(ssc: &StreamingContext, host: &str, port: u16) -> DStream<Event> {
        Self::create_stream_from(ssc, PushReceiver::new(host, port))
    }

    /// The same with another storage level, with compression, or answered for at another time.
    pub fn create_stream_from(ssc: &StreamingContext, receiver: PushReceiver) -> DStream<Event> {
        ssc.receiver_stream(&format!("flume at {}:{}", receiver.host, receiver.port), receiver)
    }
}
