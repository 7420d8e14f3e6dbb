//! `ringlog topic delete-records` (DeleteRecords, KIP-107): moves where partitions' logs start.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::ResponseError;
use serde_json::json;

use super::args::{Before, DeleteRecordsArgs};
use super::partitions_of;
use crate::cli::confirming;
use crate::cli::kafka::{At, Client, ClientError, PartitionName, code_name};
use crate::cli::progress::waiting;
use crate::cli::told::{Deeds, Failure, Told};

pub(super) async fn run(client: &Client, args: &DeleteRecordsArgs) -> Result<Told, Failure> {
    let topic = &args.topic;
    let named: BTreeSet<PartitionName> = partitions_of(client, topic, &args.partition)
        .await?
        .into_iter()
        .map(|partition| (topic.clone(), partition))
        .collect();
    if !args.yes {
        confirm(topic, named.len(), args.before_offset)?;
        // Whoever was asked took time that is not the brokers'.
        client.begin_step();
    }
    let before = args.before_offset.offset();
    let deleting = client.delete_records(&named, before);
    let outcomes = waiting(&format!("deleting records of {topic}"), deleting).await?;
    let ends = ends_of(client, &outcomes).await;
    let mut deeds = Deeds::new("partitions", args.json);
    for (name, outcome) in outcomes {
        let shown = format!("{}-{}", name.0, name.1);
        let mut what = json!({
            "topic": name.0,
            "partition": name.1,
            "before_offset": before,
            "log_start_offset": null,
        });
        let outcome = match outcome {
            Ok(log_start) => {
                what["log_start_offset"] = log_start.into();
                Ok(format!("{shown} starts at offset {log_start} now"))
            }
            Err(error) => Err(not_deleted(&name, args.before_offset, &error, ends.get(&name).copied())),
        };
        deeds.add(what, outcome);
    }
    Ok(deeds.told())
}

/// The high watermarks of partitions that do not reach as far as was asked for.
async fn ends_of(
    client: &Client,
    outcomes: &BTreeMap<PartitionName, Result<i64, ClientError>>,
) -> BTreeMap<PartitionName, i64> {
    let is_short = |error: &ClientError| error.refusal() == Some(ResponseError::OffsetOutOfRange);
    let short = outcomes.iter().filter(|(_, outcome)| outcome.as_ref().is_err_and(is_short));
    let short: BTreeSet<PartitionName> = short.map(|(name, _)| name.clone()).collect();
    // That it was refused can be said without them.
    let ends = client.offsets(&short, At::Latest).await.unwrap_or_default();
    ends.into_iter().filter_map(|(name, end)| Some((name, end.ok()??))).collect()
}

/// Why, and what to do.
fn not_deleted((topic, partition): &PartitionName, before: Before, error: &ClientError, end: Option<i64>) -> String {
    let Some(code) = error.refusal() else {
        return format!("{topic}-{partition}: not known whether records were deleted: {error}");
    };
    let code_name = code_name(code);
    match (code, before) {
        (ResponseError::OffsetOutOfRange, Before::Offset(offset)) => {
            let end = end.map_or(String::new(), |end| format!(", which is {end}"));
            format!(
                "{topic}-{partition}: offset {offset} is beyond the high watermark{end} ({code_name}); --before-offset latest \
                 deletes all that is committed"
            )
        }
        (ResponseError::PolicyViolation, _) => format!(
            "{topic}-{partition}: the topic's cleanup.policy has no 'delete' in it, so that only compaction takes records away \
             ({code_name}); `ringlog config set --topic {topic} cleanup.policy+=delete` allows it"
        ),
        (ResponseError::InvalidTopicException, _) => {
            format!(
                "{topic}-{partition}: records of topics that brokers keep for themselves are not deleted ({code_name})"
            )
        }
        // Some replica may not have done it yet; the leader has.
        (ResponseError::RequestTimedOut, _) => format!(
            "{topic}-{partition}: not all replicas have deleted the records yet ({code_name}); `ringlog topic describe {topic}` \
             prints who is in sync, and --timeout allows more time"
        ),
        _ => error.to_string(),
    }
}

fn confirm(topic: &str, partitions: usize, before: Before) -> Result<(), Failure> {
    let what = match before {
        Before::Latest => "all records".to_owned(),
        Before::Offset(offset) => format!("the records before offset {offset}"),
    };
    confirming::ask("delete", &format!("Delete {what} of {partitions} partition(s) of {topic}?"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::ApiKey;

    #[test]
    fn a_refusal_says_why_and_what_to_do() {
        let name = ("t".to_owned(), 3);
        let said = |error, before, end| {
            let (address, what) = ("a:1".to_owned(), "partition t-3".to_owned());
            let error = ClientError::RefusedOf { address, api: ApiKey::DeleteRecords, what, error, message: None };
            not_deleted(&name, before, &error, end)
        };
        assert_eq!(
            said(ResponseError::OffsetOutOfRange, Before::Offset(11), Some(10)),
            "t-3: offset 11 is beyond the high watermark, which is 10 (OFFSET_OUT_OF_RANGE); --before-offset latest deletes \
             all that is committed"
        );
        assert!(said(ResponseError::OffsetOutOfRange, Before::Offset(11), None).contains("watermark (OFFSET"));
        assert!(
            said(ResponseError::PolicyViolation, Before::Latest, None).contains("--topic t cleanup.policy+=delete")
        );
        assert!(said(ResponseError::KafkaStorageError, Before::Latest, None).contains("KAFKA_STORAGE_ERROR"));
    }
}
