//! What a plan would do, for people.

use metadata::placement::Move;
use protocol::BrokerId;
use serde_json::{Value, json};

use crate::cli::size::size;
use crate::cli::table::{Table, list, numbers, words};

/// One line per partition.
pub(super) fn plan_text(moves: &[Move]) -> String {
    let columns = [words("PARTITION"), words("FROM"), words("TO"), numbers("BYTES")];
    let rows = moves.iter().map(|one| {
        vec![
            format!("{}-{}", one.name.0, one.name.1),
            list(&one.from),
            list(&one.to),
            bytes_sent(one).map_or("unknown".to_owned(), |bytes| bytes.to_string()),
        ]
    });
    Table::new(columns, rows).text()
}

pub(super) fn move_json(one: &Move) -> Value {
    let ids = |brokers: &[BrokerId]| brokers.iter().map(|broker| broker.0).collect::<Vec<_>>();
    json!({
        "topic": one.name.0,
        "partition": one.name.1.0,
        "from": ids(&one.from),
        "to": ids(&one.to),
        "bytes": bytes_sent(one),
    })
}

/// `12 partitions, 3 of them only in another order; 1.2 GiB to be sent`.
pub(super) fn totals(moves: &[Move]) -> String {
    let order_only = moves.iter().filter(|one| !one.moves_data()).count();
    let order = if order_only == 0 { String::new() } else { format!(", {order_only} of them only in another order") };
    let unknown = moves.iter().filter(|one| bytes_sent(one).is_none()).count();
    let known = size(moves.iter().filter_map(bytes_sent).sum());
    let sent = if unknown == 0 { known } else { format!("{known} and the unknown sizes of {unknown} partition(s)") };
    format!("{} partition(s){order}; {sent} to be sent", moves.len())
}

/// Bytes that it takes.
pub(super) fn bytes_sent(one: &Move) -> Option<u64> {
    match one.adding().count() {
        0 => Some(0),
        count => Some(one.bytes?.saturating_mul(count as u64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::PartitionId;

    #[test]
    fn a_plan_says_what_goes_where_and_how_much_that_is() {
        let one = |partition, from: &[i32], to: &[i32], bytes| Move {
            name: ("orders".to_owned(), PartitionId(partition)),
            from: from.iter().copied().map(BrokerId).collect(),
            to: to.iter().copied().map(BrokerId).collect(),
            bytes,
        };
        let mut moves = vec![one(0, &[1, 2], &[3, 4], Some(1024)), one(10, &[1, 2], &[2, 1], None)];
        assert_eq!(
            plan_text(&moves),
            "PARTITION  FROM  TO   BYTES\n\
             orders-0   1,2   3,4   2048\n\
             orders-10  1,2   2,1      0\n"
        );
        assert_eq!(totals(&moves), "2 partition(s), 1 of them only in another order; 2 KiB to be sent");
        moves.push(one(11, &[1], &[2], None));
        assert_eq!(
            totals(&moves[1..]),
            "2 partition(s), 1 of them only in another order; 0 bytes and the unknown sizes of 1 partition(s) to be sent"
        );
        assert!(plan_text(&moves).ends_with("orders-11  1     2    unknown\n"));
    }
}
