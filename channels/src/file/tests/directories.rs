//! Real directories: options, locks, and what may already be there.

use millstream_core::{ChannelContext, OptionSpec, Options, Setting};
use tempfile::TempDir;

use super::behaviour::{drain, numbers, read, settle, store};
use super::*;

fn parse(settings: &[(&str, &str)]) -> Result<Options> {
    let settings = settings.iter().map(|(key, value)| Setting {
        key: (*key).to_owned(),
        value: (*value).to_owned(),
        place: format!("f.conf:3: a1.channels.c1.{key}"),
    });
    Options::parse("a1.channels.c1", OPTIONS, &[], settings).map(|(options, _)| options)
}

fn built_in(home: &Path, settings: &[(&str, &str)]) -> Result<FileChannel> {
    let cx = ChannelContext { name: "c1".into(), home: home.to_owned() };
    // A test machine need not have Flume's reserve to spare.
    let small: &[(&str, &str)] = &[("minimumRequiredSpace", "0")];
    FileChannel::locked(&FileOptions::parse(&parse(&[settings, small].concat())?, &cx)?, &cx.name)
}

fn refusal(home: &Path, settings: &[(&str, &str)]) -> String {
    built_in(home, settings).map(drop).unwrap_err().to_string()
}

async fn close(channel: FileChannel) {
    settle(channel.close()).await.unwrap();
}

#[tokio::test]
async fn the_default_directories_are_those_of_flume_and_serve_one_channel() {
    let home = TempDir::new().unwrap();
    let channel = built_in(home.path(), &[]).unwrap();
    store(&channel, read(0..5)).await;
    for dir in ["checkpoint", "data"] {
        assert!(home.path().join("file-channel").join(dir).join("in_use.lock").exists());
    }
    let error = built_in(home.path(), &[]).map(drop).unwrap_err();
    assert!(matches!(error, Error::InUse { .. }), "{error}");
    assert!(error.to_string().contains(&format!("in use by process {}", std::process::id())), "{error}");
    close(channel).await;
    let channel = built_in(home.path(), &[]).unwrap();
    assert_eq!(drain(&channel).await, numbers(0..5));
    close(channel).await;
}

#[tokio::test]
async fn every_directory_is_locked_and_the_first_used() {
    let home = TempDir::new().unwrap();
    let (a, b) = (home.path().join("a"), home.path().join("b"));
    let both = format!("{}, {}", a.display(), b.display());
    let channel = built_in(home.path(), &[("dataDirs", &both)]).unwrap();
    assert!(a.join("millstream/log").exists() && !b.join("millstream").exists());
    let second = b.display().to_string();
    let other = home.path().join("other").display().to_string();
    assert!(refusal(home.path(), &[("dataDirs", &second), ("checkpointDir", &other)]).contains("in use by"));
    close(channel).await;
    let reversed = format!("{},{}", b.display(), a.display());
    let refused = refusal(home.path(), &[("dataDirs", &reversed)]);
    assert!(refused.contains("name it first in dataDirs"), "{refused}");
}

#[tokio::test]
async fn a_directory_that_was_deleted_is_another_store() {
    let home = TempDir::new().unwrap();
    let channel = built_in(home.path(), &[]).unwrap();
    store(&channel, read(0..5)).await;
    let before = channel.totals();
    close(channel).await;
    std::fs::remove_dir_all(home.path().join("file-channel/data/millstream")).unwrap();
    let channel = built_in(home.path(), &[]).unwrap();
    let after = channel.totals();
    assert_ne!(after.store, before.store);
    assert_eq!((after.put_events, channel.covered("o")), (0, None));
    close(channel).await;
}

#[test]
fn undelivered_logs_of_flume_are_refused_with_the_remedy() {
    let home = TempDir::new().unwrap();
    let data = home.path().join("file-channel/data");
    std::fs::create_dir_all(&data).unwrap();
    for name in ["log-", "log-x", "log-3.meta", "log-7"] {
        std::fs::write(data.join(name), "").unwrap();
    }
    drop(built_in(home.path(), &[]).expect("nothing of Flume's is in there"));
    std::fs::write(data.join("log-12"), "x").unwrap();
    let refused = refusal(home.path(), &[]);
    assert!(refused.contains("log-12 belongs to a file channel of Apache Flume"), "{refused}");
    assert!(refused.contains("move its log-* files away"), "{refused}");
    std::fs::remove_file(data.join("log-12")).unwrap();
    drop(built_in(home.path(), &[]).expect("a refused start leaves no lock"));
}

#[test]
fn options_that_cannot_be_kept_are_refused_by_name() {
    let home = TempDir::new().unwrap();
    let keys = OPTIONS.iter().map(|OptionSpec { key, .. }| *key).filter(|key| key.starts_with("encryption."));
    for key in keys {
        assert_eq!(
            refusal(home.path(), &[(key, "x")]),
            format!("f.conf:3: a1.channels.c1.{key}: encryption is not built in; use an encrypted file system instead")
        );
    }
    assert!(
        refusal(home.path(), &[("capacity", "100")]).contains("transactionCapacity: expected at most capacity, 100")
    );
    assert!(refusal(home.path(), &[("dataDirs", " , ")]).contains("expected at least one directory"));
}

#[test]
fn the_defaults_are_those_of_flume() {
    let cx = ChannelContext { name: "c1".into(), home: "/h/.flume".into() };
    let options = FileOptions::parse(&parse(&[("maxFileSize", "2146435071")]).unwrap(), &cx).unwrap();
    assert_eq!(options.checkpoint_dir, PathBuf::from("/h/.flume/file-channel/checkpoint"));
    assert_eq!(options.store_dir(), PathBuf::from("/h/.flume/file-channel/data/millstream"));
    assert_eq!((options.capacity_events, options.transaction_events), (1_000_000, 10_000));
    assert_eq!((options.keep_alive, options.reserve_bytes), (Duration::from_secs(3), 524_288_000));
    assert_eq!((options.durability, options.segment_bytes), (Durability::Synced, 32 << 20));
    assert!(SPEC.is_called("FILE") && SPEC.is_called("org.apache.flume.channel.file.FileChannel"));
}
