//! The channel's directory becomes read-only, or is gone, while the agent runs; and somebody else has it.

use std::fs::{File, OpenOptions, rename, write};

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc::{EROFS, F_WRLCK, SEEK_SET, c_short, flock};

use crate::calls::Faults;
use crate::report::Loop;
use crate::rig::Rig;

#[test]
fn a_disk_that_becomes_read_only_refuses_and_goes_on_once_it_can_be_written() {
    let torture = Loop::begin("read-only for a while", 2, 40);
    let mut rig = Rig::new(torture.seed);
    let faults = Faults::compile();
    let during = rig.path("read-only");
    let calls = "write,fdatasync,fsync,ftruncate,rename,unlink,create";
    let agent = rig.start_with(faults.command(&rig, calls, EROFS, &[("FAULT_WHILE", during.to_str().unwrap())]));
    for _ in 0..torture.rounds {
        rig.until_acknowledged(&agent, 100);
        let before = agent.lines_with("Read-only file system").len();
        write(&during, "").unwrap();
        agent.until_true("it is told", || agent.lines_with("Read-only file system").len() > before);
        // The last call of each may have been synced before, and answered after it was told.
        let calls = rig.producers.answered_each();
        agent.until_true("the last calls are answered", || {
            rig.producers.answered_each().iter().zip(&calls).all(|(now, before)| *now > before + 1)
        });
        let (acknowledged, calls) = (rig.producers.acknowledged(), rig.producers.answered_calls());
        agent.until_true("calls are answered", || rig.producers.answered_calls() > calls + 5);
        assert_eq!(rig.producers.acknowledged(), acknowledged, "nothing can be stored");
        std::fs::remove_file(&during).unwrap();
        rig.until_acknowledged(&agent, 1);
        rig.until_arrived(&agent);
    }
    let counts = rig.finish(agent);
    torture.end(counts, "EROFS from every call that writes");
}

#[test]
fn a_directory_that_vanishes_refuses_once_a_file_is_needed_and_goes_on_when_it_is_back() {
    let torture = Loop::begin("directory gone for a while", 2, 40);
    let mut rig = Rig::new(torture.seed);
    let agent = rig.start();
    for _ in 0..torture.rounds {
        rig.until_acknowledged(&agent, 100);
        let before = agent.lines_with("No such file or directory").len();
        rename(rig.store("data"), rig.store("away")).unwrap();
        agent.until_true("it is told", || agent.lines_with("No such file or directory").len() > before);
        rename(rig.store("away"), rig.store("data")).unwrap();
        rig.until_acknowledged(&agent, 1);
        rig.until_arrived(&agent);
    }
    let counts = rig.finish(agent);
    torture.end(counts, "renamed away, and back");
}

#[test]
fn a_directory_that_is_deleted_takes_nothing_along_that_was_acknowledged_and_the_agent_goes_on_once_it_is_made_anew() {
    let torture = Loop::begin("directory deleted", 2, 40);
    let mut rig = Rig::new(torture.seed);
    let agent = rig.start();
    for _ in 0..torture.rounds {
        rig.until_acknowledged(&agent, 100);
        let before = agent.lines_with("was deleted").len();
        // A file that is made meanwhile keeps its directory from being removed.
        agent.until_true("it is deleted", || std::fs::remove_dir_all(rig.store("data")).is_ok());
        agent.until_true("it is told", || agent.lines_with("was deleted").len() > before);
        let (acknowledged, calls) = (rig.producers.acknowledged(), rig.producers.answered_calls());
        agent.until_true("calls are answered", || rig.producers.answered_calls() > calls + 5);
        // A call may have been synced before, and answered after it: one of each producer.
        let late = rig.producers.acknowledged() - acknowledged;
        assert!(late <= 2 * 40, "{late} events were acknowledged after their files were deleted");
        // What was acknowledged before is in memory, or was delivered.
        rig.until_arrived(&agent);
        std::fs::create_dir_all(rig.store("data/millstream/log")).unwrap();
        std::fs::create_dir_all(rig.store("data/millstream/acks")).unwrap();
        rig.until_acknowledged(&agent, 1);
        rig.until_arrived(&agent);
    }
    let counts = rig.finish(agent);
    torture.end(counts, "rm -r below the running agent, and made anew");
}

/// Java locks a file as a process does, not as an open file does.
fn java_lock(file: &File) -> nix::Result<i32> {
    let request = flock { l_type: F_WRLCK as c_short, l_whence: SEEK_SET as c_short, l_start: 0, l_len: 0, l_pid: 0 };
    fcntl(file, FcntlArg::F_SETLK(&request))
}

#[test]
fn one_agent_has_a_directory_whether_the_other_is_ours_or_flume() {
    let torture = Loop::begin("double start", 1, 20);
    let mut rig = Rig::new(torture.seed);
    let agent = rig.start();
    for _ in 0..torture.rounds {
        rig.until_acknowledged(&agent, 1);
        let second = millstream_tests::Process::spawn(rig.command(&[])).ended();
        second.expect_code(75);
        let told = format!("is in use by process {}", agent.id());
        assert!(second.lines_with(&told).count() > 0, "{:#?}", second.log);
        for dir in ["data", "checkpoint"] {
            let lock = OpenOptions::new().write(true).open(rig.store(dir).join("in_use.lock")).unwrap();
            assert!(java_lock(&lock).is_err(), "Flume would start over {dir}");
        }
    }
    let ended = rig.kill(agent);
    assert_eq!(ended.code, None);
    for dir in ["data", "checkpoint"] {
        let lock = OpenOptions::new().write(true).open(rig.store(dir).join("in_use.lock")).unwrap();
        java_lock(&lock).unwrap();
        let refused = millstream_tests::Process::spawn(rig.command(&[])).ended();
        refused.expect_code(75);
    }
    let agent = rig.start();
    let counts = rig.finish(agent);
    torture.end(counts, "refused with 75 by ours, and by a lock as Java takes it");
}
