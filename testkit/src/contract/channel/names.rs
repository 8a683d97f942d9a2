//! What channels owe to the names of events.

use millstream_core::{Batch, Name, NameRun};

use super::{DurableHome, Home, close, commit, drain, events, names, put, put_batch, roomy, take};

pub async fn every_event_has_a_name_of_its_own_across_openings(home: &impl Home) {
    let mut all = Vec::new();
    for _ in 0..3 {
        let channel = home.open(roomy());
        put(&channel, &["a", "b"]).await;
        put(&channel, &["c"]).await;
        let taken = take(&channel, events(10)).await;
        all.extend(names(&taken));
        commit(taken).await;
        close(channel).await;
    }
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!((all.len(), count), (9, 9));
}

pub async fn names_given_elsewhere_stay(home: &impl Home) {
    let channel = home.open(roomy());
    put(&channel, &["own"]).await;
    let runs =
        vec![NameRun { first_row: 0, incarnation: 7, first: 100 }, NameRun { first_row: 1, incarnation: 8, first: 3 }];
    put_batch(&channel, Batch::from_bodies(["x", "y", "z"]).with_names(runs)).await;
    let all = take(&channel, events(10)).await;
    let expected = [(7, 100), (8, 3), (8, 4)].map(|(incarnation, sequence)| Name { incarnation, sequence });
    assert_eq!(names(&all)[1..], expected);
    assert!(all.low_water().iter().all(|(incarnation, _)| ![7, 8].contains(incarnation)), "not ours to promise");
    let waiting = channel.waiting_names();
    assert!(waiting.contains(&(7, 100..101)) && waiting.contains(&(8, 3..5)), "{waiting:?}");
    assert_eq!(waiting.len(), 3);
}

pub async fn waiting_names_are_those_not_committed(home: &impl Home) {
    let channel = home.open(roomy());
    put(&channel, &["a", "b", "c", "d"]).await;
    let first = take(&channel, events(1)).await;
    let second = take(&channel, events(2)).await;
    commit(second).await;
    let kept = names(&first)[0];
    let waiting = channel.waiting_names();
    let mut sequences: Vec<u64> = waiting.iter().flat_map(|(_, range)| range.clone()).collect();
    sequences.sort_unstable();
    assert!(waiting.iter().all(|(incarnation, _)| *incarnation == kept.incarnation));
    assert_eq!(sequences, [kept.sequence, kept.sequence + 3]);
}

pub async fn low_water_is_the_lowest_name_not_committed(home: &impl Home) {
    let channel = home.open(roomy());
    put(&channel, &["a", "b", "c", "d", "e"]).await;
    let first = take(&channel, events(1)).await;
    let own = names(&first)[0];
    assert_eq!(first.low_water(), [(own.incarnation, own.sequence)]);
    commit(take(&channel, events(2)).await).await;
    let third = take(&channel, events(1)).await;
    assert_eq!(third.low_water(), [(own.incarnation, own.sequence)], "the first one may come again");
    commit(first).await;
    let last = take(&channel, events(1)).await;
    assert_eq!(last.low_water(), [(own.incarnation, own.sequence + 3)]);
}

pub async fn names_survive_a_restart(home: &impl DurableHome) {
    let channel = home.open(roomy());
    put(&channel, &["a", "b"]).await;
    put_batch(&channel, Batch::from_bodies(["x"]).named(9, 50)).await;
    let (first, second) = (take(&channel, events(2)).await, take(&channel, events(1)).await);
    let before = [names(&first), names(&second)].concat();
    close(channel).await;
    drop((first, second));
    let channel = home.open(roomy());
    put(&channel, &["c"]).await;
    let taken = take(&channel, events(1)).await;
    commit(taken).await;
    let mut waiting = channel.waiting_names();
    waiting.sort_by_key(|(_, range)| range.start);
    let own = before[0].incarnation;
    assert_eq!(waiting[0], (own, before[1].sequence..before[1].sequence + 1));
    assert!(waiting.contains(&(9, 50..51)), "{waiting:?}");
    assert_eq!(waiting.len(), 3);
    let mut again = Vec::new();
    let mut low_water = Vec::new();
    while again.len() < 3 {
        let take = take(&channel, events(10)).await;
        again.extend(names(&take));
        low_water.extend_from_slice(take.low_water());
        commit(take).await;
    }
    assert_eq!(again[..2], before[1..]);
    assert_eq!(low_water[0], (own, before[1].sequence), "an earlier opening is named while it has events");
    assert_ne!(again[2].incarnation, own, "a new opening gives new names");
    close(channel).await;
}

pub async fn events_that_come_again_under_their_names_are_stored_once(home: &impl Home) {
    let channel = home.open(roomy());
    put_batch(&channel, received(10, 4)).await;
    put_batch(&channel, received(10, 4)).await;
    put_batch(&channel, received(8, 8)).await;
    assert_eq!(drain(&channel, 8).await, ["10", "11", "12", "13", "8", "9", "14", "15"]);
    put_batch(&channel, received(12, 2)).await;
    put(&channel, &["own"]).await;
    assert_eq!(drain(&channel, 1).await, ["own"], "delivered ones do not come back either");
    assert_eq!(channel.totals().put_events, 9);
}

pub async fn what_went_another_way_is_stored_when_it_arrives_below_the_senders_marks(home: &impl Home) {
    let channel = home.open(roomy());
    put_batch(&channel, received(0, 4)).await;
    put_batch(&channel, received(6, 2).with_low_water([(STORE, 6)])).await;
    put_batch(&channel, received(2, 6)).await;
    assert_eq!(drain(&channel, 8).await, ["0", "1", "2", "3", "6", "7", "4", "5"], "4 and 5 were at another hop");
}

pub async fn names_received_are_known_after_a_restart_and_a_kill(home: &impl DurableHome) {
    let channel = home.open(roomy());
    put_batch(&channel, received(0, 3)).await;
    commit(take(&channel, events(2)).await).await;
    close(channel).await;
    let channel = home.open(roomy());
    put_batch(&channel, received(1, 4)).await;
    home.kill();
    drop(channel);
    let channel = home.open(roomy());
    put_batch(&channel, received(0, 6)).await;
    assert_eq!(drain(&channel, 4).await, ["2", "3", "4", "5"]);
    put(&channel, &["own"]).await;
    assert_eq!(drain(&channel, 1).await, ["own"]);
}

/// Who sent the events of [`received`].
const STORE: u128 = 77 << 64 | 3;

/// Events of another store, called and saying `first` and on.
fn received(first: u64, count: u64) -> Batch {
    Batch::from_bodies((first..first + count).map(|name| name.to_string())).named(STORE, first)
}
