use bytes::Buf;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{MetadataResponse, TopicName};
use kafka_protocol::protocol::{Decodable, StrBytes};

use super::*;
use crate::api_versions::unsupported_api_versions_response;

macro_rules! define_default_round_trip {
    ($($name:ident = $key:literal, $min:literal..$max:literal, flexible $flexible:expr,
        $request:ident, $response:ident;)*) => {
        /// Encodes a default response and has the library take the frame apart again.
        fn default_round_trip(api: ApiKey, version: i16) {
            match api {
                $(ApiKey::$name => {
                    let body = messages::$response::default();
                    let mut frame = ResponseBody::from(body.clone()).encode(version, 99).unwrap().freeze();
                    assert_eq!(frame.get_i32() as usize, frame.len(), "{api} {version}");
                    let header_version = api.response_header_version(version);
                    let header = messages::ResponseHeader::decode(&mut frame, header_version).unwrap();
                    assert_eq!(header.correlation_id, 99);
                    let again = messages::$response::decode(&mut frame, version).unwrap();
                    assert_eq!((again, frame.len()), (body, 0), "{api} {version}");
                    assert_eq!(ResponseBody::from(messages::$response::default()).api(), api);
                })*
            }
        }
    };
}
served_apis!(define_default_round_trip);

#[test]
fn every_version_of_every_response_can_be_read_back() {
    for &api in ApiKey::ALL {
        for version in api.served().min..=api.served().max {
            default_round_trip(api, version);
        }
    }
}

#[test]
fn the_answer_to_an_unknown_api_versions_version_is_of_version_0() {
    let frame = encode_response(&unsupported_api_versions_response(), 0, 5).unwrap();
    let expected = [&[0, 0, 0, 16][..], &[0, 0, 0, 5], &[0, 35], &[0, 0, 0, 1], &[0, 18, 0, 0, 0, 4]];
    assert_eq!(frame, expected.concat());
}

#[test]
fn a_field_that_the_version_lacks_is_an_error() {
    let topic = MetadataResponseTopic::default()
        .with_name(Some(TopicName(StrBytes::from_static_str("t"))))
        .with_topic_authorized_operations(3);
    let response = MetadataResponse::default().with_topics(vec![topic]);
    assert!(encode_response(&response, 8, 1).is_ok());
    assert!(matches!(
        encode_response(&response, 7, 1),
        Err(EncodeError::DoesNotFitVersion { api: ApiKey::Metadata, version: 7, .. })
    ));
}
