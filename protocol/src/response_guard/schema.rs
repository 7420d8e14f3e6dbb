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
        // Up to the last version that names topics: later ones have their ids.
        ApiKey::Produce => (9, 9, PRODUCE),
        ApiKey::Fetch => (12, 12, FETCH),
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
        ApiKey::CreateTopics => (5, 7, CREATE_TOPICS),
        ApiKey::DeleteTopics => (6, 6, DELETE_TOPICS),
        ApiKey::CreatePartitions => (2, 3, CREATE_PARTITIONS),
        ApiKey::DeleteRecords => (2, 2, DELETE_RECORDS),
        ApiKey::InitProducerId => (2, 5, INIT_PRODUCER_ID),
        ApiKey::DescribeConfigs => (4, 4, DESCRIBE_CONFIGS),
        ApiKey::IncrementalAlterConfigs => (1, 1, INCREMENTAL_ALTER_CONFIGS),
        ApiKey::DescribeLogDirs => (2, 4, DESCRIBE_LOG_DIRS),
        ApiKey::ElectLeaders => (2, 2, ELECT_LEADERS),
        ApiKey::AlterPartitionReassignments => (0, 1, ALTER_PARTITION_REASSIGNMENTS),
        ApiKey::ListPartitionReassignments => (0, 0, LIST_PARTITION_REASSIGNMENTS),
        ApiKey::DescribeCluster => (0, 2, DESCRIBE_CLUSTER),
        ApiKey::DescribeTopicPartitions => (0, 0, DESCRIBE_TOPIC_PARTITIONS),
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

const PRODUCE: &[Field] = &[
    array(
        "Responses",
        &[
            string("Name"),
            array(
                "PartitionResponses",
                &[
                    int32("Index"),
                    int16("ErrorCode"),
                    int64("BaseOffset"),
                    int64("LogAppendTimeMs"),
                    int64("LogStartOffset"),
                    array("RecordErrors", &[int32("BatchIndex"), string("BatchIndexErrorMessage").nullable()]),
                    string("ErrorMessage").nullable(),
                ],
            ),
        ],
    ),
    int32("ThrottleTimeMs"),
];

const FETCH: &[Field] = &[
    int32("ThrottleTimeMs"),
    int16("ErrorCode"),
    int32("SessionId"),
    array(
        "Responses",
        &[
            string("Topic"),
            array(
                "Partitions",
                &[
                    int32("PartitionIndex"),
                    int16("ErrorCode"),
                    int64("HighWatermark"),
                    int64("LastStableOffset"),
                    int64("LogStartOffset"),
                    Field::new("DivergingEpoch", Kind::Struct(&[int32("Epoch"), int64("EndOffset")])).tag(0),
                    Field::new("CurrentLeader", Kind::Struct(&[int32("LeaderId"), int32("LeaderEpoch")])).tag(1),
                    Field::new("SnapshotId", Kind::Struct(&[int64("EndOffset"), int32("Epoch")])).tag(2),
                    array("AbortedTransactions", &[int64("ProducerId"), int64("FirstOffset")]).nullable(),
                    int32("PreferredReadReplica"),
                    bytes("Records").nullable(),
                ],
            ),
        ],
    ),
];

const CREATE_TOPICS: &[Field] = &[
    int32("ThrottleTimeMs"),
    array(
        "Topics",
        &[
            string("Name"),
            uuid("TopicId").from(7),
            int16("ErrorCode"),
            string("ErrorMessage").nullable(),
            int16("TopicConfigErrorCode").tag(0),
            int32("NumPartitions"),
            int16("ReplicationFactor"),
            array(
                "Configs",
                &[
                    string("Name"),
                    string("Value").nullable(),
                    boolean("ReadOnly"),
                    int8("ConfigSource"),
                    boolean("IsSensitive"),
                ],
            )
            .nullable(),
        ],
    ),
];

const DELETE_TOPICS: &[Field] = &[
    int32("ThrottleTimeMs"),
    array(
        "Responses",
        &[string("Name").nullable(), uuid("TopicId"), int16("ErrorCode"), string("ErrorMessage").nullable()],
    ),
];

const CREATE_PARTITIONS: &[Field] = &[
    int32("ThrottleTimeMs"),
    array("Results", &[string("Name"), int16("ErrorCode"), string("ErrorMessage").nullable()]),
];

