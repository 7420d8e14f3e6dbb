use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages;
use kafka_protocol::protocol::{Decodable, Encodable};
use proptest::prelude::*;

use super::*;
use crate::api_versions::served_apis;
use crate::testing::Random;
use crate::topic_id_requests;

/// Writes random bodies by the schema, and remembers where lengths and counts are.
struct Generator<'a> {
    random: &'a mut Random,
    version: i16,
    flexible: bool,
    out: BytesMut,
    lengths: Vec<Length>,
}

/// A length or count in a generated body.
#[derive(Clone, Copy, Debug)]
struct Length {
    at: usize,
    bytes: usize,
}

impl Generator<'_> {
    fn fields(&mut self, fields: &'static [Field]) {
        let version = self.version;
        for field in fields.iter().filter(|field| field.is_in(version) && field.tag.is_none()) {
            self.value(field);
        }
        if self.flexible {
            self.tagged_fields(fields);
        }
    }

    fn value(&mut self, field: &'static Field) {
        let null = field.is_nullable_in(self.version) && self.random.once_in(3);
        match field.kind {
            // A boolean other than 0 or 1 would come back changed.
            Kind::Fixed(1) => self.out.put_u8(self.random.below(2) as u8),
            Kind::Fixed(size) => self.random_bytes(size),
            Kind::String => self.string(null),
            Kind::Bytes => {
                let length = self.random.below(20);
                if self.length(length, null) {
                    self.random_bytes(length);
                }
            }
            Kind::ArrayOfFixed(size) => {
                let count = self.random.below(4);
                if self.length(count, null) {
                    self.random_bytes(count * size);
                }
            }
            Kind::ArrayOfString => {
                let count = self.random.below(4);
                if self.length(count, null) {
                    (0..count).for_each(|_| self.string(false));
                }
            }
            Kind::Array(element) => {
                let count = self.random.below(4);
                if self.length(count, null) {
                    (0..count).for_each(|_| self.fields(element));
                }
            }
            Kind::Struct(inner) => self.fields(inner),
            Kind::NullableStruct(inner) => {
                self.out.put_i8(if null { -1 } else { 1 });
                if !null {
                    self.fields(inner);
                }
            }
        }
    }

    fn string(&mut self, null: bool) {
        let length = self.random.below(12);
        let at = self.out.len();
        match (self.flexible, null) {
            (true, true) => self.out.put_u8(0),
            (true, false) => self.out.put_u8(length as u8 + 1),
            (false, true) => self.out.put_i16(-1),
            (false, false) => self.out.put_i16(length as i16),
        }
        self.lengths.push(Length { at, bytes: self.out.len() - at });
        if !null {
            (0..length).for_each(|_| self.out.put_u8(b'a' + self.random.below(26) as u8));
        }
    }

    /// Writes a length or count (small enough for one byte of a varint) or null, and says whether something follows.
    fn length(&mut self, length: usize, null: bool) -> bool {
        let at = self.out.len();
        match (self.flexible, null) {
            (true, true) => self.out.put_u8(0),
            (true, false) => self.out.put_u8(length as u8 + 1),
            (false, true) => self.out.put_i32(-1),
            (false, false) => self.out.put_i32(length as i32),
        }
        self.lengths.push(Length { at, bytes: self.out.len() - at });
        !null
    }

    fn tagged_fields(&mut self, known: &'static [Field]) {
        let version = self.version;
        let known: Vec<_> = known
            .iter()
            .filter(|field| field.tag.is_some() && field.is_in(version))
            .filter(|_| self.random.once_in(2))
            .collect();
        let unknown = if self.random.once_in(8) { self.random.below(3) } else { 0 };
        self.lengths.push(Length { at: self.out.len(), bytes: 1 });
        self.out.put_u8((known.len() + unknown) as u8);
        for field in known {
            self.out.put_u8(field.tag.unwrap() as u8);
            let size_at = self.out.len();
            self.out.put_u8(0);
            // The library leaves a tagged null out when it encodes again, as the default it is.
            match field.kind {
                Kind::String => self.string(false),
                _ => self.value(field),
            }
            self.out[size_at] = (self.out.len() - size_at - 1) as u8;
            self.lengths.push(Length { at: size_at, bytes: 1 });
        }
        for tag in 0..unknown {
            self.out.put_u8(100 + tag as u8);
            let size = self.random.below(5);
            self.lengths.push(Length { at: self.out.len(), bytes: 1 });
            self.out.put_u8(size as u8);
            self.random_bytes(size);
        }
    }

    fn random_bytes(&mut self, count: usize) {
        let bytes = self.random.bytes(count);
        self.out.put_slice(&bytes);
    }
}

/// A random valid body, and where its lengths are.
fn generate(api: ApiKey, version: i16, random: &mut Random) -> (Bytes, Vec<Length>) {
    generate_fields(fields_of(api), version, api.is_flexible(version), random)
}

fn generate_fields(
    fields: &'static [Field],
    version: i16,
    flexible: bool,
    random: &mut Random,
) -> (Bytes, Vec<Length>) {
    let mut generator = Generator { random, version, flexible, out: BytesMut::new(), lengths: Vec::new() };
    generator.fields(fields);
    (generator.out.freeze(), generator.lengths)
}

