//! What the tests of sources that peers connect to share.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use millstream_core::{Batch, Options, Source, SourceContext, SourceSpec};
use millstream_io::{listen, tls};
use millstream_testkit::contract::spec::Declared;
use millstream_testkit::{PATIENCE, Running, TestChannel, setting, start_source};
use proptest::sample::Index;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

/// A source that listens.
pub(crate) struct Served {
    pub(crate) running: Running<SourceContext>,
    pub(crate) port: u16,
}

/// A peer of it.
pub(crate) struct Peer(BufReader<TcpStream>);

/// What a decoder made of some bytes: headers and body of each event.
pub(crate) type Plain = Vec<(Vec<(Vec<u8>, Vec<u8>)>, Vec<u8>)>;

/// The events of a batch. What they hold is in proportion to the bytes that they are made of.
pub(crate) fn plain(batch: &Batch, from_bytes: usize) -> Plain {
    let most = 4096 + 512 * batch.len() + 4 * from_bytes;
    assert!(batch.retained_bytes() <= most as u64, "{} bytes of {from_bytes}", batch.retained_bytes());
    let of = |(key, value): (&[u8], &[u8])| (key.to_vec(), value.to_vec());
    batch.iter().map(|event| (event.headers().map(of).collect(), event.body().to_vec())).collect()
}

/// `bytes` in pieces, cut at these places.
pub(crate) fn pieces<'a>(bytes: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.sort_unstable();
    let (mut pieces, mut start) = (Vec::new(), 0);
    for place in places {
        pieces.push(&bytes[start..place]);
        start = place;
    }
    pieces.push(&bytes[start..]);
    pieces
}

/// A port of this machine that nobody has.
pub(crate) async fn free_port() -> u16 {
    listen::listen("127.0.0.1", 0).await.unwrap().local_addr().unwrap().port()
}

/// A UDP port of this machine that nobody has.
pub(crate) async fn free_udp_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

/// A source with these settings.
pub(crate) fn source(spec: &'static SourceSpec, settings: &[(&str, &str)]) -> Box<dyn Source> {
    let settings = settings.iter().map(|(key, value)| setting(key, value));
    let (options, unknown) = Options::parse("a1.sources.r1", spec.options, &[], settings).unwrap();
    assert!(unknown.is_empty(), "{unknown:?}");
    (spec.build)(&options).unwrap()
}

/// Runs a source with these settings, and waits until it works.
pub(crate) async fn start(
    spec: &'static SourceSpec,
    settings: &[(&str, &str)],
    channel: &TestChannel,
) -> Running<SourceContext> {
    let running = start_source(source(spec, settings), channel);
    running.until_ready().await;
    running
}

/// As [`start`], on a free port of this machine; `host` is the key of the address.
pub(crate) async fn serve(
    spec: &'static SourceSpec,
    host: &str,
    settings: &[(&str, &str)],
    channel: &TestChannel,
) -> Served {
    let port = free_port().await;
    let text = port.to_string();
    let settings = [&[(host, "127.0.0.1"), ("port", &text)], settings].concat();
    Served { running: start(spec, &settings, channel).await, port }
}

/// A file in `dir` with a key and its certificate.
pub(crate) fn keystore(dir: &Path) -> String {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let path = dir.join("keys.pem");
    std::fs::write(&path, pair.signing_key.serialize_pem() + &pair.cert.pem()).unwrap();
    path.display().to_string()
}

/// A connection to that port that TLS protects.
pub(crate) async fn secured(port: u16) -> TlsStream<TcpStream> {
    let settings = [setting("ssl", "true"), setting("trust-all-certs", "true")];
    let (options, _) = Options::parse("a1.sinks.k1", &tls::CLIENT_OPTIONS, &[], settings).unwrap();
    let connector = tls::connector(&options).unwrap().unwrap();
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let shaken = connector.connect("localhost".try_into().unwrap(), stream);
    timeout(PATIENCE, shaken).await.expect("shaken in time").unwrap()
}

/// The declaration, with values for what must be given.
pub(crate) fn declared<const N: usize>(
    spec: &'static SourceSpec,
    given: [(&'static str, &str); N],
) -> Declared<impl Fn(&Options) -> millstream_core::Result<()>> {
    let given = given.map(|(key, value)| (key, value.to_owned()));
    Declared::new(spec, given, |options| (spec.build)(options).map(drop))
}

/// What building it with these settings is refused for.
pub(crate) fn refusal(spec: &'static SourceSpec, settings: &[(&str, &str)]) -> String {
    let settings = settings.iter().map(|(key, value)| setting(key, value));
    let options = Options::parse("a1.sources.r1", spec.options, &[], settings);
    options.and_then(|(options, _)| (spec.build)(&options).map(drop)).unwrap_err().to_string()
}

// === impl Served ===

impl Served {
    pub(crate) async fn peer(&self) -> Peer {
        Peer(BufReader::new(TcpStream::connect(("127.0.0.1", self.port)).await.unwrap()))
    }
}

// === impl Peer ===

impl Peer {
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        timeout(PATIENCE, self.0.write_all(bytes.as_ref())).await.expect("sent in time").unwrap();
    }

    /// The next line that comes.
    pub(crate) async fn line(&mut self) -> String {
        let mut line = String::new();
        timeout(PATIENCE, self.0.read_line(&mut line)).await.expect("answered in time").unwrap();
        line
    }

    /// So many bytes.
    pub(crate) async fn raw(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        timeout(PATIENCE, self.0.read_exact(&mut bytes)).await.expect("answered in time").unwrap();
        bytes
    }

    /// Everything that comes until the connection is closed.
    pub(crate) async fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        // Whoever is cut off may also be told so.
        let _ = timeout(PATIENCE, self.0.read_to_end(&mut rest)).await.expect("closed in time");
        String::from_utf8(rest).unwrap()
    }

    /// Says no more.
    pub(crate) async fn finish(&mut self) {
        self.0.shutdown().await.unwrap();
    }
}
