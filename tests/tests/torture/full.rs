//! A disk that is full: puts are refused, what is stored is delivered, and it goes on by itself once there is room.

use std::path::PathBuf;
use std::process::Command;

use crate::report::Loop;
use crate::rig::Rig;

#[test]
fn a_full_disk_refuses_and_goes_on_by_itself_once_there_is_room() {
    let torture = Loop::begin("disk full and freed", 3, 60);
    let mut rig = Rig::new(torture.seed);
    // A file system of the agent's own, seen from outside through /proc.
    let script = "mount -t tmpfs -o size=16m torture \"$0\" && exec \"$@\"";
    let store = rig.store("").display().to_string();
    // Who is root needs no namespace of users for it, and may have none.
    let works = |wrapper: &[&str; 6]| {
        let probe = Command::new(wrapper[0]).args(&wrapper[1..]).arg("true").output();
        probe.is_ok_and(|probe| probe.status.success())
    };
    let wrappers = ["-Urm", "-m"].map(|spaces| ["unshare", spaces, "sh", "-c", script, &store]);
    let Some(wrapper) = wrappers.into_iter().find(works) else {
        panic!(
            "a file system of one's own is needed: allow user namespaces (kernel.unprivileged_userns_clone = 1), or be root"
        );
    };
    let agent = rig.start_with(rig.command(&wrapper));
    let filler = PathBuf::from(format!("/proc/{}/root{store}/filler", agent.id()));
    for round in 0..torture.rounds {
        rig.until_acknowledged(&agent, 100);
        fill(&filler);
        let told = |agent: &millstream_tests::Process| agent.lines_with("disk full at").len();
        let before = told(&agent);
        agent.until_true("the full disk is told", || told(&agent) > before);
        if round == 0 {
            agent.until("free some space, it goes on by itself");
        }
        // What was acknowledged does not wait for the disk.
        rig.until_arrived(&agent);
        std::fs::remove_file(&filler).unwrap();
        rig.until_acknowledged(&agent, 1);
        rig.until_arrived(&agent);
    }
    // The disk goes with the process, so the end is counted before it.
    rig.producers.pause(true);
    agent.until_true("all is acknowledged", || rig.producers.are_settled());
    rig.until_arrived(&agent);
    let counts = rig.counts();
    assert_eq!((counts.lost, counts.alien, counts.stored_twice, counts.again), (0, 0, 0, 0));
    agent.stop().expect_code(0);
    torture.end(counts, "one life of the agent");
}

/// Leaves not a byte.
fn fill(filler: &std::path::Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(filler).unwrap();
    let block = vec![0; 1 << 16];
    while file.write_all(&block).is_ok() {}
}
