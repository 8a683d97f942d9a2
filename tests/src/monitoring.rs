//! What an agent shows over HTTP.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::Process;

/// Arguments of an agent with monitoring on a free port.
pub const MONITORED: [&str; 3] =
    ["-Dflume.monitoring.type=http", "-Dflume.monitoring.port=0", "-Dflume.monitoring.host=127.0.0.1"];

/// Where the agent's monitoring listens.
pub fn address(agent: &Process) -> String {
    let line = agent.until("monitoring serves http");
    line.split("address=").nth(1).unwrap().split_whitespace().next().unwrap().to_owned()
}

/// Status line and body.
pub fn get(address: &str, path: &str, accept: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

/// Flume's JSON.
pub fn metrics(address: &str) -> Value {
    serde_json::from_str(&get(address, "/metrics", "*/*").1).unwrap()
}
