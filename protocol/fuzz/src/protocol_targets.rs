//! Targets that need the protocol crate alone; its tests include this file.

use std::ops::ControlFlow;

use bytes::{Bytes, BytesMut};
use protocol::ApiKey;
use protocol::frame::{FrameAssembler, FrameDecoder};
use protocol::header::parse_request_header;
use protocol::produce_records::check_produce_records;
use protocol::record_batch::BatchHeader;
use protocol::records::{RecordReader, RecordsError, scan, summarize};
use protocol::request::decode_request;
use protocol::request_guard;

/// Small enough that a bomb is a quick one.
const DECOMPRESSED_BYTES_MAX: u64 = 1 << 20;

/// A stream of frames that arrives in pieces: nothing is lost, and pieces do not matter.
pub fn frame(data: &[u8]) {
    let Some((&step, stream)) = data.split_first() else { return };
    let decoder = FrameDecoder::new(1 << 16);
    let take_all = |buffer: &mut BytesMut, frames: &mut Vec<Bytes>| {
        loop {
            match decoder.next_frame(buffer) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    };
    let mut at_once = (BytesMut::from(stream), Vec::new());
    let sound = take_all(&mut at_once.0, &mut at_once.1);
    let framed: usize = at_once.1.iter().map(|frame| frame.len() + 4).sum();
    assert_eq!(framed + at_once.0.len(), stream.len());

    let mut in_pieces = (BytesMut::new(), Vec::new());
    let mut still_sound = true;
    // As a connection does it: every other piece is read into the memory of the frame that it belongs to.
    let mut assembled = (FrameAssembler::new(decoder), Vec::new());
    let mut assembled_sound = true;
    for (at, piece) in stream.chunks(usize::from(step).max(1)).enumerate() {
        in_pieces.0.extend_from_slice(piece);
        still_sound = still_sound && take_all(&mut in_pieces.0, &mut in_pieces.1);
        let (assembler, frames) = (&mut assembled.0, &mut assembled.1);
        match assembler.partial_mut().filter(|_| at % 2 == 1) {
            Some(partial) => {
                partial.extend_from_slice(piece);
                // The announced frame, or twice what has come.
                assert!(partial.capacity() <= (1 << 17) + 2 * stream.len());
                assembler.extended();
            }
            None => assembler.take_in(piece),
        }
        assembled_sound = assembled_sound
            && loop {
                match assembler.next_frame() {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => break true,
                    Err(_) => break false,
                }
            };
    }
    assert_eq!((sound, &at_once.1), (still_sound, &in_pieces.1));
    assert_eq!((sound, &at_once.1), (assembled_sound, &assembled.1));
}

/// A request header; what it consumed and what it left are the frame.
pub fn header(data: &[u8]) {
    let mut frame = Bytes::copy_from_slice(data);
    if let Ok(header) = parse_request_header(&mut frame) {
        assert!(header.api.served().contains(header.version));
        assert!(frame.len() + 10 + header.client_id.map_or(0, |id| id.len()) <= data.len());
    }
}

/// A whole frame.
pub fn request(data: &[u8]) {
    if let Ok(request) = decode_request(Bytes::copy_from_slice(data)) {
        assert_eq!(request.body.api(), request.header.api);
    }
}

/// A request body: the first two bytes choose API and version, so that no luck is needed to get past the header.
pub fn request_body(data: &[u8]) {
    let [api, version, body @ ..] = data else { return };
    let api = ApiKey::ALL[usize::from(*api) % ApiKey::ALL.len()];
    let versions = api.served();
    let version = versions.min + i16::from(*version) % (versions.max - versions.min + 1);
    let passed = request_guard::check(api, version, body);
    if let Ok(size) = passed {
        assert!(size <= body.len());
        assert_eq!(request_guard::check(api, version, &body[..size]), Ok(size), "what follows does not matter");
    }

    let mut frame = Vec::with_capacity(body.len() + 11);
    frame.extend_from_slice(&api.key().to_be_bytes());
    frame.extend_from_slice(&version.to_be_bytes());
    frame.extend_from_slice(&[0, 0, 0, 1, 0xff, 0xff]);
    if api.is_flexible(version) {
        frame.push(0);
    }
    frame.extend_from_slice(body);
    let decoded = decode_request(frame.into());
    assert!(passed.is_ok() || decoded.is_err(), "the guard is asked first");
}

/// A batch header, and the checks of a produce.
pub fn record_batch(data: &[u8]) {
    if let Ok(header) = BatchHeader::parse(data) {
        assert!(header.size_bytes <= data.len());
        let _ = (header.verify(data), header.last_offset(), header.next_offset(), header.last_sequence());
    }
    for version in [3, 13] {
        if let Ok(batch) = check_produce_records(version, &Bytes::copy_from_slice(data), 1 << 20) {
            assert_eq!(batch.header.verify(&batch.bytes), Ok(()));
            assert_eq!(batch.header.size_bytes, batch.bytes.len());
        }
    }
}

/// The records of a batch, behind a header that is made to fit: the first two bytes choose codec and count.
pub fn records(data: &[u8]) {
    let [codec, count, records @ ..] = data else { return };
    let mut batch = vec![0; 61];
    batch.extend_from_slice(records);
    let length = (batch.len() - 12) as i32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[16] = 2;
    batch[22] = codec & 0x0f;
    batch[57..61].copy_from_slice(&i32::from(*count).to_be_bytes());

    let mut visited = 0;
    let walked = scan(&batch, DECOMPRESSED_BYTES_MAX, |_| {
        visited += 1;
        ControlFlow::<()>::Continue(())
    });
    assert!(visited <= i32::from(*count));
    let read = read_all(&batch);
    if let Ok(read) = read {
        assert!(walked.is_ok(), "what can be read can be walked over: {walked:?}");
        assert_eq!((visited, read), (i32::from(*count), i32::from(*count)));
        let summary = summarize(&batch, DECOMPRESSED_BYTES_MAX).expect("it was walked over");
        assert_eq!(summary.map_or(0, |summary| summary.records), read);
    }
}

fn read_all(batch: &[u8]) -> Result<i32, RecordsError> {
    let mut reader = RecordReader::open(batch, DECOMPRESSED_BYTES_MAX)?;
    let mut read = 0;
    while let Some(record) = reader.next_record()? {
        let content = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
        assert!(content as u64 <= DECOMPRESSED_BYTES_MAX);
        read += 1;
    }
    Ok(read)
}