const DELETE_RECORDS: &[Field] = &[
    int32("ThrottleTimeMs"),
    array(
        "Topics",
        &[string("Name"), array("Partitions", &[int32("PartitionIndex"), int64("LowWatermark"), int16("ErrorCode")])],
    ),
];

const INIT_PRODUCER_ID: &[Field] =
    &[int32("ThrottleTimeMs"), int16("ErrorCode"), int64("ProducerId"), int16("ProducerEpoch")];

const DESCRIBE_CONFIGS: &[Field] = &[
    int32("ThrottleTimeMs"),
    array(
        "Results",
        &[
            int16("ErrorCode"),
            string("ErrorMessage").nullable(),
            int8("ResourceType"),
            string("ResourceName"),
            array(
                "Configs",
                &[
                    string("Name"),
                    string("Value").nullable(),
                    boolean("ReadOnly"),
                    int8("ConfigSource"),
                    boolean("IsSensitive"),
                    array("Synonyms", &[string("Name"), string("Value").nullable(), int8("Source")]),
                    int8("ConfigType"),
                    string("Documentation").nullable(),
                ],
            ),
        ],
    ),
];

const INCREMENTAL_ALTER_CONFIGS: &[Field] = &[
    int32("ThrottleTimeMs"),
    array(
        "Responses",
        &[int16("ErrorCode"), string("ErrorMessage").nullable(), int8("ResourceType"), string("ResourceName")],
    ),
];

const DESCRIBE_LOG_DIRS: &[Field] = &[
    int32("ThrottleTimeMs"),
    int16("ErrorCode").from(3),
    array(
        "Results",
        &[
            int16("ErrorCode"),
            string("LogDir"),
            array(
                "Topics",
                &[
                    string("Name"),
                    array(
                        "Partitions",
                        &[int32("PartitionIndex"), int64("PartitionSize"), int64("OffsetLag"), boolean("IsFutureKey")],
                    ),
                ],
            ),
            int64("TotalBytes").from(4),
            int64("UsableBytes").from(4),
        ],
    ),
];

/// An error of a partition, with what the broker adds to it.
const PARTITION_REFUSALS: &[Field] = &[int32("PartitionIndex"), int16("ErrorCode"), string("ErrorMessage").nullable()];

const ELECT_LEADERS: &[Field] = &[
    int32("ThrottleTimeMs"),
    int16("ErrorCode"),
    array("ReplicaElectionResults", &[string("Topic"), array("PartitionResult", PARTITION_REFUSALS)]),
];

const ALTER_PARTITION_REASSIGNMENTS: &[Field] = &[
    int32("ThrottleTimeMs"),
    boolean("AllowReplicationFactorChange").from(1),
    int16("ErrorCode"),
    string("ErrorMessage").nullable(),
    array("Responses", &[string("Name"), array("Partitions", PARTITION_REFUSALS)]),
];

const LIST_PARTITION_REASSIGNMENTS: &[Field] = &[
    int32("ThrottleTimeMs"),
    int16("ErrorCode"),
    string("ErrorMessage").nullable(),
    array(
        "Topics",
        &[
            string("Name"),
            array(
                "Partitions",
                &[int32("PartitionIndex"), int32s("Replicas"), int32s("AddingReplicas"), int32s("RemovingReplicas")],
            ),
        ],
    ),
];

const DESCRIBE_CLUSTER: &[Field] = &[
    int32("ThrottleTimeMs"),
    int16("ErrorCode"),
    string("ErrorMessage").nullable(),
    int8("EndpointType").from(1),
    string("ClusterId"),
    int32("ControllerId"),
    array(
        "Brokers",
        &[int32("BrokerId"), string("Host"), int32("Port"), string("Rack").nullable(), boolean("IsFenced").from(2)],
    ),
    int32("ClusterAuthorizedOperations"),
];

const DESCRIBE_TOPIC_PARTITIONS: &[Field] = &[
    int32("ThrottleTimeMs"),
    array(
        "Topics",
        &[
            int16("ErrorCode"),
            string("Name").nullable(),
            uuid("TopicId"),
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
                    int32s("EligibleLeaderReplicas").nullable(),
                    int32s("LastKnownElr").nullable(),
                    int32s("OfflineReplicas"),
                ],
            ),
            int32("TopicAuthorizedOperations"),
        ],
    ),
    Field::new("NextCursor", Kind::NullableStruct(&[string("TopicName"), int32("PartitionIndex")])).nullable(),
];
