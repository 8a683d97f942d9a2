//! Millstream for programs of one's own: agents with components of one's own, and jobs over what agents collect.
//!
//! The word count over a Flume agent's Spark sink:
//!
//! ```no_run
//! use std::time::Duration;
//! use millstream::{FlumeUtils, StreamingContext};
//!
//! let mut ssc = StreamingContext::new("FlumePollingWordCount", Duration::from_secs(2));
//! ssc.checkpoint("checkpoint");
//! let lines = FlumeUtils::create_polling_stream(&ssc, "localhost", 41414);
//! lines.flat_map(|event| event.words()).map(|word| (word, 1_i64)).reduce_by_key(|a, b| a + b).print();
//! ssc.start()?.await_termination()?;
//! # Ok::<(), millstream::Error>(())
//! ```
//!
//! An agent with a source of one's own is in `examples/custom_source.rs`.

pub mod client;

pub use millstream_agent::{Agent, AgentBuilder, Register, Registry, RunningAgent};
pub use millstream_core::{BatchInfo, BatchStamp, Error, Result, Rows, Status, Word};
pub use millstream_streams::{
    DStream, Event, FlumeUtils, InputQueue, Job, ReceiverInfo, State, StreamingContext, StreamingListener, words,
};

/// What a component is made of: traits, declarations, options, batches.
pub mod component {
    pub use millstream_core::{
        Batch, BuiltSink, Channel, ChannelContext, ChannelRef, ChannelSpec, CommonHeader, Coverage, Delivery, EventRef,
        Fut, Intercepted, Interceptor, InterceptorSpec, Kind, Limit, MetricName, OptionSpec, Options, PullSink, Route,
        Routes, Selector, SelectorSpec, Sink, SinkContext, SinkSpec, SlabBuilder, Source, SourceContext, SourceSpec,
        StopToken, Take, Ticket, optional, required, unset,
    };
}

/// Where results leave.
pub mod outputs {
    pub use millstream_core::{BatchId, ColumnKind, IntoRow, IntoValue, LogId, Output, RowWriter, Staged, Value};
    pub use millstream_outputs::{Files, Sqlite, Terminal, Top};
}

/// Receivers: how events enter a job.
pub mod receiver {
    pub use millstream_streams::receiver::poll::PollReceiver;
    pub use millstream_streams::receiver::push::PushReceiver;
    pub use millstream_streams::receiver::{Ack, Committed, Inbox, Receiver, ReceiverContext, StorageLevel, Verdict};
}
