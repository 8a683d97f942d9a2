//! A path that is blocked.

use std::net::TcpListener;
use std::process::Command;

use millstream_tests::demo::{Counts, different, find_table, table};
use millstream_tests::{Process, example};

use crate::place::{Place, assert_says};

/// The example program as a job over the agent's sink on `port`.
fn job(place: &Place, port: u16) -> Process {
    let mut command = Command::new(example("polling_word_count"));
    command.args(["127.0.0.1", &port.to_string()]).arg(place.path("job"));
    Process::spawn(command)
}

/// Lets a job count what the agent holds.
fn assert_counted(place: &Place, agent: &Process, port: u16, wanted: &Counts) {
    let job = job(place, port);
    let database = place.path("job/counts.sqlite");
    agent.until_true("counted", || find_table(&database).as_ref() == Some(wanted));
    job.stop().expect_code(0);
    assert_eq!(different(wanted, &table(&database)), None);
}

fn lines(count: usize) -> (String, Counts) {
    let text = (0..count).map(|number| format!("line-{number} line\n")).collect();
    let mut counts: Counts = (0..count).map(|number| (format!("line-{number}"), 1)).collect();
    counts.insert("line".to_owned(), count as u64);
    (text, counts)
}

#[test]
fn a_port_in_use_is_told_with_its_holder_and_the_rest_of_the_path_runs() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    let place = Place::new();
    let (text, wanted) = lines(50);
    let keys = ["sinks.k1.type=spark", "sinks.k1.hostname=127.0.0.1", &format!("sinks.k1.port={port}")];
    let agent = place.agent(&keys);
    let told = agent.until("failed, starting again");
    let place_and_value = format!("bind 127.0.0.1:{port}: Address already in use");
    let who = format!("by process {} (", std::process::id());
    assert_says(&told, &["WARN", "a1.sinks.k1", &place_and_value, &who, "stop it, or choose another port"]);
    place.spool("a", text);
    agent.until_true("the source completed its file", || place.path("spool/a.COMPLETED").exists());
    drop(holder);
    agent.until("spark sink listens");
    assert_counted(&place, &agent, port, &wanted);
    agent.stop().expect_code(0);
}

#[test]
fn a_full_channel_is_told_holds_the_source_back_and_loses_nothing() {
    let place = Place::new();
    let (text, wanted) = lines(500);
    place.spool("a", text);
    let agent = place.agent(&[
        "sinks.k1.type=spark",
        "sinks.k1.hostname=127.0.0.1",
        "sinks.k1.port=0",
        "sources.r1.batchSize=10",
        "channels.c1.capacity=20",
        "channels.c1.transactionCapacity=20",
        "channels.c1.keep-alive=1",
    ]);
    let told = agent.until("channel refused a batch, trying again");
    assert_says(&told, &["WARN", "channel c1 is full: 20 of 20 events", "a sink must take events, or raise capacity"]);
    assert!(place.path("spool/a").exists(), "not completed: most of it waits in the file");
    let listens = agent.until("spark sink listens");
    let port = listens.rsplit(':').next().unwrap().trim().parse().unwrap();
    assert_counted(&place, &agent, port, &wanted);
    assert!(place.path("spool/a.COMPLETED").exists());
    let ended = agent.stop();
    ended.expect_code(0);
    assert!(ended.lines_with("is full").count() < 20, "not a line for each attempt: {:#?}", ended.log);
}
