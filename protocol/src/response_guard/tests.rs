use bytes::{BufMut, BytesMut};
use kafka_protocol::messages;
use kafka_protocol::protocol::{Decodable, Encodable};
use proptest::prelude::*;

use super::*;
use crate::api_versions::served_apis;
use crate::request_guard::Fault;
use crate::request_guard::tests::random_body_of;
use crate::testing::Random;

fn every_version() -> impl Iterator<Item = (ApiKey, i16)> {
    let ranges = ApiKey::ALL.iter().filter_map(|&api| understood(api).map(|versions| (api, versions)));
    ranges.flat_map(|(api, versions)| (versions.min..=versions.max).map(move |version| (api, version)))
}

/// A random valid answer with its header, and where its body begins.
fn answer(api: ApiKey, version: i16, correlation_id: i32, random: &mut Random) -> (Bytes, usize) {
    let flexible = api.is_flexible(version);
    let mut frame = BytesMut::new();
    frame.put_i32(correlation_id);
    if flexible && api != ApiKey::ApiVersions {
        frame.put_u8(0);
    }
    let body_at = frame.len();
    let (_, _, fields) = schema::layout_of(api).unwrap();
    frame.put_slice(&random_body_of(fields, version, flexible, random));
    (frame.freeze(), body_at)
}

macro_rules! define_library_round_trip {
    ($($name:ident = $key:literal, $min:literal..$max:literal, flexible $flexible:expr,
        $request:ident, $response:ident;)*) => {
        /// What the library makes of a body and encodes again, and how much it left over; `None` if it refuses it.
        fn library_round_trip(api: ApiKey, version: i16, body: &Bytes) -> Option<(BytesMut, usize)> {
            let mut rest = body.clone();
            let mut out = BytesMut::new();
            match api {
                $(ApiKey::$name => {
                    let decoded = messages::$response::decode(&mut rest, version).ok()?;
                    decoded.encode(&mut out, version).unwrap();
                })*
            }
            Some((out, rest.len()))
        }
    };
}
served_apis!(define_library_round_trip);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The layouts are the library's: what is written by one is read, and written again, by the other.
    #[test]
    fn layouts_and_library_agree_on_every_version(seed: u64) {
        let mut random = Random::new(seed);
        for (api, version) in every_version() {
            let (mut frame, body_at) = answer(api, version, 7, &mut random);
            let body = frame.slice(body_at..);
            prop_assert_eq!(open(api, version, 7, &mut frame), Ok(()), "{} {}", api, version);
            prop_assert_eq!(&frame, &body, "{} {}", api, version);
            let (again, left) = library_round_trip(api, version, &body).unwrap();
            prop_assert_eq!(left, 0, "{} {}", api, version);
            // Tagged fields of its answer that have their default are left out when it is encoded again.
            if api != ApiKey::ApiVersions {
                prop_assert_eq!(&again[..], &body[..], "{} {}", api, version);
            }
        }
    }

    #[test]
    fn an_answer_cut_short_anywhere_is_refused(seed: u64) {
        let mut random = Random::new(seed);
        for (api, version) in every_version() {
            let (frame, _) = answer(api, version, 7, &mut random);
            for cut in 0..frame.len() {
                let found = open(api, version, 7, &mut frame.slice(..cut));
                prop_assert!(found.is_err(), "{} {} cut at {}", api, version, cut);
            }
        }
    }

    #[test]
    fn no_bytes_panic_or_take_memory_that_they_do_not_bear_out(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        bytes.splice(..0, 7i32.to_be_bytes());
        let frame = Bytes::from(bytes);
        for (api, version) in every_version() {
            let mut body = frame.clone();
            if open(api, version, 7, &mut body).is_ok() {
                // Text that is not UTF-8 is the library's to refuse.
                let _ = library_round_trip(api, version, &body);
            }
        }
    }
}

#[test]
fn an_absurd_count_is_refused_before_memory_is_taken_for_it() {
    // ListGroups 3: throttle time, error code, and a compact array of 2^31 groups.
    let mut frame = BytesMut::new();
    frame.put_i32(1);
    frame.put_slice(&[0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x07, 0]);
    let found = open(ApiKey::ListGroups, 3, 1, &mut frame.freeze()).unwrap_err();
    let ResponseError::Body(GuardError { field, fault, .. }) = found else { panic!("{found}") };
    assert_eq!(field, "Groups");
    assert!(matches!(fault, Fault::TooManyElements { count: 0x7fff_fffe, .. }), "{fault}");
}

#[test]
fn an_answer_to_another_question_is_refused() {
    let mut frame = Bytes::from_static(&[0, 0, 0, 8, 0]);
    let found = open(ApiKey::ListGroups, 3, 7, &mut frame);
    assert_eq!(found, Err(ResponseError::Correlation { expected: 7, found: 8 }));
    let found = open(ApiKey::ListGroups, 3, 7, &mut Bytes::from_static(&[0, 0]));
    assert_eq!(found, Err(ResponseError::Truncated { have: 2 }));
}
