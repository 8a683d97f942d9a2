#![allow(clippy::unwrap_used, reason = "tests")]
use std::time::Duration;

use bytes::Bytes;
use millstream_core::{Batch, ChannelContext, ChannelRef, Limit, Options, SlabBuilder};
use millstream_rpc::{Client, ClientSettings, introduce};
use millstream_testkit::contract::spec::Declared;
use millstream_testkit::{Running, TestChannel, setting, spec_contract, start_source, start_source_into};
use millstream_wire::avro_event::{encode_append, encode_append_batch};
use millstream_wire::avro_rpc::Metadata;
use millstream_wire::names::Names;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::*;

spec_contract!(declared());

fn declared() -> Declared<impl Fn(&Options) -> Result<()>> {
    let given = [("bind", "127.0.0.1".to_owned()), ("port", "0".to_owned())];
    Declared::new(&SPEC, given, |options| (SPEC.build)(options).map(drop))
}

struct Served {
    running: Running<SourceContext>,
    port: u16,
}

async fn serve(channel: &TestChannel, settings: &[(&str, &str)]) -> Served {
    serve_into(channel.shared(), settings).await
}

async fn serve_into(channel: ChannelRef, settings: &[(&str, &str)]) -> Served {
    let free = listen::listen("127.0.0.1", 0).await.unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let port_text = port.to_string();
    let settings = [&[("bind", "127.0.0.1"), ("port", port_text.as_str())], settings].concat();
    let settings = settings.iter().map(|(key, value)| setting(key, value));
    let (options, unknown) = Options::parse("a1.sources.r1", SPEC.options, &[], settings).unwrap();
    assert!(unknown.is_empty(), "{unknown:?}");
    let running = start_source_into((SPEC.build)(&options).unwrap(), channel);
    running.until_ready().await;
    Served { running, port }
}

impl Served {
    async fn client(&self) -> Client {
        let settings = ClientSettings {
            host: "127.0.0.1".into(),
            port: self.port,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(5),
            wrapping: Wrapping::default(),
            protocol: avro_event::protocol(),
        };
        Client::connect(&settings).await.unwrap()
    }
}

async fn call(client: &mut Client, message: &str, params: Bytes) -> Result<Status, String> {
    let response = client.call(Metadata::new(), message, params).await.unwrap();
    response.result.map(|datum| Status::decode(&datum).unwrap())
}

async fn send(client: &mut Client, bodies: &[&str]) -> Result<Status, String> {
    call(client, avro_event::APPEND_BATCH, encode_append_batch(&[Batch::from_bodies(bodies)])).await
}

#[tokio::test]
async fn single_events_and_batches_arrive_with_their_headers_and_are_counted_under_flumes_names() {
    let channel = TestChannel::new();
    let served = serve(&channel, &[]).await;
    let mut client = served.client().await;
    let mut builder = SlabBuilder::new(Bytes::from_static(b"kvbody"));
    builder.header(0..1, 1..2);
    builder.row(2..6);
    let event = builder.finish();
    assert_eq!(call(&mut client, APPEND, encode_append(event.event(0))).await, Ok(Status::Ok));
    assert_eq!(send(&mut client, &["a", "", "c"]).await, Ok(Status::Ok));
    assert_eq!(send(&mut client, &[]).await, Ok(Status::Ok), "an empty batch is none to refuse");
    assert_eq!(channel.texts(), ["body", "a", "", "c"]);
    assert_eq!(channel.stored().headers[0]["k"], "v");
    let counted = |name| served.running.counted(name);
    assert_eq!((counted(MetricName::AppendReceivedCount), counted(MetricName::AppendAcceptedCount)), (1, 1));
    assert_eq!((counted(MetricName::AppendBatchReceivedCount), counted(MetricName::AppendBatchAcceptedCount)), (2, 2));
    assert_eq!((counted(MetricName::EventReceivedCount), counted(MetricName::EventAcceptedCount)), (4, 4));
    assert_eq!(counted(MetricName::OpenConnectionCount), 1);
    client.close().await;
    while counted(MetricName::OpenConnectionCount) > 0 {
        tokio::task::yield_now().await;
    }
    served.running.stop().await.unwrap();
}

#[tokio::test]
async fn ok_is_answered_only_once_the_events_are_stored() {
    let channel = TestChannel::new();
    let served = serve(&channel, &[]).await;
    let mut client = served.client().await;
    channel.hold();
    let params = encode_append_batch(&[Batch::from_bodies(["a"])]);
    client.send(Metadata::new(), avro_event::APPEND_BATCH, params).await.unwrap();
    served.running.until_counted(MetricName::EventReceivedCount, 1).await;
    assert!(timeout(Duration::from_millis(50), client.answer()).await.is_err(), "nothing before it is stored");
    channel.tell();
    assert!(client.answer().await.unwrap().result.is_ok());
}

#[tokio::test]
async fn a_refused_batch_is_failed_and_the_connection_goes_on() {
    let channel = TestChannel::new();
    let served = serve(&channel, &[]).await;
    let mut client = served.client().await;
    channel.refuse_reservations(1);
    assert_eq!(send(&mut client, &["a"]).await, Ok(Status::Failed));
    channel.fail_puts(1);
    assert_eq!(send(&mut client, &["b"]).await, Ok(Status::Failed));
    assert_eq!(send(&mut client, &["c"]).await, Ok(Status::Ok));
    assert_eq!(served.running.counted(MetricName::EventAcceptedCount), 1);
    assert_eq!(served.running.counted(MetricName::EventReceivedCount), 3);
    assert_eq!(channel.texts().last().unwrap(), "c");
}

