//! A lean producer that fills a topic: one batch encoded beforehand and sent again and again, many in flight.
//!
//! It is there to make a log of a wanted size quickly, with acks=all, and to know to the record what was acknowledged:
//! base offsets must be dense. Producers are not idempotent and nothing is retried; any error ends the filling. It
//! measures no latencies.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::ProduceRequest;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use protocol::records::BatchBuilder;

use crate::client::{CORRELATION_ID_AT, ClientError, Connection, decode_response, encode_request, topic_name};
use crate::interrupt::Interrupt;

/// The newest version without tagged fields.
const PRODUCE_VERSION: i16 = 8;
const ACKS_ALL: i16 = -1;
/// Connections at most; more would not make it faster on the machines this is for.
const CONNECTIONS_MAX: i32 = 4;
/// Produce requests in flight on one connection.
const IN_FLIGHT_MAX: usize = 16;
/// How long one acknowledgement may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);

/// What to write.
#[derive(Clone, Debug)]
pub struct FillPlan {
    pub topic: String,
    pub partitions: i32,
    /// Bytes of record batches to write at least, over all partitions.
    pub bytes: u64,
    pub record_bytes: usize,
    /// Bytes of a record batch at most.
    pub batch_bytes: usize,
}

/// What was acknowledged.
#[derive(Clone, Debug, PartialEq)]
pub struct Filled {
    /// Records acknowledged in this filling, by partition.
    pub records: Vec<i64>,
    /// Bytes of all their batches.
    pub bytes: u64,
    pub elapsed: Duration,
}

/// Why a filling failed.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{topic} partition {partition}: Produce gave error code {code}")]
    Refused { topic: String, partition: i32, code: i16 },
    #[error("{topic} partition {partition}: Produce was acknowledged at offset {found}, expected {expected}")]
    NotDense { topic: String, partition: i32, expected: i64, found: i64 },
    #[error("{topic} partition {partition}: the answer to Produce does not mention it")]
    NotAnswered { topic: String, partition: i32 },
}

/// Fills `plan.topic`, whose partitions now end at `end_offsets`, and returns when all is acknowledged.
pub fn fill(
    broker: SocketAddr,
    plan: &FillPlan,
    end_offsets: &[i64],
    interrupt: &Interrupt,
) -> Result<Filled, FillError> {
    assert_eq!(end_offsets.len(), plan.partitions as usize, "one end offset per partition");
    let (batch, records_per_batch) = make_batch(plan.record_bytes, plan.batch_bytes);
    let batches = plan.bytes.div_ceil(batch.len() as u64).div_ceil(plan.partitions as u64);
    let connections = plan.partitions.min(CONNECTIONS_MAX);
    let started = Instant::now();
    let worker = |first: i32| -> Result<(), FillError> {
        let partitions = (first..plan.partitions).step_by(connections as usize);
        let partitions =
            partitions.map(|partition| Partition { id: partition, next_offset: end_offsets[partition as usize] });
        let connection = Connection::open(broker, interrupt)?;
        Worker { broker, plan, connection, batch: &batch, records_per_batch }.run(partitions.collect(), batches)
    };
    let worker = &worker;
    thread::scope(|scope| {
        let workers: Vec<_> = (0..connections).map(|first| scope.spawn(move || worker(first))).collect();
        let results = workers.into_iter().map(|worker| worker.join().expect("a producer thread panicked"));
        // All are waited for, whatever the first says.
        results.collect::<Vec<_>>().into_iter().collect::<Result<(), FillError>>()
    })?;
    Ok(Filled {
        records: vec![batches as i64 * records_per_batch; end_offsets.len()],
        bytes: batches * plan.partitions as u64 * batch.len() as u64,
        elapsed: started.elapsed(),
    })
}

struct Partition {
    id: i32,
    /// The offset that the next batch to be acknowledged must get.
    next_offset: i64,
}

/// One connection's share of the work.
struct Worker<'a> {
    broker: SocketAddr,
    plan: &'a FillPlan,
    connection: Connection,
    batch: &'a Bytes,
    records_per_batch: i64,
}

