//! The brokers of a cluster, and a connection to each that is asked.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::Request;
use tokio::sync::Mutex;

use super::connection::Connection;
use super::error::ClientError;
use super::wrong_port::{Spoken, what_is_spoken};
use crate::config::HostPort;

/// Pause before something that passes by itself is asked for again.
pub(super) const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// A broker as others name it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::cli) struct Node {
    pub id: i32,
    pub host: String,
    pub port: u16,
}

impl Node {
    /// What a broker says of where another is; `None` of what is no address.
    pub fn new(id: i32, host: &str, port: i32) -> Option<Node> {
        let port = u16::try_from(port).ok().filter(|port| *port > 0)?;
        (id >= 0 && !host.is_empty()).then(|| Node { id, host: host.to_owned(), port })
    }
}

/// `HOST:PORT (ID)`, as Kafka's tools have it.
impl std::fmt::Display for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{} ({})", self.host, self.port, self.id)
    }
}

/// Made anew by whoever asks first after it failed.
type Slot = Rc<Mutex<Option<Connection>>>;

/// See the module's documentation.
pub(in crate::cli) struct Client {
    bootstrap: Vec<HostPort>,
    /// Which of `bootstrap` answered first: the others are not asked.
    chosen: OnceCell<usize>,
    /// When the whole command gives up.
    deadline: Cell<Instant>,
    patience: Duration,
    connections: RefCell<BTreeMap<(String, u16), Slot>>,
}

impl Client {
    pub fn new(bootstrap: Vec<HostPort>, patience: Duration) -> Client {
        let deadline = Cell::new(Instant::now() + patience);
        Client { bootstrap, chosen: OnceCell::new(), deadline, patience, connections: RefCell::default() }
    }

    /// Of a command that takes as long as there is something to do: its patience begins anew with every step.
    pub fn begin_step(&self) {
        self.deadline.set(Instant::now() + self.patience);
    }

    /// How long a broker may take, in ms: what requests that say so to brokers say. Less than is waited for its answer, so that
    /// one which waits itself, for the controller or for replicas, says so before it is given up.
    pub fn patience_ms(&self) -> i32 {
        i32::try_from(self.patience.as_millis() / 10 * 8).unwrap_or(i32::MAX)
    }

    /// Whether there is time to ask once more after a pause; pauses if so.
    pub async fn may_retry(&self) -> bool {
        if Instant::now() + RETRY_PAUSE >= self.deadline.get() {
            return false;
        }
        tokio::time::sleep(RETRY_PAUSE).await;
        true
    }

    /// Asks one broker; over its connection, if there is one, one request after the other.
    pub async fn call<R: Request>(&self, node: &Node, request: &R) -> Result<R::Response, ClientError> {
        self.call_at(&node.host, node.port, request, self.deadline.get()).await
    }

    async fn call_at<R: Request>(
        &self,
        host: &str,
        port: u16,
        request: &R,
        deadline: Instant,
    ) -> Result<R::Response, ClientError> {
        let slot = self.connections.borrow_mut().entry((host.to_owned(), port)).or_default().clone();
        let mut connection = slot.lock().await;
        let mut open = match connection.take() {
            Some(open) => open,
            None => match Connection::open(host, port, deadline).await {
                Ok(open) => open,
                Err(error) => return Err(explained(host, port, error).await),
            },
        };
        let answer = open.call(request, deadline).await;
        // What was refused before it was sent leaves the connection as it was.
        if matches!(answer, Ok(_) | Err(ClientError::NotServed { .. } | ClientError::Unwritable { .. })) {
            *connection = Some(open);
        }
        answer
    }

    /// Asks any broker: the first of those given that answers, the same one from then on as long as it does.
    pub async fn call_any<R: Request>(&self, request: &R) -> Result<(String, R::Response), ClientError> {
        let mut tried = Vec::new();
        let first = self.chosen.get().copied().unwrap_or(0);
        for turn in 0..self.bootstrap.len() {
            let at = (first + turn) % self.bootstrap.len();
            let bootstrap = &self.bootstrap[at];
            // One that is silent leaves time for those behind it.
            let left = self.deadline.get().saturating_duration_since(Instant::now());
            let rest = u32::try_from(self.bootstrap.len() - turn).unwrap_or(1);
            let deadline = Instant::now() + left / rest;
            match self.call_at(&bootstrap.host.to_string(), bootstrap.port, request, deadline).await {
                Ok(answer) => {
                    let _ = self.chosen.set(at);
                    return Ok((bootstrap.to_string(), answer));
                }
                // It is the answer of any.
                Err(error @ (ClientError::NotServed { .. } | ClientError::Unwritable { .. })) => return Err(error),
                Err(error) if self.bootstrap.len() == 1 => return Err(error),
                Err(error) => tried.push(error.to_string()),
            }
        }
        Err(ClientError::NoBroker { tried })
    }

    /// The broker that answers for all, for messages.
    pub fn any_address(&self) -> String {
        self.bootstrap.get(self.chosen.get().copied().unwrap_or(0)).map_or(String::new(), ToString::to_string)
    }

    /// All topics, and the brokers.
    pub async fn metadata_of_all(&self) -> Result<(String, MetadataResponse), ClientError> {
        self.call_any(&MetadataRequest::default().with_topics(None).with_allow_auto_topic_creation(false)).await
    }

    /// Topics by name, and the brokers. Never creates a topic.
    pub async fn metadata(&self, topics: &[String]) -> Result<(String, MetadataResponse), ClientError> {
        let topic = |name: &String| MetadataRequestTopic::default().with_name(Some(TopicName(name.clone().into())));
        let request = MetadataRequest::default()
            .with_topics(Some(topics.iter().map(topic).collect()))
            .with_allow_auto_topic_creation(false);
        self.call_any(&request).await
    }

    /// All brokers that are there, by id.
    pub async fn brokers(&self) -> Result<Vec<Node>, ClientError> {
        let (address, response) = self.metadata(&[]).await?;
        let mut nodes = nodes(&response);
        if nodes.is_empty() {
            let (api, what) = (protocol::ApiKey::Metadata, "any broker".to_owned());
            return Err(ClientError::Silent { address, api, what });
        }
        nodes.sort();
        Ok(nodes)
    }
}

/// A connection that broke before it was one may have been to another port than was meant.
async fn explained(host: &str, port: u16, error: ClientError) -> ClientError {
    let may_be_wrong = matches!(
        error,
        ClientError::Closed { .. }
            | ClientError::Broken { .. }
            | ClientError::NoAnswer { .. }
            | ClientError::Frame { .. }
            | ClientError::Guard { .. }
    );
    if !may_be_wrong {
        return error;
    }
    match what_is_spoken(host, port).await {
        spoken @ (Spoken::Internal | Spoken::Http) => {
            let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
            ClientError::WrongPort { address: format!("{host}:{port}"), spoken }
        }
        Spoken::Nothing | Spoken::Kafka | Spoken::Unknown => error,
    }
}

/// The brokers that an answer names.
pub(in crate::cli) fn nodes(response: &MetadataResponse) -> Vec<Node> {
    response.brokers.iter().filter_map(|broker| Node::new(broker.node_id.0, &broker.host, broker.port)).collect()
}

/// Errors of a coordinator that pass: it is asked again, wherever it is then.
pub(in crate::cli) fn passes(error: ResponseError) -> bool {
    matches!(
        error,
        ResponseError::CoordinatorNotAvailable
            | ResponseError::CoordinatorLoadInProgress
            | ResponseError::NotCoordinator
            | ResponseError::RequestTimedOut
    )
}
