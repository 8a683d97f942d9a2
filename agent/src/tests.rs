#![allow(clippy::unwrap_used, reason = "tests")]

mod building;
mod checking;
mod groups;
mod poison;
mod probe;
mod refusing;
mod reloading;
mod running;
mod stopping;

use std::time::Duration;

use millstream_core::{Error, MetricName, Result, State};

use tokio::time::sleep;

use crate::{Agent, RunningAgent};
use probe::{PROBE_SINK, PROBE_SOURCE, Probe, in_time};

/// `seq → memory → probe`, the probe's sink under the name of the test.
fn counting(probe: &Probe, more: &str) -> String {
    format!(
        "a1.sources = r1
         a1.channels = c1
         a1.sinks = k1
         a1.sources.r1.type = seq
         a1.sources.r1.channels = c1
         a1.channels.c1.type = memory
         a1.channels.c1.capacity = 1000
         a1.sinks.k1.type = probe
         a1.sinks.k1.name = {}
         a1.sinks.k1.channel = c1
         {more}",
        probe.name
    )
}

async fn start(config: &str) -> Result<RunningAgent> {
    let builder = Agent::builder().name("a1").config_text(config);
    builder.register(&PROBE_SINK).register(&PROBE_SOURCE).start().await
}

fn state(agent: &RunningAgent, name: &str) -> State {
    let status = agent.status();
    status.components().iter().find(|component| *component.name == *name).unwrap().state()
}

fn counted(agent: &RunningAgent, name: &str, counter: MetricName) -> u64 {
    let status = agent.status();
    status.components().iter().find(|component| *component.name == *name).unwrap().counters().value(counter)
}

fn last_error(agent: &RunningAgent, name: &str) -> String {
    let status = agent.status();
    let component = status.components().into_iter().find(|component| *component.name == *name).unwrap();
    component.last_error().unwrap_or_default()
}

/// Waits until `holds`; also where the clock stands still unless everyone sleeps.
async fn until(holds: impl Fn() -> bool) {
    let looked = async {
        while !holds() {
            // sleeps: a counter wakes nobody, and a paused clock moves only while everyone sleeps.
            sleep(Duration::from_millis(1)).await;
        }
    };
    in_time(looked).await;
}

/// Waits until the component is in `wanted`.
async fn until_state(agent: &RunningAgent, name: &str, wanted: State) {
    until(|| state(agent, name) == wanted).await;
}

fn broken() -> Error {
    Error::io("write", "/dev/probe", std::io::Error::other("broken"))
}