impl Worker<'_> {
    fn run(mut self, mut partitions: Vec<Partition>, batches: u64) -> Result<(), FillError> {
        let encoded: Result<Vec<_>, _> = partitions.iter().map(|partition| self.request(partition.id)).collect();
        let mut requests = encoded?;
        let mut in_flight: VecDeque<(i32, usize)> = VecDeque::with_capacity(IN_FLIGHT_MAX);
        let mut correlation_id = 0_i32;
        for _ in 0..batches {
            for (place, request) in requests.iter_mut().enumerate() {
                if in_flight.len() == IN_FLIGHT_MAX {
                    self.take_answer(&mut in_flight, &mut partitions)?;
                }
                request[CORRELATION_ID_AT].copy_from_slice(&correlation_id.to_be_bytes());
                self.connection.send(request)?;
                in_flight.push_back((correlation_id, place));
                correlation_id = correlation_id.wrapping_add(1);
            }
        }
        while !in_flight.is_empty() {
            self.take_answer(&mut in_flight, &mut partitions)?;
        }
        Ok(())
    }

    /// Waits for the oldest answer: a broker answers a connection's requests in their order.
    fn take_answer(
        &mut self,
        in_flight: &mut VecDeque<(i32, usize)>,
        partitions: &mut [Partition],
    ) -> Result<(), FillError> {
        let Some((correlation_id, place)) = in_flight.pop_front() else { return Ok(()) };
        let frame = self.connection.receive(ANSWER_TIME_MAX)?;
        let answer = decode_response::<ProduceRequest>(self.broker, frame, PRODUCE_VERSION, correlation_id)?;
        let partition = &mut partitions[place];
        let topic = || self.plan.topic.clone();
        let answered = answer.responses.first().and_then(|topic| topic.partition_responses.first());
        let answered = answered.filter(|answered| answered.index == partition.id);
        let answered = answered.ok_or_else(|| FillError::NotAnswered { topic: topic(), partition: partition.id })?;
        if answered.error_code != 0 {
            return Err(FillError::Refused { topic: topic(), partition: partition.id, code: answered.error_code });
        }
        let (expected, found) = (partition.next_offset, answered.base_offset);
        if found != expected {
            return Err(FillError::NotDense { topic: topic(), partition: partition.id, expected, found });
        }
        partition.next_offset += self.records_per_batch;
        Ok(())
    }

    fn request(&self, partition: i32) -> Result<Vec<u8>, ClientError> {
        let data = PartitionProduceData::default().with_index(partition).with_records(Some(self.batch.clone()));
        let topic = TopicProduceData::default().with_name(topic_name(&self.plan.topic)).with_partition_data(vec![data]);
        let timeout_ms = ANSWER_TIME_MAX.as_millis() as i32;
        let request =
            ProduceRequest::default().with_acks(ACKS_ALL).with_timeout_ms(timeout_ms).with_topic_data(vec![topic]);
        encode_request(self.broker, &request, PRODUCE_VERSION, 0)
    }
}

/// A batch of as many records of `record_bytes` bytes as fit `batch_bytes`, at least one, and their number. What is in
/// them does not compress, so that no disk or file system can take it for less than it is.
fn make_batch(record_bytes: usize, batch_bytes: usize) -> (Bytes, i64) {
    // Varints and such take less than this around a record.
    const RECORD_OVERHEAD_BYTES_MAX: usize = 32;
    let mut builder = BatchBuilder::new();
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    while builder.is_empty() || builder.size_bytes() + record_bytes + RECORD_OVERHEAD_BYTES_MAX <= batch_bytes {
        let value: Vec<u8> = (0..record_bytes).map(|_| noise.next_byte()).collect();
        builder.append(0, None, Some(&value), &[]);
    }
    (Bytes::from(builder.build()), builder.len() as i64)
}

/// Bytes without a pattern, the same in every run (xorshift64).
struct Noise(u64);

