//! The one list of what is served: every API, its key and its versions.
//!
//! All else that knows "per API" is generated from it: [`ApiKey`], the request and response bodies, and the answer to
//! ApiVersions. Adding an API or a version starts here, and the compiler leads to the rest.
//!
//! Versions follow Kafka 4.3, short of it where the message library or a feature ends earlier.

use kafka_protocol::messages::api_versions_response::{ApiVersion, ApiVersionsResponse};

use crate::error_code::ResponseError;

#[cfg(test)]
mod tests;

/// Calls `$apply!` with the list. Per API: name, key, first and last version served, first flexible version (KIP-482),
/// request and response message.
macro_rules! served_apis {
    ($apply:ident) => {
        $apply! {
            Produce = 0, 3..13, flexible 9, ProduceRequest, ProduceResponse;
            Fetch = 1, 4..18, flexible 12, FetchRequest, FetchResponse;
            ListOffsets = 2, 1..10, flexible 6, ListOffsetsRequest, ListOffsetsResponse;
            Metadata = 3, 0..13, flexible 9, MetadataRequest, MetadataResponse;
            OffsetCommit = 8, 2..10, flexible 8, OffsetCommitRequest, OffsetCommitResponse;
            OffsetFetch = 9, 1..10, flexible 6, OffsetFetchRequest, OffsetFetchResponse;
            FindCoordinator = 10, 0..6, flexible 3, FindCoordinatorRequest, FindCoordinatorResponse;
            JoinGroup = 11, 0..9, flexible 6, JoinGroupRequest, JoinGroupResponse;
            Heartbeat = 12, 0..4, flexible 4, HeartbeatRequest, HeartbeatResponse;
            LeaveGroup = 13, 0..5, flexible 4, LeaveGroupRequest, LeaveGroupResponse;
            SyncGroup = 14, 0..5, flexible 4, SyncGroupRequest, SyncGroupResponse;
            DescribeGroups = 15, 0..6, flexible 5, DescribeGroupsRequest, DescribeGroupsResponse;
            ListGroups = 16, 0..5, flexible 3, ListGroupsRequest, ListGroupsResponse;
            ApiVersions = 18, 0..4, flexible 3, ApiVersionsRequest, ApiVersionsResponse;
            CreateTopics = 19, 2..7, flexible 5, CreateTopicsRequest, CreateTopicsResponse;
            DeleteTopics = 20, 1..6, flexible 4, DeleteTopicsRequest, DeleteTopicsResponse;
            DeleteRecords = 21, 0..2, flexible 2, DeleteRecordsRequest, DeleteRecordsResponse;
            InitProducerId = 22, 0..5, flexible 2, InitProducerIdRequest, InitProducerIdResponse;
            OffsetForLeaderEpoch = 23, 2..4, flexible 4, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse;
            DescribeConfigs = 32, 1..4, flexible 4, DescribeConfigsRequest, DescribeConfigsResponse;
            AlterConfigs = 33, 0..2, flexible 2, AlterConfigsRequest, AlterConfigsResponse;
            DescribeLogDirs = 35, 1..4, flexible 2, DescribeLogDirsRequest, DescribeLogDirsResponse;
            CreatePartitions = 37, 0..3, flexible 2, CreatePartitionsRequest, CreatePartitionsResponse;
            DeleteGroups = 42, 0..2, flexible 2, DeleteGroupsRequest, DeleteGroupsResponse;
            ElectLeaders = 43, 0..2, flexible 2, ElectLeadersRequest, ElectLeadersResponse;
            IncrementalAlterConfigs = 44, 0..1, flexible 1,
                IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse;
            AlterPartitionReassignments = 45, 0..1, flexible 0,
                AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse;
            ListPartitionReassignments = 46, 0..0, flexible 0,
                ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse;
            OffsetDelete = 47, 0..0, flexible NEVER, OffsetDeleteRequest, OffsetDeleteResponse;
            DescribeQuorum = 55, 0..2, flexible 0, DescribeQuorumRequest, DescribeQuorumResponse;
            DescribeCluster = 60, 0..2, flexible 0, DescribeClusterRequest, DescribeClusterResponse;
            UnregisterBroker = 64, 0..0, flexible 0, UnregisterBrokerRequest, UnregisterBrokerResponse;
            ConsumerGroupHeartbeat = 68, 0..1, flexible 0,
                ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse;
            ConsumerGroupDescribe = 69, 0..1, flexible 0,
                ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse;
            ListConfigResources = 74, 0..1, flexible 0, ListConfigResourcesRequest, ListConfigResourcesResponse;
            DescribeTopicPartitions = 75, 0..0, flexible 0,
                DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse;
        }
    };
}
pub(crate) use served_apis;

