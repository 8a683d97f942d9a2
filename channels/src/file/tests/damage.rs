//! What a damaged directory still delivers.

use bytes::Bytes;
use millstream_io::DiskFile;

use super::behaviour::{drain, files, numbers, read, settle, store, take, until_segments};
use super::*;

/// Ten puts of two events, `0..20`, in as many segments as `segment_bytes` makes of them; the channel is killed.
async fn filled(segment_bytes: u64) -> FakeDisk {
    let disk = FakeDisk::new();
    let channel = open(&disk, &FileOptions { segment_bytes, ..options() }).unwrap();
    for put in 0..10 {
        store(&channel, read(put * 2..put * 2 + 2)).await;
    }
    drop(channel);
    disk.kill()
}

fn overwrite(disk: &FakeDisk, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut content = disk.content(path).unwrap();
    change(&mut content);
    disk.put(path, &content);
}

/// Where the only occurrence of `text` begins.
fn find(content: &[u8], text: &[u8]) -> usize {
    content.windows(text.len()).position(|window| window == text).unwrap()
}

#[tokio::test]
async fn a_last_record_cut_at_any_byte_costs_that_put_alone() {
    let template = filled(1 << 20).await;
    let path = files(&template, "log").pop().unwrap();
    let whole = template.content(&path).unwrap();
    let last = whole.len() - 80;
    for cut in last..whole.len() {
        let disk = FakeDisk::new();
        disk.create_dir_all(path.parent().unwrap()).unwrap();
        disk.put(&path, &whole[..cut]);
        let channel = open(&disk, &options()).unwrap();
        let stored = channel.totals().put_events;
        assert!(stored == 18 || stored == 20, "cut at {cut}: {stored}");
        assert_eq!(channel.covered("o"), Some(stored), "cut at {cut}");
        store(&channel, read(stored..stored + 2)).await;
        assert_eq!(drain(&channel).await, numbers(0..stored + 2), "cut at {cut}");
    }
}

#[tokio::test]
async fn a_flipped_bit_costs_its_put_alone_and_is_seen_in_the_ledger() {
    // One segment that is replayed, and many of which all but the last are read back.
    for segment_bytes in [1 << 20, 500] {
        let disk = filled(segment_bytes).await;
        let holds = |path: &PathBuf| disk.content(path).unwrap().windows(4).any(|window| window == b"1011");
        let path = files(&disk, "log").into_iter().find(holds).unwrap();
        overwrite(&disk, &path, |content| {
            let at = find(content, b"1011");
            content[at] ^= 4;
        });
        let channel = open(&disk, &FileOptions { segment_bytes, ..options() }).unwrap();
        let mut expected = numbers(0..20);
        expected.drain(10..12);
        assert_eq!(drain(&channel).await, expected);
        let totals = channel.totals();
        // Nobody committed the two that are lost, and they do not wait either.
        assert_eq!((totals.put_events, totals.taken_events, totals.waiting_events()), (20, 20, 0));
        store(&channel, read(20..22)).await;
        drop(channel);
        let disk = disk.kill();
        let channel = open(&disk, &FileOptions { segment_bytes, ..options() }).unwrap();
        assert_eq!(drain(&channel).await, numbers(20..22), "it is not found missing again");
        // The damaged one does not stay for ever.
        until_segments(&disk, 2).await;
    }
}

#[tokio::test]
async fn damage_at_the_end_is_met_while_the_channel_runs() {
    let disk = FakeDisk::new();
    // Nothing but the first put stays in memory.
    let channel = FileChannel::open(Arc::new(disk.clone()), &"c1".into(), &options(), None, 1).unwrap();
    for put in 0..3 {
        store(&channel, read(put * 2..put * 2 + 2)).await;
    }
    let path = files(&disk, "log").pop().unwrap();
    let at = find(&disk.content(&path).unwrap(), b"45") as u64;
    disk.open(&path).unwrap().write_at(at, &[Bytes::from_static(b"54")]).unwrap();
    assert_eq!(take(&channel, 2).await.events(), 2);
    assert_eq!(drain(&channel).await, numbers(0..4));
    store(&channel, read(6..8)).await;
    assert_eq!(drain(&channel).await, numbers(6..8));
    let totals = channel.totals();
    assert_eq!((totals.taken_events, totals.lost_events, totals.quarantined), (8, 2, 1));
    drop(channel);
    let channel = open(&disk.kill(), &options()).unwrap();
    let totals = channel.totals();
    assert_eq!((totals.taken_events, totals.lost_events, totals.quarantined), (8, 2, 0), "counted once");
}

#[tokio::test]
async fn a_damaged_snapshot_costs_nothing() {
    let disk = filled(300).await;
    let paths = files(&disk, "log");
    assert!(paths.len() > 4);
    for path in [&paths[0], &paths[2], paths.last().unwrap()] {
        overwrite(&disk, path, |content| content[128 + 30] ^= 1);
    }
    let channel = open(&disk, &FileOptions { segment_bytes: 500, ..options() }).unwrap();
    assert_eq!(channel.covered("o"), Some(20));
    assert_eq!(drain(&channel).await, numbers(0..20));
}

#[tokio::test]
async fn lost_acks_repeat_deliveries_and_lose_nothing() {
    let disk = filled(1 << 20).await;
    let channel = open(&disk, &options()).unwrap();
    settle(take(&channel, 15).await.commit()).await.unwrap();
    drop(channel);
    let disk = disk.kill();
    files(&disk, "acks").iter().for_each(|path| disk.remove(path).unwrap());
    let channel = open(&disk, &options()).unwrap();
    assert_eq!(drain(&channel).await, numbers(0..20));
}

#[tokio::test]
async fn a_lost_log_begins_a_new_store_that_old_acks_say_nothing_of() {
    let disk = filled(1 << 20).await;
    let channel = open(&disk, &options()).unwrap();
    let old = channel.totals().store;
    settle(take(&channel, 15).await.commit()).await.unwrap();
    drop(channel);
    let disk = disk.kill();
    files(&disk, "log").iter().for_each(|path| disk.remove(path).unwrap());
    for _ in 0..2 {
        let channel = open(&disk, &options()).unwrap();
        assert_ne!(channel.totals().store, old);
        assert_eq!((channel.covered("o"), channel.totals().taken_events), (None, 0));
        drop(channel);
    }
    let channel = open(&disk, &options()).unwrap();
    store(&channel, read(0..5)).await;
    assert_eq!(drain(&channel).await, numbers(0..5));
}

#[tokio::test]
async fn a_number_that_was_acknowledged_is_never_given_to_another_event() {
    let disk = filled(1 << 20).await;
    let channel = open(&disk, &options()).unwrap();
    assert_eq!(drain(&channel).await, numbers(0..20));
    drop(channel);
    let disk = disk.kill();
    // The end of the log goes, with events that were delivered.
    let path = files(&disk, "log").pop().unwrap();
    let mut file: Box<dyn DiskFile> = disk.open(&path).unwrap();
    file.set_len(file.size().unwrap() - 150).unwrap();
    let channel = open(&disk, &options()).unwrap();
    assert_eq!(channel.totals().waiting_events(), 0);
    let from = channel.covered("o").unwrap();
    assert!(from < 20);
    store(&channel, read(from..25)).await;
    let again = drain(&channel).await;
    assert_eq!(again, numbers(from..25));
    assert_eq!(channel.totals().put_events, 20 + again.len() as u64);
}