/// For other modules' tests: a random valid body of these fields.
pub(crate) fn random_body_of(fields: &'static [Field], version: i16, flexible: bool, random: &mut Random) -> Bytes {
    generate_fields(fields, version, flexible, random).0
}

fn every_version() -> impl Iterator<Item = (ApiKey, i16)> {
    ApiKey::ALL.iter().flat_map(|&api| (api.served().min..=api.served().max).map(move |version| (api, version)))
}

macro_rules! define_library_round_trip {
    ($($name:ident = $key:literal, $min:literal..$max:literal, flexible $flexible:expr,
        $request:ident, $response:ident;)*) => {
        /// What the library (or, where it ends, this crate) makes of a body and encodes again, and how much it left over.
        fn library_round_trip(api: ApiKey, version: i16, body: &Bytes) -> (BytesMut, usize) {
            let mut rest = body.clone();
            let mut out = BytesMut::new();
            if let Some(by_id) = topic_id_requests::decode(api, version, &mut rest).unwrap() {
                return (topic_id_requests::tests::encoded(&by_id), rest.len());
            }
            match api {
                $(ApiKey::$name => {
                    let decoded = messages::$request::decode(&mut rest, version)
                        .unwrap_or_else(|error| panic!("{api} {version}: {error} in {body:x?}"));
                    decoded.encode(&mut out, version).unwrap();
                })*
            }
            (out, rest.len())
        }
    };
}
served_apis!(define_library_round_trip);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The schema is the library's: what is written by one is read, and written again, by the other.
    #[test]
    fn schema_guard_and_library_agree_on_every_version(seed: u64) {
        let mut random = Random::new(seed);
        for (api, version) in every_version() {
            let (body, _) = generate(api, version, &mut random);
            prop_assert_eq!(check(api, version, &body), Ok(body.len()), "{} {}", api, version);
            let (again, left) = library_round_trip(api, version, &body);
            prop_assert_eq!(left, 0, "{} {}", api, version);
            prop_assert_eq!(&again[..], &body[..], "{} {}", api, version);
        }
    }

    #[test]
    fn a_body_cut_short_anywhere_is_refused(seed: u64) {
        let mut random = Random::new(seed);
        for (api, version) in every_version() {
            let (body, _) = generate(api, version, &mut random);
            for cut in 0..body.len() {
                prop_assert!(check(api, version, &body[..cut]).is_err(), "{} {} cut at {}", api, version, cut);
            }
        }
    }

    #[test]
    fn bytes_after_the_last_field_are_left_alone(seed: u64) {
        let mut random = Random::new(seed);
        for (api, version) in every_version() {
            let (body, _) = generate(api, version, &mut random);
            let longer = [&body[..], &[0xff; 9]].concat();
            prop_assert_eq!(check(api, version, &longer), Ok(body.len()), "{} {}", api, version);
        }
    }

    #[test]
    fn absurd_lengths_and_counts_are_refused_wherever_they_are(seed: u64) {
        let mut random = Random::new(seed);
        for (api, version) in every_version() {
            let (body, lengths) = generate(api, version, &mut random);
            for Length { at, bytes } in lengths {
                let absurd: &[u8] = match bytes {
                    1 => &[0xff, 0xff, 0xff, 0xff, 0x0f],
                    2 => &[0x7f, 0xff],
                    _ => &[0x7f, 0xff, 0xff, 0xff],
                };
                let altered = [&body[..at], absurd, &body[at + bytes..]].concat();
                let found = check(api, version, &altered);
                prop_assert!(found.is_err(), "{} {} length at {} of {:x?}: {:?}", api, version, at, body, found);
            }
        }
    }
}

fn fault(api: ApiKey, version: i16, body: &[u8]) -> (&'static str, Fault) {
    let GuardError { field, fault, .. } = check(api, version, body).unwrap_err();
    (field, fault)
}

#[test]
fn an_array_needs_the_bytes_of_its_elements() {
    // Metadata 0: names of at least two bytes each.
    let mut body = 3i32.to_be_bytes().to_vec();
    body.extend([0; 5]);
    assert_eq!(fault(ApiKey::Metadata, 0, &body), ("Topics", Fault::TooManyElements { count: 3, need: 6, have: 5 }));
    body.push(0);
    assert_eq!(check(ApiKey::Metadata, 0, &body), Ok(10));
    assert_eq!(
        fault(ApiKey::Metadata, 0, &i32::MAX.to_be_bytes()),
        ("Topics", Fault::TooManyElements { count: 0x7fff_ffff, need: 0xffff_fffe, have: 0 })
    );
}

