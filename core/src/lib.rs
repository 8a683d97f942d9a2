//! The words of Millstream: events, batches, the component traits, errors, counters and status.
//!
//! Nothing here opens a file or a socket. See `ARCHITECTURE.md` for the picture.

pub mod batch;
pub mod batch_info;
pub mod channel;
pub mod component;
pub mod counters;
pub mod error;
pub mod interval;
pub mod ledger;
pub mod name_set;
pub mod options;
pub mod output;
pub mod poison;
pub mod processor;
pub mod room;
pub mod rows;
pub mod status;
pub mod stop;
mod sync;
pub mod tap;
pub mod ticket;
pub mod word;

pub use batch::{Batch, CommonHeader, Coverage, EventRef, Name, NameRun, Rewriter, SlabBuilder};
pub use batch_info::{BatchHistory, BatchInfo, StageInfo};
pub use channel::{Channel, ChannelRef, ChannelTotals, Fut, Limit, OpenChannel, OpenTake, Reconfigure, Take};
pub use component::{
    BuiltSink, ChannelContext, ChannelSpec, GroupSpec, Intercepted, Interceptor, InterceptorSpec, Member, PullSink,
    Route, Routes, Selector, SelectorSpec, Sink, SinkContext, SinkSpec, Source, SourceContext, SourceSpec, Spec,
};
pub use counters::MetricName;
pub use error::{Error, Fault, Reaction, Result};
pub use interval::IntervalSet;
pub use ledger::{Committed, Ledger};
pub use name_set::NameSet;
pub use options::{Kind, OptionSpec, Options, Setting, family, optional, required, unset};
pub use output::{BatchId, BatchStamp, LogId, Output, Staged};
pub use processor::{ChannelProcessor, Delivery};
pub use room::{Asked, Room, RoomKeeper};
pub use rows::{ColumnKind, IntoRow, IntoValue, RowWriter, Rows, Value};
pub use status::{ComponentStatus, ObservedChannel, PathStatus, State, Status};
pub use stop::{StopToken, Stopper, stop_token};
pub use ticket::{Resolver, Ticket, ticket};
pub use word::Word;
