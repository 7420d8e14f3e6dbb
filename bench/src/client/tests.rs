//! Against a scripted broker: what it answers is encoded by the same library that brokers use.

use std::net::TcpListener;
use std::thread::JoinHandle;

use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::{CreateTopicsResponse, ListOffsetsResponse};

use super::*;

const LIMIT: Duration = Duration::from_secs(60);

/// Accepts one connection, and answers one request after the other with what `answers` makes of its correlation id.
fn scripted(answers: Vec<Box<dyn Fn(i32) -> Vec<u8> + Send>>) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let broker = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        for answer in answers {
            let mut length = [0; 4];
            stream.read_exact(&mut length).unwrap();
            let mut request = vec![0; u32::from_be_bytes(length) as usize];
            stream.read_exact(&mut request).unwrap();
            let correlation_id = i32::from_be_bytes(request[4..8].try_into().unwrap());
            stream.write_all(&answer(correlation_id)).unwrap();
        }
    });
    (broker, thread)
}

fn answer<M: Encodable + Send + 'static>(message: M, version: i16) -> Box<dyn Fn(i32) -> Vec<u8> + Send> {
    Box::new(move |correlation_id| {
        let mut body = BytesMut::new();
        message.encode(&mut body, version).unwrap();
        let mut frame = (4 + body.len() as u32).to_be_bytes().to_vec();
        frame.extend_from_slice(&correlation_id.to_be_bytes());
        frame.extend_from_slice(&body);
        frame
    })
}

fn offsets(partitions: &[(i32, i16, i64)]) -> Box<dyn Fn(i32) -> Vec<u8> + Send> {
    let partitions = partitions.iter().map(|(partition, code, offset)| {
        ListOffsetsPartitionResponse::default()
            .with_partition_index(*partition)
            .with_error_code(*code)
            .with_offset(*offset)
    });
    let topic = ListOffsetsTopicResponse::default().with_name(topic_name("t")).with_partitions(partitions.collect());
    answer(ListOffsetsResponse::default().with_topics(vec![topic]), LIST_OFFSETS_VERSION)
}

fn created(code: i16) -> Box<dyn Fn(i32) -> Vec<u8> + Send> {
    let result = CreatableTopicResult::default().with_name(topic_name("t")).with_error_code(code);
    answer(CreateTopicsResponse::default().with_topics(vec![result]), CREATE_TOPICS_VERSION)
}

#[test]
fn a_topic_is_created_once_all_its_partitions_answer() {
    let (broker, thread) = scripted(vec![
        created(0),
        offsets(&[(0, 0, 0), (1, LEADER_NOT_AVAILABLE, -1)]),
        offsets(&[(1, 0, 0), (0, 0, 0)]),
        offsets(&[(1, 0, 7), (0, 0, 5)]),
    ]);
    let mut connection = Connection::open(broker, &Interrupt::default()).unwrap();
    connection.create_topic("t", 2, LIMIT).unwrap();
    assert_eq!(connection.wait_for_end_offsets("t", 2, LIMIT).unwrap(), [5, 7]);
    thread.join().unwrap();
}

#[test]
fn errors_of_the_broker_are_errors_here() {
    let (broker, _thread) = scripted(vec![created(36), offsets(&[(0, 29, -1)]), offsets(&[(0, 0, 1)])]);
    let mut connection = Connection::open(broker, &Interrupt::default()).unwrap();
    let error = connection.create_topic("t", 1, LIMIT).unwrap_err();
    assert!(matches!(error, ClientError::CreateTopic { code: 36, .. }), "{error}");
    let error = connection.wait_for_end_offsets("t", 1, LIMIT).unwrap_err();
    assert!(matches!(error, ClientError::Partition { code: 29, .. }), "{error}");
    let error = connection.wait_for_end_offsets("t", 2, LIMIT).unwrap_err();
    assert!(matches!(error, ClientError::PartitionCount { expected: 2, found: 1, .. }), "{error}");
}

#[test]
fn answers_to_nothing_that_was_asked_are_refused() {
    let (broker, _thread) = scripted(vec![
        Box::new(|id| [8, id + 1, 0].iter().flat_map(|n: &i32| n.to_be_bytes()).collect()),
        Box::new(|id| [4, id].iter().flat_map(|n: &i32| n.to_be_bytes()).collect()),
        Box::new(|_| (-5_i32).to_be_bytes().to_vec()),
    ]);
    let mut connection = Connection::open(broker, &Interrupt::default()).unwrap();
    let error = connection.api_versions(LIMIT).unwrap_err();
    assert!(matches!(error, ClientError::Correlation { expected: 0, found: 1, .. }), "{error}");
    let error = connection.api_versions(LIMIT).unwrap_err();
    assert!(error.to_string().contains("ApiVersionsRequest version 0 cannot be decoded"), "{error}");
    let error = connection.api_versions(LIMIT).unwrap_err();
    assert!(matches!(error, ClientError::Frame { .. }), "{error}");
}

#[test]
fn silence_a_closed_connection_and_an_interrupt_end_the_wait() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let broker = listener.local_addr().unwrap();
    let interrupt = Interrupt::default();
    let mut connection = Connection::open(broker, &interrupt).unwrap();
    let error = connection.api_versions(Duration::ZERO).unwrap_err();
    assert!(matches!(error, ClientError::NoAnswer { .. }), "{error}");
    interrupt.request();
    let error = connection.api_versions(LIMIT).unwrap_err();
    assert!(matches!(error, ClientError::Interrupted(_)), "{error}");

    let mut connection = Connection::open(broker, &Interrupt::default()).unwrap();
    drop(listener);
    let error = connection.api_versions(LIMIT).unwrap_err();
    assert!(matches!(error, ClientError::Closed { .. } | ClientError::Io { .. }), "{error}");
    let error = Connection::open(broker, &Interrupt::default()).unwrap_err();
    assert!(matches!(error, ClientError::Io { action: "connecting", .. }), "{error}");
}
