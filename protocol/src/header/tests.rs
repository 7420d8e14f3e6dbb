use kafka_protocol::messages;
use kafka_protocol::protocol::{Decodable, Encodable};

use super::*;
use crate::request_guard::Fault;

fn header_bytes(api: i16, version: i16, rest: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(api);
    out.put_i16(version);
    out.put_i32(77);
    out.put_slice(rest);
    out.freeze()
}

#[test]
fn every_header_version_is_read_as_the_library_writes_it() {
    for &api in ApiKey::ALL {
        for version in api.served().min..=api.served().max {
            for client_id in [None, Some(""), Some("rdkafka-ü")] {
                let client_id = client_id.map(StrBytes::from_static_str);
                let mut theirs = messages::RequestHeader::default()
                    .with_request_api_key(api.key())
                    .with_request_api_version(version)
                    .with_correlation_id(-5)
                    .with_client_id(client_id.clone());
                if api.is_flexible(version) {
                    theirs.unknown_tagged_fields.insert(9, Bytes::from_static(b"future"));
                }
                let mut bytes = BytesMut::new();
                theirs.encode(&mut bytes, api.request_header_version(version)).unwrap();
                bytes.put_slice(b"body");
                let mut frame = bytes.freeze();
                let expected = RequestHeader { api, version, correlation_id: -5, client_id };
                assert_eq!(parse_request_header(&mut frame), Ok(expected), "{api} {version}");
                assert_eq!(frame, &b"body"[..]);
            }
        }
    }
}

#[test]
fn every_response_header_is_what_the_library_reads() {
    for &api in ApiKey::ALL {
        for version in api.served().min..=api.served().max {
            let mut bytes = BytesMut::new();
            put_response_header(&mut bytes, api, version, 1234);
            assert_eq!(bytes.len(), response_header_bytes(api, version));
            let mut bytes = bytes.freeze();
            let theirs = messages::ResponseHeader::decode(&mut bytes, api.response_header_version(version)).unwrap();
            assert_eq!((theirs.correlation_id, bytes.len()), (1234, 0), "{api} {version}");
        }
    }
}

#[test]
fn api_versions_is_answered_with_header_version_0_even_when_flexible() {
    assert_eq!(response_header_bytes(ApiKey::ApiVersions, 4), 4);
    assert_eq!(response_header_bytes(ApiKey::Metadata, 13), 5);
}

#[test]
fn what_cannot_be_answered_and_what_can_are_told_apart() {
    let parse = |mut frame: Bytes| parse_request_header(&mut frame).unwrap_err();
    assert_eq!(parse(Bytes::from_static(&[0, 3, 0])), HeaderError::Truncated { need: 8, have: 3 });
    assert_eq!(parse(header_bytes(999, 1, &[])), HeaderError::UnknownApi { key: 999, version: 1, correlation_id: 77 });
    let served = VersionRange { min: 0, max: 4 };
    assert_eq!(
        parse(header_bytes(18, 5, &[])),
        HeaderError::UnsupportedVersion { api: ApiKey::ApiVersions, version: 5, correlation_id: 77, served },
        "whatever follows, for it is of an unknown layout"
    );
    assert!(matches!(
        parse(header_bytes(0, 2, &[0xff, 0xff])),
        HeaderError::UnsupportedVersion { api: ApiKey::Produce, version: 2, .. }
    ));
    assert!(matches!(parse(header_bytes(0, -1, &[])), HeaderError::UnsupportedVersion { version: -1, .. }));
}

#[test]
fn broken_headers_say_what_is_broken() {
    let parse = |mut frame: Bytes| parse_request_header(&mut frame).unwrap_err();
    assert_eq!(parse(header_bytes(3, 1, &[0])), HeaderError::Truncated { need: 10, have: 9 });
    let (api, version) = (ApiKey::Metadata, 1);
    assert_eq!(
        parse(header_bytes(3, 1, &[0xff, 0xfe])),
        HeaderError::ClientIdLength { api, version, length: -2, have: 0 }
    );
    assert_eq!(
        parse(header_bytes(3, 1, &[0, 5, b'a'])),
        HeaderError::ClientIdLength { api, version, length: 5, have: 1 }
    );
    assert_eq!(parse(header_bytes(3, 1, &[0, 1, 0xff])), HeaderError::ClientIdNotUtf8 { api, version });
    let tagged = |rest: &[u8]| match parse(header_bytes(3, 9, &[&[0xff, 0xff], rest].concat())) {
        HeaderError::TaggedFields { source, .. } => source.fault,
        other => panic!("{other:?}"),
    };
    assert_eq!(tagged(&[1, 0, 9]), Fault::PastEnd { need: 9, have: 0 });
    assert_eq!(tagged(&[0xff, 0xff, 0xff, 0xff, 0x1f]), Fault::VarintTooLong);
    assert!(matches!(tagged(&[0xff, 0xff, 0xff, 0xff, 0x0f]), Fault::TooManyElements { .. }));
}
