//! How the wire's newtypes are stored: as the plain number or UUID they wrap.

use crate::cluster_id::ClusterId;
use ::uuid::Uuid;
use protocol::newtypes::{BrokerId, LeaderEpoch, PartitionId, ProducerId, TopicId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! stored_as_number {
    ($($module:ident: $newtype:ident($number:ty)),* $(,)?) => {$(
        pub(crate) mod $module {
            use super::*;
            pub fn serialize<S: Serializer>(value: &$newtype, to: S) -> Result<S::Ok, S::Error> { value.0.serialize(to) }
            pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<$newtype, D::Error> {
                <$number>::deserialize(from).map($newtype)
            }
        }
    )*};
}
stored_as_number!(
    broker_id: BrokerId(i32),
    leader_epoch: LeaderEpoch(i32),
    partition_id: PartitionId(i32),
    producer_id: ProducerId(i64),
);

pub(crate) mod broker_ids {
    use super::*;

    pub fn serialize<S: Serializer>(ids: &[BrokerId], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(ids.iter().map(|id| id.0))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<BrokerId>, D::Error> {
        Ok(Vec::<i32>::deserialize(from)?.into_iter().map(BrokerId).collect())
    }
}

pub(crate) mod optional_broker_id {
    use super::*;

    pub fn serialize<S: Serializer>(id: &Option<BrokerId>, to: S) -> Result<S::Ok, S::Error> {
        id.map(|id| id.0).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<BrokerId>, D::Error> {
        Ok(Option::<i32>::deserialize(from)?.map(BrokerId))
    }
}

pub(crate) mod uuid {
    use super::*;

    pub fn serialize<S: Serializer>(id: &Uuid, to: S) -> Result<S::Ok, S::Error> {
        id.as_bytes().serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Uuid, D::Error> {
        <[u8; 16]>::deserialize(from).map(Uuid::from_bytes)
    }
}

pub(crate) mod topic_id {
    use super::*;

    pub fn serialize<S: Serializer>(id: &TopicId, to: S) -> Result<S::Ok, S::Error> {
        super::uuid::serialize(&id.0, to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<TopicId, D::Error> {
        super::uuid::deserialize(from).map(TopicId)
    }
}

pub(crate) mod cluster_id {
    use super::*;

    pub fn serialize<S: Serializer>(id: &ClusterId, to: S) -> Result<S::Ok, S::Error> {
        super::uuid::serialize(&id.0, to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<ClusterId, D::Error> {
        super::uuid::deserialize(from).map(ClusterId)
    }
}
