//! What a client is told when a part of its request is refused: Kafka's error code, and why.

use std::fmt;

use kafka_protocol::ResponseError;
use metadata::controller::{
    AlterConfigsError, AlterPartitionError, CreatePartitionsError, CreateTopicsError, DeleteTopicsError,
    ElectLeadersError, ReassignmentError, RemoveError, StaleBroker, UnknownElectionType,
};
use serde::{Deserialize, Serialize};

/// See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Of Kafka's protocol.
    pub code: i16,
    pub message: String,
}

impl Refusal {
    pub fn new(error: ResponseError, why: &impl fmt::Display) -> Refusal {
        Refusal { code: error.code(), message: why.to_string() }
    }

    pub fn is(&self, error: ResponseError) -> bool {
        self.code == error.code()
    }

    /// The error of that code.
    pub fn error(&self) -> ResponseError {
        ResponseError::try_from_code(self.code).unwrap_or(ResponseError::UnknownServerError)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

impl From<CreateTopicsError> for Refusal {
    fn from(error: CreateTopicsError) -> Refusal {
        let code = match &error {
            CreateTopicsError::InvalidName(_) | CreateTopicsError::NameCollision { .. } => {
                ResponseError::InvalidTopicException
            }
            CreateTopicsError::TopicExists { .. } => ResponseError::TopicAlreadyExists,
            CreateTopicsError::ReservedName
            | CreateTopicsError::DuplicateName
            | CreateTopicsError::AssignmentAndReplicationFactor
            | CreateTopicsError::AssignmentAndPartitions => ResponseError::InvalidRequest,
            CreateTopicsError::InvalidPartitions => ResponseError::InvalidPartitions,
            CreateTopicsError::InvalidReplicationFactor | CreateTopicsError::TooFewBrokers(_) => {
                ResponseError::InvalidReplicationFactor
            }
            CreateTopicsError::InvalidAssignment(_) => ResponseError::InvalidReplicaAssignment,
            CreateTopicsError::InvalidConfig(_) | CreateTopicsError::NullConfig { .. } => ResponseError::InvalidConfig,
            CreateTopicsError::TooManyPartitions | CreateTopicsError::TooManyRecords => ResponseError::PolicyViolation,
        };
        Refusal::new(code, &error)
    }
}

impl From<CreatePartitionsError> for Refusal {
    fn from(error: CreatePartitionsError) -> Refusal {
        let code = match &error {
            CreatePartitionsError::UnknownTopic { .. } => ResponseError::UnknownTopicOrPartition,
            CreatePartitionsError::DuplicateName => ResponseError::InvalidRequest,
            CreatePartitionsError::NothingToAdd { .. } | CreatePartitionsError::NotAnIncrease { .. } => {
                ResponseError::InvalidPartitions
            }
            CreatePartitionsError::TooFewBrokers(_) => ResponseError::InvalidReplicationFactor,
            CreatePartitionsError::InvalidAssignment(_) => ResponseError::InvalidReplicaAssignment,
            CreatePartitionsError::TooManyPartitions => ResponseError::PolicyViolation,
        };
        Refusal::new(code, &error)
    }
}

impl From<DeleteTopicsError> for Refusal {
    fn from(error: DeleteTopicsError) -> Refusal {
        let code = match &error {
            DeleteTopicsError::UnknownName { .. } => ResponseError::UnknownTopicOrPartition,
            DeleteTopicsError::UnknownId { .. } => ResponseError::UnknownTopicId,
            DeleteTopicsError::NameAndId
            | DeleteTopicsError::NeitherNameNorId
            | DeleteTopicsError::DuplicateName
            | DeleteTopicsError::DuplicateId => ResponseError::InvalidRequest,
            DeleteTopicsError::Disabled => ResponseError::TopicDeletionDisabled,
        };
        Refusal::new(code, &error)
    }
}

impl From<AlterConfigsError> for Refusal {
    fn from(error: AlterConfigsError) -> Refusal {
        let code = match &error {
            AlterConfigsError::UnknownTopic { .. } => ResponseError::UnknownTopicOrPartition,
            AlterConfigsError::TopicWithoutName
            | AlterConfigsError::UnknownBroker { .. }
            | AlterConfigsError::DuplicateResource
            | AlterConfigsError::DuplicateConfig
            | AlterConfigsError::NullValue { .. }
            | AlterConfigsError::UnknownOperation { .. }
            | AlterConfigsError::GroupWithoutName
            | AlterConfigsError::ReadOnly { .. }
            | AlterConfigsError::InvalidBrokerConfig(_) => ResponseError::InvalidRequest,
            AlterConfigsError::TooManyConfigs { .. } => ResponseError::PolicyViolation,
            AlterConfigsError::NotAList { .. }
            | AlterConfigsError::InvalidTopicConfig(_)
            | AlterConfigsError::InvalidGroupConfig(_)
            | AlterConfigsError::ClusterMinInsyncReplicasRemoved
            | AlterConfigsError::BrokerMinInsyncReplicas => ResponseError::InvalidConfig,
        };
        Refusal::new(code, &error)
    }
}

impl From<ReassignmentError> for Refusal {
    fn from(error: ReassignmentError) -> Refusal {
        let code = match &error {
            ReassignmentError::UnknownTopic { .. } | ReassignmentError::UnknownPartition { .. } => {
                ResponseError::UnknownTopicOrPartition
            }
            ReassignmentError::InvalidAssignment(_) | ReassignmentError::OnlyDroppedInSync { .. } => {
                ResponseError::InvalidReplicaAssignment
            }
            ReassignmentError::OtherReplicationFactor { .. } => ResponseError::InvalidReplicationFactor,
            ReassignmentError::NoneInProgress => ResponseError::NoReassignmentInProgress,
            ReassignmentError::TooManyRecords => ResponseError::PolicyViolation,
        };
        Refusal::new(code, &error)
    }
}

impl From<UnknownElectionType> for Refusal {
    fn from(error: UnknownElectionType) -> Refusal {
        Refusal::new(ResponseError::InvalidRequest, &error)
    }
}

impl From<ElectLeadersError> for Refusal {
    fn from(error: ElectLeadersError) -> Refusal {
        let code = match &error {
            ElectLeadersError::UnknownTopic { .. } | ElectLeadersError::UnknownPartition { .. } => {
                ResponseError::UnknownTopicOrPartition
            }
            ElectLeadersError::NotNeeded => ResponseError::ElectionNotNeeded,
            ElectLeadersError::PreferredNotAvailable => ResponseError::PreferredLeaderNotAvailable,
            ElectLeadersError::NoneEligible => ResponseError::EligibleLeadersNotAvailable,
            ElectLeadersError::TooManyRecords => ResponseError::PolicyViolation,
        };
        Refusal::new(code, &error)
    }
}

impl From<RemoveError> for Refusal {
    fn from(error: RemoveError) -> Refusal {
        let code = match &error {
            RemoveError::Unknown { .. } => ResponseError::BrokerIdNotRegistered,
            RemoveError::Alive { .. } | RemoveError::LastInSync { .. } => ResponseError::InvalidRequest,
        };
        Refusal::new(code, &error)
    }
}

impl From<AlterPartitionError> for Refusal {
    fn from(error: AlterPartitionError) -> Refusal {
        let code = match &error {
            AlterPartitionError::UnknownTopicId { .. } => ResponseError::UnknownTopicId,
            AlterPartitionError::UnknownPartition { .. } => ResponseError::UnknownTopicOrPartition,
            AlterPartitionError::NewerThanController { .. } => ResponseError::NotController,
            AlterPartitionError::FencedLeaderEpoch { .. } => ResponseError::FencedLeaderEpoch,
            AlterPartitionError::NotLeader { .. } => ResponseError::NotLeaderOrFollower,
            AlterPartitionError::OldPartitionEpoch { .. } => ResponseError::InvalidUpdateVersion,
            AlterPartitionError::WithoutLeader { .. }
            | AlterPartitionError::NoReplica { .. }
            | AlterPartitionError::Repeated { .. } => ResponseError::InvalidRequest,
            AlterPartitionError::Ineligible { .. } => ResponseError::IneligibleReplica,
            AlterPartitionError::TooManyRecords => ResponseError::PolicyViolation,
        };
        Refusal::new(code, &error)
    }
}

impl From<StaleBroker> for Refusal {
    fn from(error: StaleBroker) -> Refusal {
        Refusal::new(ResponseError::StaleBrokerEpoch, &error)
    }
}
