//! The layout of every request body that is served, as the guard walks it; and what layouts are made of.
//!
//! Hand-written from the protocol's message definitions: field order, versions, what may be null, which tag. A field
//! without a version lives in all versions that are served. Kept honest by a test that turns the layouts into bytes for
//! every version and has the message library decode and re-encode them.

use crate::api_versions::ApiKey;

/// What a field looks like on the wire, apart from compact lengths, which follow from the version.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// A number, boolean or UUID of so many bytes.
    Fixed(usize),
    String,
    /// Opaque bytes, records included.
    Bytes,
    ArrayOfFixed(usize),
    ArrayOfString,
    /// An array of structs.
    Array(&'static [Field]),
    /// A struct in place.
    Struct(&'static [Field]),
    /// A struct behind a presence byte: 1, or -1 for null.
    NullableStruct(&'static [Field]),
}

/// A field of a request or of a struct within it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    first_version: i16,
    last_version: i16,
    /// First version in which null is allowed.
    null_from: i16,
    /// Number of a tagged field (KIP-482); present only where the client set it.
    pub(crate) tag: Option<u32>,
}

impl Field {
    pub(crate) const fn new(name: &'static str, kind: Kind) -> Field {
        Field { name, kind, first_version: 0, last_version: i16::MAX, null_from: i16::MAX, tag: None }
    }

    pub(crate) const fn from(self, first_version: i16) -> Field {
        Field { first_version, ..self }
    }

    pub(crate) const fn to(self, last_version: i16) -> Field {
        Field { last_version, ..self }
    }

    /// Null is allowed in all versions.
    pub(crate) const fn nullable(self) -> Field {
        self.nullable_from(0)
    }

    pub(crate) const fn nullable_from(self, null_from: i16) -> Field {
        Field { null_from, ..self }
    }

    pub(crate) const fn tag(self, tag: u32) -> Field {
        Field { tag: Some(tag), ..self }
    }

    pub(crate) const fn is_in(&self, version: i16) -> bool {
        self.first_version <= version && version <= self.last_version
    }

    pub(crate) const fn is_nullable_in(&self, version: i16) -> bool {
        self.null_from <= version
    }
}

pub(crate) const fn boolean(name: &'static str) -> Field {
    Field::new(name, Kind::Fixed(1))
}

pub(crate) const fn int8(name: &'static str) -> Field {
    Field::new(name, Kind::Fixed(1))
}

pub(crate) const fn int16(name: &'static str) -> Field {
    Field::new(name, Kind::Fixed(2))
}

pub(crate) const fn int32(name: &'static str) -> Field {
    Field::new(name, Kind::Fixed(4))
}

pub(crate) const fn int64(name: &'static str) -> Field {
    Field::new(name, Kind::Fixed(8))
}

pub(crate) const fn uuid(name: &'static str) -> Field {
    Field::new(name, Kind::Fixed(16))
}

pub(crate) const fn string(name: &'static str) -> Field {
    Field::new(name, Kind::String)
}

pub(crate) const fn bytes(name: &'static str) -> Field {
    Field::new(name, Kind::Bytes)
}

pub(crate) const fn strings(name: &'static str) -> Field {
    Field::new(name, Kind::ArrayOfString)
}

const fn int8s(name: &'static str) -> Field {
    Field::new(name, Kind::ArrayOfFixed(1))
}

pub(crate) const fn int32s(name: &'static str) -> Field {
    Field::new(name, Kind::ArrayOfFixed(4))
}

pub(crate) const fn array(name: &'static str, element: &'static [Field]) -> Field {
    Field::new(name, Kind::Array(element))
}

/// Layout of the request body of `api`.
pub(crate) const fn fields_of(api: ApiKey) -> &'static [Field] {
    match api {
        ApiKey::Produce => PRODUCE,
        ApiKey::Fetch => FETCH,
        ApiKey::ListOffsets => LIST_OFFSETS,
        ApiKey::Metadata => METADATA,
        ApiKey::OffsetCommit => OFFSET_COMMIT,
        ApiKey::OffsetFetch => OFFSET_FETCH,
        ApiKey::FindCoordinator => FIND_COORDINATOR,
        ApiKey::JoinGroup => JOIN_GROUP,
        ApiKey::Heartbeat => HEARTBEAT,
        ApiKey::LeaveGroup => LEAVE_GROUP,
        ApiKey::SyncGroup => SYNC_GROUP,
        ApiKey::DescribeGroups => DESCRIBE_GROUPS,
        ApiKey::ListGroups => LIST_GROUPS,
        ApiKey::ApiVersions => API_VERSIONS,
        ApiKey::CreateTopics => CREATE_TOPICS,
        ApiKey::DeleteTopics => DELETE_TOPICS,
        ApiKey::DeleteRecords => DELETE_RECORDS,
        ApiKey::InitProducerId => INIT_PRODUCER_ID,
        ApiKey::OffsetForLeaderEpoch => OFFSET_FOR_LEADER_EPOCH,
        ApiKey::DescribeConfigs => DESCRIBE_CONFIGS,
        ApiKey::AlterConfigs => ALTER_CONFIGS,
        ApiKey::DescribeLogDirs => DESCRIBE_LOG_DIRS,
        ApiKey::CreatePartitions => CREATE_PARTITIONS,
        ApiKey::DeleteGroups => DELETE_GROUPS,
        ApiKey::ElectLeaders => ELECT_LEADERS,
        ApiKey::IncrementalAlterConfigs => INCREMENTAL_ALTER_CONFIGS,
        ApiKey::AlterPartitionReassignments => ALTER_PARTITION_REASSIGNMENTS,
        ApiKey::ListPartitionReassignments => LIST_PARTITION_REASSIGNMENTS,
        ApiKey::OffsetDelete => OFFSET_DELETE,
        ApiKey::DescribeQuorum => DESCRIBE_QUORUM,
        ApiKey::DescribeCluster => DESCRIBE_CLUSTER,
        ApiKey::UnregisterBroker => UNREGISTER_BROKER,
        ApiKey::ConsumerGroupHeartbeat => CONSUMER_GROUP_HEARTBEAT,
        ApiKey::ConsumerGroupDescribe => CONSUMER_GROUP_DESCRIBE,
        ApiKey::ListConfigResources => LIST_CONFIG_RESOURCES,
        ApiKey::DescribeTopicPartitions => DESCRIBE_TOPIC_PARTITIONS,
    }
}

