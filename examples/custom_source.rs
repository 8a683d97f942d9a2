//! An agent with a source of one's own: `type = ticker` in its properties says a line every `intervalMillis`.
//!
//! `custom_source [property file]`; without one it ticks into the log until Ctrl-C.

use std::time::Duration;

use millstream::component::{Batch, Fut, Kind, Options, Source, SourceContext, SourceSpec, optional};
use millstream::{Agent, Error};
use tokio::signal::unix::{SignalKind, signal};

static TICKER: SourceSpec = SourceSpec {
    name: "ticker",
    aliases: &[],
    summary: "Says the same thing again and again.",
    options: &[
        optional("intervalMillis", Kind::Millis, "1000", "Time between two events."),
        optional("text", Kind::Text, "tick", "What it says."),
    ],
    build: |options| Ok(Box::new(Ticker::from_options(options)?)),
};

struct Ticker {
    interval: Duration,
    text: String,
}

impl Ticker {
    fn from_options(options: &Options) -> millstream::Result<Self> {
        Ok(Self { interval: options.millis("intervalMillis")?, text: options.text("text")?.to_owned() })
    }
}

impl Source for Ticker {
    fn run(self: Box<Self>, mut cx: SourceContext) -> Fut<'static, millstream::Result<()>> {
        Box::pin(async move {
            cx.status.ready();
            while !cx.stop.is_stopped() {
                cx.deliver(Batch::from_bodies([&self.text])).await?.stored().await?;
                tokio::select! {
                    () = tokio::time::sleep(self.interval) => {}
                    () = cx.stop.stopped() => {}
                }
            }
            Ok(())
        })
    }
}

const CONFIG: &str = "
a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = ticker
a1.sources.r1.channels = c1
a1.channels.c1.type = memory
a1.sinks.k1.type = logger
a1.sinks.k1.channel = c1
";

#[tokio::main]
async fn main() -> millstream::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let agent = Agent::builder().name("a1").register(&TICKER);
    let agent = match std::env::args().nth(1) {
        Some(file) => agent.config_file(file),
        None => agent.config_text(CONFIG),
    };
    // From here on Ctrl-C no longer ends the process by itself.
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| Error::io("listen for", "signals", error))?;
    let agent = agent.start().await?;
    interrupt.recv().await;
    agent.stop().await
}
