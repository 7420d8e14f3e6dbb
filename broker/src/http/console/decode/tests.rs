//! Batches of every codec, hostile ones too, and bounds.

use bytes::{BufMut, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression as Codec, Record as Sent, RecordBatchEncoder, RecordEncodeOptions, TimestampType as Stamp,
};
use proptest::prelude::*;

use super::*;

fn sent(offset: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> Sent {
    Sent {
        transactional: false,
        control: false,
        partition_leader_epoch: 3,
        producer_id: -1,
        producer_epoch: -1,
        timestamp_type: Stamp::Creation,
        offset,
        // Else each were a batch of its own.
        sequence: i32::try_from(offset).unwrap(),
        timestamp: 1000 + offset,
        key: key.map(|key| key.to_vec().into()),
        value: value.map(|value| value.to_vec().into()),
        headers: IndexMap::new(),
        delete_horizon: false,
    }
}

fn batch(records: &[Sent], codec: Codec) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: codec };
    RecordBatchEncoder::encode(&mut bytes, records, &options).unwrap();
    bytes.to_vec()
}

/// Batches of three records each, from offset 0 on.
fn log(batches: i64) -> Vec<u8> {
    let codecs = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
    let mut bytes = Vec::new();
    for (n, codec) in (0..batches).zip(codecs.into_iter().cycle()) {
        let records: Vec<_> =
            (3 * n..3 * n + 3).map(|offset| sent(offset, None, Some(offset.to_string().as_bytes()))).collect();
        bytes.extend(batch(&records, codec));
    }
    bytes
}

fn gathered(bytes: &[u8], wanted: Wanted, from: i64) -> (Vec<Line>, i64) {
    let mut gathering = Gathering::new(wanted, from);
    gathering.take(bytes);
    let next_offset = gathering.next_offset();
    (gathering.into_lines(), next_offset)
}

fn offsets(lines: &[Line]) -> Vec<i64> {
    lines.iter().map(Line::offset).collect()
}

#[test]
fn records_of_all_codecs_come_from_within_batches_as_many_as_are_wanted() {
    let bytes = log(10);
    let (lines, next_offset) = gathered(&bytes, Wanted::First(7), 4);
    assert_eq!((offsets(&lines), next_offset), ((4..11).collect(), 11));
    let (lines, next_offset) = gathered(&bytes, Wanted::Last(4), 0);
    assert_eq!((offsets(&lines), next_offset), (vec![26, 27, 28, 29], 30));
    let (lines, next_offset) = gathered(&bytes, Wanted::First(500), 29);
    assert_eq!((offsets(&lines), next_offset), (vec![29], 30));
    let Line::Record(last) = &lines[0] else { panic!("{lines:?}") };
    assert_eq!((last.compression, last.timestamp_ms, last.leader_epoch), ("zstd", 1029, 3));
    assert_eq!(last.value.as_ref().map(|value| (value.encoding, value.data.as_str())), Some(("utf-8", "29")));
}

#[test]
fn what_lies_before_the_log_start_is_not_shown_though_its_batch_is_there() {
    let mut gathering = Gathering::new(Wanted::First(100), 0);
    gathering.starts_at(4);
    gathering.take(&log(2)[batches(&log(1)).next().unwrap().unwrap().0.size_bytes..]);
    assert_eq!((gathering.next_offset(), offsets(&gathering.into_lines())), (6, vec![4, 5]));
}

#[test]
fn bytes_are_text_where_they_are_text_and_keep_their_true_length() {
    let blob = |bytes: &[u8], max| {
        let Blob { encoding, data, bytes, truncated } = Blob::of(bytes, max);
        (encoding, data, bytes, truncated)
    };
    assert_eq!(blob("größe".as_bytes(), 100), ("utf-8", "größe".to_owned(), 7, false));
    // Cut within the ö: text all the same, and within the cut.
    assert_eq!(blob("größe".as_bytes(), 3), ("utf-8", "gr".to_owned(), 7, true));
    assert_eq!(blob(&[0xff, 0xfe], 100), ("base64", "//4=".to_owned(), 2, false));
    // Not cut, so it is no text.
    assert_eq!(blob(&"ö".as_bytes()[..1], 100).0, "base64");
    assert_eq!(blob(b"", 100), ("utf-8", String::new(), 0, false));
}