#[tokio::test]
async fn names_travel_with_the_events_and_foreign_peers_hear_nothing_of_ours() {
    let cx = ChannelContext { name: "c1".into(), home: "unused".into() };
    let channel = (millstream_channels::memory::SPEC.build)(&memory_options(), &cx).and_then(|open| open()).unwrap();
    let served = serve_into(channel.clone(), &[]).await;
    let mut client = served.client().await;
    let batch = Batch::from_bodies(["a", "b"]).named(9 << 64, 5);
    for _ in 0..2 {
        let mut meta = Metadata::new();
        introduce(&mut meta, false);
        Names::of(std::slice::from_ref(&batch)).unwrap().insert_into(&mut meta);
        let params = encode_append_batch(std::slice::from_ref(&batch));
        let response = client.call(meta, avro_event::APPEND_BATCH, params).await.unwrap();
        assert!(Peer::from_meta(&response.meta).is_some_and(|peer| peer.pipelined));
        assert_eq!(Status::decode(&response.result.unwrap()), Ok(Status::Ok));
    }
    let mut foreign = served.client().await;
    let params = encode_append_batch(&[Batch::from_bodies(["c"])]);
    let response = foreign.call(Metadata::new(), avro_event::APPEND_BATCH, params).await.unwrap();
    assert!(response.meta.is_empty());
    let take = channel.take(Limit { events: 9, bytes: u64::MAX }).await.unwrap();
    assert_eq!(take.batches()[0].name_ranges(), [(9 << 64, 5..7)]);
    assert_eq!(take.events(), 3, "what came again is stored once");
}

fn memory_options() -> Options {
    Options::parse("a1.channels.c1", millstream_channels::memory::SPEC.options, &[], []).unwrap().0
}

#[tokio::test]
async fn calls_that_cannot_be_read_are_refused_by_text_and_counted() {
    let channel = TestChannel::new();
    let served = serve(&channel, &[]).await;
    let mut client = served.client().await;
    let unknown = call(&mut client, "appendAll", Bytes::new()).await;
    assert_eq!(unknown, Err("unknown message \"appendAll\"".to_owned()));
    let cut = call(&mut client, APPEND, Bytes::from_static(&[0, 20, 1])).await.unwrap_err();
    assert!(cut.contains("event body"), "{cut}");
    let mut meta = Metadata::new();
    Names { runs: vec![(1, 0, 7)], low_water: Vec::new() }.insert_into(&mut meta);
    let params = encode_append_batch(&[Batch::from_bodies(["a"])]);
    let wrong = client.call(meta, avro_event::APPEND_BATCH, params).await.unwrap().result.unwrap_err();
    assert!(wrong.contains("as many names as events"), "{wrong}");
    assert_eq!(served.running.counted(MetricName::EventReadFail), 2);
    assert!(channel.texts().is_empty());
}

#[tokio::test]
async fn a_client_that_the_filter_denies_is_disconnected_at_once() {
    use tokio::io::AsyncReadExt;
    let channel = TestChannel::new();
    let denied = serve(&channel, &[("ipFilter", "true"), ("ipFilterRules", "allow:ip:10.*,deny:ip:*")]).await;
    let mut socket = TcpStream::connect(("127.0.0.1", denied.port)).await.unwrap();
    assert_eq!(socket.read(&mut [0]).await.unwrap_or(0), 0);
    let admitted = serve(&channel, &[("ipFilter", "true"), ("ipFilterRules", "allow:name:localhost,deny:ip:*")]).await;
    assert_eq!(send(&mut admitted.client().await, &["a"]).await, Ok(Status::Ok));
}

#[tokio::test]
async fn a_port_that_is_taken_is_an_error_with_its_holder() {
    let channel = TestChannel::new();
    let first = serve(&channel, &[]).await;
    let port = first.port.to_string();
    let settings = [setting("bind", "127.0.0.1"), setting("port", &port)];
    let (options, _) = Options::parse("a1.sources.r1", SPEC.options, &[], settings).unwrap();
    let second = start_source((SPEC.build)(&options).unwrap(), &channel);
    let error = second.outcome().await.unwrap_err().to_string();
    assert!(error.contains("in use by process"), "{error}");
}

#[test]
fn options_that_cannot_be_used_are_refused_at_their_place() {
    let refused = |key: &str, value: &str, text: &str| {
        let settings = [setting("bind", "127.0.0.1"), setting("port", "0"), setting(key, value)];
        let parsed = Options::parse("a1.sources.r1", SPEC.options, &[], settings);
        let error = parsed.and_then(|(options, _)| (SPEC.build)(&options)).err().unwrap().to_string();
        assert!(error.contains(key) || error.contains(text), "{error}");
        assert!(error.contains(text), "{error}");
    };
    refused("compression-type", "gzip", "one of none, deflate");
    refused("ssl", "true", "a1.sources.r1.keystore: missing");
    refused("ipFilter", "true", "a1.sources.r1.ipFilterRules: missing");
}
