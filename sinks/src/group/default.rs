//! One sink alone in its group.
//!
//! # Source
//! `org.apache.flume.sink.DefaultSinkProcessor` (Flume 1.11).

use std::sync::Arc;
use std::time::Duration;

use millstream_core::{Batch, Fut, GroupSpec, Member, Options, Result, Sink, SinkContext};

use super::members::Members;

/// The declaration.
pub static SPEC: GroupSpec = GroupSpec {
    name: "default",
    aliases: &["org.apache.flume.sink.DefaultSinkProcessor"],
    summary: "Hands everything to the one sink of the group.",
    options: &[],
    build: |options, members| Ok(Box::new(Default::new(options, members)?)),
};

/// The one member.
struct Default(Arc<Members>);

// === impl Default ===

impl Default {
    fn new(options: &Options, members: Vec<Member>) -> Result<Self> {
        let members = Members::new(members);
        match members.len() {
            1 => Ok(Self(Arc::new(members))),
            several => Err(options.refuse(
                "type",
                format!(
                    "default takes exactly one sink, this group has {several} ({}); expected failover or load_balance",
                    members.names()
                ),
            )),
        }
    }
}

impl Sink for Default {
    fn deliver(&mut self, batches: Arc<[Batch]>) -> Fut<'static, Result<()>> {
        let members = Arc::clone(&self.0);
        Box::pin(async move { members.deliver(0, batches, Duration::ZERO).await })
    }

    fn most_open(&self) -> usize {
        self.0.most_open(0)
    }

    fn start(&mut self, cx: SinkContext) {
        self.0.start(&cx);
    }

    fn close(&mut self) -> Fut<'static, Result<()>> {
        let members = Arc::clone(&self.0);
        Box::pin(async move { members.close().await })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::super::members::tests::{Log, context, members, one, options};
    use super::*;

    #[tokio::test]
    async fn everything_goes_to_the_one_sink_and_its_failures_are_the_groups() {
        let log = Log::default();
        let (members, broken) = members(&["a"], &log);
        let mut group = (SPEC.build)(&options(&[], &[]).expect("options"), members).expect("built");
        group.start(context());
        group.deliver(one("1")).await.expect("delivered");
        broken[0].store(true, Ordering::SeqCst);
        assert!(group.deliver(one("2")).await.is_err());
        broken[0].store(false, Ordering::SeqCst);
        group.deliver(one("3")).await.expect("not held back: there is no other one");
        assert_eq!(log.taken(), "aa");
    }

    #[test]
    fn several_sinks_are_refused_with_the_remedy() {
        let (members, _) = members(&["a", "b"], &Log::default());
        let error = (SPEC.build)(&options(&[], &[]).expect("options"), members).err().expect("refused").to_string();
        assert!(error.contains("(a b); expected failover or load_balance"), "{error}");
    }
}
