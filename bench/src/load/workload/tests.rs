use std::collections::BTreeSet;

use super::*;

const SMALLEST: &str = "name = 'w'\npartitions = 3\nrecord_size = 100\nduration_seconds = 1\n";

fn parse(more: &str) -> Result<Workload, WorkloadError> {
    Workload::parse("w", &format!("{SMALLEST}{more}"), &[])
}

#[test]
fn what_comes_with_the_program_is_valid_named_as_its_file_and_complete() {
    for name in ready_made::names() {
        let workload = Workload::load(name, &[]).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(workload.name, name);
        assert!(!workload.description.is_empty(), "{name}");
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads");
    let files: BTreeSet<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(files, ready_made::names().map(str::to_owned).collect());
}

#[test]
fn defaults_are_those_of_a_plain_producer_and_consumer() {
    let workload = parse("").unwrap();
    assert_eq!((workload.topics, workload.producers, workload.in_flight, workload.batch_records()), (1, 1, 5, 1));
    assert_eq!((workload.acks, workload.compression), (Acks::All, Compression::None));
    assert_eq!((workload.fetch_min_bytes, workload.fetch_max_wait_ms), (1, 500));
    assert_eq!((workload.key_bytes(), workload.rate, workload.has_consumers()), (None, None, false));
}

#[test]
fn batches_are_counted_in_bytes_or_records() {
    assert_eq!(parse("records_per_batch = 7").unwrap().batch_records(), 7);
    let records = parse("batch_bytes = 16384").unwrap().batch_records();
    assert!((140..=160).contains(&records), "{records}");
    assert_eq!(parse("batch_bytes = 50").unwrap().batch_records(), 1, "a batch has one record at least");
}

#[test]
fn settings_replace_and_remove_fields_and_take_bare_names() {
    let settings = ["partitions=16", "acks=0", "compression=zstd", "duration_seconds=", "records = 5", "rate=2000"];
    let settings = settings.map(str::to_owned);
    let workload = Workload::parse("w", SMALLEST, &settings).unwrap();
    assert_eq!((workload.partitions, workload.acks, workload.compression), (16, Acks::None, Compression::Zstd));
    assert_eq!((workload.duration_seconds, workload.records, workload.rate), (None, Some(5), Some(2000.0)));
    for wrong in ["partitions", "partitions=many", "no_such_field=1", "acks=2"] {
        assert!(Workload::parse("w", SMALLEST, &[wrong.to_owned()]).is_err(), "{wrong}");
    }
}

#[test]
fn what_cannot_be_is_refused_and_named() {
    for (more, named) in [
        ("topics = 0", "topics"),
        ("partitions_per_request = 4", "partitions_per_request"),
        ("in_flight = 0", "in_flight"),
        ("rate = 0", "rate"),
        ("rate = nan", "rate"),
        ("key_size = 0", "key_size"),
        ("consumers_per_group = 4", "consumers_per_group"),
        ("warmup_seconds = -1", "warmup_seconds"),
        ("records_per_batch = 1\nbatch_bytes = 100", "exclude"),
        ("producers = 0", "nothing to do"),
        ("drain = true", "drain needs consumer groups"),
        ("drain = true\nconsumer_groups = 1", "groups_from_start"),
        ("drain = true\ngroups_from_start = 1", "over when all is read"),
        ("reread = true", "reread needs drain"),
        ("speed = 'high'", "speed"),
        ("acks = 'most'", "acks"),
        ("records_per_batch = 1000000\nkey_distribution = 'zipf'", "bytes of a batch"),
    ] {
        let error = parse(more).expect_err(more).to_string();
        assert!(error.contains(named), "{more}: {error}");
    }
    let short = SMALLEST.replace("100", "23");
    assert!(Workload::parse("w", &short, &[]).unwrap_err().to_string().contains("record_size"));
    let endless = SMALLEST.replace("duration_seconds = 1", "");
    assert!(Workload::parse("w", &endless, &[]).unwrap_err().to_string().contains("when it ends"));
}

#[test]
fn an_unknown_name_lists_the_known_ones() {
    let error = Workload::load("no-such-workload", &[]).unwrap_err().to_string();
    assert!(error.contains("no-such-workload") && error.contains("single-records-1000-partitions"), "{error}");
}

#[test]
fn the_table_of_fields_has_them_all() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads/README.md")).unwrap();
    let all = "rate = 1\nrecords = 1\nbatch_bytes = 1\nbacklog_bytes = 1";
    let mut fields = toml::Table::try_from(parse(all).unwrap()).unwrap();
    for field in ["records_per_batch", "backlog_records"] {
        fields.insert(field.to_owned(), true.into());
    }
    assert!(fields.len() > 25, "{fields}");
    for field in fields.keys() {
        assert!(readme.contains(&format!("`{field}`")), "{field} is missing");
    }
}
