//! The spillable memory channel beside Flume's own: the same properties and input, the outputs compared.
//!
//! Peers: Flume 1.11.0
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;

use millstream_testkit::peer::{Flume, Place, Version};
use millstream_tests::peers::OurAgent;
use millstream_tests::until_true;

const LINES: usize = 5000;

/// A spool through a channel with little memory into a file.
fn agent(place: &mut Place) -> String {
    fs::create_dir_all(place.path("spool")).unwrap();
    fs::create_dir_all(place.path("out")).unwrap();
    fs::write(place.path("spool/lines"), lines()).unwrap();
    let at = |name: &str| place.path(name).display().to_string();
    format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1\na1.sources.r1.type = spooldir\n\
         a1.sources.r1.spoolDir = {}\na1.sources.r1.channels = c1\n\
         a1.channels.c1.type = SPILLABLEMEMORY\na1.channels.c1.memoryCapacity = 150\n\
         a1.channels.c1.overflowCapacity = 100000\na1.channels.c1.overflowTimeout = 0\n\
         a1.channels.c1.overflowDeactivationThreshold = 40\na1.channels.c1.transactionCapacity = 100\n\
         a1.channels.c1.checkpointDir = {}\na1.channels.c1.dataDirs = {}\n\
         a1.sinks.k1.type = file_roll\na1.sinks.k1.channel = c1\na1.sinks.k1.sink.directory = {}\n\
         a1.sinks.k1.sink.rollInterval = 0\na1.sinks.k1.sink.batchSize = 7\n",
        at("spool"),
        at("checkpoint"),
        at("data"),
        at("out")
    )
}

fn lines() -> String {
    (0..LINES).map(|number| format!("line {number}\n")).collect()
}

fn written(place: &Place) -> String {
    let files = fs::read_dir(place.path("out")).unwrap().map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
    files.collect()
}

#[test]
fn what_goes_through_memory_and_disk_comes_out_in_its_order_as_with_flume() {
    let mut ours = OurAgent::start(agent);
    let mut theirs = Flume::agent(Version::V1_11, agent);
    until_true("both have written", || {
        [ours.place(), theirs.place()].iter().all(|place| written(place).lines().count() >= LINES)
    });
    ours.stop();
    theirs.stop();
    assert_eq!(written(ours.place()), lines(), "ours");
    assert_eq!(written(theirs.place()), lines(), "Flume's");
    let put = ours.place().path("data/millstream/log/0000000001.log");
    assert!(fs::metadata(put).unwrap().len() > 10_000, "nothing went to the disk: this run proves nothing");
}
