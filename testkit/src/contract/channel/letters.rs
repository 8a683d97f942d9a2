//! Dead letters.

use millstream_core::{ChannelRef, Take};

use super::{DurableHome, Home, assert_empty, close, commit, drain, events, put, roomy, take, texts};

/// The letters and the events that wait.
fn totals(channel: &ChannelRef) -> (u64, u64) {
    (channel.totals().dead_lettered, channel.totals().waiting_events())
}

/// Takes the next event and has it set aside; the take is still open.
async fn set_aside(channel: &ChannelRef, body: &str) -> Take {
    let taken = take(channel, events(1)).await;
    assert_eq!(texts(&taken), [body]);
    let kept = channel.set_aside(taken.batches()[0].slice(0..1), "k1", "not to my taste");
    kept.expect("a durable channel has a place for it").await.unwrap();
    taken
}

pub async fn only_a_channel_with_a_disk_sets_events_aside(home: &impl Home) {
    let channel = home.open(roomy());
    put(&channel, &["a", "b"]).await;
    if channel.is_durable() {
        commit(set_aside(&channel, "a").await).await;
        assert_eq!(totals(&channel), (1, 1));
    } else {
        let taken = take(&channel, events(1)).await;
        assert!(channel.set_aside(taken.batches()[0].slice(0..1), "k1", "not to my taste").is_none());
        commit(taken).await;
        assert_eq!(totals(&channel), (0, 1));
    }
    assert_eq!(drain(&channel, 1).await, ["b"]);
    close(channel).await;
}

pub async fn what_is_set_aside_is_kept_once_over_a_kill_before_its_commit(home: &impl DurableHome) {
    let channel = home.open(roomy());
    put(&channel, &["a", "b", "c"]).await;
    commit(set_aside(&channel, "a").await).await;
    let open = set_aside(&channel, "b").await;
    home.kill();
    drop(open);
    let channel = home.open(roomy());
    // It may be delivered yet: then it is none.
    assert_eq!(totals(&channel), (1, 2));
    commit(set_aside(&channel, "b").await).await;
    assert_eq!(totals(&channel), (2, 1));
    for _ in 0..2 {
        home.kill();
        let channel = home.open(roomy());
        assert_eq!(totals(&channel), (2, 1));
        close(channel).await;
    }
    let channel = home.open(roomy());
    commit(set_aside(&channel, "c").await).await;
    assert_eq!(totals(&channel), (3, 0));
    assert_empty(&channel).await;
    close(channel).await;
}
