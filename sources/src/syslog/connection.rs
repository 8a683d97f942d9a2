//! One peer that sends messages over TCP.

use std::net::SocketAddr;
use std::time::Duration;

use millstream_core::{Batch, Error, MetricName, Result, SourceContext};
use millstream_io::Memory;

use super::Frame;
use crate::socket::{Inbox, Stream, say_goodbye};
use crate::window::{Progress, Window, together};

/// Longest wait before a refused batch is offered again.
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// How much is taken together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Of one message.
    pub(crate) message_bytes: usize,
    /// Of one batch, if the channels take so many in one transaction.
    pub(crate) batch_events: usize,
}

/// Hears a peer out; `understand` makes events of messages, as many as there are frames. Nothing more is read while the
/// channels have no room. What was read when the peer ends the connection counts, with or without its newline.
pub(crate) async fn hear(
    mut stream: Box<dyn Stream>,
    peer: SocketAddr,
    cx: &SourceContext,
    memory: Memory,
    limits: Limits,
    mut understand: impl FnMut(&[u8], &[Frame]) -> Batch,
) -> Result<()> {
    let limits = Limits { batch_events: together(cx, limits.batch_events), ..limits };
    let mut stop = cx.stop.clone();
    let mut inbox = Inbox::new(&memory, None);
    let mut window = Window::of_events(MAX_BACKOFF);
    let mut has_ended = false;
    loop {
        let (mut frames, end) = frames(&inbox.bytes, limits);
        let mut end = end;
        if frames.is_empty()
            && has_ended
            && let Some(rest) = Frame::rest(&inbox.bytes)
        {
            end = rest.next;
            frames.push(rest);
        }
        if !frames.is_empty() {
            let batch = understand(&inbox.bytes, &frames);
            inbox.take(end);
            if window.deliver(cx, batch).await? == Progress::Stopped {
                cx.status.count(MetricName::ChannelWriteFail, 1);
                tracing::warn!(%peer, events = frames.len(), "lost at the stop: no channel took them");
                break;
            }
            continue;
        }
        if end > 0 {
            // Newlines alone, which nobody waits for.
            inbox.take(end);
        }
        if has_ended || window.settle(cx).await? == Progress::Stopped {
            break;
        }
        let read = tokio::select! {
            biased;
            () = stop.stopped() => break,
            read = inbox.fill(&mut stream) => read,
        };
        match read {
            Ok(read) => has_ended = read == 0,
            Err(error) => {
                cx.status.count(MetricName::EventReadFail, 1);
                window.settle(cx).await?;
                return Err(Error::net("read", peer, error));
            }
        }
    }
    window.settle(cx).await?;
    say_goodbye(&mut stream).await;
    Ok(())
}

/// The messages that have ended, and where what follows them and the newlines behind them begins.
pub(super) fn frames(bytes: &[u8], limits: Limits) -> (Vec<Frame>, usize) {
    let (mut frames, mut at) = (Vec::new(), 0);
    while frames.len() < limits.batch_events
        && let Some(frame) = Frame::first(&bytes[at..], limits.message_bytes)
    {
        let next = at + frame.next;
        frames.push(Frame { message: at + frame.message.start..at + frame.message.end, next, ..frame });
        at = next;
    }
    let newlines = bytes[at..].iter().take_while(|byte| **byte == b'\n').count();
    (frames, at + newlines)
}