/// The "first flexible version" of an API that has none.
const NEVER: i16 = i16::MAX;

/// An inclusive range of versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionRange {
    pub min: i16,
    pub max: i16,
}

impl VersionRange {
    #[must_use]
    pub const fn contains(self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }
}

macro_rules! define_api_key {
    ($($name:ident = $key:literal, $min:literal..$max:literal, flexible $flexible:expr,
        $request:ident, $response:ident;)*) => {
        /// An API that is served.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(i16)]
        pub enum ApiKey {
            $($name = $key,)*
        }

        impl ApiKey {
            /// Every API, by key.
            pub const ALL: &'static [ApiKey] = &[$(ApiKey::$name,)*];

            /// The API with this key, if it is served.
            #[must_use]
            pub const fn from_key(key: i16) -> Option<ApiKey> {
                match key {
                    $($key => Some(ApiKey::$name),)*
                    _ => None,
                }
            }

            /// Kafka's name of the API.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(ApiKey::$name => stringify!($name),)*
                }
            }

            /// The versions that are understood and answered.
            #[must_use]
            pub const fn served(self) -> VersionRange {
                match self {
                    $(ApiKey::$name => VersionRange { min: $min, max: $max },)*
                }
            }

            /// Whether this version has compact lengths and tagged fields (KIP-482).
            #[must_use]
            pub const fn is_flexible(self, version: i16) -> bool {
                match self {
                    $(ApiKey::$name => version >= $flexible,)*
                }
            }
        }
    };
}
served_apis!(define_api_key);

impl ApiKey {
    /// What the answer to ApiVersions says: what is served, but for Produce.
    ///
    /// Kafka 4 serves Produce from version 3 and says 0, since librdkafka takes a broker without Produce 0 for one that
    /// cannot compress (KAFKA-18659).
    #[must_use]
    pub const fn advertised(self) -> VersionRange {
        match self {
            ApiKey::Produce => VersionRange { min: 0, max: self.served().max },
            _ => self.served(),
        }
    }

    /// The number on the wire.
    #[must_use]
    pub const fn key(self) -> i16 {
        self as i16
    }

    /// Version of the response header that goes with a version of the API: 1 (tagged fields) for flexible ones.
    ///
    /// ApiVersions always has 0: its reader may not know yet which version the broker answered in (KIP-511).
    #[must_use]
    pub const fn response_header_version(self, version: i16) -> i16 {
        if matches!(self, ApiKey::ApiVersions) { 0 } else { self.is_flexible(version) as i16 }
    }

    /// Version of the request header that goes with a version of the API: 2 (tagged fields) for flexible ones, else 1.
    ///
    /// Header version 0 belongs to ControlledShutdown 0 alone, which is not served.
    #[must_use]
    pub const fn request_header_version(self, version: i16) -> i16 {
        1 + self.is_flexible(version) as i16
    }
}

impl std::fmt::Display for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The answer to ApiVersions: everything that is served. Features (KIP-584) and throttling are left to the caller.
#[must_use]
pub fn api_versions_response() -> ApiVersionsResponse {
    ApiVersionsResponse::default().with_api_keys(ApiKey::ALL.iter().copied().map(api_version).collect())
}

/// The answer to ApiVersions in a version that is not served; to be encoded as version 0, which everybody can read.
///
/// As Kafka does, it names the versions of ApiVersions itself, so that the client can ask again (KIP-511).
#[must_use]
pub fn unsupported_api_versions_response() -> ApiVersionsResponse {
    ApiVersionsResponse::default()
        .with_error_code(ResponseError::UnsupportedVersion.code())
        .with_api_keys(vec![api_version(ApiKey::ApiVersions)])
}

fn api_version(api: ApiKey) -> ApiVersion {
    let VersionRange { min, max } = api.advertised();
    ApiVersion::default().with_api_key(api.key()).with_min_version(min).with_max_version(max)
}

/// Whether a client software name or version in an ApiVersions request of version 3 and up is one that Kafka accepts:
/// letters, digits, dots and dashes, with neither of the latter at an end (KIP-511). Otherwise: `INVALID_REQUEST`.
#[must_use]
pub fn is_valid_client_software(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    let bytes = text.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(first), Some(last)) => {
            first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() && bytes.iter().copied().all(inner)
        }
        _ => false,
    }
}
