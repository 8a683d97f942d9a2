//! A disk without room.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use millstream_tests::demo::different;
use millstream_tests::{Demo, Process};

use crate::place::{assert_counted, assert_says};

/// Room for what a demo keeps free, and more.
const ROOMY: u64 = 2 << 30;

/// What makes the disk of a demo small.
enum Disk {
    /// A file system of its own, where the test may mount one. Unmounted when dropped.
    Mounted(PathBuf),
    /// Elsewhere a limit on the size of files: no write gets through, though the system says so in other words.
    Limited,
}

// === impl Disk ===

impl Disk {
    /// Must live shorter than the demo.
    fn below(demo: &Demo) -> Self {
        let dir = demo.path("");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={ROOMY},mode=700"), "millstream-test"]).arg(&dir);
        if !succeeds(mount) {
            return Self::Limited;
        }
        std::fs::create_dir(demo.path("spool")).unwrap();
        Self::Mounted(dir)
    }

    /// The demo with `bytes` left, from its start or as soon as it runs.
    fn start_with(&self, demo: &Demo, bytes: u64) -> Process {
        if let Self::Mounted(dir) = self {
            assert!(remounted(dir, used_bytes(dir) + bytes));
        }
        let process = self.start(demo);
        process.until("  counts  ");
        if let Self::Limited = self {
            limit_files(&process, "0");
        }
        process
    }

    fn start(&self, demo: &Demo) -> Process {
        // Whoever writes beyond a limit is killed, unless he says, as ours does, that he looks at the error.
        Process::spawn(demo.command(&[]))
    }

    /// Leaves not a byte.
    fn fill(&self, process: &Process) {
        match self {
            Self::Mounted(dir) => {
                // The demo may write between the look and the call: no disk is made smaller than what it holds.
                process.until_true("made small", || remounted(dir, used_bytes(dir)));
            }
            Self::Limited => limit_files(process, "0"),
        }
    }

    fn free(&self, process: &Process) {
        match self {
            Self::Mounted(dir) => assert!(remounted(dir, ROOMY)),
            Self::Limited => limit_files(process, "unlimited"),
        }
    }

    fn is_told_by(&self, process: &Process) -> String {
        process.until(match self {
            Self::Mounted(_) => "disk full at ",
            Self::Limited => "File too large",
        })
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Self::Mounted(dir) = self {
            let mut unmount = Command::new("umount");
            unmount.arg("-l").arg(dir);
            assert!(succeeds(unmount));
        }
    }
}

// === helpers ===

fn succeeds(mut command: Command) -> bool {
    command.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn remounted(dir: &Path, bytes: u64) -> bool {
    let mut mount = Command::new("mount");
    mount.args(["-o", &format!("remount,size={bytes}")]).arg(dir);
    succeeds(mount)
}

fn used_bytes(dir: &Path) -> u64 {
    let stat = nix::sys::statvfs::statvfs(dir).unwrap();
    (stat.blocks() - stat.blocks_free()) * stat.fragment_size()
}

fn limit_files(process: &Process, bytes: &str) {
    let mut prlimit = Command::new("prlimit");
    prlimit.args([&format!("--pid={}", process.id()), &format!("--fsize={bytes}:unlimited")]);
    assert!(succeeds(prlimit), "no way to make a disk small: no mount, no limit");
}

/// The number that stands before `unit`.
fn number_before(line: &str, unit: &str) -> u64 {
    line.split(unit).next().unwrap().trim_end().rsplit([' ', ':']).next().unwrap().parse().unwrap()
}

#[test]
fn a_full_disk_is_told_with_what_it_has_and_the_demo_goes_on_once_there_is_room() {
    let demo = Demo::default();
    let disk = Disk::below(&demo);
    demo.spool("one", "a b\n");
    demo.assert_exact(&demo.until_idle());
    let process = disk.start_with(&demo, 64 << 20);
    demo.spool("two", "a c\n");
    let told = disk.is_told_by(&process);
    assert_says(&told, &["WARN", demo.path("channel/data").to_str().unwrap()]);
    if let Disk::Mounted(_) = disk {
        assert_says(&told, &["free some space, it goes on by itself"]);
        // 500 MB are Flume's reserve.
        assert!(number_before(&told, " bytes wanted") > 524_288_000, "{told}");
        assert!(number_before(&told, " bytes free") <= 64 << 20, "{told}");
    }
    assert!(demo.path("spool/two").exists(), "what is not stored is not completed");
    disk.free(&process);
    process.until_true("it goes on", || demo.path("spool/two.COMPLETED").exists());
    process.until_true("counted", || different(&demo.oracle(), &demo.table()).is_none());
    process.stop().expect_code(0);
    assert_counted(&demo, &demo.oracle());
}

#[test]
fn a_disk_that_fills_up_to_the_last_byte_while_batches_are_under_way_costs_no_count() {
    const FILES: usize = 6;
    let demo = Demo::default();
    let disk = Disk::below(&demo);
    for file in 0..FILES {
        let lines: String = (0..5_000).map(|line| format!("{file} line w{} v{}\n", line % 977, line % 5003)).collect();
        std::fs::write(demo.path(&format!("spool/.file{file}")), lines).unwrap();
    }
    // A second name needs no room.
    let put = |file| {
        let (hidden, name) = (format!("spool/.file{file}"), format!("spool/file{file}"));
        std::fs::hard_link(demo.path(&hidden), demo.path(&name)).unwrap();
    };
    let process = disk.start(&demo);
    put(0);
    process.until("batch ");
    // Some of these are read, computed or applied when the disk fills; the last one certainly is not.
    (1..FILES - 1).for_each(put);
    disk.fill(&process);
    put(FILES - 1);
    let told = disk.is_told_by(&process);
    assert!(!told.contains(" 0 bytes wanted"), "{told}");
    disk.free(&process);
    let completed = |file| demo.path(&format!("spool/file{file}.COMPLETED")).exists();
    process.until_true("all is read", || (0..FILES).all(completed));
    let wanted = demo.oracle();
    process.until_true("counted", || different(&wanted, &demo.table()).is_none());
    process.stop().expect_code(0);
    assert_counted(&demo, &wanted);
}
