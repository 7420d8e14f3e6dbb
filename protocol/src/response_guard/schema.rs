//! The layout of every answer that this program asks for, in the versions in which it does.
//!
//! Hand-written from the protocol's message definitions, and kept honest like those of requests.

use crate::api_versions::ApiKey;
use crate::request_guard::schema::{
    Field, Kind, array, boolean, bytes, int8, int16, int32, int32s, int64, string, strings, uuid,
};

/// First and last version, and the layout of the body.
pub(super) const fn layout_of(api: ApiKey) -> Option<(i16, i16, &'static [Field])> {
    Some(match api {
        ApiKey::ApiVersions => (3, 3, API_VERSIONS),
        ApiKey::Metadata => (9, 12, METADATA),
        ApiKey::FindCoordinator => (4, 6, FIND_COORDINATOR),
        ApiKey::ListOffsets => (6, 10, LIST_OFFSETS),
        ApiKey::ListGroups => (3, 5, LIST_GROUPS),
        ApiKey::DescribeGroups => (5, 6, DESCRIBE_GROUPS),
        ApiKey::ConsumerGroupDescribe => (0, 1, CONSUMER_GROUP_DESCRIBE),
        ApiKey::OffsetFetch => (8, 9, OFFSET_FETCH),
        ApiKey::OffsetCommit => (8, 9, OFFSET_COMMIT),
        ApiKey::OffsetDelete => (0, 0, OFFSET_DELETE),
        ApiKey::DeleteGroups => (2, 2, DELETE_GROUPS),
        _ => return None,
    })
}

const API_VERSIONS: &[Field] = &[
    int16("ErrorCode"),
    array("ApiKeys", &[int16("ApiKey"), int16("MinVersion"), int16("MaxVersion")]),
    int32("ThrottleTimeMs"),
    array("SupportedFeatures", &[string("Name"), int16("MinVersion"), int16("MaxVersion")]).tag(0),
    int64("FinalizedFeaturesEpoch").tag(1),
    array("FinalizedFeatures", &[string("Name"), int16("MaxVersionLevel"), int16("MinVersionLevel")]).tag(2),
    boolean("ZkMigrationReady").tag(3),
];

const METADATA: &[Field] = &[
    int32("ThrottleTimeMs"),
    array("Brokers", &[int32("NodeId"), string("Host"), int32("Port"), string("Rack").nullable()]),
    string("ClusterId").nullable(),
    int32("ControllerId"),
    array(
        "Topics",
        &[
            int16("ErrorCode"),
            string("Name").nullable_from(12),
            uuid("TopicId").from(10),
            boolean("IsInternal"),
            array(
                "Partitions",
                &[
                    int16("ErrorCode"),
                    int32("PartitionIndex"),
                    int32("LeaderId"),
                    int32("LeaderEpoch"),
                    int32s("ReplicaNodes"),
                    int32s("IsrNodes"),
                    int32s("OfflineReplicas"),
                ],
            ),
            int32("TopicAuthorizedOperations"),
        ],
    ),
    int32("ClusterAuthorizedOperations").to(10),
];

const FIND_COORDINATOR: &[Field] = &[
    int32("ThrottleTimeMs"),
    array(
        "Coordinators",
        &[
            string("Key"),
            int32("NodeId"),
            string("Host"),
            int32("Port"),
            int16("ErrorCode"),
            string("ErrorMessage").nullable(),
        ],
    ),
];

const LIST_OFFSETS: &[Field] = &[
    int32("ThrottleTimeMs"),
    array(
        "Topics",
        &[
            string("Name"),
            array(
                "Partitions",
                &[
                    int32("PartitionIndex"),
                    int16("ErrorCode"),
                    int64("Timestamp"),
                    int64("Offset"),
                    int32("LeaderEpoch"),
                ],
            ),
        ],
    ),
];

const LIST_GROUPS: &[Field] = &[
    int32("ThrottleTimeMs"),
    int16("ErrorCode"),
    array(
        "Groups",
        &[string("GroupId"), string("ProtocolType"), string("GroupState").from(4), string("GroupType").from(5)],
    ),
];

const DESCRIBE_GROUPS: &[Field] = &[
    int32("ThrottleTimeMs"),
    array(
        "Groups",
        &[
            int16("ErrorCode"),
            string("ErrorMessage").from(6).nullable(),
            string("GroupId"),
            string("GroupState"),
            string("ProtocolType"),
            string("ProtocolData"),
            array(
                "Members",
                &[
                    string("MemberId"),
                    string("GroupInstanceId").nullable(),
                    string("ClientId"),
                    string("ClientHost"),
                    bytes("MemberMetadata"),
                    bytes("MemberAssignment"),
                ],
            ),
            int32("AuthorizedOperations"),
        ],
    ),
];

const ASSIGNMENT: Kind =
    Kind::Struct(&[array("TopicPartitions", &[uuid("TopicId"), string("TopicName"), int32s("Partitions")])]);

const CONSUMER_GROUP_DESCRIBE: &[Field] = &[
    int32("ThrottleTimeMs"),
    array(
        "Groups",
        &[
            int16("ErrorCode"),
            string("ErrorMessage").nullable(),
            string("GroupId"),
            string("GroupState"),
            int32("GroupEpoch"),
            int32("AssignmentEpoch"),
            string("AssignorName"),
            array(
                "Members",
                &[
                    string("MemberId"),
                    string("InstanceId").nullable(),
                    string("RackId").nullable(),
                    int32("MemberEpoch"),
                    string("ClientId"),
                    string("ClientHost"),
                    strings("SubscribedTopicNames"),
                    string("SubscribedTopicRegex").nullable(),
                    Field::new("Assignment", ASSIGNMENT),
                    Field::new("TargetAssignment", ASSIGNMENT),
                    int8("MemberType").from(1),
                ],
            ),
            int32("AuthorizedOperations"),
        ],
    ),
];

const OFFSET_FETCH: &[Field] = &[
    int32("ThrottleTimeMs"),
    array(
        "Groups",
        &[
            string("GroupId"),
            array(
                "Topics",
                &[
                    string("Name"),
                    array(
                        "Partitions",
                        &[
                            int32("PartitionIndex"),
                            int64("CommittedOffset"),
                            int32("CommittedLeaderEpoch"),
                            string("Metadata").nullable(),
                            int16("ErrorCode"),
                        ],
                    ),
                ],
            ),
            int16("ErrorCode"),
        ],
    ),
];

/// Topics, and an error code of each partition.
const PARTITION_ERRORS: &[Field] =
    &[string("Name"), array("Partitions", &[int32("PartitionIndex"), int16("ErrorCode")])];

const OFFSET_COMMIT: &[Field] = &[int32("ThrottleTimeMs"), array("Topics", PARTITION_ERRORS)];

const OFFSET_DELETE: &[Field] = &[int16("ErrorCode"), int32("ThrottleTimeMs"), array("Topics", PARTITION_ERRORS)];

const DELETE_GROUPS: &[Field] = &[int32("ThrottleTimeMs"), array("Results", &[string("GroupId"), int16("ErrorCode")])];
