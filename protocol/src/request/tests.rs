use bytes::{BufMut, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::request_guard::tests::random_body;
use crate::testing::Random;

fn frame_of(api: ApiKey, version: i16, body: &[u8]) -> Vec<u8> {
    let mut frame = BytesMut::new();
    frame.put_i16(api.key());
    frame.put_i16(version);
    frame.put_i32(42);
    frame.put_i16(3);
    frame.put_slice(b"cli");
    if api.is_flexible(version) {
        frame.put_u8(0);
    }
    frame.put_slice(body);
    frame.to_vec()
}

fn random_frame(random: &mut Random) -> (ApiKey, i16, Vec<u8>) {
    let api = ApiKey::ALL[random.below(ApiKey::ALL.len())];
    let versions = api.served();
    let version = versions.min + random.below((versions.max - versions.min + 1) as usize) as i16;
    let body = random_body(api, version, random);
    (api, version, frame_of(api, version, &body))
}

proptest! {
    #[test]
    fn every_valid_frame_is_decoded(seed: u64) {
        let (api, version, frame) = random_frame(&mut Random::new(seed));
        let request = decode_request(frame.into()).unwrap();
        prop_assert_eq!(request.body.api(), api);
        prop_assert_eq!((request.header.api, request.header.version), (api, version));
        prop_assert_eq!(request.header.correlation_id, 42);
        prop_assert_eq!(request.header.client_id.as_deref(), Some("cli"));
    }

    /// The point of the guard: whatever it lets through, the library decodes without a panic.
    #[test]
    fn no_damage_to_a_valid_frame_panics(seed: u64, damages in 1..8usize) {
        let mut random = Random::new(seed);
        let (_, _, mut frame) = random_frame(&mut random);
        for _ in 0..damages {
            let at = random.below(frame.len());
            match random.below(4) {
                0 => frame[at] = random.next() as u8,
                1 => frame[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
                2 => frame.truncate(at.max(1)),
                _ => frame.insert(at, random.next() as u8),
            }
        }
        let _ = decode_request(frame.into());
    }

    #[test]
    fn random_bytes_are_an_answer_and_no_panic(seed: u64, length in 0..200usize) {
        let mut random = Random::new(seed);
        let api = ApiKey::ALL[random.below(ApiKey::ALL.len())];
        let version = api.served().min + random.below(20) as i16;
        let body = random.bytes(length);
        let _ = decode_request(frame_of(api, version, &body).into());
        let _ = decode_request(random.bytes(length).into());
    }
}

#[test]
fn records_are_a_slice_of_the_frame() {
    let mut body = BytesMut::new();
    body.put_i16(-1);
    body.put_i16(1);
    body.put_i32(1000);
    body.put_i32(1);
    body.put_i16(1);
    body.put_slice(b"t");
    body.put_i32(1);
    body.put_i32(0);
    body.put_i32(7);
    body.put_slice(b"records");
    let frame = Bytes::from(frame_of(ApiKey::Produce, 3, &body));
    let range = frame.as_ptr_range();
    let request = decode_request(frame).unwrap();
    let RequestBody::Produce(produce) = request.body else { panic!("{:?}", request.body) };
    let records = produce.topic_data[0].partition_data[0].records.clone().unwrap();
    assert_eq!(records, &b"records"[..]);
    assert!(range.contains(&records.as_ptr()));
}

#[test]
fn errors_tell_what_can_be_answered() {
    let decode = |frame: &[u8]| decode_request(Bytes::copy_from_slice(frame)).unwrap_err();
    let unsupported = decode(&[0, 18, 0, 99, 0, 0, 0, 5]);
    assert!(
        matches!(
            unsupported,
            RequestError::UnsupportedVersion { api: ApiKey::ApiVersions, version: 99, correlation_id: 5, .. }
        ),
        "{unsupported:?}"
    );
    let unknown = decode(&[0, 100, 0, 0, 0, 0, 0, 5]);
    assert!(matches!(unknown, RequestError::UnknownApi { key: 100, version: 0, correlation_id: 5 }), "{unknown:?}");
    assert!(matches!(decode(&[0]), RequestError::MalformedHeader(_)));
    let malformed = decode(&frame_of(ApiKey::Metadata, 1, &[0x7f, 0xff, 0xff, 0xff]));
    assert!(
        matches!(malformed, RequestError::MalformedBody { api: ApiKey::Metadata, correlation_id: 42, .. }),
        "{malformed:?}"
    );
    let not_utf8 = decode(&frame_of(ApiKey::Metadata, 0, &[0, 0, 0, 1, 0, 1, 0xff]));
    assert!(matches!(not_utf8, RequestError::Undecodable { api: ApiKey::Metadata, .. }), "{not_utf8:?}");
}