const PRODUCE: &[Field] = &[
    string("TransactionalId").nullable(),
    int16("Acks"),
    int32("TimeoutMs"),
    array(
        "TopicData",
        &[
            string("Name").to(12),
            uuid("TopicId").from(13),
            array("PartitionData", &[int32("Index"), bytes("Records").nullable()]),
        ],
    ),
];

const FETCH: &[Field] = &[
    string("ClusterId").from(12).nullable().tag(0),
    int32("ReplicaId").to(14),
    Field::new("ReplicaState", Kind::Struct(&[int32("ReplicaId"), int64("ReplicaEpoch")])).from(15).tag(1),
    int32("MaxWaitMs"),
    int32("MinBytes"),
    int32("MaxBytes"),
    int8("IsolationLevel"),
    int32("SessionId").from(7),
    int32("SessionEpoch").from(7),
    array(
        "Topics",
        &[
            string("Topic").to(12),
            uuid("TopicId").from(13),
            array(
                "Partitions",
                &[
                    int32("Partition"),
                    int32("CurrentLeaderEpoch").from(9),
                    int64("FetchOffset"),
                    int32("LastFetchedEpoch").from(12),
                    int64("LogStartOffset").from(5),
                    int32("PartitionMaxBytes"),
                    uuid("ReplicaDirectoryId").from(17).tag(0),
                    int64("HighWatermark").from(18).tag(1),
                ],
            ),
        ],
    ),
    array("ForgottenTopicsData", &[string("Topic").to(12), uuid("TopicId").from(13), int32s("Partitions")]).from(7),
    string("RackId").from(11),
];

const LIST_OFFSETS: &[Field] = &[
    int32("ReplicaId"),
    int8("IsolationLevel").from(2),
    array(
        "Topics",
        &[
            string("Name"),
            array("Partitions", &[int32("PartitionIndex"), int32("CurrentLeaderEpoch").from(4), int64("Timestamp")]),
        ],
    ),
    int32("TimeoutMs").from(10),
];

