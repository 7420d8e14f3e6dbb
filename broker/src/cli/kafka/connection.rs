//! One connection to a broker: one request at a time, each in the newest version that both sides know.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse, RequestHeader};
use kafka_protocol::protocol::{Decodable, Encodable, Request, StrBytes};
use protocol::ApiKey;
use protocol::api_versions::VersionRange;
use protocol::frame::{FRAME_BYTES_MAX_DEFAULT, FrameDecoder, LENGTH_BYTES};
use protocol::response_guard;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout_at;

use super::error::ClientError;

const CLIENT_ID: &str = "ringlog";
/// How long one of several addresses of a host may take to be connected to.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// APIs that an answer to ApiVersions may list; Kafka has some 90.
const LISTED_APIS_MAX: usize = 1000;

/// See the module's documentation. After an error it is not to be used again: what comes next may belong to what failed.
pub(super) struct Connection {
    address: String,
    stream: TcpStream,
    received: BytesMut,
    correlation_id: i32,
    served: HashMap<i16, VersionRange>,
}

impl Connection {
    /// Connects, and asks which versions are served.
    pub(super) async fn open(host: &str, port: u16, deadline: Instant) -> Result<Connection, ClientError> {
        let address = format!("{}:{port}", if host.contains(':') { format!("[{host}]") } else { host.to_owned() });
        let stream = connect(&address, host, port, deadline).await?;
        let mut connection =
            Connection { address, stream, received: BytesMut::new(), correlation_id: 0, served: HashMap::new() };
        connection.served = connection.api_versions(deadline).await?;
        Ok(connection)
    }

    /// The newest version of an API that both sides know.
    fn version(&self, api: ApiKey) -> Result<i16, ClientError> {
        let needed = response_guard::understood(api).expect("the layout of every answer that is asked for is known");
        let found = self.served.get(&api.key()).copied();
        let version = found
            .map(|found| found.max.min(needed.max))
            .filter(|version| *version >= needed.min && found.is_some_and(|found| *version >= found.min));
        version.ok_or_else(|| ClientError::NotServed { address: self.address.clone(), api, needed, found })
    }

    /// Asks, and waits for the answer.
    pub(super) async fn call<R: Request>(
        &mut self,
        request: &R,
        deadline: Instant,
    ) -> Result<R::Response, ClientError> {
        let api = api_of::<R>();
        let version = self.version(api)?;
        let body = self.exchange(api, version, request, deadline).await?;
        self.decode::<R::Response>(api, version, body)
    }