#[test]
fn null_and_empty_are_told_apart_and_headers_are_bounded() {
    let mut record = sent(0, None, Some(b""));
    record.headers =
        (0..100).map(|n| (StrBytes::from_string(format!("h{n}")), (n > 0).then(|| vec![b'v'; 5000].into()))).collect();
    let (lines, _) = gathered(&batch(&[record], Codec::None), Wanted::First(1), 0);
    let Line::Record(shown) = &lines[0] else { panic!("{lines:?}") };
    assert_eq!((shown.key.as_ref(), shown.value.as_ref().map(|value| value.bytes)), (None, Some(0)));
    assert_eq!((shown.headers.len(), shown.headers_omitted), (HEADERS_MAX, 100 - HEADERS_MAX));
    assert_eq!(shown.headers[0].value, None);
    assert_eq!(
        shown.headers[1].value.as_ref().map(|value| (value.data.len(), value.bytes)),
        Some((HEADER_BYTES_MAX, 5000))
    );
}

#[test]
fn an_answer_ends_before_it_is_too_large_and_says_where_to_go_on() {
    let large = vec![b'x'; 100_000];
    let records: Vec<_> = (0..200).map(|offset| sent(offset, None, Some(&large))).collect();
    let bytes = batch(&records, Codec::Zstd);
    let (lines, next_offset) = gathered(&bytes, Wanted::First(500), 0);
    let shown: usize = lines.len() * VALUE_BYTES_MAX;
    assert!(shown <= SHOWN_BYTES_MAX && shown > SHOWN_BYTES_MAX / 2, "{}", lines.len());
    assert_eq!(next_offset, lines.len() as i64);
    let (rest, _) = gathered(&bytes, Wanted::First(500), next_offset);
    assert_eq!(rest[0].offset(), next_offset);
    let (last, next_offset) = gathered(&bytes, Wanted::Last(500), 0);
    assert_eq!((last.len(), last.last().map(Line::offset), next_offset), (lines.len(), Some(199), 200));
}

#[test]
fn what_decompresses_to_very_much_is_not_decompressed() {
    let bomb = vec![0; DECOMPRESSED_BYTES_MAX as usize + 1];
    let mut bytes = batch(&[sent(0, None, Some(&bomb))], Codec::Zstd);
    assert!(bytes.len() < 1 << 20);
    bytes.extend(batch(&[sent(1, None, Some(b"behind it"))], Codec::None));
    let (lines, _) = gathered(&bytes, Wanted::First(10), 0);
    assert!(
        matches!(&lines[0], Line::Unreadable { offset: 0, problem, .. } if problem.contains("more than")),
        "{lines:?}"
    );
    assert!(matches!(&lines[1], Line::Record(shown) if shown.offset == 1));
}

/// All lines from the first offset on, as answers that follow one another show them, with where each one goes on.
fn all_answers(bytes: &[u8], end: i64) -> (Vec<Line>, Vec<i64>) {
    let (mut all, mut next_offsets) = (Vec::new(), vec![0]);
    while let Some(&from) = next_offsets.last().filter(|offset| **offset < end) {
        let (lines, next_offset) = gathered(bytes, Wanted::First(10), from);
        assert!(next_offset > from, "the answer from {from} on does not get on");
        all.extend(lines);
        next_offsets.push(next_offset);
    }
    (all, next_offsets)
}

#[test]
fn all_batches_of_one_answer_share_the_limit_and_those_beyond_it_are_in_the_next() {
    let large = vec![0; 20 << 20];
    for codec in [Codec::Zstd, Codec::Gzip, Codec::Lz4, Codec::Snappy] {
        let bytes: Vec<u8> = (0..3).flat_map(|offset| batch(&[sent(offset, None, Some(&large))], codec)).collect();
        let (lines, next_offsets) = all_answers(&bytes, 3);
        assert!(lines.iter().all(|line| matches!(line, Line::Record(_))), "{codec:?}: {lines:?}");
        assert_eq!((offsets(&lines), next_offsets), (vec![0, 1, 2], vec![0, 1, 2, 3]), "{codec:?}");
    }
}