const METADATA: &[Field] = &[
    array("Topics", &[uuid("TopicId").from(10), string("Name").nullable_from(10)]).nullable_from(1),
    boolean("AllowAutoTopicCreation").from(4),
    boolean("IncludeClusterAuthorizedOperations").from(8).to(10),
    boolean("IncludeTopicAuthorizedOperations").from(8),
];

const OFFSET_COMMIT: &[Field] = &[
    string("GroupId"),
    int32("GenerationIdOrMemberEpoch"),
    string("MemberId"),
    string("GroupInstanceId").from(7).nullable(),
    int64("RetentionTimeMs").to(4),
    array(
        "Topics",
        &[
            string("Name").to(9),
            uuid("TopicId").from(10),
            array(
                "Partitions",
                &[
                    int32("PartitionIndex"),
                    int64("CommittedOffset"),
                    int32("CommittedLeaderEpoch").from(6),
                    string("CommittedMetadata").nullable(),
                ],
            ),
        ],
    ),
];

const OFFSET_FETCH: &[Field] = &[
    string("GroupId").to(7),
    array("Topics", &[string("Name"), int32s("PartitionIndexes")]).to(7).nullable_from(2),
    array(
        "Groups",
        &[
            string("GroupId"),
            string("MemberId").from(9).nullable(),
            int32("MemberEpoch").from(9),
            array("Topics", &[string("Name").to(9), uuid("TopicId").from(10), int32s("PartitionIndexes")]).nullable(),
        ],
    )
    .from(8),
    boolean("RequireStable").from(7),
];

const FIND_COORDINATOR: &[Field] = &[string("Key").to(3), int8("KeyType").from(1), strings("CoordinatorKeys").from(4)];

const JOIN_GROUP: &[Field] = &[
    string("GroupId"),
    int32("SessionTimeoutMs"),
    int32("RebalanceTimeoutMs").from(1),
    string("MemberId"),
    string("GroupInstanceId").from(5).nullable(),
    string("ProtocolType"),
    array("Protocols", &[string("Name"), bytes("Metadata")]),
    string("Reason").from(8).nullable(),
];

const HEARTBEAT: &[Field] =
    &[string("GroupId"), int32("GenerationId"), string("MemberId"), string("GroupInstanceId").from(3).nullable()];

const LEAVE_GROUP: &[Field] = &[
    string("GroupId"),
    string("MemberId").to(2),
    array("Members", &[string("MemberId"), string("GroupInstanceId").nullable(), string("Reason").from(5).nullable()])
        .from(3),
];

const SYNC_GROUP: &[Field] = &[
    string("GroupId"),
    int32("GenerationId"),
    string("MemberId"),
    string("GroupInstanceId").from(3).nullable(),
    string("ProtocolType").from(5).nullable(),
    string("ProtocolName").from(5).nullable(),
    array("Assignments", &[string("MemberId"), bytes("Assignment")]),
];

const DESCRIBE_GROUPS: &[Field] = &[strings("Groups"), boolean("IncludeAuthorizedOperations").from(3)];

const LIST_GROUPS: &[Field] = &[strings("StatesFilter").from(4), strings("TypesFilter").from(5)];

const API_VERSIONS: &[Field] = &[string("ClientSoftwareName").from(3), string("ClientSoftwareVersion").from(3)];

const CREATE_TOPICS: &[Field] = &[
    array(
        "Topics",
        &[
            string("Name"),
            int32("NumPartitions"),
            int16("ReplicationFactor"),
            array("Assignments", &[int32("PartitionIndex"), int32s("BrokerIds")]),
            array("Configs", &[string("Name"), string("Value").nullable()]),
        ],
    ),
    int32("TimeoutMs"),
    boolean("ValidateOnly"),
];

const DELETE_TOPICS: &[Field] = &[
    array("Topics", &[string("Name").nullable(), uuid("TopicId")]).from(6),
    strings("TopicNames").to(5),
    int32("TimeoutMs"),
];

const DELETE_RECORDS: &[Field] = &[
    array("Topics", &[string("Name"), array("Partitions", &[int32("PartitionIndex"), int64("Offset")])]),
    int32("TimeoutMs"),
];

const INIT_PRODUCER_ID: &[Field] = &[
    string("TransactionalId").nullable(),
    int32("TransactionTimeoutMs"),
    int64("ProducerId").from(3),
    int16("ProducerEpoch").from(3),
];