#[test]
fn all_elements_together_have_a_budget() {
    // DescribeTopicPartitions 0, flexible: a topic is an empty name and no tagged fields, two bytes.
    let body_of = |topics: u32| {
        let mut body = BytesMut::new();
        let mut count = topics + 1;
        while count >= 0x80 {
            body.put_u8(count as u8 | 0x80);
            count >>= 7;
        }
        body.put_u8(count as u8);
        (0..topics).for_each(|_| body.put_slice(&[1, 0]));
        body.put_slice(&[0, 0, 0, 1, 0xff, 0]);
        body
    };
    let most = ELEMENTS_MAX as u32;
    assert!(check(ApiKey::DescribeTopicPartitions, 0, &body_of(most)).is_ok());
    assert_eq!(
        fault(ApiKey::DescribeTopicPartitions, 0, &body_of(most + 1)),
        ("Topics", Fault::ElementBudget { limit: ELEMENTS_MAX })
    );
}

#[test]
fn nulls_and_negative_lengths_are_told_apart() {
    assert_eq!(check(ApiKey::Metadata, 1, &[0xff; 4]), Ok(4));
    assert_eq!(fault(ApiKey::Metadata, 0, &[0xff; 4]), ("Topics", Fault::Null));
    assert_eq!(fault(ApiKey::Metadata, 1, &(-2i32).to_be_bytes()), ("Topics", Fault::NegativeLength { length: -2 }));
    // Heartbeat: the group id may not be null, in either encoding.
    assert_eq!(fault(ApiKey::Heartbeat, 0, &[0xff, 0xff]), ("GroupId", Fault::Null));
    assert_eq!(fault(ApiKey::Heartbeat, 4, &[0]), ("GroupId", Fault::Null));
    assert_eq!(
        fault(ApiKey::Heartbeat, 0, &[0x80, 0]),
        ("GroupId", Fault::NegativeLength { length: i64::from(i16::MIN) })
    );
}

#[test]
fn a_compact_string_is_no_longer_than_an_old_one() {
    let mut body = vec![0x82, 0x80, 0x02];
    body.resize(40_000, b'a');
    assert_eq!(
        fault(ApiKey::Heartbeat, 4, &body),
        ("GroupId", Fault::StringTooLong { length: 32_769, limit: STRING_BYTES_MAX })
    );
}

#[test]
fn a_varint_of_more_than_32_bits_is_refused() {
    assert_eq!(fault(ApiKey::Heartbeat, 4, &[0x81, 0x80, 0x80, 0x80, 0x10]), ("GroupId", Fault::VarintTooLong));
    assert_eq!(fault(ApiKey::Heartbeat, 4, &[0x81, 0x80, 0x80, 0x80, 0x80, 0x00]), ("GroupId", Fault::VarintTooLong));
}

/// A Fetch 12 request with these tagged fields at its end.
fn fetch_with_tagged_fields(version: i16, tagged: &[u8]) -> Vec<u8> {
    let before = if version < 15 { 4 + 4 + 4 + 4 + 1 + 8 } else { 4 + 4 + 4 + 1 + 8 };
    let mut body = vec![0; before];
    body.extend([1, 1, 1]);
    body.extend(tagged);
    body
}

#[test]
fn tagged_fields_have_the_size_they_say_and_the_version_they_need() {
    let cluster_id = [1, 0, 3, 3, b'a', b'b'];
    let good = fetch_with_tagged_fields(12, &cluster_id);
    assert_eq!(check(ApiKey::Fetch, 12, &good), Ok(good.len()));
    let larger = fetch_with_tagged_fields(12, &[1, 0, 4, 3, b'a', b'b', 0]);
    let tag_size = Fault::TagSize { tag: 0, expected: 4, found: 3 };
    assert_eq!(fault(ApiKey::Fetch, 12, &larger), ("ClusterId", tag_size));
    let smaller = fetch_with_tagged_fields(12, &[1, 0, 2, 3, b'a', b'b']);
    let tag_size = Fault::TagSize { tag: 0, expected: 2, found: 3 };
    assert_eq!(fault(ApiKey::Fetch, 12, &smaller), ("ClusterId", tag_size));
    let too_early = fetch_with_tagged_fields(14, &[1, 1, 0]);
    assert_eq!(fault(ApiKey::Fetch, 14, &too_early), ("ReplicaState", Fault::TagVersion { tag: 1, version: 14 }));
    let unknown = fetch_with_tagged_fields(12, &[1, 9, 2, 0, 0]);
    assert_eq!(check(ApiKey::Fetch, 12, &unknown), Ok(unknown.len()));
    let past_end = fetch_with_tagged_fields(12, &[1, 9, 3, 0, 0]);
    assert_eq!(fault(ApiKey::Fetch, 12, &past_end), ("tagged fields", Fault::PastEnd { need: 3, have: 2 }));
}

#[test]
fn a_presence_byte_is_one_of_two() {
    let api = ApiKey::DescribeTopicPartitions;
    assert_eq!(check(api, 0, &[1, 0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 0, 0]), Ok(13));
    assert_eq!(check(api, 0, &[1, 0, 0, 0, 1, 0xff, 0]), Ok(7));
    assert_eq!(fault(api, 0, &[1, 0, 0, 0, 1, 0, 0]), ("Cursor", Fault::Presence { found: 0 }));
}

/// For other modules' tests: a random valid body.
pub(crate) fn random_body(api: ApiKey, version: i16, random: &mut Random) -> Bytes {
    generate(api, version, random).0
}