    async fn api_versions(&mut self, deadline: Instant) -> Result<HashMap<i16, VersionRange>, ClientError> {
        let api = ApiKey::ApiVersions;
        let versions = response_guard::understood(api).expect("it is asked of every broker");
        let version = versions.max;
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("ringlog"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let body = self.exchange(api, version, &request, deadline).await?;
        let response: ApiVersionsResponse = self.decode(api, version, body)?;
        if let Some(error) = ResponseError::try_from_code(response.error_code) {
            return Err(ClientError::Refused { address: self.address.clone(), api, error });
        }
        let listed = response.api_keys.iter().take(LISTED_APIS_MAX);
        Ok(listed.map(|api| (api.api_key, VersionRange { min: api.min_version, max: api.max_version })).collect())
    }

    /// Sends a request; the body of its answer, checked.
    async fn exchange<R: Request>(
        &mut self,
        api: ApiKey,
        version: i16,
        request: &R,
        deadline: Instant,
    ) -> Result<Bytes, ClientError> {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let frame = self.encode(api, version, request)?;
        let began = Instant::now();
        let address = || self.address.clone();
        let exchanged = async {
            let (stream, received) = (&mut self.stream, &mut self.received);
            stream.write_all(&frame).await?;
            next_frame(stream, received).await
        };
        let mut answer = match timeout_at(deadline.into(), exchanged).await {
            Ok(Ok(Some(answer))) => answer,
            Ok(Ok(None)) => return Err(ClientError::Closed { address: address(), api }),
            Ok(Err(ReadError::Io(source))) => {
                return Err(ClientError::Broken { address: address(), api, source: Arc::new(source) });
            }
            Ok(Err(ReadError::Frame(source))) => return Err(ClientError::Frame { address: address(), api, source }),
            Err(_) => return Err(ClientError::NoAnswer { address: address(), api, waited: began.elapsed() }),
        };
        // A broker that does not know the version of ApiVersions answers in version 0, which begins with the error too.
        let refused_version = ResponseError::UnsupportedVersion.code().to_be_bytes();
        if api == ApiKey::ApiVersions && answer.get(LENGTH_BYTES..LENGTH_BYTES + 2) == Some(&refused_version) {
            let error = ResponseError::UnsupportedVersion;
            return Err(ClientError::Refused { address: address(), api, error });
        }
        let opened = response_guard::open(api, version, self.correlation_id, &mut answer);
        opened.map_err(|source| ClientError::Guard { address: address(), api, version, source })?;
        Ok(answer)
    }

    fn encode<R: Request>(&self, api: ApiKey, version: i16, request: &R) -> Result<Vec<u8>, ClientError> {
        let header = RequestHeader::default()
            .with_request_api_key(api.key())
            .with_request_api_version(version)
            .with_correlation_id(self.correlation_id)
            .with_client_id(Some(StrBytes::from_static_str(CLIENT_ID)));
        let unwritable =
            |reason: String| ClientError::Unwritable { address: self.address.clone(), api, version, reason };
        let mut body = BytesMut::new();
        header
            .encode(&mut body, R::header_version(version))
            .and_then(|()| request.encode(&mut body, version))
            .map_err(|error| unwritable(error.to_string()))?;
        if body.len() > FRAME_BYTES_MAX_DEFAULT {
            return Err(unwritable(format!("{} bytes are more than a frame may have", body.len())));
        }
        let length = u32::try_from(body.len()).expect("a frame is far below 4 GiB");
        let mut frame = Vec::with_capacity(LENGTH_BYTES + body.len());
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(&body);
        Ok(frame)
    }

    fn decode<D: Decodable>(&self, api: ApiKey, version: i16, mut body: Bytes) -> Result<D, ClientError> {
        D::decode(&mut body, version).map_err(|error| {
            let (address, reason) = (self.address.clone(), error.to_string());
            ClientError::Unreadable { address, api, version, reason }
        })
    }
}

fn api_of<R: Request>() -> ApiKey {
    ApiKey::from_key(R::KEY).expect("only APIs are asked for that brokers of this program serve too")
}

async fn connect(address: &str, host: &str, port: u16, deadline: Instant) -> Result<TcpStream, ClientError> {
    let began = Instant::now();
    let late = || ClientError::NoConnection { address: address.to_owned(), waited: began.elapsed() };
    let resolved = timeout_at(deadline.into(), tokio::net::lookup_host((host, port))).await.map_err(|_| late())?;
    let unresolved = |source| ClientError::Unresolved { address: address.to_owned(), source: Arc::new(source) };
    let mut last = unresolved(io::Error::other("it has no address"));
    for socket_address in resolved.map_err(unresolved)? {
        let until = deadline.min(Instant::now() + CONNECT_TIME_MAX);
        match timeout_at(until.into(), TcpStream::connect(socket_address)).await {
            Ok(Ok(stream)) => {
                // Requests are small and waited for one by one.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(source)) => {
                last = ClientError::Connect { address: address.to_owned(), source: Arc::new(source) };
            }
            Err(_) => last = late(),
        }
    }
    Err(last)
}

enum ReadError {
    Io(io::Error),
    Frame(protocol::frame::FrameError),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> ReadError {
        ReadError::Io(error)
    }
}

/// `None` at the end of the stream.
async fn next_frame(stream: &mut TcpStream, received: &mut BytesMut) -> Result<Option<Bytes>, ReadError> {
    let decoder = FrameDecoder::new(FRAME_BYTES_MAX_DEFAULT);
    loop {
        if let Some(frame) = decoder.next_frame(received).map_err(ReadError::Frame)? {
            return Ok(Some(frame));
        }
        if stream.read_buf(received).await? == 0 {
            return Ok(None);
        }
    }
}
