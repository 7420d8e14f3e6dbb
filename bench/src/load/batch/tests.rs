use protocol::record_batch::BatchHeader;
use protocol::records::{DECOMPRESSED_BYTES_MAX_DEFAULT, RecordReader};

use super::*;

fn workload(more: &str) -> Workload {
    let text = format!("name = 'w'\npartitions = 1\nduration_seconds = 1\n{more}");
    Workload::parse("w", &text, &[]).unwrap()
}

fn whole(template: &BatchTemplate, marker: &Marker, timestamp_ms: u64) -> Vec<u8> {
    let mut batch = Vec::new();
    template.write_head(&mut batch, marker, timestamp_ms);
    batch.extend_from_slice(template.tail());
    batch
}

#[test]
fn every_batch_is_valid_and_its_first_value_opens_with_the_marker() {
    let mut checked = 0;
    for compression in ["none", "gzip", "snappy", "lz4", "zstd"] {
        for shape in [
            "record_size = 24",
            "record_size = 100",
            "record_size = 1024\nbatch_bytes = 65536",
            "record_size = 24\nrecords_per_batch = 300\nkey_distribution = 'random'",
            "record_size = 1000\nrecords_per_batch = 3\nkey_distribution = 'zipf'\nkey_size = 9000",
            "record_size = 300000\nrecords_per_batch = 4",
        ] {
            let workload = workload(&format!("{shape}\ncompression = '{compression}'"));
            let template = BatchTemplate::new(&workload);
            for sequence in [0, 1, u64::MAX] {
                let marker = Marker { run: 7, producer: u32::MAX, sequence, sent_ns: 1 << 60 };
                let batch = whole(&template, &marker, 1_700_000_000_000);
                assert_eq!(batch.len(), template.size_bytes());
                let header = BatchHeader::parse(&batch).unwrap();
                header.verify(&batch).unwrap();
                assert_eq!((header.size_bytes, header.base_timestamp), (batch.len(), 1_700_000_000_000));
                assert_eq!(header.record_count as usize, workload.batch_records());
                assert_eq!(template.marker(&batch), Some(marker));
                let mut reader = RecordReader::open(&batch, DECOMPRESSED_BYTES_MAX_DEFAULT).unwrap();
                let mut records = 0;
                while let Some(record) = reader.next_record().unwrap() {
                    let value = record.value.unwrap();
                    assert_eq!(value.len(), workload.record_size);
                    assert_eq!(record.key.map(<[u8]>::len), workload.key_bytes());
                    assert_eq!(records == 0, value[..VALUE_BYTES_MIN] == marker.to_bytes());
                    records += 1;
                }
                assert_eq!(records, workload.batch_records());
                checked += 1;
            }
        }
    }
    assert_eq!(checked, 5 * 6 * 3);
}

#[test]
fn only_what_is_to_be_compressed_compresses() {
    let size = |compression: &str| {
        let shape = format!("record_size = 1024\nbatch_bytes = 65536\ncompression = '{compression}'");
        BatchTemplate::new(&workload(&shape)).size_bytes() as f64
    };
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        let ratio = size(codec) / size("none");
        assert!((0.2..0.8).contains(&ratio), "{codec}: {ratio}");
    }
    let incompressible = BatchTemplate::new(&workload("record_size = 60000"));
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut encoder, incompressible.tail()).unwrap();
    assert!(encoder.finish().unwrap().len() >= incompressible.tail().len());
}

#[test]
fn batches_are_as_full_as_they_may_be() {
    let workload = workload("record_size = 1024\nbatch_bytes = 65536");
    let size = BatchTemplate::new(&workload).size_bytes();
    assert!(size <= 65536 && size > 65536 - 1100, "{size}");
}
