//! Both ends of an internal connection over real sockets: who is let in, who is told why not, and what garbage does.

use std::io;
use std::time::Duration;

use metadata::image::MetadataImage;
use metadata::record::{MetadataRecord, NodeBinding};
use proptest::prelude::*;
use protocol::BrokerId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

use super::frame::{self, Frames};
use super::handshake::{self, HandshakeError, Hello, Me, Purpose, Refused, VERSIONS, Welcome};
use super::links::{Callee, Caller, LinkError, Links};

const PATIENCE: Duration = Duration::from_secs(30);

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn node(node: i32, directory: u128) -> NodeBinding {
    NodeBinding { node: BrokerId(node), directory_id: id(directory), address: "there:1".to_owned() }
}

/// Of cluster 7 with nodes 1 and 2, in directories 11 and 12.
fn image() -> MetadataImage {
    let bound = [node(1, 11), node(2, 12)].map(MetadataRecord::NodeBound);
    MetadataImage::default().apply_batch(&bound).unwrap().0
}

/// What node 1 says to a caller.
fn judged(hello: &Hello) -> Result<Welcome, Refused> {
    let me = Me { cluster_id: id(7), node: BrokerId(1), directory_id: id(11), image: &image() };
    handshake::judge(hello, me)
}

fn hello(purpose: Purpose, from: Option<NodeBinding>) -> Hello {
    Hello { purpose, cluster_id: Some(id(7)), from, to: Some((BrokerId(1), id(11))), metadata_offset: 2 }
}

#[test]
fn who_is_not_meant_or_does_not_belong_is_told_why() {
    let welcome = Welcome { cluster_id: id(7), node: BrokerId(1) };
    let from_2 = || Some(node(2, 12));
    let raft = || hello(Purpose::Raft, from_2());
    assert_eq!(judged(&raft()), Ok(welcome.clone()));
    let foreign = Hello { cluster_id: Some(id(8)), ..raft() };
    assert_eq!(judged(&foreign), Err(Refused::ForeignCluster { expected: id(7), found: id(8) }));
    for to in [(BrokerId(3), id(11)), (BrokerId(1), id(99))] {
        let refused =
            Refused::OtherNode { wanted: to.0, wanted_directory: to.1, found: BrokerId(1), found_directory: id(11) };
        assert_eq!(judged(&Hello { to: Some(to), ..raft() }), Err(refused));
    }
    let twin = hello(Purpose::Controller, Some(node(1, 99)));
    assert_eq!(judged(&twin), Err(Refused::SameId { node: BrokerId(1) }));
    let wiped = hello(Purpose::Raft, Some(node(2, 99)));
    let refused = Refused::OtherDirectory { node: BrokerId(2), bound: id(12), found: id(99) };
    assert_eq!(judged(&wiped), Err(refused));
    let removed = hello(Purpose::Raft, Some(node(3, 13)));
    assert_eq!(judged(&removed), Err(Refused::Removed { node: BrokerId(3) }));
    // Somebody who knows more of the cluster than this node may have joined since.
    assert_eq!(judged(&Hello { metadata_offset: 3, ..removed }), Ok(welcome.clone()));
    for anonymous in [Hello { from: None, ..raft() }, Hello { cluster_id: None, ..raft() }] {
        assert_eq!(judged(&anonymous), Err(Refused::Anonymous));
    }
    // The controller itself answers who wants to join, and operators' tools are nobody.
    assert_eq!(judged(&hello(Purpose::Controller, Some(node(3, 13)))), Ok(welcome.clone()));
    for purpose in [Purpose::Controller, Purpose::Inspect] {
        let tool = Hello { cluster_id: None, to: None, ..hello(purpose, None) };
        assert_eq!(judged(&tool), Ok(welcome.clone()));
    }
}

#[test]
fn versions_meet_at_the_newest_common_one_or_name_both() {
    let (oldest, newest) = VERSIONS.into_inner();
    assert_eq!(handshake::common_version(&VERSIONS), Ok(newest));
    assert_eq!(handshake::common_version(&(oldest..=newest + 5)), Ok(newest));
    let refused = Refused::Version { oldest, newest, found_oldest: newest + 1, found_newest: newest + 2 };
    assert_eq!(handshake::common_version(&(newest + 1..=newest + 2)), Err(refused.clone()));
    assert_eq!(refused.to_string(), "it speaks versions 2 to 2 of the internal protocol, the caller 3 to 4");
}

/// What node 1 makes of these first bytes, and what it sends back.
async fn answered(bytes: &[u8]) -> (Result<Hello, HandshakeError>, Vec<u8>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut caller = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    caller.write_all(bytes).await.unwrap();
    caller.shutdown().await.unwrap();
    let (mut socket, _) = listener.accept().await.unwrap();
    let answered = handshake::answer(&mut socket, judged).await;
    drop(socket);
    let mut back = Vec::new();
    // Bytes that were never read make a reset of the close.
    let _ = caller.read_to_end(&mut back).await;
    (answered, back)
}

