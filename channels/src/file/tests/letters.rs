//! Dead letters while the disk is full, damaged, or has many of them.

use millstream_core::Channel;
use millstream_testkit::Call;

use super::*;

const DIR: &str = "/data/millstream/deadletters";

async fn put(channel: &FileChannel, bodies: &[String]) {
    let batch = Batch::from_bodies(bodies);
    let room = channel.reserve(batch.len() as u64, batch.retained_bytes()).await.unwrap();
    channel.put(batch, room).await.unwrap();
}

/// Sets the next event aside, and commits it if that succeeded.
async fn set_aside(channel: &FileChannel) -> Result<()> {
    let take = channel.take(Limit { events: 1, bytes: u64::MAX }).await?;
    channel.set_aside(take.batches()[0].slice(0..1), "k1", "not to my taste").unwrap().await?;
    take.commit().await
}

fn totals(channel: &FileChannel) -> (u64, u64) {
    (channel.totals().dead_lettered, channel.totals().waiting_events())
}

#[tokio::test]
async fn a_letter_that_cannot_be_written_is_told_and_the_event_stays_until_it_can() {
    for call in [Call::Sync, Call::Write, Call::Create] {
        let disk = FakeDisk::new();
        let channel = open(&disk, &options()).unwrap();
        put(&channel, &["a".into(), "b".into()]).await;
        disk.fail(call, 0, 1);
        assert!(set_aside(&channel).await.is_err(), "{call:?}");
        assert_eq!(totals(&channel), (0, 2), "{call:?}");
        set_aside(&channel).await.unwrap();
        assert_eq!(totals(&channel), (1, 1), "{call:?}");
        disk.fail(call, 0, 1);
        // Where nothing is created, nothing fails.
        if set_aside(&channel).await.is_err() {
            set_aside(&channel).await.unwrap();
        }
        assert_eq!(totals(&channel), (2, 0), "{call:?}");
        let channel = open(&disk.kill(), &options()).unwrap();
        assert_eq!(totals(&channel), (2, 0), "{call:?}");
    }
}

#[tokio::test]
async fn a_damaged_letter_costs_itself_alone_and_its_number_is_not_given_again() {
    let disk = FakeDisk::new();
    let channel = open(&disk, &options()).unwrap();
    put(&channel, &["first".into(), "second".into(), "third".into()]).await;
    set_aside(&channel).await.unwrap();
    set_aside(&channel).await.unwrap();
    let disk = disk.kill();
    let file = disk.list(Path::new(DIR)).unwrap().into_iter().find(|name| name.ends_with(".log")).unwrap();
    let path = Path::new(DIR).join(file);
    let mut content = disk.content(&path).unwrap();
    let at = content.windows(6).position(|window| window == b"second").unwrap();
    content[at] ^= 4;
    disk.put(&path, &content);
    let channel = open(&disk, &options()).unwrap();
    assert_eq!(totals(&channel), (1, 1));
    let given = channel.store.letters.kept().last;
    assert!(given >= 2, "{given}");
    set_aside(&channel).await.unwrap();
    assert_eq!((channel.store.letters.kept().last, totals(&channel)), (given + 1, (2, 0)));
}

#[tokio::test]
async fn letters_of_many_segments_are_known_by_their_names_after_a_restart() {
    let disk = FakeDisk::new();
    let channel = open(&disk, &options()).unwrap();
    let long = "x".repeat(1 << 20);
    for _ in 0..20 {
        put(&channel, std::slice::from_ref(&long)).await;
        set_aside(&channel).await.unwrap();
    }
    let segments =
        |disk: &FakeDisk| disk.list(Path::new(DIR)).unwrap().iter().filter(|it| it.ends_with(".log")).count();
    assert_eq!(segments(&disk), 2);
    let kept = channel.store.letters.kept();
    let channel = open(&disk.kill(), &options()).unwrap();
    assert_eq!(channel.store.letters.kept(), kept);
    assert_eq!((kept.last, totals(&channel)), (20, (20, 0)));
}
