use super::*;

fn key(topic: &str, partition: i32) -> FetchKey {
    FetchKey { topic: TopicRef::Name(topic.into()), partition: PartitionId(partition) }
}

fn fetch(offset: i64) -> PartitionFetch {
    PartitionFetch {
        fetch_offset: Offset(offset),
        max_bytes: 1024,
        current_leader_epoch: LeaderEpoch(-1),
        last_fetched_epoch: LeaderEpoch(-1),
    }
}

fn request(session_id: i32, session_epoch: i32, fetches: &[(FetchKey, PartitionFetch)]) -> SessionRequest {
    SessionRequest {
        session_id,
        session_epoch,
        fetches: fetches.to_vec(),
        forgotten: Vec::new(),
        uses_topic_ids: false,
    }
}

fn answer(high_watermark: i64, has_records: bool) -> PartitionAnswer {
    PartitionAnswer {
        high_watermark: Offset(high_watermark),
        log_start_offset: Offset(0),
        has_records,
        must_tell: false,
    }
}

fn new_session(cache: &mut SessionCache, fetches: &[(FetchKey, PartitionFetch)]) -> i32 {
    match cache.begin(request(0, EPOCH_INITIAL, fetches), 0, 7).unwrap() {
        SessionPlan::New { session_id, .. } => session_id,
        other => panic!("{other:?}"),
    }
}

#[test]
fn incremental_fetch_covers_what_the_session_knows() {
    let mut cache = SessionCache::new(10, 0, 1);
    let id = new_session(&mut cache, &[(key("a", 0), fetch(0)), (key("a", 1), fetch(5))]);
    let plan = cache.begin(request(id, 1, &[(key("a", 1), fetch(6))]), 1, 0).unwrap();
    assert_eq!(
        plan,
        SessionPlan::Incremental { session_id: id, fetches: vec![(key("a", 0), fetch(0)), (key("a", 1), fetch(6))] }
    );
}

#[test]
fn epochs_must_follow_each_other() {
    let mut cache = SessionCache::new(10, 0, 1);
    let id = new_session(&mut cache, &[(key("a", 0), fetch(0))]);
    assert_eq!(cache.begin(request(id, 2, &[]), 1, 0), Err(ResponseError::InvalidFetchSessionEpoch));
    assert!(cache.begin(request(id, 1, &[]), 1, 0).is_ok());
    assert_eq!(cache.begin(request(id, 1, &[]), 1, 0), Err(ResponseError::InvalidFetchSessionEpoch));
}

#[test]
fn unknown_and_closed_sessions_are_not_found() {
    let mut cache = SessionCache::new(10, 0, 1);
    assert_eq!(cache.begin(request(99, 1, &[]), 0, 0), Err(ResponseError::FetchSessionIdNotFound));
    let id = new_session(&mut cache, &[(key("a", 0), fetch(0))]);
    cache.begin(request(id, EPOCH_FINAL, &[]), 0, 0).unwrap();
    assert_eq!(cache.begin(request(id, 1, &[]), 0, 0), Err(ResponseError::FetchSessionIdNotFound));
}

#[test]
fn names_and_ids_do_not_mix_in_a_session() {
    let mut cache = SessionCache::new(10, 0, 1);
    let id = new_session(&mut cache, &[(key("a", 0), fetch(0))]);
    let mut with_ids = request(id, 1, &[]);
    with_ids.uses_topic_ids = true;
    assert_eq!(cache.begin(with_ids, 0, 0), Err(ResponseError::FetchSessionTopicIdError));
}

#[test]
fn only_news_is_told() {
    let mut cache = SessionCache::new(10, 0, 1);
    let a = key("a", 0);
    let id = new_session(&mut cache, &[(a.clone(), fetch(0))]);
    assert!(cache.must_tell(id, &a, &answer(5, false)), "nothing was told yet");
    cache.told(id, &[(a.clone(), answer(5, false))]);
    assert!(!cache.must_tell(id, &a, &answer(5, false)));
    assert!(cache.must_tell(id, &a, &answer(6, false)), "the high watermark moved");
    assert!(cache.must_tell(id, &a, &answer(5, true)), "there are records");
    let error = PartitionAnswer { must_tell: true, ..answer(5, false) };
    assert!(cache.must_tell(id, &a, &error));
    cache.told(id, &[(a.clone(), error)]);
    assert!(cache.must_tell(id, &a, &error), "an error, or who to read from instead, is told again");
    assert!(cache.must_tell(id, &a, &answer(5, false)), "recovery from an error is news");
}

#[test]
fn served_partitions_go_to_the_back() {
    let mut cache = SessionCache::new(10, 0, 1);
    let (a, b, c) = (key("a", 0), key("b", 0), key("c", 0));
    let id = new_session(&mut cache, &[(a.clone(), fetch(0)), (b.clone(), fetch(0)), (c.clone(), fetch(0))]);
    cache.told(id, &[(a.clone(), answer(1, true)), (b.clone(), answer(1, false)), (c.clone(), answer(1, false))]);
    let SessionPlan::Incremental { fetches, .. } = cache.begin(request(id, 1, &[]), 0, 0).unwrap() else { panic!() };
    assert_eq!(fetches.iter().map(|(k, _)| k.clone()).collect::<Vec<_>>(), [b, c, a]);
}

#[test]
fn forgotten_partitions_are_gone_and_an_empty_session_closes() {
    let mut cache = SessionCache::new(10, 0, 1);
    let id = new_session(&mut cache, &[(key("a", 0), fetch(0)), (key("a", 1), fetch(0))]);
    let mut forget = request(id, 1, &[]);
    forget.forgotten = vec![key("a", 0)];
    let SessionPlan::Incremental { fetches, .. } = cache.begin(forget, 0, 0).unwrap() else { panic!() };
    assert_eq!(fetches, vec![(key("a", 1), fetch(0))]);
    let mut forget = request(id, 2, &[]);
    forget.forgotten = vec![key("a", 1)];
    assert_eq!(cache.begin(forget, 0, 0), Ok(SessionPlan::Sessionless { fetches: vec![] }));
    assert_eq!(cache.len(), 0);
}

#[test]
fn slots_are_bounded_and_the_stale_make_room() {
    let mut cache = SessionCache::new(2, 0, 1);
    let one = [(key("a", 0), fetch(0))];
    new_session(&mut cache, &one);
    new_session(&mut cache, &one);
    let full = cache.begin(request(0, EPOCH_INITIAL, &one), 1, 7).unwrap();
    assert!(matches!(full, SessionPlan::Sessionless { .. }), "as large and not stale: {full:?}");
    let later = EVICTION_AGE_MIN_MS + 1;
    let stale = cache.begin(request(0, EPOCH_INITIAL, &one), later, 7).unwrap();
    assert!(matches!(stale, SessionPlan::New { .. }), "{stale:?}");
    assert_eq!(cache.len(), 2);
}

#[test]
fn ids_are_positive_and_name_their_shard() {
    for shards in 1..5 {
        for shard in 0..shards {
            let mut cache = SessionCache::new(1000, shard, shards);
            for random in [0, 1, 5, u32::MAX / 2, u32::MAX] {
                for _ in 0..3 {
                    let plan = cache.begin(request(0, EPOCH_INITIAL, &[(key("a", 0), fetch(0))]), 0, random).unwrap();
                    let SessionPlan::New { session_id, .. } = plan else { panic!("{plan:?}") };
                    assert!(session_id > 0);
                    assert_eq!(session_id as usize % shards, shard);
                }
            }
        }
    }
}