const OFFSET_FOR_LEADER_EPOCH: &[Field] = &[
    int32("ReplicaId").from(3),
    array(
        "Topics",
        &[
            string("Topic"),
            array("Partitions", &[int32("Partition"), int32("CurrentLeaderEpoch"), int32("LeaderEpoch")]),
        ],
    ),
];

const DESCRIBE_CONFIGS: &[Field] = &[
    array("Resources", &[int8("ResourceType"), string("ResourceName"), strings("ConfigurationKeys").nullable()]),
    boolean("IncludeSynonyms"),
    boolean("IncludeDocumentation").from(3),
];

const ALTER_CONFIGS: &[Field] = &[
    array(
        "Resources",
        &[
            int8("ResourceType"),
            string("ResourceName"),
            array("Configs", &[string("Name"), string("Value").nullable()]),
        ],
    ),
    boolean("ValidateOnly"),
];

const DESCRIBE_LOG_DIRS: &[Field] = &[array("Topics", &[string("Topic"), int32s("Partitions")]).nullable()];

const CREATE_PARTITIONS: &[Field] = &[
    array("Topics", &[string("Name"), int32("Count"), array("Assignments", &[int32s("BrokerIds")]).nullable()]),
    int32("TimeoutMs"),
    boolean("ValidateOnly"),
];

const DELETE_GROUPS: &[Field] = &[strings("GroupsNames")];

const ELECT_LEADERS: &[Field] = &[
    int8("ElectionType").from(1),
    array("TopicPartitions", &[string("Topic"), int32s("Partitions")]).nullable(),
    int32("TimeoutMs"),
];

const INCREMENTAL_ALTER_CONFIGS: &[Field] = &[
    array(
        "Resources",
        &[
            int8("ResourceType"),
            string("ResourceName"),
            array("Configs", &[string("Name"), int8("ConfigOperation"), string("Value").nullable()]),
        ],
    ),
    boolean("ValidateOnly"),
];

const ALTER_PARTITION_REASSIGNMENTS: &[Field] = &[
    int32("TimeoutMs"),
    boolean("AllowReplicationFactorChange").from(1),
    array("Topics", &[string("Name"), array("Partitions", &[int32("PartitionIndex"), int32s("Replicas").nullable()])]),
];

const LIST_PARTITION_REASSIGNMENTS: &[Field] =
    &[int32("TimeoutMs"), array("Topics", &[string("Name"), int32s("PartitionIndexes")]).nullable()];

const OFFSET_DELETE: &[Field] =
    &[string("GroupId"), array("Topics", &[string("Name"), array("Partitions", &[int32("PartitionIndex")])])];

const DESCRIBE_QUORUM: &[Field] =
    &[array("Topics", &[string("TopicName"), array("Partitions", &[int32("PartitionIndex")])])];

const DESCRIBE_CLUSTER: &[Field] = &[
    boolean("IncludeClusterAuthorizedOperations"),
    int8("EndpointType").from(1),
    boolean("IncludeFencedBrokers").from(2),
];

const UNREGISTER_BROKER: &[Field] = &[int32("BrokerId")];

const CONSUMER_GROUP_HEARTBEAT: &[Field] = &[
    string("GroupId"),
    string("MemberId"),
    int32("MemberEpoch"),
    string("InstanceId").nullable(),
    string("RackId").nullable(),
    int32("RebalanceTimeoutMs"),
    strings("SubscribedTopicNames").nullable(),
    string("SubscribedTopicRegex").from(1).nullable(),
    string("ServerAssignor").nullable(),
    array("TopicPartitions", &[uuid("TopicId"), int32s("Partitions")]).nullable(),
];

const CONSUMER_GROUP_DESCRIBE: &[Field] = &[strings("GroupIds"), boolean("IncludeAuthorizedOperations")];

const LIST_CONFIG_RESOURCES: &[Field] = &[int8s("ResourceTypes").from(1)];

const DESCRIBE_TOPIC_PARTITIONS: &[Field] = &[
    array("Topics", &[string("Name")]),
    int32("ResponsePartitionLimit"),
    Field::new("Cursor", Kind::NullableStruct(&[string("TopicName"), int32("PartitionIndex")])).nullable(),
];
