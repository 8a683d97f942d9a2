//! Several channels behind one source, of which one is full: what the others get, beside Flume's own.
//!
//! Peers: Flume 1.11.0
#![allow(clippy::unwrap_used, reason = "tests")]

use millstream_testkit::peer::{Flume, Place, Version, differs};
use millstream_tests::beside::said;
use millstream_tests::config::Config;
use millstream_tests::monitoring::{MONITORED, Monitored};
use millstream_tests::peers::OurAgent;

/// Events that are sent, each in a request of its own.
const SENT: usize = 4;
/// How many of them the small channels hold.
const ROOM: u64 = 2;

/// Two sources before two channels each, of which one holds two events: required for the first source, optional for the second.
fn agent(place: &mut Place) -> String {
    let mut config = Config::default();
    for (name, optional) in [("required", ""), ("optional", "selector.optional = optional2\n")] {
        let [large, small] = channels(name);
        let source = format!(
            "type = http\nbind = 127.0.0.1\nport = {}\nchannels = {large} {small}\nselector.type = replicating\n{optional}",
            place.port(name)
        );
        let room = "type = memory\nkeep-alive = 0\ntransactionCapacity = 2\ncapacity =";
        config = config.source(name, &source).channel(&large, &format!("{room} 100"));
        config = config.channel(&small, &format!("{room} {ROOM}"));
    }
    config.text()
}

/// The large one of a source, and the small one. Flume goes by the hash of their names.
fn channels(source: &str) -> [String; 2] {
    ["1", "2"].map(|size| format!("{source}{size}"))
}

/// The statuses of the answers to one event after the other.
fn post(port: u16) -> Vec<String> {
    let body = r#"[{"body":"x"}]"#;
    let request =
        format!("POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    (0..SENT).map(|_| said(port, request.as_bytes()).split(' ').nth(1).unwrap_or_default().to_owned()).collect()
}

fn held(agent: &impl Monitored, name: &str) -> [u64; 2] {
    channels(name).map(|channel| agent.counter(&format!("CHANNEL.{channel}"), "ChannelSize"))
}

#[test]
fn what_one_required_channel_refuses_is_in_none_of_ours_and_in_those_before_it_in_flumes() {
    let ours = OurAgent::start_with(&MONITORED, agent);
    ours.process().until("agent is ready");
    let theirs = Flume::monitored_agent(Version::V1_11, agent);
    let answers = ["200", "200", "503", "503"];
    assert_eq!(
        (post(ours.port("required")), post(theirs.port("required"))),
        (answers.map(Into::into).into(), answers.map(Into::into).into())
    );
    let [in_ours, in_theirs] = [held(&ours, "required"), held(&theirs, "required")];
    assert_eq!((in_ours, in_theirs), ([ROOM, ROOM], [SENT as u64, ROOM]));
    differs("required-partly", in_ours, in_theirs);

    let answers = ["200"; SENT];
    assert_eq!(
        (post(ours.port("optional")), post(theirs.port("optional"))),
        (answers.map(Into::into).into(), answers.map(Into::into).into())
    );
    let both = [held(&ours, "optional"), held(&theirs, "optional")];
    assert_eq!(both, [[SENT as u64, ROOM]; 2], "what an optional channel refuses, the other has");
    let failures =
        [ours.counter("SOURCE.optional", "ChannelWriteFail"), theirs.counter("SOURCE.optional", "ChannelWriteFail")];
    assert_eq!(failures, [SENT as u64 - ROOM, 0]);
    differs("metrics-optional", failures[0], failures[1]);
}