#[test]
fn garbage_and_other_protocols_are_named() {
    run(async {
        let (error, back) = answered(b"GET / HTTP/1.1\r\n\r\n").await;
        assert!(matches!(error, Err(HandshakeError::NotOurs { found }) if &found == b"GET / HT"), "{error:?}");
        assert_eq!(back, b"");
        let (error, _) = answered(b"RINGLOG\0\x02\0\x02\0\xff\xff\xff\xff").await;
        assert!(matches!(error, Err(HandshakeError::TooLong { bytes: u32::MAX })), "{error:?}");
        let (error, _) = answered(b"RINGLOG\0\x02\0\x02\0\x02\0\0\0\xff\xff").await;
        assert!(matches!(error, Err(HandshakeError::Malformed(_))), "{error:?}");
        let (error, _) = answered(b"RINGLOG").await;
        assert!(matches!(&error, Err(HandshakeError::Io(e)) if e.kind() == io::ErrorKind::UnexpectedEof), "{error:?}");
        // A newer program is told what this one speaks; what follows its versions is not even looked at.
        let (error, back) = answered(b"RINGLOG\0\x09\0\x0a\0\xff\xff\xff\xff").await;
        assert!(matches!(error, Err(HandshakeError::Refused(Refused::Version { .. }))), "{error:?}");
        assert_eq!(back[..10], *b"RINGLOG\0\0\0");
        let refused: Result<Welcome, Refused> = postcard::from_bytes(&back[14..]).unwrap();
        assert!(matches!(refused, Err(Refused::Version { found_oldest: 9, found_newest: 10, .. })));
    });
}

/// A node that welcomes callers and answers each question with itself, but for "hang" and "die".
async fn echo(listener: TcpListener) {
    loop {
        let (mut socket, _) = listener.accept().await.unwrap();
        if handshake::answer(&mut socket, judged).await.is_err() {
            continue;
        }
        let (read, mut write) = socket.split();
        let mut questions = Frames::new(read, frame::REQUEST_BYTES_MAX);
        while let Ok(Some(question)) = questions.next().await {
            match &question.message[..] {
                b"hang" => {}
                b"die" => break,
                message => write.write_all(&frame::encode(question.id, message).unwrap()).await.unwrap(),
            }
        }
    }
}

async fn echoing() -> Callee {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(echo(listener));
    Callee { purpose: Purpose::Raft, node: Some((BrokerId(1), id(11))), address }
}

fn links_of(from: NodeBinding) -> Links {
    Links::new(Caller { cluster_id: Some(id(7)), node: Some(from) }, || 0)
}

#[test]
fn one_connection_carries_many_questions_and_a_new_one_follows_a_broken_one() {
    run(async {
        let (callee, links) = (echoing().await, links_of(node(2, 12)));
        let hanging = links.ask(&callee, b"hang".to_vec(), Duration::from_millis(50));
        let asked = (0..100_u8).map(|n| links.ask(&callee, vec![n], PATIENCE));
        let (hung, answers) = tokio::join!(hanging, futures_util::future::join_all(asked));
        assert!(matches!(hung, Err(LinkError::TimedOut { .. })), "{hung:?}");
        for (n, answer) in (0_u8..).zip(answers) {
            assert_eq!(answer.unwrap(), [n]);
        }
        let died = links.ask(&callee, b"die".to_vec(), PATIENCE).await;
        assert!(matches!(died, Err(LinkError::Broken { .. })), "{died:?}");
        assert_eq!(links.ask(&callee, b"again".to_vec(), PATIENCE).await.unwrap(), b"again");
    });
}

#[test]
fn a_refusal_and_a_closed_port_are_told_to_whoever_asks() {
    run(async {
        let callee = echoing().await;
        let stranger = links_of(node(2, 99));
        let refused = stranger.ask(&callee, b"x".to_vec(), PATIENCE).await.unwrap_err();
        assert!(refused.to_string().contains("belongs to the data directory"), "{refused}");
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
        let nobody = Callee { address: closed.clone(), ..callee };
        let error = links_of(node(2, 12)).ask(&nobody, b"x".to_vec(), PATIENCE).await.unwrap_err();
        assert!(error.to_string().starts_with(&closed) && error.to_string().contains("refused"), "{error}");
        assert!(super::links::is_refused(&closed).await);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_first_bytes_are_a_panic(head in any::<bool>(), bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let head: &[u8] = if head { b"RINGLOG\0\x01\0\x01\0\x10\0\0\0" } else { b"" };
        run(answered(&[head, &bytes].concat())).0.ok();
    }
}