#[test]
fn a_batch_that_the_limit_ends_within_goes_on_where_it_ended() {
    let (large, half) = (vec![0; 20 << 20], vec![0; 8 << 20]);
    let mut bytes = batch(&[sent(0, None, Some(&large))], Codec::Zstd);
    bytes.extend(batch(&[1, 2, 3].map(|offset| sent(offset, None, Some(&half))), Codec::Zstd));
    let (lines, next_offsets) = all_answers(&bytes, 4);
    assert!(lines.iter().all(|line| matches!(line, Line::Record(_))), "{lines:?}");
    assert_eq!((offsets(&lines), next_offsets), (vec![0, 1, 2, 3], vec![0, 2, 4]));
}

#[test]
fn only_what_a_whole_answer_is_not_enough_for_cannot_be_read() {
    let (large, bomb) = (vec![0; 20 << 20], vec![0; DECOMPRESSED_BYTES_MAX as usize + 1]);
    let records = [&large[..], &bomb, b"behind it"];
    let records = (0..).zip(records).map(|(offset, value)| sent(offset, None, Some(value)));
    let bytes: Vec<u8> = records.flat_map(|record| batch(&[record], Codec::Zstd)).collect();
    let (lines, next_offsets) = all_answers(&bytes, 3);
    assert!(
        matches!(&lines[..], [Line::Record(_), Line::Unreadable { offset: 1, .. }, Line::Record(_)]),
        "{:?}",
        offsets(&lines)
    );
    assert_eq!(next_offsets, [0, 1, 3]);
    // A look for the newest ones has to begin nearer to them.
    let mut newest = Gathering::new(Wanted::Last(10), 0);
    newest.take(&bytes);
    assert!(newest.is_short() && newest.is_full());
    assert_eq!(newest.next_offset(), 1);
}

#[test]
fn a_damaged_batch_hides_no_other() {
    let mut bytes = log(3);
    let second = batches(&bytes).next().unwrap().unwrap().0.size_bytes;
    bytes[second + 62] ^= 1;
    let (lines, next_offset) = gathered(&bytes, Wanted::First(100), 0);
    assert_eq!((offsets(&lines), next_offset), (vec![0, 1, 2, 5, 6, 7, 8], 9));
    assert!(
        matches!(&lines[3], Line::Unreadable { offset: 3, last_offset: 5, problem, .. } if problem.contains("CRC"))
    );
}

#[test]
fn ends_of_transactions_are_named() {
    let marker = |offset, kind: i16| {
        let mut key = BytesMut::new();
        key.put_i16(0);
        key.put_i16(kind);
        let mut record = sent(offset, Some(&key), Some(&[0; 6]));
        (record.control, record.transactional, record.producer_id) = (true, true, 7);
        batch(&[record], Codec::None)
    };
    let bytes = [marker(0, 1), marker(1, 0), marker(2, 9)].concat();
    let (lines, _) = gathered(&bytes, Wanted::First(10), 0);
    let names: Vec<_> = lines
        .iter()
        .map(|line| match line {
            Line::Control { marker, producer_id, .. } => (*marker, *producer_id),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(names, [("commit", 7), ("abort", 7), ("unknown", 7)]);
}

proptest! {
    #[test]
    fn any_bytes_are_lines_that_fit(bytes in proptest::collection::vec(any::<u8>(), 0..400), from in any::<i64>()) {
        let (lines, _) = gathered(&bytes, Wanted::First(5), from);
        prop_assert!(lines.len() <= 5);
    }

    /// A valid frame around whatever may be in it.
    #[test]
    fn any_damage_to_a_batch_is_shown_or_harmless(at in 12_usize..400, to in any::<u8>(), last in any::<bool>()) {
        let mut bytes = log(4);
        let at = at.min(bytes.len() - 1);
        bytes[at] = to;
        let wanted = if last { Wanted::Last(5) } else { Wanted::First(5) };
        let (lines, next_offset) = gathered(&bytes, wanted, 0);
        prop_assert!(lines.len() <= 5);
        prop_assert!(next_offset >= 0);
    }
}
