//! Power cuts: what a disk holds at some moment, and nothing of what was in memory.
//!
//! The channel lies on an ext4 in a file. The agent is killed, the file is copied while it is mounted, and the next agent
//! goes on from the copy: it has what was written to the device, and nothing of what only the kernel's memory had.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use millstream_testkit::{AvroPeer, Dice};
use nix::sys::signal::Signal;

use crate::report::Loop;
use crate::rig::Rig;

/// A mounted image. Unmounted when dropped.
struct Disk {
    image: PathBuf,
    at: PathBuf,
    number: u32,
}

// === impl Disk ===

impl Disk {
    fn make(dir: &Path) -> Self {
        let (image, at) = (dir.join("image-0"), dir.join("store"));
        std::fs::create_dir(&at).unwrap();
        std::fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
        succeed(Command::new("mkfs.ext4").arg("-q").arg(&image));
        let disk = Self { image, at, number: 0 };
        disk.mount();
        disk
    }

    fn mount(&self) {
        succeed(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.at));
    }

    fn unmount(&self) {
        succeed(Command::new("umount").arg(&self.at));
    }

    /// Sectors written to the image so far, by anybody.
    fn written(&self) -> u64 {
        let device = Command::new("findmnt").args(["-n", "-o", "SOURCE", "-M"]).arg(&self.at).output().unwrap();
        let device = String::from_utf8(device.stdout).unwrap();
        let name = device.trim().rsplit('/').next().unwrap().to_owned();
        let stat = std::fs::read_to_string(format!("/sys/block/{name}/stat")).unwrap();
        stat.split_ascii_whitespace().nth(6).unwrap().parse().unwrap()
    }

    /// Copies the image as it is at one moment; the second one is where the agent goes on.
    fn cut(&mut self) {
        self.number += 1;
        let copy = self.image.with_file_name(format!("image-{}", self.number));
        loop {
            let before = self.written();
            succeed(Command::new("cp").arg("--sparse=always").arg(&self.image).arg(&copy));
            // The kernel writes when it likes: a copy across that is of no one moment.
            if self.written() == before {
                break;
            }
        }
        let old = std::mem::replace(&mut self.image, copy);
        self.unmount();
        std::fs::remove_file(old).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // It may not be mounted.
        let _ = Command::new("umount").arg("-l").arg(&self.at).output();
    }
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn power_cuts_lose_nothing_that_was_acknowledged() {
    let torture = Loop::begin("power cut", 0, 1_000);
    if !Loop::is_long() {
        return torture.skip("it needs root, and `make torture`");
    }
    if !nix::unistd::geteuid().is_root() {
        return torture.skip("it needs root");
    }
    let mut dice = Dice::new(torture.seed);
    // In memory: an image on a disk would be written twice.
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut disk = Disk::make(dir.path());
    let store = disk.at.join("channel");
    std::fs::create_dir(&store).unwrap();
    succeed(&mut Command::new("sync"));
    let mut rig = Rig::within(tempfile::tempdir().unwrap(), store, AvroPeer::own(), torture.seed);
    for _ in 0..torture.rounds {
        // In every other life nothing is delivered, so that it is the disk which must have it.
        rig.peer.refuse(if dice.chance(50) { usize::MAX } else { 0 });
        let agent = rig.spawn(rig.command(&[]));
        rig.run_for(&agent, Duration::from_millis(100 + dice.below(400)));
        agent.signal(Signal::SIGKILL);
        agent.ended();
        disk.cut();
        disk.mount();
        rig.collect();
    }
    rig.peer.refuse(0);
    let agent = rig.start();
    let counts = rig.finish(agent);
    drop(disk);
    torture.end(counts, "ext4 on a loop device, copied while mounted");
}
