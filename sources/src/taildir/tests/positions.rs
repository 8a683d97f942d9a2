//! The position file, ours and Flume's.

use super::*;

#[tokio::test]
async fn after_a_kill_each_line_comes_once_though_the_position_file_is_behind() {
    let (logs, channel) = (Logs::new(), TestChannel::new());
    logs.append("a.log", "one\n");
    logs.run_until(&[], &channel, 1).await;
    logs.append("a.log", "two\nthr");
    let killed = logs.start(&[("writePosInterval", "3600000")], &channel);
    until(&channel, 2).await;
    killed.kill().await;
    let text = format!(r#"[{{"inode":{},"pos":4,"file":"{}"}}]"#, logs.inode("a.log"), logs.path("a.log").display());
    assert_eq!(read_to_string(logs.position_file()).unwrap(), text);
    logs.append("a.log", "ee\n");
    logs.run_until(&[], &channel, 3).await;
    assert_eq!(channel.texts(), ["one", "two", "three"]);
}

#[tokio::test]
async fn where_the_channel_forgot_the_position_file_tells() {
    let (logs, first, second) = (Logs::new(), TestChannel::new(), TestChannel::new());
    logs.append("a.log", "one\ntwo\n");
    let killed = logs.start(&[], &first);
    until(&first, 2).await;
    until_file(&logs.position_file(), |text| text.contains(r#""pos":8"#)).await;
    killed.kill().await;
    logs.append("a.log", "three\n");
    logs.rename("a.log", "renamed.log");
    logs.run_until(&[], &second, 1).await;
    assert_eq!(second.texts(), ["three"]);
    assert_eq!(second.stored().covered[&logs.origin("renamed.log")], 14);
    remove_file(logs.position_file()).unwrap();
    let third = TestChannel::new();
    logs.run_until(&[], &third, 3).await;
    assert_eq!(third.texts(), ["one", "two", "three"], "without it, all is read again, as in Flume");
}

#[tokio::test]
async fn a_position_file_left_by_flume_is_gone_on_with_where_inode_and_path_match() {
    let (logs, channel) = (Logs::new(), TestChannel::new());
    for name in ["a.log", "b.log", "c.log"] {
        logs.append(name, &format!("{name} 1\n{name} 2\n"));
    }
    let entry = |name: &str, file: &str, pos: u64| {
        format!(r#"{{"inode":{},"pos":{pos},"file":"{}"}}"#, logs.inode(name), logs.path(file).display())
    };
    let entries = [entry("a.log", "a.log", 8), entry("b.log", "other.log", 8), entry("c.log", "c.log", 1000)];
    write(logs.position_file(), format!("[{}]", entries.join(","))).unwrap();
    logs.run_until(&[], &channel, 5).await;
    let mut texts = channel.texts();
    texts.sort();
    assert_eq!(texts, ["a.log 2", "b.log 1", "b.log 2", "c.log 1", "c.log 2"]);
}

#[tokio::test]
async fn a_position_file_counts_for_the_files_that_are_there_at_the_start_alone() {
    let (logs, channel) = (Logs::new(), TestChannel::new());
    logs.append("a.log", "one\n");
    // As if the file system gave the inode of a file that Flume had read to one that comes later.
    logs.append("later", "two\n");
    let entry = format!(r#"[{{"inode":{},"pos":4,"file":"{}"}}]"#, logs.inode("later"), logs.path("b.log").display());
    write(logs.position_file(), entry).unwrap();
    let running = logs.start(&[], &channel);
    until(&channel, 1).await;
    logs.rename("later", "b.log");
    until(&channel, 2).await;
    running.stop().await.unwrap();
    assert_eq!(channel.texts(), ["one", "two"]);
}

#[tokio::test]
async fn what_flume_read_in_between_is_not_read_again() {
    let (logs, channel) = (Logs::new(), TestChannel::new());
    logs.append("a.log", "one\n");
    logs.run_until(&[], &channel, 1).await;
    logs.append("a.log", "by flume\nthree\n");
    let ahead = read_to_string(logs.position_file()).unwrap().replace(r#""pos":4"#, r#""pos":13"#);
    write(logs.position_file(), ahead).unwrap();
    logs.run_until(&[], &channel, 2).await;
    assert_eq!(channel.texts(), ["one", "three"]);
}
