//! What happens to the two agents.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use millstream_testkit::{Dice, hostile};
use nix::sys::signal::Signal;

use super::hops::Hops;

/// Connections that strangers open to each port.
const STRANGERS: usize = 10;
/// Hostile inputs of one fault, sent to each port.
const INPUTS: usize = 4;
/// How long a stranger waits for an answer.
const STRANGERS_WAIT: Duration = Duration::from_millis(200);

/// One kind of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    LinkCut,
    LinkDown,
    BackKilled,
    BackAway,
    BackStopped,
    PeerRefuses,
    PeerSilent,
    Hostile,
    Slow,
    Reload,
    Burst,
    FrontFull,
    BackFull,
}

/// A fault that goes on, with what it needs.
pub struct Under {
    fault: Fault,
    slow: Vec<TcpStream>,
    attackers: Vec<JoinHandle<()>>,
}

// === impl Fault ===

impl Fault {
    pub const ALL: &[Self] = &[
        Self::LinkCut,
        Self::LinkDown,
        Self::BackKilled,
        Self::BackAway,
        Self::BackStopped,
        Self::PeerRefuses,
        Self::PeerSilent,
        Self::Hostile,
        Self::Slow,
        Self::Reload,
        Self::Burst,
        Self::FrontFull,
        Self::BackFull,
    ];

    /// As the report calls it.
    pub fn told(self) -> &'static str {
        match self {
            Self::LinkCut => "link cut, over and over",
            Self::LinkDown => "link down",
            Self::BackKilled => "second agent killed with -9, and started at once",
            Self::BackAway => "second agent killed with -9, and away",
            Self::BackStopped => "second agent stopped (SIGSTOP)",
            Self::PeerRefuses => "the peer behind it refuses",
            Self::PeerSilent => "the peer behind it takes, and does not answer",
            Self::Hostile => "hostile bytes on the first agent's ports",
            Self::Slow => "slow strangers on the first agent's ports",
            Self::Reload => "changed configuration (SIGHUP)",
            Self::Burst => "burst of load",
            Self::FrontFull => "first agent's disk full",
            Self::BackFull => "second agent's disk full",
        }
    }

    /// Whether what is under way behind the second agent may come to its peer again, once: nobody said that it arrived, or
    /// that could not be noted.
    pub fn repeats(self) -> bool {
        matches!(self, Self::BackKilled | Self::BackAway | Self::PeerSilent | Self::BackFull)
    }

    pub fn begin(self, hops: &mut Hops, dice: &mut Dice) -> Under {
        let mut under = Under { fault: self, slow: Vec::new(), attackers: Vec::new() };
        match self {
            Self::LinkCut => hops.link.cut(),
            Self::LinkDown => hops.link.down(true),
            Self::BackKilled => {
                hops.kill_back();
                hops.start_back();
            }
            Self::BackAway => hops.kill_back(),
            Self::BackStopped => hops.signal_back(Signal::SIGSTOP),
            Self::PeerRefuses => hops.peer.refuse(usize::MAX),
            Self::PeerSilent => hops.peer.keep_silent(1),
            Self::Hostile => under.attackers = attackers(&hops.strange_ports, dice),
            Self::Slow => under.slow = strangers(&hops.strange_ports),
            Self::Reload => hops.reload_front(),
            Self::Burst => hops.burst(true),
            Self::FrontFull => hops.front_is_full(true),
            Self::BackFull => hops.back_is_full(true),
        }
        under
    }
}

// === impl Under ===

impl Under {
    /// Called again and again while it lasts.
    pub fn go_on(&mut self, hops: &mut Hops, dice: &mut Dice) {
        if self.fault == Fault::LinkCut && dice.chance(20) {
            hops.link.cut();
        }
        // One that was disconnected has its end.
        self.slow.iter_mut().for_each(|stranger| _ = stranger.write(b"x"));
    }

    pub fn end(self, hops: &mut Hops) {
        match self.fault {
            Fault::LinkDown => hops.link.down(false),
            Fault::BackAway => hops.start_back(),
            Fault::BackStopped => hops.signal_back(Signal::SIGCONT),
            Fault::PeerRefuses => hops.peer.refuse(0),
            Fault::PeerSilent => hops.peer.keep_silent(0),
            Fault::Burst => hops.burst(false),
            Fault::FrontFull => hops.front_is_full(false),
            Fault::BackFull => hops.back_is_full(false),
            Fault::LinkCut | Fault::BackKilled | Fault::Hostile | Fault::Slow | Fault::Reload => {}
        }
        self.attackers.into_iter().for_each(|attacker| attacker.join().unwrap());
    }
}

/// Threads that send some kept inputs to a port each.
fn attackers(ports: &[u16], dice: &mut Dice) -> Vec<JoinHandle<()>> {
    let kept = hostile();
    let mut attacker = |port: u16| {
        let inputs: Vec<_> = (0..INPUTS).map(|_| dice.one_of(&kept).bytes.clone()).collect();
        std::thread::spawn(move || inputs.iter().for_each(|input| attack(port, input)))
    };
    ports.iter().map(|port| attacker(*port)).collect()
}

/// Sends what the port takes of it, and reads a little of what it says. It may not be there, or disconnect in the middle.
fn attack(port: u16, bytes: &[u8]) {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return };
    stream.set_read_timeout(Some(STRANGERS_WAIT)).unwrap();
    stream.set_write_timeout(Some(STRANGERS_WAIT)).unwrap();
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    while stream.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {}
}

fn strangers(ports: &[u16]) -> Vec<TcpStream> {
    let connect = |port: &u16| TcpStream::connect(("127.0.0.1", *port)).ok();
    let all: Vec<_> = ports.iter().flat_map(|port| (0..STRANGERS).filter_map(move |_| connect(port))).collect();
    for mut stranger in &all {
        stranger.set_nonblocking(true).unwrap();
        let _ = stranger.write(b"POST / HTTP/1.1\r\nHost: x\r\nX: ");
    }
    all
}