impl Noise {
    fn next_byte(&mut self) -> u8 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as u8
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use bytes::{Buf, BytesMut};
    use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
    use kafka_protocol::messages::{ProduceResponse, RequestHeader};
    use kafka_protocol::protocol::{Decodable, Encodable};
    use protocol::record_batch::BatchHeader;

    use super::*;

    #[test]
    fn batches_are_valid_and_as_full_as_they_may_be() {
        let (batch, records) = make_batch(1024, 64 * 1024);
        let header = BatchHeader::parse(&batch).unwrap();
        header.verify(&batch).unwrap();
        assert_eq!((i64::from(header.record_count), header.size_bytes), (records, batch.len()));
        assert!(batch.len() <= 64 * 1024 && batch.len() > 62 * 1024, "{}", batch.len());
        assert_eq!(make_batch(5000, 100).1, 1, "a batch has one record at least");
    }

    /// A broker for one connection that answers each Produce with what `answer` makes of partition, batch number in that
    /// partition, and records in it: an error code and a base offset. Ends with the connection.
    fn broker(answer: impl Fn(i32, i64, i64) -> (i16, i64) + Send + 'static) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut seen = [0; 2];
            loop {
                let mut length = [0; 4];
                if stream.read_exact(&mut length).is_err() {
                    return;
                }
                let mut frame = vec![0; u32::from_be_bytes(length) as usize];
                stream.read_exact(&mut frame).unwrap();
                let mut frame = Bytes::from(frame);
                let header = RequestHeader::decode(&mut frame, 1).unwrap();
                let request = ProduceRequest::decode(&mut frame, PRODUCE_VERSION).unwrap();
                assert!(!frame.has_remaining());
                assert_eq!(request.acks, -1);
                let data = &request.topic_data[0].partition_data[0];
                let batch = data.records.as_ref().unwrap();
                let parsed = BatchHeader::parse(batch).unwrap();
                parsed.verify(batch).unwrap();
                let (code, offset) = answer(data.index, seen[data.index as usize], i64::from(parsed.record_count));
                seen[data.index as usize] += 1;
                let partition = PartitionProduceResponse::default()
                    .with_index(data.index)
                    .with_error_code(code)
                    .with_base_offset(offset);
                let topic = TopicProduceResponse::default()
                    .with_name(request.topic_data[0].name.clone())
                    .with_partition_responses(vec![partition]);
                let mut body = BytesMut::new();
                ProduceResponse::default().with_responses(vec![topic]).encode(&mut body, PRODUCE_VERSION).unwrap();
                stream.write_all(&(4 + body.len() as u32).to_be_bytes()).unwrap();
                stream.write_all(&header.correlation_id.to_be_bytes()).unwrap();
                stream.write_all(&body).unwrap();
            }
        });
        address
    }

    fn plan() -> FillPlan {
        FillPlan { topic: "t".to_owned(), partitions: 1, bytes: 100_000, record_bytes: 100, batch_bytes: 1000 }
    }

    #[test]
    fn everything_acknowledged_is_counted() {
        let address = broker(|_, batch, records| (0, 40 + batch * records));
        let filled = fill(address, &plan(), &[40], &Interrupt::default()).unwrap();
        assert!((100_000..101_000).contains(&filled.bytes), "{filled:?}");
        let (batch, records) = make_batch(100, 1000);
        assert_eq!(filled.records, [records * (filled.bytes / batch.len() as u64) as i64]);
    }

    #[test]
    fn refusals_and_gaps_end_the_filling() {
        let address = broker(|_, batch, records| (if batch == 20 { 56 } else { 0 }, batch * records));
        let error = fill(address, &plan(), &[0], &Interrupt::default()).unwrap_err();
        assert!(matches!(error, FillError::Refused { code: 56, partition: 0, .. }), "{error}");
        let address = broker(|_, batch, records| (0, batch * records + i64::from(batch == 20)));
        let error = fill(address, &plan(), &[0], &Interrupt::default()).unwrap_err();
        assert!(matches!(error, FillError::NotDense { .. }), "{error}");
    }
}
