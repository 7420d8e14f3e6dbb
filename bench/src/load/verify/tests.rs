use protocol::newtypes::{LeaderEpoch, Offset};
use protocol::record_batch::stamp;

use super::*;
use crate::load::workload::Workload;

const RUN: u32 = 7;

fn template(more: &str) -> BatchTemplate {
    let text =
        format!("name = 'w'\npartitions = 1\nduration_seconds = 1\nrecord_size = 100\nrecords_per_batch = 3\n{more}");
    BatchTemplate::new(&Workload::parse("w", &text, &[]).unwrap())
}

fn batch(template: &BatchTemplate, offset: i64, producer: u32, sequence: u64) -> Vec<u8> {
    let mut batch = Vec::new();
    template.write_head(&mut batch, &Marker { run: RUN, producer, sequence, sent_ns: 5 }, 1_700_000_000_000);
    batch.extend_from_slice(template.tail());
    stamp(&mut batch, Offset(offset), LeaderEpoch(0));
    batch
}

/// Reads batches given as offset, producer and sequence, from offset 10 with two producers at sequences 4 and 0.
fn read(batches: &[(i64, u32, u64)]) -> Result<i64, Fault> {
    let template = template("");
    let mut check = PartitionCheck::new(10, RUN, [4, 0].into());
    for (offset, producer, sequence) in batches {
        read_one(&mut check, &template, &batch(&template, *offset, *producer, *sequence))?;
    }
    Ok(check.next_offset())
}

fn read_one(check: &mut PartitionCheck, template: &BatchTemplate, batch: &[u8]) -> Result<Marker, Fault> {
    let header = BatchHeader::parse(batch)?;
    check.batch(&header, batch, &Expected { template, record_size: 100, full: true })
}

#[test]
fn each_producers_batches_in_order_are_accepted_however_they_mix() {
    let read = read(&[(10, 0, 4), (13, 1, 0), (16, 1, 1), (19, 0, 5), (22, 1, 2)]).unwrap();
    assert_eq!(read, 25);
}

#[test]
fn a_lost_batch_is_found() {
    // Its offsets may be gone with it, or not.
    let fault = read(&[(10, 0, 4), (13, 0, 6)]).unwrap_err();
    assert!(matches!(fault, Fault::Lost { producer: 0, expected: 5, found: 6 }), "{fault}");
    let fault = read(&[(10, 0, 4), (16, 0, 6)]).unwrap_err();
    assert!(matches!(fault, Fault::Offset { expected: 13, found: 16 }), "{fault}");
}

#[test]
fn a_repeated_and_a_reordered_batch_are_found() {
    let fault = read(&[(10, 0, 4), (13, 0, 4)]).unwrap_err();
    assert!(matches!(fault, Fault::Again { producer: 0, expected: 5, found: 4 }), "{fault}");
    let fault = read(&[(10, 1, 1), (13, 1, 0)]).unwrap_err();
    assert!(matches!(fault, Fault::Lost { producer: 1, expected: 0, found: 1 }), "{fault}");
    let fault = read(&[(10, 0, 4), (10, 0, 4)]).unwrap_err();
    assert!(matches!(fault, Fault::Offset { expected: 13, found: 10 }), "{fault}");
}

#[test]
fn any_flipped_bit_is_found() {
    let template = template("");
    let sound = batch(&template, 10, 0, 4);
    for byte in 0..sound.len() {
        // The leader epoch is the broker's, and nothing is expected of it.
        if (12..16).contains(&byte) {
            continue;
        }
        let mut damaged = sound.clone();
        damaged[byte] ^= 0x10;
        let mut check = PartitionCheck::new(10, RUN, [4].into());
        assert!(read_one(&mut check, &template, &damaged).is_err(), "byte {byte}");
    }
    let mut check = PartitionCheck::new(10, RUN, [4].into());
    assert!(read_one(&mut check, &template, &sound).is_ok());
}

#[test]
fn batches_of_others_are_found() {
    let ours = template("");
    let mut check = PartitionCheck::new(10, RUN + 1, [0].into());
    let fault = read_one(&mut check, &ours, &batch(&ours, 10, 0, 0)).unwrap_err();
    assert!(matches!(fault, Fault::Run { .. }), "{fault}");
    let fault = read(&[(10, 2, 0)]).unwrap_err();
    assert!(matches!(fault, Fault::Producer { expected: 2, found: 2 }), "{fault}");
    let mut check = PartitionCheck::new(10, RUN, [0].into());
    let fault = read_one(&mut check, &ours, &batch(&template("key_distribution = 'random'"), 10, 0, 0)).unwrap_err();
    assert!(matches!(fault, Fault::Size { .. }), "{fault}");
}

#[test]
fn an_earlier_runs_log_is_followed_from_its_first_batch() {
    let template = template("compression = 'zstd'");
    let mut check = PartitionCheck::of_earlier_run(0);
    for (offset, producer, sequence) in [(0, 3, 0), (3, 0, 0), (6, 3, 1)] {
        assert!(read_one(&mut check, &template, &batch(&template, offset, producer, sequence)).is_ok());
    }
    let fault = read_one(&mut check, &template, &batch(&template, 9, 3, 3)).unwrap_err();
    assert!(matches!(fault, Fault::Lost { producer: 3, expected: 2, found: 3 }), "{fault}");
    let fault = read_one(&mut check, &template, &batch(&template, 9, u32::MAX, 0)).unwrap_err();
    assert!(matches!(fault, Fault::Producer { .. }), "{fault}");
}
